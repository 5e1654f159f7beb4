"""Heads, headers and errors of HTTP/1.1 as forebay reads and writes them."""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec

from forebay.router.http.credential_names import is_credential_header, without_credentials
from forebay.router.http.values import Headers, Reply, Request
from forebay.rules.retry_after import SHORTEST_SECONDS

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_TARGET_BYTES: Final = 8 * 1024
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"proxy-connection", b"expect"}
)  # fmt: skip
REPLACED: Final = HOP_BY_HOP | {b"host", b"content-length"}
"""Headers of a request that each hop writes anew."""
USUAL: Final = frozenset(
    {b"content-type", b"accept", b"user-agent", b"accept-language", b"accept-encoding", b"x-request-id",
     b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta", b"x-stainless-arch", b"x-stainless-async",
     b"x-stainless-lang", b"x-stainless-os", b"x-stainless-package-version", b"x-stainless-raw-response",
     b"x-stainless-read-timeout", b"x-stainless-retry-count", b"x-stainless-runtime", b"x-stainless-runtime-version",
     b"x-stainless-timeout"}
)  # fmt: skip
"""Headers that clients send with every request, and that go on: looked up in place of being judged each time."""
INTERNAL: Final = frozenset({b"x-forebay", b"x_forebay"})
"""Headers of forebay begin so, in every spelling that some server may take for them."""
RETRY_SOON: Final = (b"retry-after", b"%d" % SHORTEST_SECONDS)

ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)", re.I)
"""The scheme and, as a group, the authority of an absolute target."""

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


def get(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    for key, value in headers:
        if key == name:
            return value
    return None


def end_to_end(headers: Headers, drop: frozenset[bytes] = HOP_BY_HOP, *, internal: bool = False) -> Headers:
    """Without hop-by-hop headers, those that Connection names included.

    `drop` is HOP_BY_HOP and what else the next hop is not to see; `internal`: forebay's own headers stay.
    """
    if b"connection" in dict(headers):
        lists = [value for key, value in headers if key == b"connection"]
        drop = drop.union(word.strip().lower() for value in lists for word in value.split(b","))
    if internal:
        return [item for item in headers if item[0] not in drop]
    return [item for item in headers if item[0] not in drop and item[0][:9] not in INTERNAL]


def onward(request: Request, drop: frozenset[bytes] = REPLACED) -> Headers:
    """A client's headers for the next hop: without `drop`, and without whatever lets somebody in."""
    if b"connection" in request.fields:
        headers = end_to_end(request.headers, drop)
        return [item for item in headers if _goes_on(item[0])]
    return [item for item in request.headers if item[0] not in drop and (item[0] in USUAL or _goes_on(item[0]))]


def _goes_on(name: bytes) -> bool:
    return name[:9] not in INTERNAL and not is_credential_header(name)


def onward_head(request: Request, headers: Headers) -> bytes:
    """The head of a client's request at the next hop, with these headers."""
    query = without_credentials(request.query)
    return request_head(request.method, f"{request.target}?{query}" if query else request.target, headers)


def head_bytes(headers: Headers) -> int:
    """What the headers take on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def origin_form(target: bytes) -> str:
    """The path and query of a target; that of an absolute one without scheme and authority (RFC 9112, 3.2.2)."""
    text = target.decode("latin-1")
    if text.startswith("/") or (absolute := ABSOLUTE.match(target)) is None:
        return text
    rest = text[absolute.end() :]
    return rest if rest.startswith("/") else "/" + rest


@lru_cache(64)
def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, "").encode())


def response_head(status: int, headers: Headers) -> bytes:
    """Status line and headers, blank line included."""
    return b"".join((_status_line(status), *[b"%b: %b\r\n" % header for header in headers], b"\r\n"))


def request_head(method: str, target: str, headers: Headers) -> bytes:
    """Request line and headers, blank line included."""
    line = f"{method} {target} HTTP/1.1\r\n".encode("latin-1")
    return b"".join((line, *[b"%b: %b\r\n" % header for header in headers], b"\r\n"))


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
