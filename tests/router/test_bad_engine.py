"""Engines that answer badly: the client gets an honest end, the next request its own answer, and nobody hangs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from forebay.router.attempt import Attempt
from forebay.router.http.call import UpstreamError
from forebay.router.http.client import ConnectionPool
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import error, request_head
from forebay.router.http.server import Server
from forebay.router.http.values import Headers, Request
from forebay.rules.steps import AttemptOutcome
from tests.router.wire import OK, OK_BODY, SECONDS, Answer, Stub, read_answer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
ASK = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Relay:
    """A server that passes each request to a stub engine, as both roles do."""

    engine: Stub
    pool: ConnectionPool
    server: Server = field(init=False)
    outcomes: list[AttemptOutcome | None] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)  # how long to wait

    def __post_init__(self) -> None:
        self.server = Server(self.pass_on)

    def pass_on(self, request: Request, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        head = request_head("POST", request.target, [(b"host", b"engine"), (b"content-length", b"2")])
        attempt = Attempt(exchange, list, lambda attempt: self.done(attempt, exchange))
        attempt.start(self.pool, ("127.0.0.1", self.engine.port), head, b"{}", SECONDS / 2, loop.time() + SECONDS)

    def done(self, attempt: Attempt, exchange: Exchange) -> None:
        self.outcomes.append(attempt.outcome)
        self.asked.append(attempt.retry_after)
        if not exchange.ended and attempt.outcome not in (
            AttemptOutcome.ANSWERED,
            AttemptOutcome.BROKEN,
            AttemptOutcome.GONE,
        ):
            exchange.reply(error(503, attempt.problem))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port, limit=2**24)

    async def ask(self, count: int = 1) -> list[Answer | None]:
        """So many requests on one connection, and their answers."""
        reader, writer = await self.connect()
        answers = []
        for _ in range(count):
            writer.write(ASK)
            answers.append(await asyncio.wait_for(read_answer(reader), SECONDS))
        writer.close()
        return answers

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    made = Relay(Stub(), ConnectionPool())
    listening = await made.engine.listen()
    await made.server.listen("127.0.0.1", 0)
    try:
        yield made
    finally:
        made.server.close()
        made.pool.close()
        listening.close()


def run(work: Callable[[Relay], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with relay() as made:
            await work(made)
            await made.until(lambda: not made.server.connections and not made.pool.active)
            assert made.server.budget.used == 0

    uvloop.run(inside())


def sends(*pieces: bytes, reset: bool = False) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A script: these bytes in so many writes, then the end of the connection."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        if reset:
            writer.transport.abort()

    return script


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense\r\n\r\n",
        HEAD[:20],
        HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b'{"a"') + b"0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n" + chunk(b'{"a"') + b"0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"{}") + b"0\r\n\r\n",
        HEAD + b"transfer-encoding: gzip\r\n\r\nxyz",
        HEAD + b"transfer-encoding: chunked, chunked\r\n\r\n" + chunk(b"{}") + b"0\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        HEAD + b"content-length: -2\r\n\r\n{}",
        HEAD + b"content-length: 20\r\n\r\n{}",
        HEAD + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"x : a\r\ncontent-length: 2\r\n\r\n{}",
        HEAD.replace(b"\r\n", b"\n") + b"content-length: 2\n\n{}",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{}",
        HEAD + b"x: " + b"y" * 1_000_000,
        HEAD + b"x: y\r\n" * 100_000 + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 000 x\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 1000 x\r\n\r\n",
        b"\x00" * 1000,
    ],
    ids=lambda data: repr(data[:70]),
)
def test_an_answer_that_makes_no_sense_is_none(data: bytes) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(data)
        (answer,) = await r.ask()
        assert answer is not None and answer.status == 503 and answer.whole
        r.engine.script = None
        assert [a and a.body for a in await r.ask()] == [OK_BODY]

    run(work)


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK, OK_BODY),
        (HEAD + b"\r\n" + OK_BODY, OK_BODY),  # until the connection's end
        (HEAD.replace(b"1.1", b"1.0") + b"\r\n" + OK_BODY, OK_BODY),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(OK_BODY) + b"0\r\n\r\n", OK_BODY),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"2;x=y\r\n{}\r\n0;z\r\nx: y\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, OK_BODY),
        (HEAD + b"content-length: 2\r\n\r\n{}stray", b"{}"),
        (HEAD + b"content-length: 2\r\n\r\n{}" + OK, b"{}"),
        (HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\n{}", b"{}"),
        (HEAD + b"content-length: 200000\r\n\r\n" + b"x" * 200_000, b"x" * 200_000),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, bytes) else "",
)  # fmt: skip
def test_an_answer_in_any_frame_and_any_pieces(data: bytes, body: bytes, pieces: int) -> None:
    async def work(r: Relay) -> None:
        step = max(1, len(data) // pieces)

        async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await asyncio.sleep(0)

        r.engine.script = script
        answers = await r.ask(2)
        assert [(a.status, a.body, a.whole) if a else a for a in answers] == [(200, body, True)] * 2

    run(work)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "rest", [b"\r\n", b"content-length: 5\r\n\r\nstray", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"]
)
def test_a_status_without_a_body_stays_without_one(status: int, rest: bytes) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(b"HTTP/1.1 %d x\r\n%b" % (status, rest))
        first, second = await r.ask(2)
        assert first is not None and (first.status, first.body) == (status, b"")
        assert first.header("content-length") is first.header("transfer-encoding") is None
        assert second is not None and second.status == status

    run(work)


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        (STREAM + chunk(EVENT), False),
        (STREAM + chunk(EVENT), True),
        (STREAM + chunk(EVENT) + b"40\r\ndata: {", False),
        (STREAM + chunk(EVENT) + b"zz\r\n", False),
        (STREAM + chunk(EVENT)[:-2] + b"xx", False),
        (STREAM + chunk(EVENT) + b"0\r\nx: " + b"y" * 1_000_000, False),
        (STREAM + chunk(EVENT) + b"3;" + b"y" * 1_000_000, False),
    ],
    ids=lambda value: repr(value[len(STREAM) : 150]) if isinstance(value, bytes) else "",
)  # fmt: skip
def test_a_stream_that_breaks_off_ends_with_an_error_and_no_proper_end(data: bytes, reset: bool) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(data, reset=reset)
        (answer,) = await r.ask()
        assert answer is not None and answer.status == 200 and not answer.whole
        assert answer.body.startswith(EVENT)
        last = answer.body.strip().split(b"\n\n")[-1]
        assert last.startswith(b'data: {"error":'), answer.body
        assert r.outcomes == [AttemptOutcome.BROKEN]

    run(work)


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 410, 413, 415, 422, 424, 451, 499, 501])
def test_what_an_engine_says_of_the_request_is_the_clients_answer(status: int) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(b"HTTP/1.1 %d x\r\ncontent-length: 2\r\n\r\n{}" % status)
        (answer,) = await r.ask()
        assert answer is not None and (answer.status, answer.body) == (status, b"{}")
        assert r.outcomes == [AttemptOutcome.ANSWERED]

    run(work)


@pytest.mark.parametrize("status", [401, 403, 407, 408, 500, 502, 504, 505, 520, 599])
def test_what_it_says_of_itself_is_not(status: int) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(b"HTTP/1.1 %d x\r\ncontent-length: 2\r\n\r\n{}" % status)
        await r.ask()
        assert r.outcomes == [AttemptOutcome.FAULT]

    run(work)


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(OK_BODY) + b"0\r\n"


@pytest.mark.parametrize(
    "trailers",
    [b"x: y", b"content-length: 5", b"content-length: 5\r\ncontent-length: 6", b"x: y\r\ncontent-length: z", b"x:",
     b"transfer-encoding: chunked", b"transfer-encoding: gzip", b"connection: close"],
)  # fmt: skip
def test_trailers_are_nobodys_whatever_they_say(trailers: bytes) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(CHUNKED + trailers + b"\r\n\r\n")
        (answer,) = await r.ask()
        assert answer is not None
        assert (answer.status, answer.body, answer.whole) == (200, OK_BODY, True)
        assert r.outcomes == [AttemptOutcome.ANSWERED]

    run(work)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "length", [b"content-length: 0\r\n\r\n", b"content-length: 4\r\nconnection: close\r\n\r\nlate"]
)
def test_a_connection_that_timed_out_is_not_the_requests_fault(length: bytes, fresh: bool) -> None:
    async def work(r: Relay) -> None:
        if not fresh:
            await r.ask()
        times_out = sends(b"HTTP/1.1 408 Request Timeout\r\n" + length)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            r.engine.script = None
            await times_out(reader, writer)

        r.engine.script = script
        (answer,) = await r.ask()
        assert answer is not None
        assert answer.status == (503 if fresh else 200), "once, and not on a connection of its own"
        assert r.outcomes[-1] is (AttemptOutcome.FAULT if fresh else AttemptOutcome.ANSWERED)
        assert len(r.engine.seen) == (1 if fresh else 3)

    run(work)


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (b"", 0.0),
        (b"retry-after: 7\r\n", 7.0),
        (b"retry-after: 1.5\r\n", 1.5),
        (b"Retry-After-Ms: 2500\r\nretry-after: 9\r\n", 2.5),
        (b"retry-after: Fri, 15 Jan 2027 08:02:00 GMT\r\ndate: Fri, 15 Jan 2027 08:01:30 GMT\r\n", 30.0),
        (b"retry-after: Fri, 15 Jan 2027 08:01:00 GMT\r\ndate: Fri, 15 Jan 2027 08:01:30 GMT\r\n", 0.0),
        (b"retry-after: -1\r\n", 0.0),
        (b"retry-after: soon\r\n", 0.0),
    ],
)
def test_an_engine_says_in_any_form_when_to_come_back(lines: bytes, seconds: float) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n" + lines + b"\r\n")
        await r.ask()
        assert (r.outcomes, r.asked) == ([AttemptOutcome.PRESSED], [seconds])

    run(work)


def test_a_stream_of_a_known_length_that_breaks_off_is_short_and_not_filled_up() -> None:
    async def work(r: Relay) -> None:
        head = STREAM.replace(b"transfer-encoding: chunked", b"content-length: %d" % (len(EVENT) + 20))
        r.engine.script = sends(head + EVENT)
        (answer,) = await r.ask()
        assert answer is not None and not answer.whole
        assert answer.body == EVENT

    run(work)


def test_what_comes_unasked_never_answers_the_next_request() -> None:
    async def work(r: Relay) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            await asyncio.sleep(0.02)
            writer.write(HEAD + b"content-length: 5\r\n\r\nstray")
            await reader.read()

        r.engine.script = script
        (answer,) = await r.ask()
        assert answer is not None and answer.body == OK_BODY
        await asyncio.sleep(0.05)
        r.engine.script = None
        (answer,) = await r.ask()
        assert answer is not None and answer.body == OK_BODY

    run(work)


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.body = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, status: int, headers: Headers) -> None: ...

    def on_piece(self, piece: bytes) -> None:
        self.body += piece

    def on_end(self) -> None:
        self.done.set_result(None)

    def on_fail(self, problem: UpstreamError) -> None:
        self.done.set_exception(problem)


def test_what_came_unasked_while_this_process_was_busy_never_answers_the_next_request() -> None:
    async def work() -> None:
        loop, pool = asyncio.get_running_loop(), ConnectionPool()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(SECONDS)
            address = ("127.0.0.1", listening.getsockname()[1])
            head = request_head("GET", "/", [(b"host", b"x")])
            sockets = []
            for body in (b"first", b"second"):
                kept = Kept()
                pool.start(address, head, b"", kept, SECONDS, loop.time() + SECONDS)
                accepted, _ = await asyncio.to_thread(listening.accept)
                sockets.append(accepted)
                assert await asyncio.to_thread(accepted.recv, 4096) == head
                accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await asyncio.wait_for(kept.done, SECONDS)
                assert kept.body == body
                accepted.sendall(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 5\r\n\r\nstray")
        pool.close()
        for each in sockets:
            each.close()

    uvloop.run(work())


@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_goes_before_the_first_byte_takes_its_request_along(half: bool) -> None:
    async def work(r: Relay) -> None:
        ended = asyncio.Event()

        async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            assert await reader.read() == b""
            ended.set()

        r.engine.script = script
        _, writer = await r.connect()
        writer.write(ASK)
        await r.until(lambda: len(r.engine.seen) == 1)
        (writer.write_eof if half else writer.close)()
        await asyncio.wait_for(ended.wait(), SECONDS)
        writer.close()
        assert r.outcomes == [AttemptOutcome.GONE]

    run(work)


def resident() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096


@pytest.mark.parametrize("pipelined", [1, 2])
def test_a_client_that_reads_nothing_holds_back_the_engine(pipelined: int) -> None:
    """96 MiB, of which only what sockets and the two buffers hold may be on its way."""

    async def work(r: Relay) -> None:
        sent = 0

        async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.transport.set_write_buffer_limits(high=65536)
            writer.write(STREAM)
            for _ in range(1536):
                writer.write(chunk(EVENT + b":" * 65_000 + b"\n\n"))
                await writer.drain()
                sent += 65_000
            writer.write(b"0\r\n\r\n")

        r.engine.script = script
        raw = socket.create_connection(("127.0.0.1", r.server.port))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.sendall(ASK * pipelined)
        before, last, still = resident(), -1, 0
        while still < 20:  # until nothing has moved for a while
            await asyncio.sleep(0.02)
            still, last = (still + 1, last) if sent == last else (0, sent)
        (connection,) = r.server.connections
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() <= 768 * 1024
        assert 0 < sent < 24 * 1024 * 1024  # the rest of it is what the kernel's sockets hold
        assert resident() - before < 16 * 1024 * 1024
        raw.close()

    run(work)
