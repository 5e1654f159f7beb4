"""A request's body as a JSON object. What two readers could read in two ways is refused."""

import json
from typing import Any, Final

import msgspec

from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.endpoints import TEXTS

GUARDED: Final = ("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream",
                  "service_tier", "previous_response_id", "metadata", "prompt_cache_key", *TEXTS, "documents",
                  "context")  # fmt: skip
GUARDED_METADATA: Final = ("task_type", "complexity_score", "context")
"""Keys that decide something here: written twice, two readers could take two meanings, so that is refused."""
_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED)
_METADATA_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED_METADATA)
_TOO_DEEP: Final = "the body is nested too deeply: send fewer brackets within brackets"


def document_of(body: bytes) -> dict[str, Any]:
    """Decode a body. Raises BadRequestError."""
    if not body:
        raise BadRequestError("the request has no body: send a JSON object")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error
    except RecursionError:
        raise BadRequestError(_TOO_DEEP) from None
    if not isinstance(document, dict):
        raise BadRequestError("the body must be a JSON object")
    for key, needle in _NEEDLES:
        if key in document and body.count(needle) > 1:
            _refuse_duplicates(body)
            return document
    metadata = document.get("metadata")
    doubtful = isinstance(metadata, dict) and any(body.count(n) > 1 for k, n in _METADATA_NEEDLES if k in metadata)
    if doubtful or b"\\u00" in body:  # a key may be written with escapes
        _refuse_duplicates(body)
    return document


def _refuse_duplicates(body: bytes) -> None:
    """The slow, exact look: only for bodies in which a guarded key may stand twice."""
    try:
        outermost = json.loads(body, object_pairs_hook=tuple)
    except RecursionError:
        raise BadRequestError(_TOO_DEEP) from None
    _refuse_twice(outermost, GUARDED, "")
    for key, value in outermost:
        if key == "metadata" and isinstance(value, tuple):
            _refuse_twice(value, GUARDED_METADATA, "metadata.")


def _refuse_twice(pairs: tuple[tuple[str, Any], ...], guarded: tuple[str, ...], where: str) -> None:
    keys = [key for key, _ in pairs]
    for key in guarded:
        if keys.count(key) > 1:
            raise BadRequestError(f"the body says {where + key!r} more than once: send it once")
