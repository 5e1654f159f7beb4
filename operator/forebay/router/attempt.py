"""One try to get an answer from one upstream, carried to the client as it comes.

Until the first content byte the client has heard nothing, so that another upstream may still answer: a stream is held
until its first token, any other answer until all of it is there, or HELD_BYTES. After that, a break ends with an honest
error event and a closed connection, never with what looks like a clean end. No coroutine and no timer runs per attempt:
the connections call it, and it calls `on_outcome` once.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from forebay import engines
from forebay.engines.dialect import EngineDialect
from forebay.resources import headers as names
from forebay.router.dialect.content import (
    HELD_BYTES,
    error_end,
    error_status,
    given_up,
    has_content,
    has_ended,
    is_error,
    says_amiss,
)
from forebay.router.dialect.error_shapes import broken_event
from forebay.router.http.call import Address, Call, UpstreamError, Waits
from forebay.router.http.client import ConnectionPool
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import HOP_BY_HOP, end_to_end
from forebay.router.http.values import Headers
from forebay.rules.endpoints import CHAT
from forebay.rules.engine_health import NO_CLIENTS_DOING, NOT_IMPLEMENTED
from forebay.rules.retry_after import asked_seconds
from forebay.rules.steps import AttemptOutcome
from forebay.rules.too_long import is_too_long
from forebay.word_enum import WordEnum

if TYPE_CHECKING:
    from forebay.router.placement.gateway_queue import SlotBinding

OWN_HEADERS: Final = HOP_BY_HOP | {b"content-length", b"server"}
_CORS: Final = ("allow-origin", "allow-credentials", "allow-headers", "allow-methods", "expose-headers", "max-age")
REPLACED: Final = OWN_HEADERS | {b"x-request-id"} | {f"access-control-{word}".encode() for word in _CORS}
_SLOT: Final = names.SLOT.encode()
_STORED: Final = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_-]{1,128})"')
_STREAM: Final = b"text/event-stream"
_ENDING_SECONDS: Final = 1.0
"""How long an upstream has to end its answer properly after an error of its own."""


_GIVEN_UP: Final = "the engine gave it up"
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

    __slots__ = ("_last", "_loop", "_second_last", "bound", "broke", "call", "dialect", "exchange", "faulty",
                 "first", "first_until", "headers", "held", "late", "look", "look_for_length", "on_outcome", "outcome",
                 "path", "problem", "status", "stored", "stores", "stream", "told", "upstream_headers",
                 "watch")  # fmt: skip

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
        self.told = 0  # the status of one that the client has been sent
        self.late = False  # the time for the whole request is over
        self.broke = False  # the upstream closed the connection instead of an answer
        self.faulty = False  # it failed, whether or not the client is told as the upstream told it
        self.held = b""
        self._last = self._second_last = b""  # pieces of a stream
        self.upstream_headers: Headers = []
        self.call: Call | None = None
        self._loop = asyncio.get_running_loop()

    def start(
        self,
        pool: ConnectionPool,
        address: Address,
        head: bytes,
        body: bytes,
        first_seconds: float,
        end: float,
        waits: Waits | None = None,
        at_work: Callable[[float], bool] | None = None,
    ) -> None:
        """Send. `first_seconds` bounds the wait for the first content byte, `end` (loop time) everything; the others as
        for `ConnectionPool.start`."""
        self.exchange.on_lost = self.on_client_disconnect
        self.call = pool.start(address, head, body, self, first_seconds, end, waits, at_work)
        self.first_until = self.call.due

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
        self._judge(status, f"it answered {status}")
        if self.outcome is None and self.call is not None:
            self.call.due = self.first_until
            self.call.heard = False

    def on_piece(self, piece: bytes) -> None:
        """Relay, hold, or throw away."""
        if self.first:
            if self.held:
                self._error_within(piece)
            elif not (self.watch and says_amiss(piece) and self._ended_badly(piece)):
                self._second_last, self._last = self._last, piece
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
                and not (has_content(self.held) if self.stream else self.held and not is_error(self.held))
            ):
                self._end(AttemptOutcome.FAULT, "it ended before its first token")
                return
            if self._was_given_up(self.held):
                self._end(AttemptOutcome.FAULT, _GIVEN_UP)
                return
            if self._too_long(self.status, self.held):
                return
            held, self.held = self.held, b""
            self._begin(held)
        elif self.held and not self.told:
            self._error_within(b"" if self.exchange.promised else b"\n\n", last=True)
        if self.look is Look.CONTENT and self.told:
            self.exchange.keep_alive = False
            self.exchange.end()
            self._error_over()
        elif self._was_given_up(self._second_last + self._last):
            self.on_fail(UpstreamError(_GIVEN_UP))
        elif self.look is Look.CONTENT and self._ended_early():
            self.on_fail(UpstreamError("it ended without its last event"))
        else:
            self.exchange.end()
            self._end(AttemptOutcome.ANSWERED)

    def on_fail(self, problem: UpstreamError) -> None:
        """It broke off: elsewhere, if the client has heard nothing; else it is told."""
        if self.outcome is not None:
            return
        self.late, self.broke = problem.late, problem.broke
        if not self.first:
            self._end(AttemptOutcome.LATE if problem.late else AttemptOutcome.FAULT, str(problem))
            return
        if self.watch and not self.told and not self.exchange.promised:
            self.exchange.write(broken_event(self.path, f"the answer broke off: {problem}"))
        self.exchange.abort()
        if self.told:
            self._error_over()
        else:
            self._end(AttemptOutcome.BROKEN, str(problem))

    # Parts of it.

    def _was_given_up(self, text: bytes) -> bool:
        """Whether these bytes of an answer say that the engine did not make it to its end."""
        return self.look is Look.CONTENT and self.status == 200 and given_up(text) >= 0

    def _ended_badly(self, piece: bytes) -> bool:
        """Deal with a piece that says that the stream failed; False where it only has words like that."""
        events, sent = self._last + piece, len(self._last)
        if error_end(events):
            self._error_within(piece)
            return True
        if not self._was_given_up(events):
            return False
        if not self.told:
            if (begin := given_up(events)) > sent:
                self.exchange.write(events[sent:begin])
            if self.call is not None:
                self.call.abort()
            self.on_fail(UpstreamError(_GIVEN_UP))
        return True

    def _ended_early(self) -> bool:
        """Whether what is over was a stream without its last event; one of an announced length has that as its end."""
        judged = self.stream and self.status == 200 and not self.exchange.promised
        return judged and not has_ended(self._second_last + self._last)

    def _judge(self, status: int, problem: str) -> None:
        """End it, if what answers with this status has no answer for the client."""
        if status in self.dialect.back_pressure and self.look is not Look.NOTHING:
            self._end(AttemptOutcome.PRESSED, problem)
        elif not self._clients_own(status):
            self.faulty = True
            if self.look is Look.CONTENT:
                self._end(AttemptOutcome.FAULT, problem)

    def _clients_own(self, status: int) -> bool:
        """Whether it says something of the request, not of who answers."""
        if status in NO_CLIENTS_DOING or status in self.dialect.back_pressure:
            return False
        return status < 500 or status == NOT_IMPLEMENTED

    def _too_long(self, status: int, document: bytes) -> bool:
        """End it, if this error says that the request is longer than the engine's context."""
        sizes = self.look_for_length
        if sizes is None or not is_too_long(status, document, *sizes, self.dialect.too_long):
            return False
        self._end(AttemptOutcome.TOO_LONG, "longer than the engine's context")
        return True

    def _before_content(self, piece: bytes) -> None:
        held = self.held = self.held + piece if self.held else piece
        if self.stores and not self.stored and (found := _STORED.search(held)) is not None:
            self.stored = found[1].decode()
        error = error_status(held, self.stream) if self.status == 200 and self.look is not Look.NOTHING else 0
        if error:
            self._judge(error, f"it answered with an error in a 200 ({error})")
            if self.outcome is not None:
                return
        if self.look is Look.CONTENT:
            if error and self.stream:
                if self._too_long(error, held[held.index(b"{") :].partition(b"\n")[0]):
                    return
                self.held = b""
                self._begin(b"")
                self._error_within(held)
                return
            if self.stream and self._was_given_up(held):
                self._end(AttemptOutcome.FAULT, _GIVEN_UP)
                return
            self.status = error or self.status  # of a whole answer, the client is told that
            if not has_content(held) if self.stream else len(held) < HELD_BYTES:
                if self.call is not None:
                    self.call.heard = False  # pings, roles and half an answer buy no time
                return
        self.held = b""
        self._begin(held)

    def _error_within(self, piece: bytes, last: bool = False) -> None:
        """The stream goes on with an error: the client gets that event, and nothing that looks like a good end."""
        if self.look is Look.NOTHING:
            self.told = 500
            self.exchange.write(piece)  # a gateway's word, which ends its answer itself
            return
        if not self.told:
            self.held += piece
            events, sent = self._last + self.held, len(self._last)  # its first bytes may be among those that were sent
            end = error_end(events)
            if end > len(events) and not last and len(self.held) < HELD_BYTES:
                return
            self.told = error_status(events, stream=True) or 500
            self.exchange.write(events[sent:end])
        if (call := self.call) is not None:
            call.due = call.last = min(call.due, call.pool.listening.at(self._loop.time()) + _ENDING_SECONDS)
            call.heard = False

    def _error_over(self) -> None:
        """After an error that the client has been sent."""
        if self._clients_own(self.told):
            self._end(AttemptOutcome.ANSWERED)
        else:
            self._end(AttemptOutcome.BROKEN, "it broke off with an error of its own")

    @property
    def retry_after(self) -> float:
        """Seconds after which the upstream wants to be asked again; 0 where it does not say."""
        for name, _ in self.upstream_headers:
            if name.startswith(b"retry-after"):
                said = {key.decode("latin-1"): value.decode("latin-1") for key, value in self.upstream_headers}
                return asked_seconds(said, time.time()) or 0.0
        return 0.0

    def passed(self) -> Headers:
        """The upstream's headers that are for the client."""
        if self.look is Look.NOTHING:
            return end_to_end(self.upstream_headers, OWN_HEADERS, internal=True)
        return end_to_end(self.upstream_headers, REPLACED)

    def _begin(self, first: bytes) -> None:
        """The client hears of it: from here on there is no other way."""
        self.first = self._loop.time()
        if self.stream:
            self._last = first
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
        self.faulty = self.faulty or outcome is AttemptOutcome.FAULT or outcome is AttemptOutcome.BROKEN
        if not self.exchange.ended:
            self.exchange.on_lost = None
        if outcome in (AttemptOutcome.FAULT, AttemptOutcome.PRESSED, AttemptOutcome.TOO_LONG) and self.call is not None:
            self.call.abort()
        on_outcome, self.on_outcome = self.on_outcome, _over
        self.call = None  # which knows this attempt: a cycle would wait long for its collector
        on_outcome(self)


def _over(_: Attempt) -> None:
    """It has been told."""
