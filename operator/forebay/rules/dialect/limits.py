"""How much a request asks for: tokens, and answers side by side."""

from typing import Any, Final

from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.portability import LIMITS

MOST_TOKENS: Final = 2**31 - 1


def token_limit(document: dict[str, Any]) -> int | None:
    """The most tokens that are to be generated, in any spelling. Raises BadRequestError."""
    for key in LIMITS:
        value = document.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TOKENS:
            raise BadRequestError(f"{key} must be a whole number of tokens, from 0 to {MOST_TOKENS}")
        return value
    return None


def sequences(document: dict[str, Any]) -> int:
    """Answers that an engine makes side by side: those of each prompt, and a completion may have several prompts."""
    wished, prompts = 1, document.get("prompt")
    for key in ("n", "best_of"):
        value = document.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            wished = max(wished, value)
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        wished *= len(prompts)
    return min(wished, MOST_TOKENS)
