"""The sidecar: owns the slots of its engine, and is the only way in.

On the control port a gateway's request gets a slot or is refused at once. On the request port (the pool's own Service)
a client's request that finds no slot, or names another model, is handed to a gateway, once.
"""

import asyncio
import random
from typing import Final

from forebay.resources import headers as names
from forebay.resources.names import PATH_REPORT, PATH_SLOTS, PORT_CONTROL
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import ReplicaState, SidecarReport, SlotReport, encode
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router import metrics
from forebay.router.access_log import Line
from forebay.router.admission import Admission
from forebay.router.answers import decision_headers, request_id
from forebay.router.context import VERSION, Context
from forebay.router.engine import Engine
from forebay.router.http.client import Address, UpstreamError
from forebay.router.http.message import (
    INTERNAL_PREFIX,
    Headers,
    Reply,
    Request,
    end_to_end,
    error,
    json_reply,
    request_head,
)
from forebay.router.http.server import Exchange
from forebay.router.offering import Offering
from forebay.router.relay import relay
from forebay.router.request import TASKS, Ask, BadRequestError, parse, with_model
from forebay.router.resolve import resolve
from forebay.rules.capacity import CapacityInputs, capacity
from forebay.rules.facts import AUTO_MODELS
from forebay.rules.queue import retry_after

LONGEST_LINE: Final = 16
"""Requests that wait at a sidecar that can reach no gateway."""
LINE_POLL_SECONDS: Final = 0.05
FIRST_TOKEN_SECONDS: Final = 120.0
TOTAL_SECONDS: Final = 600.0
BACK_PRESSURE: Final = frozenset({429, 503})
DRAINED_POLL_SECONDS: Final = 0.1


class Sidecar:
    """One replica's router."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.admission = Admission(capacity(CapacityInputs()).slots)
        self.offering = Offering(self.admission, self._slot_report)
        self.engine = Engine(context.settings.engine, context.upstream, self._engine_changed)
        self.entry = PoolEntry(name=context.settings.pool, served_names=())
        self.drain_began: float | None = None
        self.last_request = 0.0
        self._waiting = 0
        self.rng = random.Random()  # noqa: S311 - jitter
        context.table.on_change = self._table_changed

    # Requests.

    async def request_port(self, request: Request, exchange: Exchange) -> None:
        """A client, through the pool's own Service."""
        request.headers = [h for h in request.headers if not h[0].startswith(INTERNAL_PREFIX) or h[0] in _DOCUMENTED]
        if request.target == "/v1/models" and request.method == "GET":
            await self._pass(request, exchange, Line(request_id=request_id(request)), {}, control=False)
            return
        if request.target not in TASKS or request.method != "POST":
            exchange.reply(error(404, f"there is no {request.method} {request.target[:100]} here", "not_found"))
            return
        client = self.context.clients.of(request.header(b"authorization"))
        try:
            ask = parse(request, client.name)
        except BadRequestError as problem:
            exchange.reply(error(400, str(problem), Reason.INVALID_REQUEST))
            return
        priority = client.priority(ask.asked)
        line = _line(request, ask, client.name, priority)
        mine = ask.facts.model in AUTO_MODELS or ask.facts.model in self.entry.served_names
        if mine and self.admission.admit(priority):
            await self._serve_client(request, exchange, ask, line, Reason.LOCAL_CAPACITY)
        elif await self._hand_on(request, exchange, client.name, priority, line):
            return
        elif mine and await self._wait_for_slot(priority):
            await self._serve_client(request, exchange, ask, line, Reason.QUEUED)
        else:
            seconds = retry_after(self.admission.running, self._drain_rate(), self.rng)
            reply = error(429, "this replica is full and no gateway can be reached; try again", Reason.QUEUE_FULL)
            line.destination, line.reason = "none", Reason.QUEUE_FULL
            reply.headers += [(b"retry-after", b"%d" % seconds), *decision_headers(line)]
            exchange.reply(reply)

    async def _serve_client(self, request: Request, exchange: Exchange, ask: Ask, line: Line, reason: Reason) -> None:
        if self.entry.served_names:
            request.body = with_model(request.body, ask, self.entry.served_names[0])
        line.destination, line.reason = self.entry.name, reason
        waited = asyncio.get_running_loop().time() - (request.seen or self._loop_started)
        headers = decision_headers(line, waited if reason is Reason.QUEUED else 0.0)
        await self._serve(request, exchange, line, headers, control=False)

    async def _wait_for_slot(self, priority: Priority) -> bool:
        """With no gateway reachable: a short line of its own. True when a slot was taken."""
        if self._waiting >= LONGEST_LINE:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self.entry.queue.max_wait_seconds):
                while not self.admission.admit(priority):
                    await asyncio.sleep(LINE_POLL_SECONDS)
                return True
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    async def control_port(self, request: Request, exchange: Exchange) -> None:
        """A gateway or the operator, with the fleet's token."""
        if not self.context.token.admits(request):
            exchange.reply(error(401, "this port needs the fleet's token", Reason.UNAUTHORIZED))
        elif request.target == PATH_REPORT:
            exchange.reply(json_reply(encode(self.report())))
        elif request.target in TASKS and request.method == "POST":
            await self._from_gateway(request, exchange)
        else:
            exchange.reply(error(404, "unknown control path", "not_found"))

    async def _from_gateway(self, request: Request, exchange: Exchange) -> None:
        priority = Priority(request.header(names.PRIORITY.encode()) or Priority.NORMAL)
        line = Line(
            request_id=request_id(request),
            client=request.header(names.CLIENT.encode()) or "",
            path=request.target,
            priority=priority,
            destination=self.entry.name,
            reason=Reason.LOCAL_CAPACITY,
        )
        if self._admit(request, priority):
            await self._serve(request, exchange, line, [], control=True)
        else:
            exchange.reply(_full(self.admission.state))

    def _admit(self, request: Request, priority: Priority) -> bool:
        """The slot of the offer that this request takes, else any free one."""
        offer_id = request.header(names.OFFER.encode())
        if offer_id is not None and offer_id.isdecimal():
            offer = self.admission.admit_offered(int(offer_id))
            if offer is not None:
                metrics.OFFERS.labels("Admitted").inc()
                metrics.SLOT_IDLE.observe(asyncio.get_running_loop().time() - offer.since)
                return True
        return self.admission.admit(priority)

    async def _serve(
        self, request: Request, exchange: Exchange, line: Line, headers: Headers, *, control: bool
    ) -> None:
        """With a slot: pass the request to the engine, and give the slot back whatever happens."""
        metrics.ADMITTED.inc()
        loop = asyncio.get_running_loop()
        self.last_request = self.context.started + loop.time() - self._loop_started
        begun, served = loop.time(), False
        try:
            served = await self._pass(request, exchange, line, dict(headers), control=control)
        finally:
            self.admission.release(loop.time() - begun, served)
            line.duration_ms = int((loop.time() - (request.seen or begun)) * 1000)
            if not control:
                self.context.log.write(line)

    async def _pass(
        self, request: Request, exchange: Exchange, line: Line, headers: dict[bytes, bytes], *, control: bool
    ) -> bool:
        """Send to the engine and its answer back. True when the engine answered in full."""
        body = request.body
        head = request_head(request.method, request.target, self._to_engine(request, line, len(body)))
        try:
            response = await self.context.upstream.send(self.engine.address, head, body, FIRST_TOKEN_SECONDS)
        except UpstreamError as problem:
            exchange.reply(_failed(str(problem), control))
            line.status, line.problem = 502, str(problem)
            return False
        try:
            if response.status in BACK_PRESSURE and control:
                exchange.reply(_full(ReplicaState.SERVING))
                line.status = response.status
                return False
            done = await relay(response, exchange, list(headers.items()), FIRST_TOKEN_SECONDS, TOTAL_SECONDS)
        except UpstreamError as problem:
            exchange.reply(_failed(str(problem), control))
            line.status, line.problem = 502, str(problem)
            return False
        finally:
            response.close()
        line.status, line.problem = done.status, done.problem
        line.first_token_ms = int((done.first - (request.seen or done.first)) * 1000)
        return done.complete and done.status == 200

    def _to_engine(self, request: Request, line: Line, length: int) -> Headers:
        passed = [
            (key, value)
            for key, value in end_to_end(request.headers)
            if not key.startswith(INTERNAL_PREFIX) and key not in (b"host", b"authorization", b"content-length")
        ]
        return [
            (b"host", b"engine"),
            *passed,
            (b"x-request-id", line.request_id.encode()),
            (b"content-length", b"%d" % length),
        ]

    async def _hand_on(self, request: Request, exchange: Exchange, client: str, priority: Priority, line: Line) -> bool:
        """Pass a client's request to a gateway. False when none could be reached."""
        for address in await self._gateways():
            kept = [(k, v) for k, v in end_to_end(request.headers) if k not in _NOT_ON]
            headers = [
                *kept,
                (b"host", b"forebay"),
                self.context.token.header,
                (names.HOP.encode(), b"1"),
                (names.CLIENT.encode(), client.encode()),
                (names.PRIORITY.encode(), priority.encode()),
                (names.REQUEST_ID.encode(), line.request_id.encode()),
                (b"content-length", b"%d" % len(request.body)),
            ]
            head = request_head(request.method, request.target, headers)
            try:
                response = await self.context.upstream.send(address, head, request.body, TOTAL_SECONDS)
            except UpstreamError:
                continue
            try:
                await relay(response, exchange, [], FIRST_TOKEN_SECONDS, TOTAL_SECONDS)
                return True
            except UpstreamError:
                continue
            finally:
                response.close()
        return False

    async def _gateways(self) -> list[Address]:
        table = self.context.table.table
        addresses = await resolve(table.gateways, PORT_CONTROL, table.gateway_addresses)
        self.rng.shuffle(addresses)
        return addresses[:3]

    # State.

    async def run(self) -> None:
        """Watch the engine for ever."""
        self._loop_started = asyncio.get_running_loop().time()
        self.context.spawn(self.offering.run())
        await self.engine.watch()

    def upgrade(self, request: Request) -> asyncio.Protocol | None:
        """A gateway that asks for lines on the control port."""
        if request.target != PATH_SLOTS or not self.context.token.admits(request):
            return None
        return self.offering.open()

    _loop_started = 0.0

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
        while self.admission.running and loop.time() < end:
            await asyncio.sleep(DRAINED_POLL_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return self.admission.state is ReplicaState.SERVING

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
            admitted_total=a.admitted_total,
            finished_total=a.finished_total,
            refused_total=a.refused_total,
            service_seconds_total=round(a.service_seconds_total, 3),
            last_request=self.last_request,
            table_error=table.problem,
            engine=self.engine.report(),
        )

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        pool = self.entry.name
        metrics.SLOTS.labels(pool).set(self.admission.slots)
        metrics.SLOTS_RUNNING.labels(pool).set(self.admission.running)
        metrics.TABLE_GENERATION.set(self.context.table.table.generation)
        metrics.TABLE_REFUSED.set(self.context.table.refused_total)

    def _slot_report(self) -> SlotReport:
        a = self.admission
        return SlotReport(
            pool=self.entry.name,
            replica=self.context.settings.replica,
            state=a.state,
            slots=a.slots,
            running=a.running,
            free=a.free,
            free_high=a.free_high,
        )

    def _engine_changed(self) -> None:
        if self.engine.up:
            self.admission.become(ReplicaState.SERVING)
        elif self.admission.state is ReplicaState.SERVING:
            self.admission.become(ReplicaState.STARTING)
        self._resize()

    def _table_changed(self, table: RoutingTable) -> None:
        mine = [pool for pool in table.pools if pool.name == self.context.settings.pool]
        if mine:
            self.entry = mine[0]
            self._resize()

    def _resize(self) -> None:
        found = capacity(CapacityInputs(self.entry.slots_per_replica, self.entry.max_num_seqs, self.engine.kv_tokens))
        self.admission.resize(found.slots, self.entry.high_reserved_percent)

    def _drain_rate(self) -> float:
        a = self.admission
        mean = a.service_seconds_total / a.finished_total if a.finished_total else 0.0
        return a.slots / mean if mean else 0.0


_DOCUMENTED = frozenset(name.encode() for name in names.REQUEST_HEADERS)
_NOT_ON = frozenset({b"host", b"content-length", b"authorization", names.PRIORITY.encode(), names.REQUEST_ID.encode()})


def _line(request: Request, ask: Ask, client: str, priority: Priority) -> Line:
    return Line(
        request_id=request_id(request),
        client=client,
        method=request.method,
        path=request.target,
        model=ask.facts.model,
        priority=priority,
        capability=ask.facts.capability,
        stream=ask.stream,
        prompt_tokens=ask.facts.prompt_tokens,
    )


def _full(state: ReplicaState) -> Reply:
    word = "Full" if state is ReplicaState.SERVING else str(state)
    return error(503, "no slot here", "no_slot", [(names.SLOT.encode(), word.encode())])


def _failed(problem: str, control: bool) -> Reply:
    headers: Headers = [(names.SLOT.encode(), b"Failed")] if control else []
    headers.append((names.REASON.encode(), Reason.REPLICA_FAILED.encode()))
    return error(502, f"the engine did not answer: {problem}", "engine_unavailable", headers)
