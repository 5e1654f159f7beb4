"""Errors in the shape in which a path's clients look for them: OpenAI's, or Anthropic's under /v1/messages."""

from typing import Final

import msgspec

from forebay.router.http.message import error_body
from forebay.rules.endpoints import MESSAGES

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's words by status; any other is `invalid_request_error` below 500, else `api_error`."""
MAX_TEXT: Final = 1000
"""Bytes of an answer in no known shape that are told as an error."""
_TOO_LONG: Final = "context_length_exceeded"
_TOO_LONG_TEXT: Final = "prompt is too long: "
"""How Anthropic's clients know that they have to shorten a conversation: they have no code for it."""


def is_anthropic(path: str) -> bool:
    """Whether clients of this path speak Anthropic's dialect, served or not."""
    return path.startswith(MESSAGES)


def body_of(path: str, status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error as clients of this path parse it."""
    if not is_anthropic(path):
        return error_body(status, message, code, param)
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    text = _TOO_LONG_TEXT + message if code == _TOO_LONG else message
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": text}})


def broken_event(path: str, message: str) -> bytes:
    """The event that ends a stream which broke off; it may stand behind half an event."""
    name = b"event: error\n" if is_anthropic(path) else b""
    return b"\n\n" + name + b"data: " + body_of(path, 502, message, "upstream_error") + b"\n\n"


def event_of(path: str, status: int, body: bytes) -> bytes:
    """A whole answer as one event of a stream whose head has been sent: its status goes into the error."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        said = None
    if status >= 400 and not (isinstance(said, dict) and isinstance(said.get("error"), dict)):
        text = said.get("message") if isinstance(said, dict) else None
        told = text if isinstance(text, str) else body[:MAX_TEXT].decode("utf-8", "replace")
        said = msgspec.json.decode(body_of(path, status, told or f"the answer is {status}"))
    if status < 400:
        return b"data: " + (msgspec.json.encode(said) if said is not None else b"{}") + b"\n\n"
    if is_anthropic(path):
        return b"event: error\ndata: " + msgspec.json.encode({"type": "error", **said}) + b"\n\n"
    return b"data: " + msgspec.json.encode({**said, "error": {"status": status, **said["error"]}}) + b"\n\n"
