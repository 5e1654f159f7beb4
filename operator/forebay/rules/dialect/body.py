"""A request's body as a JSON object. What two readers could read in two ways is refused."""

from collections.abc import Generator
from typing import Any, Final

import msgspec

from forebay.rules.dialect.body_size import size_checks
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.outermost import Spans, outermost, outermost_steps
from forebay.rules.endpoints import TEXTS

GUARDED: Final = ("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream",
                  "service_tier", "previous_response_id", "metadata", "prompt_cache_key", *TEXTS, "documents",
                  "context")  # fmt: skip
GUARDED_METADATA: Final = ("task_type", "complexity_score", "context", "user_id")
"""Keys that decide something here: written twice, two readers could take two meanings, so that is refused."""
_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED)
_METADATA_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED_METADATA)
_BEGINNINGS: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"),
                     (b"\xef\xbb\xbf", "text with a byte order mark"), (b"\xff\xfe", "UTF-16"),
                     (b"\xfe\xff", "UTF-16"), (b"--", "a multipart form"))  # fmt: skip
_TOO_DEEP: Final = "the body is nested too deeply: send fewer brackets within brackets"


def document_of(body: bytes) -> dict[str, Any]:
    """Decode a body of at most SMALL_BYTES. Raises BadRequestError."""
    if not body:
        raise BadRequestError("the request has no body: send a JSON object")
    document = _decoded(body)
    metadata = document.get("metadata")
    if _doubtful(body, document, metadata):
        spans = outermost(body)
        if isinstance(metadata, dict):
            start, end = spans["metadata"]
            outermost(body[start:end], "metadata")
    return document


def document_steps(body: bytes) -> Generator[None, None, tuple[dict[str, Any], Spans]]:
    """Decode a body of any size in steps of a few milliseconds, and find its fields. Raises BadRequestError."""
    yield from size_checks(body)
    document = _decoded(body)
    yield
    spans = yield from outermost_steps(body)
    if isinstance(document.get("metadata"), dict):
        start, end = spans["metadata"]
        yield from outermost_steps(body[start:end], "metadata")
    return document, spans


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        looks = next((f", it looks like {what}" for begin, what in _BEGINNINGS if body.startswith(begin)), "")
        raise BadRequestError(f"the body is not valid JSON{looks}: {error}") from error
    except RecursionError:
        raise BadRequestError(_TOO_DEEP) from None
    if not isinstance(document, dict):
        raise BadRequestError("the body must be a JSON object")
    return document


def _doubtful(body: bytes, document: dict[str, Any], metadata: Any) -> bool:
    """Whether a guarded key may stand twice."""
    for key, needle in _NEEDLES:
        if key in document and body.count(needle) > 1:
            return True
    if isinstance(metadata, dict) and any(body.count(n) > 1 for k, n in _METADATA_NEEDLES if k in metadata):
        return True
    return b"\\u00" in body  # a key may be written with escapes
