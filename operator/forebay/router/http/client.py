"""The client side: connections to engines, sidecars and gateways, kept alive per address.

`ConnectionPool.start` sends a request; what comes back is told to an `UpstreamAnswer` by callbacks, without a coroutine
or a timer per request. `ConnectionPool.fetch` is for probes: it waits for a whole small answer.
"""

import asyncio
import contextlib
import select
from collections import defaultdict
from collections.abc import Callable
from typing import Final, cast

import httptools

from forebay.router.http.call import USUAL, Address, Call, UpstreamAnswer, UpstreamError, Waits, nobody_knows
from forebay.router.http.keep_alive import keep_alive
from forebay.router.http.message import MAX_HEAD_BYTES, head_bytes
from forebay.router.http.values import Headers
from forebay.rules.listening import LOOK_SECONDS, ListeningTime
from forebay.sockets import bracketed

MAX_IDLE: Final = 512
MAX_BARE_BYTES: Final = 2 * MAX_HEAD_BYTES
WRITE_WATER: Final = 64 * 1024
REQUEST_TIMEOUT: Final = 408


class ClientConnection:
    """One connection to one address; carries one exchange at a time. An asyncio.Protocol without the base, which cannot
    be compiled."""

    __deletable__ = ["_parser"]  # for the compiled build

    def __init__(self, pool: "ConnectionPool", address: Address) -> None:
        self.pool = pool
        self.address = address
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.call: Call | None = None
        self.lost = False
        self.held = False
        self.idle_since = 0.0
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)  # in trailers; heads are looked at here
        self._headers: Headers = []
        self._status = 0
        self._bare = 0  # bytes without content since the last that were some: heads, chunk extensions, trailers
        self._keep_alive = False
        self._until_close = False
        self._in_body = False
        self._in_trailers = False
        self._complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        sock = transport.get_extra_info("socket")
        keep_alive(sock)
        self._poll.register(sock.fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.pool.forget(self)
        del self._parser  # which knows this connection: a cycle would wait long for its collector
        call = self.call
        if call is None:
            return
        if self._until_close and exc is None:
            self._keep_alive = False
            self._finish(call)
        elif not self._status and not self._bare and not call.fresh:
            self._send_anew(call)  # the other side had closed it before our request came
        else:
            call.fail(UpstreamError("the connection broke off" if self._status else "no answer", broke=True))

    def _send_anew(self, call: Call) -> None:
        """Not on this connection, which has ended."""
        self.call = call.connection = None
        call.closed = True
        self.abort()
        self.pool.again(call)

    def data_received(self, data: bytes) -> None:
        call = self.call
        if call is None:
            self.abort()  # bytes that nobody asked for must not become the next answer
            return
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            self._keep_alive = False
            self._complete = self._complete or self._in_trailers
            if not self._complete and self.call is call:
                call.fail(UpstreamError(f"malformed HTTP answer: {problem}"))
        if self._complete:
            self._finish(call)
        elif self._bare > MAX_BARE_BYTES and self.call is call:
            call.fail(UpstreamError("the answer's headers, chunk extensions or trailers are too large"))

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """Bodies are bounded: nothing waits for them to be sent."""

    def resume_writing(self) -> None:
        """Nothing waited."""

    def begin(self, call: Call) -> None:
        """Send a request."""
        transport = self.transport
        assert transport is not None
        self.call, call.connection = call, self
        self._status = self._bare = 0
        self._until_close = self._in_body = self._in_trailers = self._complete = False
        if len(call.body) < WRITE_WATER:
            transport.write(call.head + call.body)
        else:
            transport.write(call.head)
            transport.write(call.body)

    @property
    def silent(self) -> bool:
        """Whether nothing waits to be read: what came unasked, an end included, must not become the next answer."""
        return not self._poll.poll(0)

    def pause(self) -> None:
        """Stop reading."""
        if self.transport is not None and not self.held and not self.lost:
            self.held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self.transport is not None and self.held and not self.lost:
            self.held = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Break off."""
        if self.transport is not None and not self.lost:
            self.transport.abort()

    # Parser callbacks (httptools).

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer to one request: not kept, and nobody's
            self._keep_alive = False
        else:
            self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._headers.append((name.lower(), value))
        else:
            self._in_trailers = True  # the answer is complete, and they are nobody's

    def on_headers_complete(self) -> None:
        call = self.call
        if call is None or self.lost or self._complete:
            return
        if self._bare > MAX_BARE_BYTES and head_bytes(self._headers) > MAX_BARE_BYTES:
            call.fail(UpstreamError("the answer's headers are too large"))
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                call.fail(UpstreamError(f"the answer has the status {status}"))
            return
        if status == REQUEST_TIMEOUT and not call.fresh:
            self._send_anew(call)  # it was said of the connection, while our request was on its way
            return
        self._in_body = True
        self._status = status
        self._keep_alive = bool(self._parser.should_keep_alive())
        length, codings = False, []
        for name, value in self._headers:
            if name == b"content-length":
                length = True
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        if codings and (length or codings != [b"chunked"]):
            call.fail(UpstreamError("the answer has a transfer coding that is not understood"))
            return
        self._until_close = not length and not codings and status not in (204, 304)
        call.heard = True
        call.answer.on_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        call = self.call
        if call is not None and not self._complete:
            call.heard = True
            self._bare = 0
            call.answer.on_piece(data)

    def on_message_complete(self) -> None:
        if self._in_body:  # else it was an interim answer
            self._complete = True

    def _finish(self, call: Call) -> None:
        """The answer is complete; only now, after all that came with it was looked at, may the connection be kept."""
        if self.call is not call:
            return
        self.call = call.connection = None
        self.pool.active.discard(call)
        if self._keep_alive and not self.lost and not self._until_close:
            self.resume()
            self.pool.keep(self)
        else:
            self.abort()
        call.answer.on_end()


class ConnectionPool:
    """Connections by address, and the calls under way, whose patience it watches. `waits`: of calls that say none."""

    def __init__(self, waits: Waits = USUAL) -> None:
        self.waits = waits
        self.listening = ListeningTime()
        self.active: set[Call] = set()
        self._idle: dict[Address, list[ClientConnection]] = defaultdict(list)
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def start(
        self,
        address: Address,
        head: bytes,
        body: bytes,
        answer: UpstreamAnswer,
        first_seconds: float,
        end: float,
        waits: Waits | None = None,
        at_work: Callable[[float], bool] | None = None,
    ) -> Call:
        """Send a request; `answer` is told what comes. `first_seconds` bounds the wait for the head.

        `at_work` says at a loop time whether the other side is known to work: then patience lasts longer.
        One whose kept connection turns out to have been closed before any byte came back is sent once more.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        waits = waits or self.waits
        self.watch()
        listened = self.listening.at(now)
        due, last = listened + first_seconds, listened + max(first_seconds, waits.silence)
        call = Call(self, address, head, body, answer, due, last, end, waits, at_work or nobody_knows)
        self.active.add(call)
        kept = self._take(address, now)
        if kept is not None:
            kept.begin(call)
        else:
            self.again(call)
        return call

    def watch(self) -> None:
        """Keep listening time, and watch the calls' patience, from now on."""
        if self._sweeper is None:
            self._sweep()

    def again(self, call: Call) -> None:
        """Send on a new connection."""
        call.fresh = True
        task = asyncio.get_running_loop().create_task(self._connect(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def fetch(self, address: Address, head: bytes, seconds: float, limit: int) -> tuple[int, bytes]:
        """A whole answer of at most `limit` bytes. Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        answer = _Whole(limit, loop.create_future())
        call = self.start(address, head, b"", answer, seconds, loop.time() + seconds)
        answer.stop = call.abort
        try:
            return await answer.done
        finally:
            answer.stop = _nothing
            if call in self.active:
                call.abort()

    async def _connect(self, call: Call) -> None:
        try:
            connection = await self._dial(call.address, call.waits.connect)
        except OSError:
            where = f"{bracketed(call.address[0])}:{call.address[1]}"
            call.fail(UpstreamError(f"cannot connect to {where}", connected=False, broke=call.closed))
            return
        if call in self.active:
            connection.begin(call)
        else:
            self.keep(connection)  # nobody waits for it any more

    async def _dial(self, address: Address, seconds: float) -> ClientConnection:
        """A new connection. Raises OSError, also after so many seconds of listening."""
        loop = asyncio.get_running_loop()
        made = cast(Callable[[], asyncio.Protocol], lambda: ClientConnection(self, address))
        until = self.listening.at(loop.time()) + seconds
        while (left := until - self.listening.at(loop.time())) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    return cast(ClientConnection, (await loop.create_connection(made, *address))[1])
        raise TimeoutError

    def keep(self, connection: ClientConnection) -> None:
        """Put a clean connection aside for the next request."""
        idle = self._idle[connection.address]
        if len(idle) >= MAX_IDLE:
            connection.abort()
        else:
            connection.idle_since = connection.loop.time()
            idle.append(connection)

    def forget(self, connection: ClientConnection) -> None:
        """It is gone."""
        idle = self._idle.get(connection.address)
        if idle and connection in idle:
            idle.remove(connection)

    def give_up(self, address: Address) -> None:
        """Nothing is heard of this one any more: what it has not begun to answer can still be served elsewhere."""
        for call in [call for call in self.active if call.address == address and not call.begun]:
            call.fail(UpstreamError("it fell silent"))

    def close(self) -> None:
        """Break off everything."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._connecting:
            task.cancel()
        for call in list(self.active):
            call.abort()
        for idle in self._idle.values():
            for connection in list(idle):
                connection.abort()

    def _take(self, address: Address, now: float) -> ClientConnection | None:
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if not connection.lost and now - connection.idle_since < self.waits.idle and connection.silent:
                return connection
            connection.abort()
        return None

    def _sweep(self) -> None:
        """End the calls whose time is over; a reader that is slower than the engine is only bound by the end."""
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(LOOK_SECONDS, self._sweep)
        now = loop.time()
        self.listening.look(now)
        listened = self.listening.at(now)
        for call in list(self.active):
            connection = call.connection
            if call.heard:
                call.heard = False
                call.due = listened + call.waits.between
                call.last = listened + max(call.waits.between, call.waits.silence)
            if now >= call.end:
                call.fail(UpstreamError("not complete in time", late=True))
            elif (
                listened >= call.due
                and not (connection is not None and connection.held)
                and (listened >= call.last or not call.at_work(now))
            ):
                call.fail(UpstreamError("no data in time"))
        for idle in self._idle.values():
            for connection in [c for c in idle if now - c.idle_since >= self.waits.idle]:
                connection.abort()


class _Whole:
    """Collects one small answer."""

    def __init__(self, limit: int, done: asyncio.Future[tuple[int, bytes]]) -> None:
        self.limit = limit
        self.done = done
        self.stop: Callable[[], None] = _nothing
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def on_head(self, status: int, headers: Headers) -> None:
        self._status = status

    def on_piece(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self.limit:
            self.stop()
            self.on_fail(UpstreamError(f"an answer of more than {self.limit} bytes"))

    def on_end(self) -> None:
        if not self.done.done():
            self.done.set_result((self._status, b"".join(self._pieces)))

    def on_fail(self, problem: UpstreamError) -> None:
        if not self.done.done():
            self.done.set_exception(problem)


def _nothing() -> None:
    """Nothing to stop yet."""
