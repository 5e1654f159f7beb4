"""A few read-only pages over HTTP: probes for the kubelet, metrics for Prometheus. Knows GET and nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from forebay.sockets import listening

READ_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]


def verdict(problem: str) -> Page:
    """A probe's answer: fine, or what is wrong."""
    return Page(503, problem.encode()) if problem else Page(200, b"ok")


async def serve(host: str, port: int, pages: Pages) -> asyncio.Server:
    """Serve the pages by path until the server is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, pages))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, sock=listening(host, port), limit=16_384)


def _response(head: bytes, pages: Pages) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    if method not in (b"GET", b"HEAD"):
        page = Page(405, b"GET only")
    elif path in pages:
        page = pages[path]()
    else:
        page = Page(404, b"not found")
    start = (
        f"HTTP/1.1 {page.status} {'OK' if page.status == 200 else 'Error'}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
    )
    return start.encode() + (b"" if method == b"HEAD" else page.body)
