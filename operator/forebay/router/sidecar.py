"""The sidecar: owns the slots of its engine, and is the only way in.

On the control port a gateway's request gets a slot or is refused at once. On the request port (the pool's own Service)
a client's request that finds no slot, or names another model, is handed to a gateway, once.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Final

from forebay.resources import headers as names
from forebay.resources.access_log import Line
from forebay.resources.names import PATH_REPORT, PATH_SLOTS, PATH_STATE
from forebay.resources.reasons import CapacityBound, Priority, Reason
from forebay.resources.report import ReplicaState, SidecarReport, SlotReport, encode
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router import metrics, models
from forebay.router.access_log import describe
from forebay.router.answers import decision_headers, line_of, refusal, request_id
from forebay.router.ask import Ask
from forebay.router.attempt import Attempt, Look, Outcome
from forebay.router.context import VERSION, Context
from forebay.router.engine import Engine, smallest
from forebay.router.exposition import TIME_PER_TOKEN, histogram
from forebay.router.handing import Gateways, too_late
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import HOP_BY_HOP, end_to_end, error, json_reply, request_head
from forebay.router.http.values import Headers, Reply, Request
from forebay.router.journey import allowed, time_allowed
from forebay.router.offering import Offering
from forebay.router.prefill import Prompt, read
from forebay.router.request import TASKS, BadRequestError, parse, session_of, with_model
from forebay.rules.admission import Admission
from forebay.rules.affinity import digest
from forebay.rules.capacity import (
    TYPICAL_TOKENS,
    Capacity,
    CapacityInputs,
    Learnt,
    capacity,
    slot_tokens,
    weight,
)
from forebay.rules.queue import retry_after
from forebay.rules.retry import patience

LONGEST_LINE: Final = 16
"""Requests that wait at a sidecar that can reach no gateway."""
LINE_POLL_SECONDS: Final = 0.05
CUT_SECONDS: Final = 60.0
"""How long an engine that said 429 or 503 gets no more than it ran then."""
DRAINED_POLL_SECONDS: Final = 0.1
STORED: Final = 65_536
"""Stored responses of the engine that are remembered."""


class Sidecar:
    """One replica's router."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.capacity = capacity(CapacityInputs())
        self.slots_without_cut = self.capacity.slots
        self.slot_tokens = TYPICAL_TOKENS
        self.admission = Admission(self.capacity.slots)
        self.offering = Offering(self.admission, self._slot_report)
        self.engine = Engine(context.settings.engine, context.upstream, self._engine_changed, self._working)
        self.entry = PoolEntry(name=context.settings.pool, served_names=())
        self.drain_began: float | None = None
        self.last_request = 0.0
        self.rng = random.Random()  # noqa: S311 - jitter
        self._waiting = 0
        self._cut: tuple[int, float] = (0, 0.0)  # slots, and loop time until when
        self._stored: OrderedDict[str, None] = OrderedDict()
        self.gateways = Gateways(context)
        context.table.on_change = self._table_changed

    # The request port: clients.

    def request_port(self, request: Request, exchange: Exchange) -> None:
        """A client, through the pool's own Service."""
        client = self.context.clients.of(request.fields.get(b"authorization"))
        line = line_of(request, client.name)
        if models.answers(request.method, request.target):
            exchange.reply(models.reply(self.context, line, request.target))
            self.finish(request, exchange, line)
            return
        if request.target not in TASKS or request.method != "POST":
            self._refuse(request, exchange, line, 404, f"no {request.method} {request.target[:80]} here")
            return
        try:
            ask = allowed(parse(request, client.name), client)
        except BadRequestError as problem:
            self._refuse(request, exchange, line, 400, str(problem))
            return
        describe(line, ask.facts, ask.stream)
        size = self.weight(ask.facts.live_tokens, ask.facts.sequences)
        if self.serves(ask) and self.admission.admit(ask.facts.priority, size):
            Visit(self, request, exchange, line, size).serve(ask, Reason.LOCAL_CAPACITY)
        else:
            end = (request.seen or asyncio.get_running_loop().time()) + self.time_allowed(ask)
            task = self.context.spawn(self._without_a_slot(request, exchange, ask, line, end))
            exchange.on_lost = task.cancel

    def time_allowed(self, ask: Ask) -> float:
        """Seconds that a client's request may take."""
        return time_allowed(ask, self.context.settings.timeouts.total)

    def _refuse(self, request: Request, exchange: Exchange, line: Line, status: int, text: str) -> None:
        """Refuse what never set out."""
        exchange.reply(refusal(line, status, Reason.INVALID_REQUEST, text))
        self.finish(request, exchange, line)

    def finish(self, request: Request, exchange: Exchange, line: Line) -> None:
        """A client's request was answered here, or it left: write it down."""
        line.status = exchange.status or 499
        seconds = asyncio.get_running_loop().time() - request.seen if request.seen else 0.0
        line.duration_ms = int(seconds * 1000)
        metrics.finished(line, seconds)
        self.context.usage.count(line, line.destination, seconds)
        self.context.log.write(line)

    def serves(self, ask: Ask) -> bool:
        """Whether this pool can serve a request at all: its model, its task, its inputs, its length, its state."""
        facts, entry = ask.facts, self.entry
        return (
            (facts.model in entry.served_names or not facts.names_a_model)
            and (facts.task is entry.task or facts.any_task)
            and facts.inputs.issubset(entry.inputs)
            and (entry.context_tokens is None or facts.needed_tokens <= entry.context_tokens)
            and (not facts.stored_state or ask.previous in self._stored)
        )

    async def _without_a_slot(self, request: Request, exchange: Exchange, ask: Ask, line: Line, end: float) -> None:
        try:
            if await self._hand_on(request, exchange, ask.facts.priority, line, end):
                return
            size = self.weight(ask.facts.live_tokens, ask.facts.sequences)
            if self.serves(ask) and await self._wait_for_slot(ask.facts.priority, size, end):
                Visit(self, request, exchange, line, size).serve(ask, Reason.QUEUED)
                return
            seconds = retry_after(self.admission.requests, self._drain_rate(), self.rng)
            text = "this replica is full and no gateway can be reached; try again"
            exchange.reply(refusal(line, 429, Reason.QUEUE_FULL, text, [(b"retry-after", b"%d" % seconds)]))
            self.finish(request, exchange, line)
        except asyncio.CancelledError:
            exchange.abort()

    async def elsewhere(self, request: Request, exchange: Exchange, line: Line, end: float, attempt: Attempt) -> None:
        """This engine failed before it answered a client: a gateway may know another."""
        try:
            if not await self._hand_on(request, exchange, Priority(line.priority or Priority.NORMAL), line, end):
                text = f"the engine did not answer: {attempt.problem}; try again"
                headers = [(b"retry-after", b"%d" % max(1, attempt.retry_after))]
                exchange.reply(refusal(line, 503, Reason.REPLICA_FAILED, text, headers))
                self.finish(request, exchange, line)
        except asyncio.CancelledError:
            exchange.abort()

    async def _hand_on(self, request: Request, exchange: Exchange, priority: Priority, line: Line, end: float) -> bool:
        """Whether a gateway has it, which then writes it down, or its time was over on the way."""
        handed = await self.gateways.hand_on(request, exchange, priority, line, end)
        if line.destination == "none":
            self.finish(request, exchange, line)
        return handed

    async def _wait_for_slot(self, priority: Priority, size: int, end: float) -> bool:
        """With no gateway reachable: a short line of its own. True when a slot was taken."""
        if self._waiting >= LONGEST_LINE:
            return False
        self._waiting += 1
        try:
            longest = asyncio.get_running_loop().time() + self.entry.queue.max_wait_seconds
            async with asyncio.timeout_at(min(longest, end)):
                while not self.admission.admit(priority, size):
                    await asyncio.sleep(LINE_POLL_SECONDS)
                return True
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    # The control port: gateways and the operator.

    def control_port(self, request: Request, exchange: Exchange) -> None:
        """A gateway or the operator, with the fleet's token."""
        if not self.context.token.admits(request):
            exchange.reply(error(401, "this port needs the fleet's token", Reason.UNAUTHORIZED))
        elif request.target in TASKS and request.method == "POST":
            self._from_gateway(request, exchange)
        elif request.target == PATH_REPORT:
            exchange.reply(json_reply(encode(self.report())))
        elif request.target.startswith(PATH_STATE):
            known = request.target.removeprefix(PATH_STATE) in self._stored
            exchange.reply(json_reply(b"{}") if known else error(404, "not stored here", Reason.STATE_NOT_FOUND))
        else:
            exchange.reply(error(404, "unknown control path", "not_found"))

    def upgrade(self, request: Request) -> asyncio.Protocol | None:
        """A gateway that asks for lines on the control port."""
        if request.target != PATH_SLOTS or not self.context.token.admits(request):
            return None
        return self.offering.open()

    def _from_gateway(self, request: Request, exchange: Exchange) -> None:
        fields = request.fields
        size = self.weight(*_numbers(fields.get(_TOKENS)))
        prompt = None
        if words := fields.get(_PREFIX):  # before its slot is taken, so that the report of that tells of it
            session, count, streams = read(words)
            prompt = self.offering.prefill.begin(session, count, streams=streams)
        if self._admit(fields.get(_OFFER), Priority(fields.get(_PRIORITY, b"Normal").decode("latin-1")), size):
            line = Line(request_id=request_id(request), path=request.target, destination=self.entry.name)
            visit = Visit(self, request, exchange, line, size, control=True)
            visit.prompt = prompt
            visit.pass_on(request.body)
        else:
            if prompt is not None:
                prompt.given_up()
            exchange.reply(_full("Full" if self.admission.state is ReplicaState.SERVING else self.admission.state))

    def _admit(self, offer_id: bytes | None, priority: Priority, size: int) -> bool:
        """The slot of the offer that this request takes, else any free one."""
        if offer_id is not None and offer_id.isdigit():
            offer = self.admission.admit_offered(int(offer_id), size)
            if offer is not None:
                metrics.OFFERS.labels("Admitted").inc()
                metrics.SLOT_IDLE.observe(asyncio.get_running_loop().time() - offer.since)
                return True
        return self.admission.admit(priority, size)

    # State.

    async def run(self) -> None:
        """Watch the engine for ever."""
        self.context.spawn(self.offering.run())
        await self.engine.watch()

    def weight(self, live_tokens: int, sequences: int) -> int:
        """Slots that a request takes."""
        return weight(live_tokens, self.capacity, self.slot_tokens, sequences)

    def drain(self) -> None:
        """Take nothing new; what runs goes on."""
        if self.drain_began is None:
            self.drain_began = asyncio.get_running_loop().time()
        self.admission.become(ReplicaState.DRAINING)

    async def drained(self) -> None:
        """Until nothing runs, or drainSeconds after the drain began."""
        self.drain()
        loop = asyncio.get_running_loop()
        end = (self.drain_began or loop.time()) + self.entry.drain_seconds
        while self.admission.requests and loop.time() < end:
            await asyncio.sleep(DRAINED_POLL_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return self.admission.state is ReplicaState.SERVING

    def cut(self) -> None:
        """The engine said that it has too much: for a minute, no more than runs now, without the one it refused."""
        loop = asyncio.get_running_loop()
        slots, until = self._cut
        running = max(1, self.admission.running)
        self._cut = (min(slots, running) if loop.time() < until else running, loop.time() + CUT_SECONDS)
        self._resize()
        loop.call_later(CUT_SECONDS + 0.1, self._resize)

    def remember(self, response: str) -> None:
        """The engine stores this response."""
        self._stored[response] = None
        if len(self._stored) > STORED:
            self._stored.popitem(last=False)

    def report(self) -> SidecarReport:
        """For the operator."""
        a, table = self.admission, self.context.table
        return SidecarReport(
            pool=self.entry.name,
            replica=self.context.settings.replica,
            version=VERSION,
            started=self.context.started,
            generation=table.table.generation,
            hash=table.table.hash,
            state=a.state,
            slots=a.slots,
            running=a.running,
            capacity=self.slots_without_cut,
            admitted_total=a.admitted_total,
            finished_total=a.finished_total,
            refused_total=a.refused_total,
            service_seconds_total=round(a.service_seconds_total, 3),
            last_request=self.last_request,
            table_error=table.problem,
            engine=self.engine.report(),
            usage=self.context.usage.report(),
            tokens=self.context.token.digests,
        )

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        pool = self.entry.name
        metrics.SLOTS.labels(pool).set(self.admission.slots)
        metrics.SLOTS_RUNNING.labels(pool).set(self.admission.running)
        per_token = histogram(self.engine.text, TIME_PER_TOKEN)
        metrics.PER_TOKEN.values = {(metrics.LOCAL_PROVIDER, name, pool): it for name, it in per_token.items()}

    def _slot_report(self, placed: tuple[tuple[int, int], ...]) -> SlotReport:
        a = self.admission
        return SlotReport(
            pool=self.entry.name,
            replica=self.context.settings.replica,
            state=a.state,
            slots=a.slots,
            running=a.running,
            free=a.free,
            free_high=a.free_high,
            ahead=self.offering.prefill.ahead,
            placed=placed,
        )

    def _engine_changed(self) -> None:
        if self.engine.up and not self.engine.stuck:
            self.admission.become(ReplicaState.SERVING)
        elif self.admission.state is ReplicaState.SERVING:
            self.admission.become(ReplicaState.STARTING)
        self._resize()

    def _table_changed(self, table: RoutingTable) -> None:
        mine = [pool for pool in table.pools if pool.name == self.context.settings.pool]
        if mine:
            self.entry = mine[0]
            self.engine.probe = smallest(self.entry)
            self._resize()

    def _working(self) -> bool:
        return self.admission.requests > 0

    def _resize(self) -> None:
        entry = self.entry
        kv_tokens, told = self.engine.kv_tokens, entry.learnt
        learnt = None if told is None else Learnt(told.slots, told.bound, told.kv_tokens)
        found = capacity(CapacityInputs(entry.slots_per_replica, entry.max_num_seqs, kv_tokens, learnt=learnt))
        self.slots_without_cut, self.slot_tokens = found.slots, slot_tokens(found, kv_tokens)
        slots, until = self._cut
        if until and asyncio.get_running_loop().time() < until:
            found = Capacity(min(found.slots, slots), CapacityBound.BACK_PRESSURE)
        self.capacity = found
        self.admission.resize(found.slots, entry.high_reserved_percent)

    def _drain_rate(self) -> float:
        a = self.admission
        mean = a.service_seconds_total / a.finished_total if a.finished_total else 0.0
        return a.slots / mean if mean else 0.0


class Visit:
    """One request at the engine, with its slots."""

    __slots__ = ("_loop", "ask", "begun", "control", "end", "exchange", "line", "prompt", "request", "side", "size")

    def __init__(
        self, side: Sidecar, request: Request, exchange: Exchange, line: Line, size: int, *, control: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.side = side
        self.request = request
        self.exchange = exchange
        self.line = line
        self.size = size
        self.control = control
        self.prompt: Prompt | None = None
        self.begun = self._loop.time()
        self.end = self.begun + side.context.settings.timeouts.total
        self.ask: Ask | None = None  # of a client's own request

    def serve(self, ask: Ask, reason: Reason) -> None:
        """A client's own request, with a slot."""
        entry = self.side.entry
        self.ask, self.end = ask, (self.request.seen or self.begun) + self.side.time_allowed(ask)
        self.line.destination, self.line.reason = entry.name, reason
        offering = self.side.offering
        if offering.heard:
            session = digest(session_of(ask))
            self.prompt = offering.prefill.begin(session, ask.facts.prompt_tokens, streams=ask.stream)
        body = self.request.body
        self.pass_on(with_model(body, ask, entry.served_names[0]) if entry.served_names else body)

    def pass_on(self, body: bytes) -> None:
        """Send it to the engine; its slots come back whatever happens."""
        side, request, now = self.side, self.request, self.begun
        side.last_request = side.context.unix(now)
        left = request.fields.get(_DEADLINE, b"") if self.control else b""
        if left.isdigit():
            self.end = min(self.end, now + int(left) / 1000)
        headers = end_to_end(request.headers, _NOT_TO_ENGINE)
        headers += _ENGINE
        if b"x-request-id" not in request.fields:
            headers.append((b"x-request-id", self.line.request_id.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        head = request_head(request.method, request.whole_target, headers)
        look = Look.PRESSURE if self.control else Look.CONTENT
        stores = request.target == "/v1/responses"
        attempt = Attempt(self.exchange, self._headers, self._done, look=look, stores=stores)
        seconds = self.end - now  # a gateway knows best how long it waits
        if self.ask is not None:
            seconds = patience(side.context.settings.timeouts.first_token, self.ask.facts, self.ask.stream, seconds)
        attempt.start(side.context.upstream, side.engine.address, head, body, seconds, self.end)

    def _headers(self) -> Headers:
        """Asked for with the first piece of the answer."""
        if self.prompt is not None:
            self.prompt.computed()
        if self.control:
            return []
        line = self.line
        waited = self._loop.time() - (self.request.seen or self.begun) if line.reason == Reason.QUEUED else 0.0
        return decision_headers(line, waited)

    def _done(self, attempt: Attempt) -> None:
        side, line, now = self.side, self.line, self._loop.time()
        outcome = attempt.outcome
        if self.prompt is not None:
            self.prompt.given_up()
        metrics.ADMITTED.inc(())
        served = outcome is Outcome.ANSWERED and attempt.status == 200
        side.admission.release(now - self.begun, served, self.size)
        if attempt.stored:
            side.remember(attempt.stored)
        if outcome is Outcome.PRESSED:
            side.cut()
        line.status, line.problem = attempt.status, attempt.problem
        if outcome in (Outcome.FAULT, Outcome.PRESSED, Outcome.REFUSED, Outcome.LATE) and not self.exchange.ended:
            self._failed(attempt)
        elif not self.control:
            if attempt.first:
                seconds = attempt.first - (self.request.seen or self.begun)
                line.first_token_ms = int(seconds * 1000)
                if attempt.stream and attempt.status == 200:
                    metrics.first_token(line, seconds)
            side.finish(self.request, self.exchange, line)

    def _failed(self, attempt: Attempt) -> None:
        """No answer: a gateway tries elsewhere; for a client's own request a gateway is asked to."""
        if self.control:
            words = {Outcome.PRESSED: "BackPressure", Outcome.LATE: "Late"}
            self.exchange.reply(_full(words.get(attempt.outcome or Outcome.FAULT, "Failed"), attempt.retry_after))
        elif attempt.outcome is Outcome.LATE:
            too_late(self.exchange, self.line)
            self.side.finish(self.request, self.exchange, self.line)
        else:
            task = self.side.context.spawn(
                self.side.elsewhere(self.request, self.exchange, self.line, self.end, attempt)
            )
            self.exchange.on_lost = task.cancel


_PRIORITY, _OFFER = names.PRIORITY.encode(), names.OFFER.encode()
_DEADLINE, _TOKENS, _PREFIX = names.DEADLINE_MS.encode(), names.LIVE_TOKENS.encode(), names.PREFIX.encode()
_NOT_TO_ENGINE = HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"cookie", b"accept-encoding"}
_ENGINE = ((b"host", b"engine"), (b"accept-encoding", b"identity"))  # tokens are looked for in the answer's bytes


def _numbers(words: bytes | None) -> tuple[int, int]:
    """Live tokens and sequences of what a gateway sends; one slot is enough for what says nothing."""
    tokens, _, sequences = (words or b"").partition(b" ")
    return int(tokens[:12]) if tokens.isdigit() else 0, int(sequences[:12]) if sequences.isdigit() else 1


def _full(word: str, retry_after: float = 0.0) -> Reply:
    headers = [(names.SLOT.encode(), word.encode())]
    if retry_after:
        headers.append((b"retry-after", b"%d" % retry_after))
    return error(503, "no slot here", "no_slot", headers)
