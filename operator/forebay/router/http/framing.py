"""Whether a request's head says beyond doubt where the request ends, and means one thing only (RFC 9112, 9110)."""

import re
from ipaddress import IPv6Address
from typing import Final

from forebay.resources.headers import KEY_HEADERS
from forebay.router.http.message import ABSOLUTE, MAX_BODY_BYTES
from forebay.router.http.values import Headers

ONCE: Final = (
    b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect",
    b"x-forebay-priority", b"x-forebay-cloud", b"x-forebay-session", b"x-forebay-client", b"x-forebay-offer",
    b"x-forebay-task-type", b"x-forebay-complexity-score", b"x-forebay-timeout-seconds",
    *(name.encode() for name in KEY_HEADERS),
)  # fmt: skip
"""Headers that decide something: two of them could be read in two ways."""
WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})

_AUTHORITY: Final = re.compile(rb"(?:\[([^\]]*)\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::(\d*))?")
"""RFC 3986's host and port, what is in brackets aside."""
_FUTURE: Final = re.compile(rb"v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+")
_LAST_PORT: Final = 65_535
Problem = tuple[int, str]
"""Status and sentence."""


def problem(
    method: bytes, version: str, headers: Headers, fields: dict[bytes, bytes], target: bytes = b"/"
) -> Problem | None:
    """Why a head cannot be taken, if so. `fields` are the headers by name."""
    if len(fields) != len(headers) and (twice := _twice(headers)) is not None:
        return 400, f"the header {twice} was sent more than once: send it once"
    if (odd := _start(method, version, fields.get(b"host"))) is not None:
        return odd
    if (absolute := ABSOLUTE.match(target)) is not None and not is_authority(absolute[1]):
        return 400, "the target's authority is not a host with an optional port"
    expect = fields.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        return 417, "the only expectation that is understood is 100-continue"
    return _length(method, version, fields.get(b"transfer-encoding"), fields.get(b"content-length"))


def _start(method: bytes, version: str, host: bytes | None) -> Problem | None:
    if version not in ("1.1", "1.0"):
        return 505, "the only versions that are understood are HTTP/1.1 and HTTP/1.0"
    if method == b"CONNECT":
        return 501, "this is no tunnel: CONNECT is not supported"
    if host is None:
        if version == "1.1":
            return 400, "an HTTP/1.1 request needs a Host header"
    elif not is_authority(host):
        return 400, "the Host header is not a host with an optional port"
    return None


def is_authority(text: bytes) -> bool:
    """Whether it is a host with an optional port (RFC 3986, 3.2), as Host and absolute targets have one."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found[2] and int(found[2][:6]) > _LAST_PORT):
        return False
    literal = found[1]
    if literal is None or _FUTURE.fullmatch(literal) is not None:
        return True
    try:
        IPv6Address(literal.decode("ascii"))
    except ValueError:
        return False
    return True


def _twice(headers: Headers) -> str | None:
    names = [name for name, _ in headers]
    return next((name.decode() for name in ONCE if names.count(name) > 1), None)


def _length(method: bytes, version: str, coding: bytes | None, length: bytes | None) -> Problem | None:
    if coding is not None:
        if coding.strip().lower() != b"chunked":
            return 501, "the only transfer coding that is understood is chunked"
        if length is not None or version != "1.1":
            return 400, "Transfer-Encoding cannot be trusted here: send Content-Length alone"
    elif length is not None:
        if not length.isdigit():
            return 400, "Content-Length must be a number"
        if int(length) > MAX_BODY_BYTES:
            return 413, "the request's body is larger than 32 MiB"
    elif method in WITH_BODY:
        return 411, "a request with a body needs Content-Length or chunked Transfer-Encoding"
    return None
