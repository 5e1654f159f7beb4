"""The model's name in a body that is otherwise passed on as it came."""

import re
from typing import Final

import msgspec

from forebay.rules.dialect.outermost import outermost
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import ENDPOINTS

_MODEL: Final = b'"model"'
_EMPTY_VALUE: Final = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*"|\[\s*\]|\{\s*\}|[^\s,}]+)')


def with_model(body: bytes, parsed: ParsedRequest, model: str) -> bytes:
    """The body for an engine that knows itself as `model`: changed only when the client left the choice open.

    The name is spliced in; everything else stays byte for byte.
    """
    if parsed.facts.names_a_model:
        return body
    if ENDPOINTS[parsed.path].form:
        if parsed.model_at is None:
            return body  # engines take the one model that they have
        start, end = parsed.model_at
        return body[:start] + model.encode() + body[end:]
    name = msgspec.json.encode(model)
    if "model" not in parsed.document:
        return body.replace(b"{", b'{"model":' + name + (b"," if parsed.document else b""), 1)
    start, end = parsed.model_at or _model_value(body)
    whole = memoryview(body)
    return b"".join((whole[:start], name, whole[end:]))


def _model_value(body: bytes) -> tuple[int, int]:
    """Where the value of the outermost "model" begins and ends; it is there, and no filled list or object."""
    key = body.find(_MODEL)
    if key < 0 or b"\\u00" in body or body.find(_MODEL, key + 1) >= 0:  # such a body was found to say nothing twice
        return outermost(body)["model"]
    value = _EMPTY_VALUE.match(body, body.index(b":", key) + 1)  # it stands here only, so this is the key
    assert value is not None
    return value.span(1)
