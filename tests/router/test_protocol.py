"""HTTP/1.1 as an intermediary must read it, byte for byte on a real socket."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from forebay.router.http.exchange import Exchange
from forebay.router.http.message import text_reply
from forebay.router.http.server import Server
from forebay.router.http.values import Request

Check = Callable[[bytes], bool]


async def echo(request: Request, exchange: Exchange) -> None:
    exchange.reply(text_reply(f"{request.method} {request.target} {len(request.body)}"))


async def converse(data: bytes, pieces: int = 1) -> bytes:
    """Send bytes to an echo server in so many pieces; everything it answers until it closes or is done."""
    server = Server(echo)
    await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    step = max(1, len(data) // pieces)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        await writer.drain()
        await asyncio.sleep(0)
    received = b""
    try:
        async with asyncio.timeout(0.3):
            while piece := await reader.read(65536):
                received += piece
    except TimeoutError:
        received += b"<open>"
    except ConnectionResetError:
        pass
    writer.close()
    server.close()
    return received


GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


@pytest.mark.parametrize("pieces", [1, 3, 40])
@pytest.mark.parametrize(("data", "answer"), [(GET, b"GET /a 0"), (POST, b"POST /b 3"), (CHUNKED, b"POST /c 3")])
def test_requests_in_any_number_of_pieces(data: bytes, answer: bytes, pieces: int) -> None:
    received = uvloop.run(converse(data, pieces))
    assert answer in received
    assert received.endswith(b"<open>")


def test_pipelined_requests_are_answered_in_order() -> None:
    received = uvloop.run(converse(GET + POST + GET))
    assert received.index(b"GET /a") < received.index(b"POST /b") < received.rindex(b"GET /a")


def test_connection_close_is_honoured() -> None:
    received = uvloop.run(converse(GET.replace(b"host: x", b"host: x\r\nconnection: close")))
    assert b"connection: close" in received
    assert not received.endswith(b"<open>")


def test_a_head_request_gets_no_body() -> None:
    received = uvloop.run(converse(GET.replace(b"GET", b"HEAD")))
    assert b"content-length: 9" in received
    assert received.endswith(b"\r\n\r\n<open>")


def test_expect_100_continue() -> None:
    received = uvloop.run(converse(POST.replace(b"host: x", b"host: x\r\nexpect: 100-continue")))
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header: y\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000, b"431"),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_the_connection_closed(data: bytes, status: bytes) -> None:
    received = uvloop.run(converse(data))
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b'"error"' in received
    assert not received.endswith(b"<open>")


def test_bodies_are_given_back_to_the_budget() -> None:
    async def work() -> None:
        server = Server(echo)
        await server.listen("127.0.0.1", 0)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(POST + POST[:-1])
            await writer.drain()
            await reader.readuntil(b"POST /b 3")
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(2):
            while server.connections or server.budget.used:
                await asyncio.sleep(0.01)
        server.close()

    uvloop.run(work())
