"""The insides of bodies of Anthropic's API and of reranking, as tables of shapes (body_shapes)."""

from collections.abc import Mapping
from typing import Any, Final

from forebay.rules.body_shapes import (
    Fit,
    ObjectShape,
    Walk,
    by_type,
    call_id,
    each,
    image_address,
    parts_of,
    plain,
    scalar,
    text,
)

_BROUGHT_ALONG: Final = frozenset(
    {"caller", "citations", "id", "index", "metadata", "provider_specific_fields", "status", "timestamp", "uuid"}
)
"""Members that backends and clients add to blocks, and that change no answer."""
_OF_AN_ANSWER: Final = _BROUGHT_ALONG | {"container", "model", "stop_reason", "stop_sequence", "type", "usage"}
"""What an answer has beside its content, for clients that put it back whole."""


def _block(kind: str, fits: Mapping[str, Fit], *needs: str) -> ObjectShape:
    path = f"messages.content.{kind}"
    return ObjectShape(path, {"type": text, "cache_control": plain, **fits}, left_out=_BROUGHT_ALONG, needs=needs)


_SOURCE: Final = by_type(
    {
        "base64": ObjectShape("content.source", {"type": text, "media_type": text, "data": text}, needs=("data",)),
        "text": ObjectShape("content.source", {"type": text, "media_type": text, "data": text}, needs=("data",)),
        "url": ObjectShape("content.source", {"type": text, "url": image_address}, needs=("url",)),
    },
    "content.source",
)
_TEXT: Final = _block("text", {"text": text}, "text")
_IMAGE: Final = _block("image", {"source": _SOURCE}, "source")
_DOCUMENT: Final = _block("document", {"source": _SOURCE, "title": text, "context": text}, "source")
_SEEN: Final[Mapping[str, Fit]] = {"text": _TEXT, "image": _IMAGE, "document": _DOCUMENT}
_RESULT: Final = _block(
    "tool_result",
    {"tool_use_id": call_id, "content": parts_of(by_type(_SEEN, "content"), "text"), "is_error": scalar},
    "tool_use_id",
)
_USE: Final = _block("tool_use", {"id": call_id, "name": text, "input": plain}, "id", "name", "input")
_CONTENT: Final = parts_of(by_type({**_SEEN, "tool_use": _USE, "tool_result": _RESULT}, "content"), "text")
"""Other blocks are the state of who made them: thoughts that are signed, searches that are encrypted."""
_TURN: Final = ObjectShape(
    "messages", {"role": text, "content": _CONTENT}, left_out=_OF_AN_ANSWER, needs=("role", "content")
)

MESSAGES_SHAPES: Final[Mapping[str, Fit]] = {
    "messages": each(_TURN, []),
    "system": parts_of(by_type({"text": _TEXT}, "system"), "text"),
}

_PASSAGE: Final = ObjectShape("documents", {"text": text}, left_out=_BROUGHT_ALONG | {"title"}, needs=("text",))


def _document(walk: Walk, name: str, value: Any) -> Any:
    """A text, or an object that has it; what else an engine takes, images for instance, no provider is expected to."""
    return value if isinstance(value, str) else _PASSAGE(walk, name, value)


RERANK_SHAPES: Final[Mapping[str, Fit]] = {"query": text, "documents": each(_document, [])}
