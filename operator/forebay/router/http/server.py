"""The server side of a connection: one Protocol for all four ports, whose handler is a coroutine per request.

The handler gets the whole request and an Exchange to answer on. It is cancelled when the client goes away. Bytes of
an answer are written straight into the transport; `drain` waits while the client reads slower than the engine writes.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, cast

import httptools

from forebay.router.http.lines import SWITCHING, UPGRADE
from forebay.router.http.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Headers,
    Reply,
    Request,
    error,
    get,
    response_head,
)

READ_SECONDS: Final = 60.0
"""Longest time from a request's first byte to its last."""
IDLE_SECONDS: Final = 75.0
PIPELINED: Final = 4
HIGH_WATER: Final = 256 * 1024

Handler = Callable[[Request, "Exchange"], Awaitable[None]]
Upgrade = Callable[[Request], asyncio.Protocol | None]
"""Takes over a connection that asks for `forebay-lines`, or refuses it with None."""


class Budget:
    """Bytes of request bodies that one process holds at a time."""

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.used = 0

    def take(self, count: int) -> bool:
        """False when it is not to be had."""
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Give back what was taken."""
        self.used -= count


class Exchange:
    """One answer. `start` once, `write` any number of times, `end` once; or `abort`."""

    __slots__ = ("_chunked", "_connection", "_head_only", "ended", "keep_alive", "started", "status")

    def __init__(self, connection: "ServerConnection", keep_alive: bool, head_only: bool) -> None:
        self._connection = connection
        self._head_only = head_only
        self._chunked = False
        self.keep_alive = keep_alive
        self.started = False
        self.ended = False
        self.status = 0

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Write the head. Without a length the body is chunked."""
        self.started, self.status = True, status
        self._chunked = length is None
        framing = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", b"%d" % length)
        closing = [] if self.keep_alive else [(b"connection", b"close")]
        self._connection.write(response_head(status, [*headers, framing, *closing]))

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        if data and not self._head_only:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """The body is complete."""
        if self._chunked and not self._head_only:
            self._connection.write(b"0\r\n\r\n")
        self.ended = True

    def abort(self) -> None:
        """Close at once, so that nobody takes what was sent for the whole."""
        self.ended, self.keep_alive = True, False
        self._connection.close()

    def reply(self, reply: Reply) -> None:
        """A whole answer."""
        self.start(reply.status, reply.headers, len(reply.body))
        self.write(reply.body)
        self.end()

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return not self._connection.paused

    def on_writable(self, callback: Callable[[bool], None] | None) -> None:
        """Called with False when the client falls behind, with True when it has caught up."""
        self._connection.on_writable = callback

    async def drain(self) -> None:
        """Wait until the client has caught up."""
        await self._connection.writable.wait()


class ServerConnection(asyncio.Protocol):
    """Parses requests and runs the handler for one after the other."""

    def __init__(
        self, handler: Handler, budget: Budget, open_connections: set["ServerConnection"], upgrade: Upgrade | None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.handler = handler
        self.upgrade = upgrade
        self.budget = budget
        self.open = open_connections
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.on_writable: Callable[[bool], None] | None = None
        self.closing = False
        self._peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._asked: Request | None = None  # for an upgrade
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0
        self._reset()

    # Transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self.open.add(self)
        self._arm(IDLE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self)
        self.closing = True
        self._disarm()
        self.budget.give(self._held)
        self._held = 0
        if self._task is not None:
            self._task.cancel()
        for request, _ in self._waiting:
            self.budget.give(len(request.body))
        self._waiting.clear()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as problem:
            self._refuse(400, f"malformed HTTP request: {problem}")
        if self._begun and not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "the request's headers are larger than 64 KiB")

    def eof_received(self) -> bool:
        return False  # a client that closes is gone

    def pause_writing(self) -> None:
        self.paused = True
        self.writable.clear()
        if self.on_writable is not None:
            self.on_writable(False)

    def resume_writing(self) -> None:
        self.paused = False
        self.writable.set()
        if self.on_writable is not None:
            self.on_writable(True)

    def write(self, data: bytes) -> None:
        """Bytes of an answer."""
        if self.transport is not None and not self.closing:
            self.transport.write(data)

    def close(self) -> None:
        """After what is written has been sent."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._task is None and not self._waiting and not self._begun

    # Parser callbacks (httptools).

    def on_message_begin(self) -> None:
        self._reset()
        self._begun = self.loop.time()
        self._arm(READ_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_body = True
        if sum(len(name) + len(value) for name, value in self._headers) > MAX_HEAD_BYTES:
            self._refuse(431, "the request's headers are larger than 64 KiB")
            return
        if self._parser.should_upgrade() and (self.upgrade is None or get(self._headers, b"upgrade") != UPGRADE):
            self._refuse(400, "protocol upgrades are not supported")
            return
        for name, value in self._headers:
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                self._refuse(413, "the request's body is larger than 32 MiB")
                return
            if name == b"expect" and value.lower() == b"100-continue":
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self.closing:
            return
        if self._held + len(data) > MAX_BODY_BYTES:
            self._refuse(413, "the request's body is larger than 32 MiB")
        elif not self.budget.take(len(data)):
            self._refuse(503, "this gateway holds too many request bodies; try again")
        else:
            self._held += len(data)
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self.closing:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            self._parser.get_method().decode(),
            path,
            query,
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._peer,
            self._begun,
        )
        if self._parser.should_upgrade():
            self._asked = request
            self._reset()
            return
        self._waiting.append((request, bool(self._parser.should_keep_alive())))
        self._held = 0  # now held by the request
        self._reset()
        self._disarm()
        if self._task is None:
            self._next()
        elif len(self._waiting) > PIPELINED:
            self._refuse(400, "too many pipelined requests")

    def _upgraded(self, rest: bytes) -> None:
        """The request that asked for it is complete: the connection changes hands, or ends."""
        request, self._asked = self._asked, None
        protocol = self.upgrade(request) if request is not None and self.upgrade is not None and self.idle else None
        if protocol is None or self.transport is None:
            self._refuse(401, "this connection may not be upgraded")
            return
        self._disarm()
        self.open.discard(self)
        self.transport.write(SWITCHING)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if rest:
            protocol.data_received(rest)

    # Requests.

    def _next(self) -> None:
        if not self._waiting or self.closing:
            self._task = None
            if not self.closing:
                self._arm(IDLE_SECONDS)
            return
        request, keep_alive = self._waiting.popleft()
        exchange = Exchange(self, keep_alive, request.method == "HEAD")
        self._task = self.loop.create_task(self._run(request, exchange))
        held = len(request.body)
        self._task.add_done_callback(lambda _: self.budget.give(held))

    async def _run(self, request: Request, exchange: Exchange) -> None:
        try:
            await self.handler(request, exchange)
            if not exchange.ended:
                self._failed(exchange)
        except asyncio.CancelledError:
            exchange.abort()
        except Exception:  # a bug must not leave a client hanging
            self.loop.call_exception_handler({"message": f"handler failed for {request.method} {request.target}"})
            self._failed(exchange)
            raise
        finally:
            self.on_writable = None
            if not exchange.keep_alive:
                self.close()
            self._next()

    def _failed(self, exchange: Exchange) -> None:
        if exchange.started:
            exchange.abort()
        else:
            exchange.keep_alive = False
            exchange.reply(error(500, "forebay failed to answer this request", "internal_error"))

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be parsed or is too large, and close: what follows on this connection is unknown."""
        if self.closing:
            return
        if self._task is None:
            exchange = Exchange(self, keep_alive=False, head_only=False)
            exchange.reply(error(status, message))
        self.close()

    def _reset(self) -> None:
        self._url = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._held = 0
        self._head_bytes = 0
        self._in_body = False
        self._begun = 0.0

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._begun:
            self._refuse(408, "the request did not arrive within 60 s")
        else:
            self.close()


class Server:
    """A listening port."""

    def __init__(self, handler: Handler, budget: Budget | None = None, upgrade: Upgrade | None = None) -> None:
        self.handler = handler
        self.upgrade = upgrade
        self.budget = budget or Budget()
        self.connections: set[ServerConnection] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Open the port; 0 takes a free one, found in `port` afterwards."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ServerConnection(self.handler, self.budget, self.connections, self.upgrade),
            host,
            port,
            backlog=2048,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """No new connections; idle ones are closed, the others end after their answer."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            if connection.idle:
                connection.close()

    def close(self) -> None:
        """End everything."""
        self.stop_listening()
        for connection in list(self.connections):
            connection.close()
