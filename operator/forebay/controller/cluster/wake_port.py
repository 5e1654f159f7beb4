"""The operator's own port: gateways say that a pool without replicas is wanted, and its fleet is looked at at once.

One request a connection, without a body: `POST /forebay/v1/wake/FLEET/POOL` with the fleet's token. Whoever has no
token of that very fleet learns nothing and causes nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from forebay.resources import names
from forebay.sockets import listening

log = logging.getLogger(__name__)

READ_SECONDS: Final = 5.0
HEAD_BYTES: Final = 16_384

Admits = Callable[[str, str], bool]
"""Whether a bearer token (second) is one of a fleet's (first)."""


async def serve(host: str, port: int, admits: Admits, wanted: Callable[[str, str], None]) -> asyncio.Server:
    """Serve until the server is closed. `wanted` is told the fleet and the pool."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                status = take(await reader.readuntil(b"\r\n\r\n"), admits, wanted)
                writer.write(_response(status))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, sock=listening(host, port), limit=HEAD_BYTES)


def take(head: bytes, admits: Admits, wanted: Callable[[str, str], None]) -> HTTPStatus:
    """Act on the head of one request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target = rest.partition(" ")[0]
    if not target.startswith(names.PATH_WAKE):
        return HTTPStatus.NOT_FOUND
    if method != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED
    fleet, _, pool = target.removeprefix(names.PATH_WAKE).partition("/")
    if not admits(fleet, _token(lines)):
        return HTTPStatus.UNAUTHORIZED
    log.info("a gateway of %s asks for pool %.63s", fleet, pool)
    wanted(fleet, pool)
    return HTTPStatus.ACCEPTED


def _token(lines: list[str]) -> str:
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "authorization":
            kind, _, token = value.strip().partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""


def _response(status: HTTPStatus) -> bytes:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
