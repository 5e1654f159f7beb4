"""One try to get an answer from one upstream, carried to the client as it comes.

Until the first content byte the client has heard nothing, so that another upstream may still answer: a stream is held
until its first token, any other answer until all of it is there, or HELD_BYTES. After that, a break ends with an honest
error event and a closed connection, never with what looks like a clean end. No coroutine and no timer runs per attempt:
the connections call it, and it calls `on_outcome` once.
"""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay import engines
from forebay.engines.dialect import EngineDialect
from forebay.resources import headers as names
from forebay.router.dialect.content import HELD_BYTES, error_end, has_content, is_error
from forebay.router.dialect.error_shapes import broken_event
from forebay.router.http.client import Address, Call, ConnectionPool, UpstreamError
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import HOP_BY_HOP, end_to_end
from forebay.router.http.values import Headers
from forebay.rules.endpoints import CHAT
from forebay.rules.steps import AttemptOutcome
from forebay.rules.too_long import is_too_long
from forebay.word_enum import WordEnum

if TYPE_CHECKING:
    from forebay.router.placement.gateway_queue import SlotBinding

OWN_HEADERS: Final = HOP_BY_HOP | {b"content-length", b"server"}
REPLACED: Final = OWN_HEADERS | {b"x-request-id"}
NOT_THE_CLIENTS: Final = frozenset({401, 403, 407, 408})
"""Answers of a replica that no client can have caused: it never sees the client's key, and has the whole request."""
NOT_IMPLEMENTED: Final = 501  # the engine has no such feature: so says every other one
_SLOT: Final = names.SLOT.encode()
_STORED: Final = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_-]{1,128})"')
_STREAM: Final = b"text/event-stream"


_USUAL: Final = engines.of(engines.DEFAULT)


class Look(WordEnum):
    """How closely an answer is looked at."""

    CONTENT = "Content"  # held until its first content byte; errors mean another try
    PRESSURE = "Pressure"  # back-pressure only: what a sidecar passes to a gateway, which looks itself
    NOTHING = "Nothing"  # passed on as it is: what a gateway says to a sidecar's client


class Attempt:
    """Relays one answer. `headers` is asked for what is added, once the answer begins. `dialect`: of who answers.

    `look_for_length`: likely tokens of the request and the context of its pool; the engine's own context-length error
    is then not for the client, it means another way. `stores`: find
    the id under which the engine stores this response, for `stored`. `bound`: where it was sent. `path`: the request's.
    """

    __slots__ = ("_loop", "bound", "call", "dialect", "exchange", "first", "first_until", "headers", "held", "late",
                 "look", "look_for_length", "on_outcome", "outcome", "path", "problem", "status", "stored", "stores",
                 "stream", "told", "upstream_headers", "watch")  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        headers: Callable[[], Headers],
        on_outcome: Callable[["Attempt"], None],
        dialect: EngineDialect = _USUAL,
        *,
        look: Look = Look.CONTENT,
        look_for_length: tuple[int, int | None] | None = None,
        stores: bool = False,
        bound: "SlotBinding | None" = None,
        path: str = CHAT,
    ) -> None:
        self.exchange = exchange
        self.headers = headers
        self.on_outcome = on_outcome
        self.dialect = dialect
        self.look = look
        self.look_for_length = look_for_length
        self.stores = stores
        self.stored = ""
        self.bound = bound
        self.path = path
        self.outcome: AttemptOutcome | None = None
        self.problem = ""
        self.status = 0
        self.first = 0.0  # loop time of the first content byte
        self.stream = False
        self.watch = False  # for an error within the stream
        self.told = False  # the client has been sent one
        self.late = False  # the time for the whole request is over
        self.held = b""
        self.upstream_headers: Headers = []
        self.call: Call | None = None
        self._loop = asyncio.get_running_loop()

    def start(
        self, pool: ConnectionPool, address: Address, head: bytes, body: bytes, first_seconds: float, end: float
    ) -> None:
        """Send. `first_seconds` bounds the wait for the first content byte, `end` (loop time) everything."""
        self.exchange.on_lost = self.on_client_disconnect
        self.first_until = min(self._loop.time() + first_seconds, end)
        self.call = pool.start(address, head, body, self, first_seconds, end)

    def on_client_disconnect(self) -> None:
        """The client left: the upstream is told, by closing its connection."""
        if self.call is not None:
            self.call.abort()
        self._end(AttemptOutcome.GONE)

    # What the connection tells.

    def on_head(self, status: int, headers: Headers) -> None:
        """Decide by the head whether this is an answer for the client."""
        self.status, self.upstream_headers = status, headers
        kind = b""
        for name, value in headers:
            if name == b"content-type":
                kind = value
            elif name == _SLOT:
                self._end(AttemptOutcome.REFUSED, value.decode("latin-1"))
                return
        self.stream = kind.startswith(_STREAM)
        self.watch = self.stream and self.look is not Look.PRESSURE
        if status in self.dialect.back_pressure and self.look is not Look.NOTHING:
            self._end(AttemptOutcome.PRESSED, f"it answered {status}")
        elif self.look is Look.CONTENT and (status >= 500 or status in NOT_THE_CLIENTS) and status != NOT_IMPLEMENTED:
            self._end(AttemptOutcome.FAULT, f"it answered {status}")
        elif self.call is not None:
            self.call.due = self.first_until
            self.call.heard = False

    def on_piece(self, piece: bytes) -> None:
        """Relay, hold, or throw away."""
        if self.first:
            if self.watch and b'"error"' in piece and (end := error_end(piece)):
                self._error_within(piece[:end])
            else:
                self.exchange.write(piece)
        elif self.outcome is None:
            self._before_content(piece)

    def on_end(self) -> None:
        """The upstream's answer is complete."""
        if self.outcome is not None:
            return
        if not self.first:
            if (
                self.look is Look.CONTENT
                and self.status == 200
                and not (has_content(self.held) if self.stream else self.held)
            ):
                self._end(AttemptOutcome.FAULT, "it ended before its first token")
                return
            if self.look_for_length is not None and is_too_long(
                self.status, self.held, *self.look_for_length, self.dialect.too_long
            ):
                self._end(AttemptOutcome.TOO_LONG, "longer than the engine's context")
                return
            self._begin(self.held)
        self.exchange.end()
        self._end(AttemptOutcome.ANSWERED)

    def on_fail(self, problem: UpstreamError) -> None:
        """It broke off: elsewhere, if the client has heard nothing; else it is told."""
        if self.outcome is not None:
            return
        self.late = problem.late
        if not self.first:
            self._end(AttemptOutcome.LATE if problem.late else AttemptOutcome.FAULT, str(problem))
            return
        if self.watch and not self.told and not self.exchange.promised:
            self.exchange.write(broken_event(self.path, f"the answer broke off: {problem}"))
        self.exchange.abort()
        self._end(AttemptOutcome.BROKEN, str(problem))

    # Parts of it.

    def _before_content(self, piece: bytes) -> None:
        held = self.held = self.held + piece if self.held else piece
        if self.stores and not self.stored and (found := _STORED.search(held)) is not None:
            self.stored = found[1].decode()
        if self.look is Look.CONTENT:
            if self.status == 200 and (error_end(held) if self.stream else is_error(held)):
                self._end(AttemptOutcome.FAULT, "it answered with an error in a 200")
                return
            if not has_content(held) if self.stream else len(held) < HELD_BYTES:
                if self.call is not None:
                    self.call.heard = False  # pings, roles and half an answer buy no time
                return
        self.held = b""
        self._begin(held)

    def _error_within(self, piece: bytes) -> None:
        """The stream goes on with an error: the client gets that event, and nothing that looks like a good end."""
        self.told = True
        self.exchange.write(piece)
        if self.look is Look.NOTHING:
            return  # a gateway's word: it closes the connection itself
        if self.call is not None:
            self.call.abort()
        self.exchange.abort()
        self._end(AttemptOutcome.BROKEN, "it broke off with an error of its own")

    @property
    def retry_after(self) -> float:
        """Seconds after which the upstream wants to be asked again; 0 where it does not say."""
        for name, value in self.upstream_headers:
            if name == b"retry-after" and value.isdigit():
                return float(value)
        return 0.0

    def passed(self) -> Headers:
        """The upstream's headers that are for the client."""
        if self.look is Look.NOTHING:
            return end_to_end(self.upstream_headers, OWN_HEADERS, internal=True)
        return end_to_end(self.upstream_headers, REPLACED)

    def _begin(self, first: bytes) -> None:
        """The client hears of it: from here on there is no other way."""
        self.first = self._loop.time()
        length: int | None = None
        for name, value in self.upstream_headers:
            if name == b"content-length":
                length = int(value)
        exchange = self.exchange
        exchange.start(self.status, [*self.passed(), *self.headers()], length, first)
        exchange.release_body()
        if self.call is not None:
            self.call.body = b""
            self.call.heard = self.call.begun = True
            exchange.on_writable = self._writable
            if not exchange.writable:
                self.call.pause()

    def _writable(self, writable: bool) -> None:
        if self.call is not None:
            (self.call.resume if writable else self.call.pause)()

    def _end(self, outcome: AttemptOutcome, problem: str = "") -> None:
        if self.outcome is not None:
            return
        self.outcome, self.problem = outcome, problem
        if not self.exchange.ended:
            self.exchange.on_lost = None
        if outcome in (AttemptOutcome.FAULT, AttemptOutcome.PRESSED, AttemptOutcome.TOO_LONG) and self.call is not None:
            self.call.abort()
        on_outcome, self.on_outcome = self.on_outcome, _over
        self.call = None  # which knows this attempt: a cycle would wait long for its collector
        on_outcome(self)


def _over(_: Attempt) -> None:
    """It has been told."""
