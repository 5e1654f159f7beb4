"""HTTP/1.1 as an intermediary must read it, byte for byte on a real socket."""

import asyncio
import re
import tracemalloc
from collections.abc import Callable

import pytest
import uvloop

from forebay.router.http.exchange import Exchange
from forebay.router.http.message import text_reply
from forebay.router.http.server import Handler, Server
from forebay.router.http.values import Request

Check = Callable[[bytes], bool]


async def echo(request: Request, exchange: Exchange) -> None:
    exchange.reply(text_reply(f"{request.method} {request.target} {len(request.body)}"))


async def _said(reader: asyncio.StreamReader) -> bytes:
    """What comes next. Raises TimeoutError after thirty rounds of the loop, and 0.3 s, without a word: seconds alone
    say nothing on a machine that has no time for this process."""
    reading = asyncio.ensure_future(reader.read(65536))
    for _ in range(30):
        if (await asyncio.wait({reading}, timeout=0.01))[0]:
            return reading.result()
    reading.cancel()
    raise TimeoutError


async def converse(data: bytes, pieces: int = 1, handler: Handler = echo) -> bytes:
    """Send bytes to an echo server in so many pieces; everything it answers until it closes or says no more."""
    server = Server(handler)
    await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    step = max(1, len(data) // pieces)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        await writer.drain()
        await asyncio.sleep(0)
    received = b""
    try:
        while piece := await _said(reader):
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


def test_a_client_of_http_1_0_gets_no_interim_answer() -> None:
    data = POST.replace(b"1.1", b"1.0").replace(b"host: x", b"host: x\r\nexpect: 100-continue")
    assert uvloop.run(converse(data)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b", "/a/b"),
        ("//a/b", "//a/b"),
        ("http://x/a", "/a"),
        ("HTTPS://x:1/a", "/a"),
        ("http://x", "/"),
        ("http://x?/a", "/"),
        ("http://x/a?http://y/b", "/a"),
        ("ftp://x/a", "ftp://x/a"),
        ("*", "*"),
    ],
)
def test_the_path_of_a_target(target: str, path: str) -> None:
    assert f"GET {path} 0".encode() in uvloop.run(converse(GET.replace(b"/a", target.encode())))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header: y\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n", b"413"),
        (GET.replace(b"1.1", b"2.0"), b"505"),
        (b"GET /a\r\n\r\n", b"505"),
        (GET.replace(b"host: x", b"host: a b"), b"400"),
        (GET.replace(b"host: x", b"host: a/b"), b"400"),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000, b"431"),
        (GET + b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 400_000, b"200"),
        (CHUNKED[:-2] + b"x: " + b"y" * 400_000, b"431"),
        (CHUNKED[:-2] + b"x: y\r\n" * 80_000, b"431"),
        (CHUNKED[:-5] + b"3;" + b"y" * 400_000, b"431"),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_the_connection_closed(data: bytes, status: bytes) -> None:
    received = uvloop.run(converse(data))
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b'"error"' in received
    assert not received.endswith(b"<open>")


async def slowly(request: Request, exchange: Exchange) -> None:
    await asyncio.sleep(0.02)
    await echo(request, exchange)


@pytest.mark.parametrize("handler", [echo, slowly])
@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (POST + b"nonsense\r\n\r\n" + GET, [b"200", b"400"]),
        (GET + CHUNKED + POST.replace(b"3", b"x") + GET, [b"200", b"200", b"400"]),
        (GET.replace(b"host: x", b"host: x\r\nconnection: close") + GET, [b"200"]),
        (POST.replace(b"1.1", b"1.0") + b"\r\n", [b"200"]),
    ],
)
def test_what_comes_after_a_request_does_not_harm_its_answer(
    data: bytes, statuses: list[bytes], handler: Handler
) -> None:
    received = uvloop.run(converse(data, handler=handler))
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == statuses
    assert not received.endswith(b"<open>")


def test_a_refused_client_that_goes_on_sending_sees_why() -> None:
    async def work() -> None:
        server = Server(echo)
        await server.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST.replace(b": 3", b": 40000000"))
        for _ in range(200):
            writer.write(b"x" * 65536)
            await writer.drain()
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        server.close()

    uvloop.run(work())


@pytest.mark.slow
def test_what_is_pipelined_behind_a_large_body_is_not_taken_for_a_large_head() -> None:
    large = POST.replace(b": 3", b": 150000") + b"x" * 149_997
    for cut in (40, 250):  # in the head that follows, at its end
        data = large + GET * 3_000 + POST[:cut]
        received = uvloop.run(converse(data + POST[cut:] + CHUNKED))
        assert (received.count(b"HTTP/1.1 200"), received[-6:]) == (3_003, b"<open>")


@pytest.mark.slow
def test_small_pieces_of_a_body_take_the_memory_that_they_hold() -> None:
    async def work() -> None:
        server = Server(echo)
        await server.listen("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head, _, _ = CHUNKED.partition(b"2\r\n")
        tracemalloc.start()
        for number in range(64):
            writer.write((b"" if number else head) + b"2\r\nab\r\n" * 8192)
            await writer.drain()
        async with asyncio.timeout(20):
            while server.budget.used < 2 * 64 * 8192:
                await asyncio.sleep(0.01)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken < 6 * server.budget.used
        writer.close()
        server.close()

    uvloop.run(work())


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("length", [None, 0])
def test_an_answer_without_a_body_has_nothing_that_could_be_read_as_one(status: int, length: int | None) -> None:
    async def empty(_: Request, exchange: Exchange) -> None:
        exchange.start(status, [], length, b"stray")
        exchange.write(b"stray")
        exchange.end()

    received = uvloop.run(converse(GET + GET, handler=empty))
    assert re.fullmatch(rb"(HTTP/1.1 %d [A-Za-z ]+\r\n\r\n){2}<open>" % status, received)


def test_a_client_that_reads_nothing_gets_no_more_answers() -> None:
    def large(_: Request, exchange: Exchange) -> None:
        exchange.start(200, [], None, b"x" * 65536)
        exchange.end()

    async def work() -> None:
        server = Server(large)
        await server.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**20)
        writer.write(GET * 400)
        await asyncio.sleep(0.3)
        (connection,) = server.connections
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() < 1024 * 1024
        for _ in range(400):
            await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        writer.close()
        server.close()

    uvloop.run(work())


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED])
@pytest.mark.parametrize("pieces", [1, 7, 300])
def test_an_upgrade_that_is_not_taken_leaves_http_as_it_was(request_: bytes, pieces: int) -> None:
    asking = request_.replace(b"host: x", b"host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c")
    received = uvloop.run(converse(asking + GET + asking, pieces))
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200"] * 3
    assert received.endswith(b"<open>")


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    seen: list[Request] = []

    async def keep(request: Request, exchange: Exchange) -> None:
        seen.append(request)
        await echo(request, exchange)

    data = POST.replace(b"content-length: 3", b"content-length: \t3 \t\r\nx-forebay-cloud:  Never \t\r\nx-empty:  ")
    assert b"POST /b 3" in uvloop.run(converse(data, handler=keep))
    assert seen[0].header(b"x-forebay-cloud") == "Never"
    assert seen[0].header(b"x-empty") == ""


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
