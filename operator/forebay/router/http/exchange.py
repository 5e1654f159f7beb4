"""One answer on its way to a client, and the memory that request bodies may take."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay.resources.sizes import BODIES_HELD
from forebay.router.http.message import response_head
from forebay.router.http.values import Headers, Reply

if TYPE_CHECKING:
    from forebay.router.http.server import ServerConnection


NO_BODY: Final = frozenset({204, 304})


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


class Exchange:
    """One answer. `start` once, `write` any number of times, `end` once; or `abort`. `on_lost`: the client is gone."""

    __slots__ = ("_chunked", "_connection", "_held", "_silent", "_until_close", "added", "ended", "keep_alive",
                 "on_lost", "on_writable", "promised", "started", "status")  # fmt: skip

    def __init__(self, connection: "ServerConnection", keep_alive: bool, silent: bool, until_close: bool, held: int):
        self._connection = connection
        self._silent = silent  # an answer to HEAD has no body
        self._until_close = until_close  # HTTP/1.0 knows no chunks
        self._chunked = False
        self._held = held  # bytes of the request's body
        self.keep_alive = keep_alive
        self.added: Headers = []  # to whatever the answer will be
        self.started = False
        self.promised = False  # a length
        self.ended = False
        self.status = 0
        self.on_lost: Callable[[], object] | None = None
        self.on_writable: Callable[[bool], None] | None = None

    def start(self, status: int, headers: Headers, length: int | None, first: bytes = b"") -> None:
        """Write the head, and the first piece of the body with it. Without a length the body is chunked."""
        self.started, self.status = True, status
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

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        if self._chunked:
            if data:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self._silent:
            self._connection.write(data)

    def end(self) -> None:
        """The body is complete."""
        if self.ended:
            return
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
