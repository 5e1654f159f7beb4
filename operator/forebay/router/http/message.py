"""Heads, headers and errors of HTTP/1.1 as forebay reads and writes them."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

Headers = list[tuple[bytes, bytes]]
"""Lower-case names, values as they came, in order."""

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"proxy-connection", b"expect"}
)  # fmt: skip
INTERNAL_PREFIX: Final = b"x-forebay-"

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass(slots=True)
class Request:
    """One request with its whole body. `target` is the path without the query."""

    method: str
    target: str
    query: str
    headers: Headers
    body: bytes = b""
    peer: str = ""
    seen: float = 0.0  # loop time of its first byte

    def header(self, name: bytes) -> str | None:
        """The first value of a header."""
        value = get(self.headers, name)
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True)
class Reply:
    """A small answer made here."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


def get(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    for key, value in headers:
        if key == name:
            return value
    return None


def end_to_end(headers: Headers) -> Headers:
    """Without hop-by-hop headers, those that Connection names included."""
    connection = get(headers, b"connection")
    named = {word.strip().lower() for word in connection.split(b",")} if connection else set()
    return [(key, value) for key, value in headers if key not in HOP_BY_HOP and key not in named]


def response_head(status: int, headers: Headers) -> bytes:
    """Status line and headers, blank line included."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, "").encode())]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def request_head(method: str, target: str, headers: Headers) -> bytes:
    """Request line and headers, blank line included."""
    lines = [f"{method} {target} HTTP/1.1\r\n".encode("latin-1")]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error as OpenAI's clients parse it."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error(status: int, message: str, code: str | None = None, headers: Headers | None = None) -> Reply:
    """An error answer."""
    return json_reply(error_body(status, message, code), status, headers)


def json_reply(body: bytes, status: int = 200, headers: Headers | None = None) -> Reply:
    """A JSON answer."""
    return Reply(status, [(b"content-type", b"application/json"), *(headers or [])], body)


def text_reply(text: str, status: int = 200) -> Reply:
    """A plain answer, for probes."""
    return Reply(status, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())
