"""The sidecar: owns the slots of its engine, and is the only way in.

On the control port a gateway's request gets a slot or is refused at once. On the request port (the pool's own Service)
a client's request that finds no slot, or names another model, is handed to a gateway, once.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Final

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.names import PATH_REPORT, PATH_SLOTS, PATH_STATE
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import ReplicaState, SidecarReport, SlotReport, encode
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router import metrics
from forebay.router.access_log_writer import describe
from forebay.router.client_keys import allowed, time_allowed
from forebay.router.context import VERSION, Context, waits
from forebay.router.dialect import models
from forebay.router.dialect.answers import record_of, refusal, request_id
from forebay.router.dialect.pings import keep_open
from forebay.router.dialect.request import parse
from forebay.router.engine_adapters import EngineAdapters
from forebay.router.engine_monitor import EngineMonitor
from forebay.router.engine_request import EngineRequest, no_slot
from forebay.router.exposition import histogram
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import error, json_reply
from forebay.router.http.values import Request
from forebay.router.ids_in_flight import IdsInFlight
from forebay.router.large_bodies import LargeBodies
from forebay.router.placement.engine_slots import EngineSlots
from forebay.router.placement.prefill import read
from forebay.router.placement.slot_channel import SlotChannel
from forebay.router.placement.slotless import Slotless
from forebay.router.request_task import serve
from forebay.router.stored_responses import by_sidecar
from forebay.rules.dialect.body_size import SMALL_BYTES
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import ENDPOINTS, stored_response
from forebay.rules.engine_health import OVERDUE_SECONDS, allowance
from forebay.rules.listed_names import missing

DRAINED_POLL_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.5
STORED: Final = 65_536
"""Stored responses of the engine that are remembered."""


class Sidecar:
    """One replica's router."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.slots = EngineSlots(PoolEntry(name=context.settings.pool, served_names=()))
        self.admission = self.slots.admission
        self.offering = SlotChannel(self.admission, self._slot_report)
        self.engine = EngineMonitor(
            context.settings.engine,
            context.upstream,
            self._engine_changed,
            self._working,
            self._reading,
        )
        self.engine_ids = IdsInFlight()
        self.adapters = EngineAdapters(self.engine, self.engine_ids, self.admission, self._judge)
        self.unanswered: dict[EngineRequest, tuple[int, bool]] = {}
        """Requests without a first byte yet, the oldest first: tokens of the prompt, and whether it streams."""
        self.timeouts = context.settings.timeouts
        self.drain_began: float | None = None
        self.last_request = 0.0
        self.rng = random.Random()  # noqa: S311 - jitter
        self.without_slot = 0  # requests that are handed on, wait for a slot, or ask for a stored response
        self._bodies = LargeBodies(context)
        self._stored: OrderedDict[str, None] = OrderedDict()
        self.slotless = Slotless(self)
        context.table.on_change = self._table_changed

    @property
    def entry(self) -> PoolEntry:
        """What the routing table says of its pool."""
        return self.slots.entry

    @property
    def context_tokens(self) -> int | None:
        """The longest context: the pool's, else what the engine lists."""
        said = self.entry.context_tokens
        return self.engine.context if said is None else said

    # The request port: clients.

    def request_port(self, request: Request, exchange: Exchange) -> None:
        """A client, through the pool's own Service."""
        client = self.context.clients.of(request.fields)
        record = record_of(request, client.name)
        if models.answers(request.method, request.target):
            exchange.reply(models.reply(self.context, record, request.target))
            self.finish(request, exchange, record)
            return
        if stored_response(request.method, request.target):
            self.run_slotless(by_sidecar(self, request, exchange, record), request, exchange, record)
            return
        if request.target not in ENDPOINTS or request.method != "POST":
            self._refuse(request, exchange, record, 404, f"no {request.method} {request.target[:80]} here")
            return
        if len(request.body) > SMALL_BYTES:
            self._bodies.read(
                request,
                exchange,
                client,
                lambda parsed: self._begin(request, exchange, record, parsed),
                lambda problem: self._refuse(request, exchange, record, problem.status, str(problem)),
                lambda: self.finish(request, exchange, record),
            )
            return
        try:
            parsed = allowed(parse(request, client.name), client)
        except BadRequestError as problem:
            self._refuse(request, exchange, record, problem.status, str(problem))
            return
        self._begin(request, exchange, record, parsed)

    def _begin(self, request: Request, exchange: Exchange, record: AccessLogEntry, parsed: ParsedRequest) -> None:
        """A request that was read sets out."""
        describe(record, parsed.facts, parsed.stream)
        if parsed.stream and self.timeouts.ping:
            keep_open(exchange, record, parsed, self.timeouts.ping)
        size = self.slots.weight(parsed.facts.live_tokens, parsed.facts.sequences)
        if self.serves(parsed) and self.admission.admit(parsed.facts.priority, size):
            EngineRequest(self, request, exchange, record, size).serve(parsed, Reason.LOCAL_CAPACITY)
        else:
            end = (request.seen or asyncio.get_running_loop().time()) + self.time_allowed(parsed)
            self.run_slotless(self.slotless.serve(request, exchange, parsed, record, end), request, exchange, record)

    def run_slotless(
        self,
        work: Coroutine[Any, Any, bool],
        request: Request,
        exchange: Exchange,
        record: AccessLogEntry,
        *,
        control: bool = False,
    ) -> None:
        """Serve what holds no slot, or no more. A client's own request is written down here, unless `work` says that
        somebody else does."""

        def over(goes_on: bool) -> None:
            self.without_slot -= 1
            if not (goes_on or control):
                self.finish(request, exchange, record)

        self.without_slot += 1
        serve(self.context, exchange, record.path, work, over)

    def time_allowed(self, parsed: ParsedRequest) -> float:
        """Seconds that a client's request may take."""
        return time_allowed(parsed, self.timeouts.total)

    def _refuse(self, request: Request, exchange: Exchange, record: AccessLogEntry, status: int, text: str) -> None:
        """Refuse what never set out."""
        exchange.reply(refusal(record, status, Reason.INVALID_REQUEST, text))
        self.finish(request, exchange, record)

    def finish(self, request: Request, exchange: Exchange, record: AccessLogEntry) -> None:
        """A client's request was answered here, or it left: write it down."""
        record.status = exchange.status or 499
        seconds = asyncio.get_running_loop().time() - request.seen if request.seen else 0.0
        record.duration_ms = int(seconds * 1000)
        metrics.finished(record, seconds)
        self.context.usage.count(record, record.destination, seconds)
        self.context.log.write(record)

    def serves(self, parsed: ParsedRequest) -> bool:
        """Whether this pool can serve a request at all: its model, its task, its inputs, its length, its state."""
        facts, entry = parsed.facts, self.entry
        return (
            (not facts.names_a_model or (facts.model in entry.served_names and facts.model not in self._missing()))
            and (facts.task is entry.task or entry.task in facts.also)
            and facts.inputs.issubset(entry.inputs)
            and ((context := self.context_tokens) is None or facts.needed_tokens <= context)
            and (not facts.stored_state or parsed.previous in self._stored)
        )

    # The control port: gateways and the operator.

    def control_port(self, request: Request, exchange: Exchange) -> None:
        """A gateway or the operator, with the fleet's token."""
        if not self.context.token.admits(request):
            exchange.reply(error(401, "this port needs the fleet's token", Reason.UNAUTHORIZED))
        elif request.target in ENDPOINTS and request.method == "POST":
            self._from_gateway(request, exchange)
        elif request.target == PATH_REPORT:
            exchange.reply(json_reply(encode(self.report())))
        elif stored_response(request.method, request.target):
            record = AccessLogEntry(request_id=request_id(request), path=request.target)
            work = by_sidecar(self, request, exchange, record, control=True)
            self.run_slotless(work, request, exchange, record, control=True)
        elif request.target.startswith(PATH_STATE):
            known = self.stores(request.target.removeprefix(PATH_STATE))
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
        size = self.slots.weight(*_numbers(fields.get(_TOKENS)))
        prompt, count, streams = None, 0, False
        if words := fields.get(_PREFIX):  # before its slot is taken, so that the report of that tells of it
            session, count, streams = read(words)
            prompt = self.offering.prefill.begin(session, count, streams=streams)
        if self._admit(fields.get(_OFFER), Priority(fields.get(_PRIORITY, b"Normal").decode("latin-1")), size):
            record = AccessLogEntry(request_id=request_id(request), path=request.target, destination=self.entry.name)
            visit = EngineRequest(self, request, exchange, record, size, control=True)
            visit.prompt = prompt
            self.unanswered[visit] = count, streams
            visit.pass_on(request.body)
        else:
            if prompt is not None:
                prompt.given_up()
            exchange.reply(no_slot("Full" if self.admission.state is ReplicaState.SERVING else self.admission.state))

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
        self.context.spawn(self.engine.ask())
        self.context.spawn(self.adapters.keep())
        self.context.spawn(self._look_for_overdue())
        await self.engine.watch()

    async def _look_for_overdue(self) -> None:
        """Doubt an engine that lets a request wait too long for its first byte, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            oldest = next((visit for visit, (_, streams) in self.unanswered.items() if streams), None)
            if oldest is not None:
                patience = allowance(OVERDUE_SECONDS, self._reading())
                if loop.time() - oldest.begun > patience:
                    self.engine.doubt(oldest.request.target)

    def drain(self) -> None:
        """Take nothing new; what runs goes on."""
        if self.drain_began is None:
            self.drain_began = asyncio.get_running_loop().time()
        self.admission.become(ReplicaState.DRAINING)

    async def drained(self) -> None:
        """Until nothing runs or is read, or drainSeconds after the drain began."""
        self.drain()
        loop = asyncio.get_running_loop()
        end = (self.drain_began or loop.time()) + self.entry.drain_seconds
        while (self.admission.requests or self.without_slot or self._bodies.reading) and loop.time() < end:
            await asyncio.sleep(DRAINED_POLL_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return self.admission.state is ReplicaState.SERVING

    def remember(self, response: str) -> None:
        """The engine stores this response."""
        self._stored[response] = None
        if len(self._stored) > STORED:
            self._stored.popitem(last=False)

    def stores(self, response: str) -> bool:
        """Whether the engine has this response, as far as is known here."""
        return response in self._stored

    def forget(self, response: str) -> None:
        """The engine has it no more."""
        self._stored.pop(response, None)

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
            capacity=self.slots.slots_without_cut,
            admitted_total=a.admitted_total,
            finished_total=a.finished_total,
            refused_total=a.refused_total,
            service_seconds_total=round(a.service_seconds_total, 3),
            last_request=self.last_request,
            table_error=table.problem,
            engine=self.engine.report(),
            adapters=self.adapters.report(),
            engine_version=self.engine.version,
            usage=self.context.usage.report(),
            tokens=self.context.token.digests,
        )

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        pool = self.entry.name
        metrics.SLOTS.labels(pool).set(self.admission.slots)
        metrics.SLOTS_RUNNING.labels(pool).set(self.admission.running)
        dialect = self.engine.dialect
        per_token = histogram(self.engine.text, dialect.metrics.per_token, dialect.metrics.model_label)
        metrics.PER_TOKEN.values = {(dialect.provider, name, pool): it for name, it in per_token.items()}

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
            moving=self.engine.at_work(asyncio.get_running_loop().time()),
            names=self.adapters.names,
            context=self.engine.context or 0,
        )

    def _missing(self) -> tuple[str, ...]:
        """Names of the pool that this engine does not have."""
        return missing(self.entry.served_names, self.adapters.names)

    def _engine_changed(self) -> None:
        self.adapters.look()
        self._judge()

    def _judge(self) -> None:
        """What the engine is, and what it has, decides what is said of it. At first its adapters are waited for."""
        self.offering.soon()
        if self.engine.well and (self.adapters.tried or self.admission.state is ReplicaState.SERVING):
            self.admission.become(ReplicaState.SERVING)
        elif not self.engine.well and self.admission.state is ReplicaState.SERVING:
            self.admission.become(ReplicaState.STARTING)
        self.slots.resize(self.entry, self.engine.kv_tokens)

    def _table_changed(self, table: RoutingTable) -> None:
        mine = [pool for pool in table.pools if pool.name == self.context.settings.pool]
        if mine:
            entry = mine[0]
            self.engine.dialect = entry.dialect
            self.timeouts = entry.waits(self.context.settings.timeouts)
            self.context.upstream.waits = waits(self.timeouts)
            self.engine.patience = min(self.timeouts.first_token, self.timeouts.between_chunks)
            metrics.know(mine)
            self.engine.entry = entry
            self.adapters.look()
            self.offering.soon()
            self.slots.resize(entry, self.engine.kv_tokens)

    def _reading(self) -> int:
        """Prompt tokens that the engine may still be reading, at the pace of a slow one."""
        now = asyncio.get_running_loop().time()
        waiting = self.unanswered.items()
        return sum(tokens for visit, (tokens, _) in waiting if now - visit.begun < allowance(0.0, tokens))

    def _working(self) -> bool:
        return self.admission.requests > 0


_PRIORITY, _OFFER = names.PRIORITY.encode(), names.OFFER.encode()
_TOKENS, _PREFIX = names.LIVE_TOKENS.encode(), names.PREFIX.encode()


def _numbers(words: bytes | None) -> tuple[int, int]:
    """Live tokens and sequences of what a gateway sends; one slot is enough for what says nothing."""
    tokens, _, sequences = (words or b"").partition(b" ")
    return int(tokens[:12]) if tokens.isdigit() else 0, int(sequences[:12]) if sequences.isdigit() else 1
