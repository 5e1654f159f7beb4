"""What a client says of its request beside the request itself."""

from typing import Any, Final

from forebay.resources import headers as names
from forebay.rules.classify import Hints
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.prompt_text import MOST_LOOKED_AT

_NOTHING: Final[dict[str, Any]] = {}
_TASK, _COMPLEXITY = names.TASK_TYPE.encode(), names.COMPLEXITY.encode()


def hints_of(fields: dict[bytes, bytes], document: dict[str, Any], limit: int | None) -> Hints:
    """What the client says of its request, in headers and `metadata`. Raises BadRequestError."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else _NOTHING
    task = fields.get(_TASK, b"").decode("latin-1") or str(metadata.get("task_type") or "")
    score: Any = fields.get(_COMPLEXITY) or metadata.get("complexity_score")
    complexity = None
    if score is not None:
        try:
            complexity = float(score)
        except (TypeError, ValueError, OverflowError):
            raise BadRequestError("complexity_score must be a number between 0 and 1") from None
    return Hints(limit, _has_context(document, metadata), task, complexity)


def _has_context(document: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether the question comes with material: told so, documents, or earlier turns of a conversation."""
    if metadata.get("context") or document.get("documents") or document.get("context"):
        return True
    messages = document.get("messages")
    if isinstance(messages, list):
        for message in messages[:MOST_LOOKED_AT]:
            if not isinstance(message, dict):
                break
            if message.get("role") == "assistant":
                return True
    return False
