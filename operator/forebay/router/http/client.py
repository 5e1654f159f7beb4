"""The client side: connections to engines, sidecars and gateways, kept alive per address.

`Pool.send` gives the head of the answer; `Response.relay` then hands each piece of the body to a callback, without a
coroutine switch per piece.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final, cast

import httptools

from forebay.router.http.message import MAX_HEAD_BYTES, Headers

CONNECT_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 30.0
MAX_IDLE: Final = 64

Address = tuple[str, int]


class UpstreamError(Exception):
    """The other side refused, broke off, stalled or spoke no HTTP. `connected` says whether bytes may have arrived."""

    def __init__(self, message: str, connected: bool = True) -> None:
        super().__init__(message)
        self.connected = connected


class Response:
    """One answer. Pieces that come before `relay` are kept (the connection is paused after the first)."""

    def __init__(self, connection: "ClientConnection") -> None:
        self.connection = connection
        self.status = 0
        self.headers: Headers = []
        self.early: list[bytes] = []
        self.sink: Callable[[bytes], None] | None = None
        self.last = 0.0  # loop time of the last piece
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[None] = loop.create_future()
        self.first: asyncio.Future[None] = loop.create_future()  # first piece of the body, or its end
        self.done: asyncio.Future[None] = loop.create_future()

    async def relay(self, sink: Callable[[bytes], None], between_seconds: float, total_seconds: float) -> None:
        """Hand every piece to `sink` until the end. Raises UpstreamError when it breaks off or stalls."""
        loop = asyncio.get_running_loop()
        end = loop.time() + total_seconds
        self.sink = sink
        for piece in self.early:
            sink(piece)
        self.early.clear()
        self.connection.resume()
        while not self.done.done():
            patience = min(self.last + between_seconds, end) - loop.time()
            if patience <= 0 and not self.connection.held:
                raise UpstreamError(f"no data for {between_seconds:.0f} s")
            if end <= loop.time():
                raise UpstreamError(f"not complete within {total_seconds:.0f} s")
            await asyncio.wait((self.done,), timeout=max(patience, 0.5))
        self.done.result()

    async def read(self, limit: int, seconds: float) -> bytes:
        """The whole body, at most `limit` bytes."""
        pieces: list[bytes] = []
        size = 0

        def keep(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size <= limit:
                pieces.append(piece)

        await self.relay(keep, seconds, seconds)
        if size > limit:
            raise UpstreamError(f"an answer of more than {limit} bytes")
        return b"".join(pieces)

    def close(self) -> None:
        """Finished with it: the connection is kept if the answer ended cleanly, else broken off."""
        self.connection.release()


class ClientConnection(asyncio.Protocol):
    """One connection to one address; carries one exchange at a time."""

    def __init__(self, pool: "Pool", address: Address) -> None:
        self.pool = pool
        self.address = address
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.response: Response | None = None
        self.lost = False
        self.held = False
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._complete = False
        self._keep_alive = False
        self._until_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.pool.forget(self)
        if self.response is not None and not self._complete:
            if self._until_close and exc is None:
                self.on_message_complete()
            else:
                self._fail(UpstreamError("the connection broke off" if self.response.status else "no answer"))

    def data_received(self, data: bytes) -> None:
        if self.response is None or self._complete:
            self.abort()  # bytes that nobody asked for must not become the next answer
            return
        if not self.response.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            self._fail(UpstreamError(f"malformed HTTP answer: {problem}"))
            self.abort()

    def begin(self, head: bytes, body: bytes) -> Response:
        """Send a request."""
        assert self.transport is not None
        self.response = Response(self)
        self._complete = self._keep_alive = self._until_close = False
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self.response.last = self.loop.time()
        self.transport.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self.transport.write(body)
        return self.response

    def release(self) -> None:
        """Keep the connection for the next request if the answer ended cleanly."""
        clean = self._complete and self._keep_alive and not self.lost and not self._until_close
        self.response = None if clean else self.response
        if clean:
            self.resume()
            self.pool.keep(self)
        else:
            self.abort()

    def pause(self) -> None:
        """Stop reading: the one who takes the answer is slower."""
        if self.transport is not None and not self.held and not self.lost:
            self.held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self.transport is not None and self.held and not self.lost:
            self.held = False
            if self.response is not None:
                self.response.last = self.loop.time()
            self.transport.resume_reading()

    def abort(self) -> None:
        """Break off, so that an engine stops computing for nobody."""
        if self.transport is not None and not self.lost:
            self.transport.abort()

    # Parser callbacks (httptools).

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.response is not None:
            self.response.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        response = self.response
        if response is None:
            return
        if self._head_bytes > MAX_HEAD_BYTES + 65536:
            self._fail(UpstreamError("the answer's headers are too large"))
            return
        status = self._parser.get_status_code()
        if status < 200:
            response.headers.clear()
            return
        response.status = status
        self._keep_alive = bool(self._parser.should_keep_alive())
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in response.headers)
        self._until_close = not framed and status not in (204, 304)
        if not response.head.done():
            response.head.set_result(None)

    def on_body(self, data: bytes) -> None:
        response = self.response
        if response is None:
            return
        response.last = self.loop.time()
        if response.sink is not None:
            response.sink(data)
            return
        response.early.append(data)
        self.pause()
        if not response.first.done():
            response.first.set_result(None)

    def on_message_complete(self) -> None:
        response = self.response
        if response is None or response.status < 200:
            return
        self._complete = True
        for future in (response.first, response.done):
            if not future.done():
                future.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        response = self.response
        if response is None:
            return
        for future in (response.head, response.first, response.done):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever awaits it sees it; nobody has to


class Pool:
    """Connections by address."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[ClientConnection]] = defaultdict(list)

    async def send(
        self, address: Address, head: bytes, body: bytes, head_seconds: float, connect_seconds: float = CONNECT_SECONDS
    ) -> Response:
        """Send a request and wait for the head of its answer.

        Raises UpstreamError; one whose kept connection turned out to be dead is sent again on a new one, once.
        """
        kept = self._take(address)
        if kept is not None:
            try:
                return await self._exchange(kept, head, body, head_seconds)
            except UpstreamError:
                if not kept.lost or (kept.response is not None and kept.response.status):
                    raise
        return await self._exchange(await self._connect(address, connect_seconds), head, body, head_seconds)

    async def _exchange(self, connection: ClientConnection, head: bytes, body: bytes, seconds: float) -> Response:
        response = connection.begin(head, body)
        try:
            async with asyncio.timeout(seconds):
                await response.head
        except TimeoutError:
            connection.abort()
            raise UpstreamError(f"no answer within {seconds:.0f} s") from None
        except BaseException:
            connection.abort()
            raise
        return response

    async def _connect(self, address: Address, seconds: float) -> ClientConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, protocol = await loop.create_connection(lambda: ClientConnection(self, address), *address)
        except (OSError, TimeoutError) as error:
            raise UpstreamError(f"cannot connect to {address[0]}:{address[1]}", connected=False) from error
        return protocol

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

    def close(self) -> None:
        """Break off all idle connections."""
        for idle in self._idle.values():
            for connection in list(idle):
                connection.abort()

    def _take(self, address: Address) -> ClientConnection | None:
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.loop.time() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None
