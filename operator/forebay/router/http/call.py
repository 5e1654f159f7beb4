"""One request to another router or an engine: whom its answer is told, how long each part may take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from forebay.router.http.values import Headers

if TYPE_CHECKING:
    from forebay.router.http.client import ClientConnection, ConnectionPool

CONNECT_SECONDS: Final = 2.0
BETWEEN_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 300.0
IDLE_SECONDS: Final = 4.0
"""Kept shorter than the 5 s after which an engine's HTTP server hangs up, so that no request meets a closed door."""

Address = tuple[str, int]


@dataclass(frozen=True)
class Waits:
    """Longest waits of a call, in seconds: for its connection, for the next piece of the answer where nobody knows
    whether there will be one, and for it where the other side is known to be at work."""

    connect: float = CONNECT_SECONDS
    between: float = BETWEEN_SECONDS
    silence: float = SILENCE_SECONDS
    idle: float = IDLE_SECONDS  # how long a pool keeps a connection without a request


USUAL: Final = Waits()


class UpstreamError(Exception):
    """The other side refused, broke off, stalled or spoke no HTTP. `connected` says whether bytes may have arrived,
    `late` that the time for the whole request is over, which need not be the other side's fault, `broke` that the other
    side closed the connection before its answer was complete."""

    def __init__(self, message: str, connected: bool = True, late: bool = False, broke: bool = False) -> None:
        super().__init__(message)
        self.connected = connected
        self.late = late
        self.broke = broke


class UpstreamAnswer(Protocol):
    """Who is told what comes back: one `on_head`, pieces, then `on_end`; or at any time `on_fail` and nothing more."""

    def on_head(self, status: int, headers: Headers) -> None:
        """The head; header names in lower case."""

    def on_piece(self, piece: bytes) -> None:
        """A piece of the body."""

    def on_end(self) -> None:
        """The answer is complete."""

    def on_fail(self, problem: UpstreamError) -> None:
        """It broke off, stalled, or made no sense."""


class Call:
    """One request under way. `due` is the end of the patience for what comes next, `last` that of the patience with
    another side that is at work, both in listening time; `end`, in loop time, that of everything. `at_work` is asked
    only when `due` is over."""

    __slots__ = ("address", "answer", "at_work", "begun", "body", "connection", "due", "end", "fresh", "head", "heard",
                 "last", "pool", "waits")  # fmt: skip

    def __init__(
        self,
        pool: "ConnectionPool",
        address: Address,
        head: bytes,
        body: bytes,
        answer: UpstreamAnswer,
        due: float,
        last: float,
        end: float,
        waits: Waits,
        at_work: Callable[[float], bool],
    ) -> None:
        self.pool = pool
        self.address = address
        self.head = head
        self.body = body
        self.answer = answer
        self.due = due
        self.last = last
        self.end = end
        self.waits = waits
        self.at_work = at_work
        self.heard = False  # something came since the last sweep
        self.fresh = False  # on a connection of its own
        self.begun = False  # somebody has been given a part of the answer
        self.connection: ClientConnection | None = None

    def pause(self) -> None:
        """Stop reading: the one who takes the answer is slower."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        """Go on reading."""
        self.heard = True
        if self.connection is not None:
            self.connection.resume()

    def abort(self) -> None:
        """Nobody wants the answer any more: break off, so that an engine stops computing."""
        self.pool.active.discard(self)
        if self.connection is not None:
            self.connection.call = None
            self.connection.abort()
            self.connection = None

    def fail(self, problem: UpstreamError) -> None:
        """Break off and tell."""
        if self in self.pool.active:
            self.abort()
            self.answer.on_fail(problem)


def judged_by_the_other_router(_: float) -> bool:
    """`at_work` of a call that a router passes on: gateways judge silence, for sidecars too; only `silence` binds."""
    return True


def nobody_knows(_: float) -> bool:
    """Whether the other side is at work: silence is all there is to judge by."""
    return False
