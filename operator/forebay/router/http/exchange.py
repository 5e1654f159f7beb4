"""One answer on its way to a client, and the memory that request bodies may take."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay.resources.sizes import BODIES_HELD
from forebay.router.http.message import response_head
from forebay.router.http.values import Headers, Reply

if TYPE_CHECKING:
    from forebay.router.http.server import ServerConnection


NO_BODY: Final = frozenset({204, 304})
_TYPE: Final = b"content-type"
_STREAM: Final = b"text/event-stream"


class Budget:
    """Bytes of request bodies that one process holds at a time."""

    def __init__(self, limit: int = BODIES_HELD) -> None:
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


class Opening:
    """How a stream is kept open that has nothing to say yet.

    After `every` seconds its head is sent, with status 200 and `headers`, and `ping`, which is sent as often from then
    on. `event` makes one event of any other whole answer, given its status and body.
    """

    __slots__ = ("begun", "event", "every", "headers", "ping")

    def __init__(self, every: float, headers: Headers, ping: bytes, event: Callable[[int, bytes], bytes]) -> None:
        self.every = every
        self.headers = headers
        self.ping = ping
        self.event = event
        self.begun = False


class Exchange:
    """One answer. `start` once, `write` any number of times, `end` once; or `abort`. `on_lost`: the client is gone.

    `keep_open` comes before `start`, where it comes; `started` and `status` are of the answer, not of its pings.
    """

    __slots__ = ("_chunked", "_connection", "_held", "_opening", "_silent", "_until_close", "_whole", "added", "ended",
                 "keep_alive", "on_lost", "on_writable", "promised", "started", "status")  # fmt: skip

    def __init__(self, connection: "ServerConnection", keep_alive: bool, silent: bool, until_close: bool, held: int):
        self._connection = connection
        self._silent = silent  # an answer to HEAD has no body
        self._until_close = until_close  # HTTP/1.0 knows no chunks
        self._chunked = False
        self._opening: Opening | None = None  # while pings may still come
        self._whole: tuple[Opening, bytearray] | None = None  # an answer that will be one event
        self._held = held  # bytes of the request's body
        self.keep_alive = keep_alive
        self.added: Headers = []  # to whatever the answer will be
        self.started = False
        self.promised = False  # a length
        self.ended = False
        self.status = 0
        self.on_lost: Callable[[], object] | None = None
        self.on_writable: Callable[[bool], None] | None = None

    def keep_open(self, opening: Opening) -> None:
        """Send pings until the answer begins."""
        self._opening = opening
        self._connection.due = self._connection.loop.time() + opening.every

    def ping(self) -> float:
        """Send one; after how many seconds the next is due."""
        opening, self._opening = self._opening, None
        if opening is None or self.ended:
            return float("inf")
        if not opening.begun:
            self.start(200, opening.headers, None, opening.ping)
            self.started, self.status = False, 0
            opening.begun = True
        elif self.writable:
            self.write(opening.ping)
        self._opening = opening
        return opening.every

    def start(self, status: int, headers: Headers, length: int | None, first: bytes = b"") -> None:
        """Write the head, and the first piece of the body with it. Without a length the body is chunked."""
        self.started, self.status = True, status
        if self._opening is not None:
            opening, self._opening = self._opening, None
            self._connection.due = float("inf")
            if opening.begun:
                self._begin_after_pings(opening, headers, first)
                return
        framing = self.added
        if status in NO_BODY:
            self._silent = True
        elif length is not None:
            self.promised = True
            framing.append((b"content-length", b"%d" % length))
        elif self._until_close:
            self.keep_alive = False
            framing.append((b"cache-control", b"no-cache"))
        else:
            self._chunked = not self._silent
            framing.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            framing.append((b"connection", b"close"))
        head = response_head(status, headers + framing)
        if not first or self._silent:
            self._connection.write(head)
        elif self._chunked:
            self._connection.write(b"%b%x\r\n%b\r\n" % (head, len(first), first))
        else:
            self._connection.write(head + first)

    def _begin_after_pings(self, opening: Opening, headers: Headers, first: bytes) -> None:
        """The head has been sent: a stream goes on in it, anything else is put into one event of it."""
        if self.status == 200 and any(name == _TYPE and value.startswith(_STREAM) for name, value in headers):
            self.write(first)
        else:
            self._whole = opening, bytearray(first)
            self._chunked, self._silent = False, True

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        if self._chunked:
            if data:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self._silent:
            self._connection.write(data)
        elif self._whole is not None:
            self._whole[1].extend(data)

    def end(self) -> None:
        """The body is complete."""
        if self.ended:
            return
        if self._whole is not None:
            opening, body = self._whole
            self._chunked, self._silent = not self._until_close, False
            self.write(opening.event(self.status, bytes(body)))
            self.keep_alive = False
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._finish()

    def abort(self) -> None:
        """Close, so that nobody takes what was sent for the whole."""
        self.keep_alive = False
        if not self.ended:
            self._finish()

    def reply(self, reply: Reply) -> None:
        """A whole answer."""
        self.start(reply.status, reply.headers, len(reply.body), reply.body)
        self.end()

    def release_body(self) -> None:
        """The request's body is not needed any more: others may have the memory."""
        self._connection.budget.give(self._held)
        self._held = 0

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return not self._connection.paused

    async def drain(self) -> None:
        """Wait until the client has caught up."""
        await self._connection.caught_up()

    def lost(self) -> None:
        """The client is gone."""
        self.ended, self.keep_alive = True, False
        self.release_body()
        on_lost, self.on_lost, self.on_writable = self.on_lost, None, None
        if on_lost is not None:
            on_lost()

    def _finish(self) -> None:
        self.ended = True
        self.on_lost = self.on_writable = None
        self.release_body()
        self._connection.finished(self)
