"""The server side of a connection: one Protocol for all four ports.

A handler gets the whole request and an Exchange to answer on. It either takes care of the answer by callbacks and
returns None, or returns a coroutine that is run as a task, and cancelled when the client goes away. Bytes of an answer
are written straight into the transport; `Exchange.on_writable` tells when the client reads slower than they come.

Whatever cannot be framed beyond doubt (RFC 9112) is refused with an error that the path's clients parse, and ends the
connection. There are no timers per request: `Server` sweeps its connections.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import httptools

from forebay.router.http.exchange import Budget, Exchange
from forebay.router.http.framing import problem as framing_problem
from forebay.router.http.keep_alive import keep_alive
from forebay.router.http.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    RETRY_SOON,
    error_body,
    head_bytes,
    json_reply,
    origin_form,
)
from forebay.router.http.message_channel import SWITCHING, UPGRADE
from forebay.router.http.values import Headers, Reply, Request
from forebay.rules.listening import ListeningTime
from forebay.sockets import BACKLOG, listening, peer_of

READ_SECONDS: Final = 60.0
"""Longest time from a request's first byte to its last."""
IDLE_SECONDS: Final = 75.0
STUCK_SECONDS: Final = 60.0
"""A connection that is being closed and whose peer takes nothing is broken off after so long."""
LINGER_SECONDS: Final = 2.0
"""How long what a refused client still sends is thrown away: closed at once, it might never see the refusal."""
SWEEP_SECONDS: Final = 1.0
PIPELINED: Final = 4
"""So many complete requests may wait on one connection; then nothing more is read."""
SMALL_BYTES: Final = 1024
"""Pieces of a body that are smaller are put together: each of them alone takes far more memory than it holds."""
HIGH_WATER: Final = 256 * 1024

Handler = Callable[[Request, "Exchange"], Coroutine[Any, Any, None] | None]
Shape = Callable[[str, int, str, str | None], bytes]
"""The body of an error: by the request's path, the status, what is wrong, and a code for it."""
Upgrade = Callable[[Request], asyncio.Protocol | None]
"""Takes over a connection that asks for `forebay-lines`, or refuses it with None."""


def _of_any_path(_: str, status: int, message: str, code: str | None) -> bytes:
    return error_body(status, message, code)


class ServerConnection:
    """Parses requests and answers one after the other. A Protocol of asyncio by its methods alone, to be compiled."""

    __deletable__ = ["_parser"]  # for the compiled build

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.budget = server.budget
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.closing = False
        self.due = 0.0  # loop time at which patience with the client ends, or its own with an answer
        self.current: Exchange | None = None
        self._peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._ready: deque[tuple[Request, Exchange]] = deque()
        self._asked: Request | None = None  # for an upgrade
        self._drained: asyncio.Future[None] | None = None
        self._stopped_reading = False
        self._plain = b""  # a head that asked for an upgrade, without that
        self._deaf = False  # whatever still comes is thrown away
        self._last: Reply | None = None  # what follows the answers to come, and ends the connection
        self._held = 0
        self._fed = 0  # bytes of the segment that is being parsed
        self._aligned = True  # it began with a request
        self._head_bytes = self._barren = 0
        self._fields: dict[bytes, bytes] = {}
        self._reset()

    # Transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._peer = peer_of(transport.get_extra_info("peername"))
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self.server.connections.add(self)
        self.due = self.loop.time() + IDLE_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self.closing = self._deaf = True
        self.budget.give(self._held)
        self._held = 0
        for _, exchange in self._ready:
            exchange.lost()
        self._ready.clear()
        if self.current is not None:
            self.current.lost()
            self.current = None
        self.resume_writing()
        del self._parser  # which knows this connection: a cycle would wait long for its collector

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._fed = len(data)
        self._aligned = not self._begun
        held, fields = self._held, self._fields
        try:
            self._feed(data)
        except httptools.HttpParserError as problem:
            self._refuse(400, f"malformed HTTP request: {problem}")
        if not self._begun:
            return
        if not self._in_body:
            self._head_bytes += self._fed
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "the request's headers are larger than 64 KiB")
        elif self._fields is fields:  # all of the segment belongs to one body
            self._barren = self._barren + self._fed if self._held == held else 0
            if self._barren > MAX_HEAD_BYTES:
                self._refuse(431, "the body's chunk extensions or trailers are larger than 64 KiB")

    def _feed(self, data: bytes) -> None:
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self._asked is not None:
                    self._upgraded(data)
                    return
                self._parser = httptools.HttpRequestParser(self)
                data, self._plain = self._plain + data, b""
            else:
                return

    def eof_received(self) -> bool:
        return False  # a client that closes its side is gone, as nginx and Envoy see it: the engine is told

    def pause_writing(self) -> None:
        self.paused = True
        if self.current is not None and self.current.on_writable is not None:
            self.current.on_writable(False)

    def resume_writing(self) -> None:
        self.paused = False
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
        if self.current is not None and self.current.on_writable is not None:
            self.current.on_writable(True)
        self._next()

    def write(self, data: bytes) -> None:
        """Bytes of an answer."""
        if not self.closing:
            self.transport.write(data)  # type: ignore[union-attr]

    async def caught_up(self) -> None:
        """Until the client has read enough."""
        if self.paused and not self.closing:
            if self._drained is None:
                self._drained = self.loop.create_future()
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """After what is written has been sent."""
        self.closing = self._deaf = True
        self.due = self.loop.time() + STUCK_SECONDS
        if self.transport is not None:
            self.transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self.current is None and not self._ready and not self._begun

    # Parser callbacks (httptools).

    def on_message_begin(self) -> None:
        self._begun = self.loop.time()
        if not self._aligned:
            self._head_bytes = -self._fed  # how much of the segment is this request's cannot be known
        if self.current is None:
            self.due = self._begun + READ_SECONDS

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_TARGET_BYTES:
            self._refuse(414, "the request's target is longer than 8 KiB")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are dropped
            self._headers.append((name.lower(), value.rstrip()))  # blanks after a value are not part of it

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._deaf:
            return
        fields = dict(self._headers)
        self._fields = fields
        parser = self._parser
        if self._head_bytes + 2 * self._fed > MAX_HEAD_BYTES and head_bytes(self._headers) > MAX_HEAD_BYTES:
            self._refuse(431, "the request's headers are larger than 64 KiB")
            return
        self._method, self._version = parser.get_method(), parser.get_http_version()
        problem = framing_problem(self._method, self._version, self._headers, fields, self._url)
        if problem is not None:
            self._refuse(*problem)
        elif parser.should_upgrade() and not self._takes_lines():
            self._plain = self._without_upgrade()
        elif b"expect" in fields and not self._body:
            self._continue()

    def _takes_lines(self) -> bool:
        return self.server.upgrade is not None and self._fields.get(b"upgrade") == UPGRADE

    def _without_upgrade(self) -> bytes:
        """This head, to be read again: other upgrades are not taken (RFC 9110, 7.8), but httptools leaves their bodies
        unread."""
        line = b"%b %b HTTP/%b\r\n" % (self._method, self._url, self._version.encode())
        return line + b"".join(b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade") + b"\r\n"

    def _continue(self) -> None:
        """The client may send its body; not in the midst of an earlier answer."""
        if self.current is None and not self._ready and self._version == "1.1":  # HTTP/1.0 knows no interim answers
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._held + len(data) > MAX_BODY_BYTES:
            self._refuse(413, "the request's body is larger than 32 MiB")
        elif not self.budget.take(len(data)):
            self._refuse(503, "this router holds too many request bodies; try again")
        else:
            self._held += len(data)
            if len(data) >= SMALL_BYTES or not self._body:
                self._body.append(data)
            elif isinstance(last := self._body[-1], bytearray):
                last += data
            else:
                self._body.append(bytearray(data))

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        if self._plain:
            self._reset()
            return
        parser = self._parser
        method = "POST" if self._method == b"POST" else self._method.decode("latin-1")
        path, _, query = origin_form(self._url).partition("?")
        body = bytes(self._body[0]) if len(self._body) == 1 else b"".join(self._body)
        request = Request(method, path, query, self._headers, body, self._peer, self._begun, self._fields)
        exchange = Exchange(self, parser.should_keep_alive(), method == "HEAD", self._version == "1.0", self._held)
        self._held = 0  # now held by the exchange
        upgrade = parser.should_upgrade()
        self._reset()
        self._aligned = False
        if upgrade:
            self._asked = request
            exchange.release_body()
        elif self.current is None and not self._ready and not self.paused:
            self._answer(request, exchange)
        else:
            self._ready.append((request, exchange))
            if len(self._ready) >= PIPELINED and not self._stopped_reading and self.transport is not None:
                self._stopped_reading = True
                self.transport.pause_reading()

    # Requests.

    def _answer(self, request: Request, exchange: Exchange) -> None:
        self.current = exchange
        self.due = float("inf")
        try:
            work = self.server.handler(request, exchange)
        except Exception as problem:  # a bug must not leave a client hanging
            self._report(request, problem)
            self._failed(exchange, request)
            return
        if work is not None:
            task = self.loop.create_task(self._run(work, request, exchange))
            exchange.on_lost = task.cancel

    async def _run(self, work: Coroutine[Any, Any, None], request: Request, exchange: Exchange) -> None:
        try:
            await work
        except asyncio.CancelledError:
            exchange.abort()
        except Exception as problem:
            self._report(request, problem)
        if not exchange.ended:
            self._failed(exchange, request)

    def _report(self, request: Request, problem: Exception) -> None:
        context = {"message": f"handler failed for {request.method} {request.target[:80]}", "exception": problem}
        self.loop.call_exception_handler(context)

    def _failed(self, exchange: Exchange, request: Request) -> None:
        if exchange.started:
            exchange.abort()
        else:
            exchange.keep_alive = False
            text = "forebay failed to answer this request"
            exchange.reply(json_reply(self.server.shape(request.target, 500, text, "internal_error"), 500))

    def finished(self, exchange: Exchange) -> None:
        """An answer is complete: the next request's turn, or the connection's end."""
        if exchange is not self.current:
            return
        self.current = None
        if not exchange.keep_alive or self.closing:
            self.close()
        elif self._ready:
            self.due = self.loop.time() + STUCK_SECONDS
            self.loop.call_soon(self._next)
        elif self._last is not None:
            self._part(self._last)
        else:
            self.due = self.loop.time() + (READ_SECONDS if self._begun else IDLE_SECONDS)

    def _next(self) -> None:
        if self.closing or self.current is not None or not self._ready or self.paused:
            return  # a client that reads nothing gets no more to read
        self._answer(*self._ready.popleft())
        if self._stopped_reading and self.transport is not None and not self.closing:
            self._stopped_reading = False
            self.transport.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        """End with an error, after the answers to earlier requests: what follows on this connection is unknown."""
        if self._deaf:
            return
        self._deaf = True
        headers = [RETRY_SOON] if status == 503 else []
        path, code = origin_form(self._url).partition("?")[0], "invalid_http" if status < 500 else None
        self._last = json_reply(self.server.shape(path, status, message, code), status, headers)
        if self.current is None and not self._ready:
            self._part(self._last)

    def _part(self, reply: Reply) -> None:
        """The last answer."""
        Exchange(self, keep_alive=False, silent=False, until_close=False, held=0).reply(reply)
        self.closing = True
        self.due = self.loop.time() + LINGER_SECONDS
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def _upgraded(self, rest: bytes) -> None:
        """The connection changes hands, or ends."""
        request, self._asked = self._asked, None
        if self._deaf:
            return
        protocol = self.server.upgrade(request) if request is not None and self.server.upgrade and self.idle else None
        if protocol is None or self.transport is None:
            self._refuse(401, "this connection may not be upgraded")
            return
        self.server.connections.discard(self)
        self.transport.write(SWITCHING)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if rest:
            protocol.data_received(rest)

    def _reset(self) -> None:
        self._method = self._url = b""
        self._version = ""
        self._headers: Headers = []
        self._fields = {}
        self._body: list[bytes | bytearray] = []
        self._head_bytes = 0
        self._barren = 0  # bytes of a body's frame since its last content
        self._in_body = False
        self._begun = 0.0

    def late(self) -> None:
        """Patience is over, or a ping is due."""
        if self.closing:
            if self.transport is not None:
                self.transport.abort()
        elif self.current is not None:
            self.due = self.loop.time() + self.current.ping()
        elif self._begun:
            self._refuse(408, "the request did not arrive within 60 s")
        else:
            self.close()


class Server:
    """A listening port."""

    def __init__(
        self,
        handler: Handler,
        budget: Budget | None = None,
        upgrade: Upgrade | None = None,
        shape: Shape = _of_any_path,
    ) -> None:
        self.handler = handler
        self.shape = shape
        self.upgrade = upgrade
        self.budget = budget or Budget()
        self.connections: set[ServerConnection] = set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._listening = ListeningTime(SWEEP_SECONDS)

    async def listen(self, host: str, port: int) -> None:
        """Open the port; 0 takes a free one, found in `port` afterwards."""
        loop = asyncio.get_running_loop()
        made = cast(Callable[[], asyncio.Protocol], lambda: ServerConnection(self))
        opened = listening(host, port)
        keep_alive(opened)
        self.port = opened.getsockname()[1]
        self._server = await loop.create_server(made, sock=opened, backlog=BACKLOG)
        self._sweep()

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
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if slept := self._listening.look(now):
            for connection in self.connections:
                connection.due += slept  # what came meanwhile has not been read
        for connection in [connection for connection in self.connections if connection.due < now]:
            connection.late()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
