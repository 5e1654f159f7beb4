"""How much a request asks for: tokens, and answers side by side."""

from typing import Any, Final

from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.portability import LIMITS

SIDE_BY_SIDE: Final = ("prompt", "input", "documents", "text_2", "data_2")
CONVERSATIONS: Final = frozenset({"input"})
"""Of these, a list of objects is one conversation."""
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
    """Members of the engine's batch that a request is: the answers of each prompt, of which a completion may have
    several, and each text that is embedded, scored or ranked."""
    wished = 1
    for key in ("n", "best_of"):
        value = document.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            wished = max(wished, value)
    return min(wished * max(_parts(document.get(key), key) for key in SIDE_BY_SIDE), MOST_TOKENS)


def _parts(value: Any, key: str) -> int:
    """Parts of a list that the engine computes one beside the other; a list of numbers is one prompt."""
    if not isinstance(value, list) or not value:
        return 1
    if isinstance(value[0], str | list):
        return len(value)
    return len(value) if isinstance(value[0], dict) and key not in CONVERSATIONS else 1
