"""Probes over real sockets."""

import asyncio

import pytest
import uvloop

from forebay.controller.cluster import probes
from forebay.controller.cluster.probes import Page

PAGES: probes.Pages = {
    "/livez": lambda: probes.verdict(""),
    "/readyz": lambda: probes.verdict("not yet"),
    "/metrics": lambda: Page(200, b"a 1\n", "text/plain; version=0.0.4"),
}


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /livez HTTP/1.1", b"200", b"ok"),
        (b"GET /livez?verbose HTTP/1.1", b"200", b"ok"),
        (b"HEAD /livez HTTP/1.1", b"200", b""),
        (b"GET /readyz HTTP/1.1", b"503", b"not yet"),
        (b"GET /metrics HTTP/1.1", b"200", b"a 1\n"),
        (b"GET /other HTTP/1.1", b"404", b"not found"),
        (b"POST /livez HTTP/1.1", b"405", b"GET only"),
        (b"\xff\xfe", b"405", b"GET only"),
    ],
)
def test_a_page(request_line: bytes, status: bytes, body: bytes) -> None:
    async def scene() -> bytes:
        server = await probes.serve("127.0.0.1", 0, PAGES)
        async with server:
            host, port = server.sockets[0].getsockname()[:2]
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request_line + b"\r\nHost: x\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    head, _, found = uvloop.run(scene()).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert found == body
