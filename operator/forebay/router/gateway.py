"""The gateway: the fleet's door. Decides by the rule, binds to a replica, queues, or sends to a provider."""

import asyncio
import contextlib
import random
import time
from dataclasses import replace
from typing import Final

import msgspec

from forebay.resources import headers as names
from forebay.resources.names import PATH_REPORT
from forebay.resources.policy import Tier
from forebay.resources.pool import CloudUse
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import GatewayReport, ReplicaState, SlotOffer, WaitingWord, encode
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router import metrics
from forebay.router.access_log import Line
from forebay.router.accounting import LACK_OF_A_SLOT, Accounting
from forebay.router.answers import REQUEST_ID, decision_headers, request_id, sentence
from forebay.router.clients import Client
from forebay.router.cloud import Cloud, CloudError
from forebay.router.context import VERSION, Context
from forebay.router.http.client import Response, UpstreamError
from forebay.router.http.message import (
    INTERNAL_PREFIX,
    Headers,
    Request,
    end_to_end,
    error,
    get,
    json_reply,
    request_head,
)
from forebay.router.http.server import Exchange
from forebay.router.relay import relay
from forebay.router.replicas import Replica, Replicas
from forebay.router.request import TASKS, Ask, BadRequestError, parse, with_model
from forebay.router.ticket import Ticket
from forebay.router.waiting import Bound, Waiting, choose
from forebay.rules import route as rule
from forebay.rules.facts import FleetView, PolicyView
from forebay.rules.queue import retry_after

TOTAL_SECONDS: Final = 600.0
FIRST_TOKEN_SECONDS: Final = 120.0
MAX_TRIES: Final = 24
"""Places that one request is sent to; its waits are bounded by its deadline."""
RECONSIDER_SECONDS: Final = 1.0
"""A request that waits is decided anew so often: what was free elsewhere may be full now."""
MAX_FAULTS: Final = 3
CONTEXT_LENGTH: Final = b"maximum context length"


class Gateway:
    """One gateway process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.replicas = Replicas(context, self._offered, self._word)
        self.waiting = Waiting(self.replicas.tell)
        self.cloud = Cloud(context.settings.providers_dir)
        self.accounting = Accounting()
        self.policies: dict[str, PolicyView] = {}
        self.draining = False
        self.in_flight = 0
        self.rng = random.Random()  # noqa: S311 - jitter
        context.table.on_change = self._follow

    # Ports.

    async def request_port(self, request: Request, exchange: Exchange) -> None:
        """A client. Undocumented x-forebay headers are dropped here: they mean something between routers only."""
        request.headers = [h for h in request.headers if not h[0].startswith(INTERNAL_PREFIX) or h[0] in _DOCUMENTED]
        client = self.context.clients.of(request.header(b"authorization"))
        await self._serve(request, exchange, client)

    async def control_port(self, request: Request, exchange: Exchange) -> None:
        """The operator, or a sidecar that hands a request on."""
        if not self.context.token.admits(request):
            exchange.reply(error(401, "this port needs the fleet's token", Reason.UNAUTHORIZED))
        elif request.target == PATH_REPORT:
            exchange.reply(json_reply(encode(self.report())))
        elif request.target in TASKS:
            client = self.context.clients.named(request.header(names.CLIENT.encode()) or "")
            await self._serve(request, exchange, client)
        else:
            exchange.reply(error(404, "unknown control path", "not_found"))

    async def _serve(self, request: Request, exchange: Exchange, client: Client) -> None:
        line = Line(request_id=request_id(request), client=client.name, method=request.method, path=request.target)
        if request.target == "/v1/models" and request.method in ("GET", "HEAD"):
            exchange.reply(json_reply(self._models(), headers=[(REQUEST_ID, line.request_id.encode())]))
            return
        if request.target not in TASKS or request.method != "POST":
            self._refuse(exchange, line, 404, Reason.INVALID_REQUEST, f"no {request.method} {request.target[:80]} here")
            return
        try:
            ask = parse(request, client.name)
        except BadRequestError as problem:
            self._refuse(exchange, line, 400, Reason.INVALID_REQUEST, str(problem))
            return
        limit, running = client.max_in_flight, self.context.clients.in_flight
        if limit is not None and running.get(client.name, 0) >= limit:
            headers: Headers = [(b"retry-after", b"1")]
            text = f"client {client.name} has {limit} requests in flight already"
            self._refuse(exchange, line, 429, Reason.CLIENT_LIMIT, text, headers)
            return
        running[client.name] = running.get(client.name, 0) + 1
        self.in_flight += 1
        try:
            await self._carry(self._ticket(request, exchange, ask, line, client))
        finally:
            self.in_flight -= 1
            running[client.name] -= 1
            self._finish(line, exchange, request)

    def _ticket(self, request: Request, exchange: Exchange, ask: Ask, line: Line, client: Client) -> Ticket:
        now = asyncio.get_running_loop().time()
        priority = client.priority(ask.asked)
        cloud = CloudUse.NEVER if CloudUse.NEVER in (client.cloud, ask.facts.cloud) else CloudUse.ALLOWED
        ask = replace(ask, facts=replace(ask.facts, priority=priority, cloud=cloud))
        line.model, line.priority, line.capability = ask.facts.model[:64], priority, ask.facts.capability
        line.stream, line.prompt_tokens = ask.stream, ask.facts.prompt_tokens
        arrived = request.seen or now
        deadline = arrived + min(ask.timeout_seconds or TOTAL_SECONDS, TOTAL_SECONDS)
        return Ticket(request, exchange, ask, line, priority, arrived, deadline)

    # The way of one request.

    async def _carry(self, ticket: Ticket) -> None:
        """Decide, try, and decide again with what was learnt, until there is an answer."""
        loop = asyncio.get_running_loop()
        while ticket.line.tries < MAX_TRIES and loop.time() < ticket.deadline:
            decision = rule.route(ticket.ask.facts, self._view(ticket))
            ticket.line.reason = decision.reason
            match decision.destination:
                case rule.Local(pool):
                    bound = await self._bind(pool, ticket)
                    if bound is not None and await self._local(ticket, pool, bound):
                        return
                case rule.Cloud() as cloud:
                    if await self._overflow(ticket, cloud, decision.reason):
                        return
                    ticket.ask = replace(ticket.ask, facts=replace(ticket.ask.facts, cloud_failed=True))
                case rule.Wait() as wait:
                    if await self._wait(ticket, wait):
                        return
                case rule.Refuse(status, pool):
                    self._refuse_by_rule(ticket, status, pool, decision.reason)
                    return
        text = "no replica could serve this request in time; try again"
        reason = Reason.DEADLINE_EXCEEDED if loop.time() >= ticket.deadline else Reason.REPLICA_FAILED
        self._refuse(ticket.exchange, ticket.line, 503, reason, text, self._come_back(ticket.pool))

    def _view(self, ticket: Ticket) -> FleetView:
        now = asyncio.get_running_loop().time()
        pools = tuple(
            self.replicas.view(
                pool,
                now,
                self.waiting.length(name),
                self.waiting.ahead_of(name, ticket.priority),
                ticket.excluded,
            )
            for name, pool in self.replicas.pools.items()
        )
        return FleetView(pools, self.policies)

    async def _bind(self, name: str, ticket: Ticket) -> Bound | None:
        """A replica with a slot: the session's home, after a short wait for it where its cached prefix is worth one."""
        pool = self.replicas.pools[name]
        now = asyncio.get_running_loop().time()
        bound = choose(pool, ticket, now)
        patience = 0.0 if ticket.home_waited else pool.sessions.patience(ticket.session, ticket.prompt_tokens, now)
        if bound is None or bound.replica.name in pool.sessions.homes(ticket.session, pool.among, now) or not patience:
            return bound
        ticket.home_waited = True
        home = pool.sessions.homes(ticket.session, pool.among, now)[0]
        with contextlib.suppress(OverflowError):
            waiter = ticket.waiter(self.waiting.new_id)
            found = await self.waiting.wait(name, waiter, min(now + patience, ticket.deadline), ticket.excluded, home)
            if found is not None:
                return found
        return choose(pool, ticket, asyncio.get_running_loop().time())

    async def _local(self, ticket: Ticket, pool: str, bound: Bound) -> bool:
        """Try one replica. True when the client has its answer; False when another way has to be found."""
        ticket.pool, ticket.line.destination = pool, pool
        request, replica = ticket.request, bound.replica
        body = self._body_for(pool, ticket)
        head = request_head(request.method, request.target, self._to_sidecar(ticket, len(body), bound.offer))
        replicas = self.replicas.pools[pool]
        replicas.take(replica, bound.offer is not None)
        ticket.line.tries += 1
        loop = asyncio.get_running_loop()
        left = ticket.deadline - loop.time()
        try:
            response = await self.context.upstream.send(replica.address, head, body, min(FIRST_TOKEN_SECONDS, left))
        except UpstreamError:
            return self._fault(ticket, replica)
        try:
            if self._slot_refused(ticket, response, replica):
                return False
            if response.status == 400 and await self._too_long(ticket, response):
                return False
            self.waiting.served(pool)
            replicas.sessions.serve(ticket.session, replica.name, replicas.among or (replica.name,), loop.time())
            self._asked(ticket)
            headers = decision_headers(ticket.line, ticket.waited_seconds)
            done = await relay(response, ticket.exchange, headers, min(FIRST_TOKEN_SECONDS, left), left)
        except UpstreamError:
            return self._fault(ticket, replica)
        finally:
            response.close()
        ticket.line.status, ticket.line.problem = done.status, done.problem
        self._first(ticket, pool, "local", done.first)
        return True

    def _slot_refused(self, ticket: Ticket, response: Response, replica: Replica) -> bool:
        word = get(response.headers, names.SLOT.encode())
        if word is None:
            return False
        cause = word.decode("latin-1")
        metrics.WASTED_TRIES.labels(replica.pool, cause).inc()
        self.replicas.pools[replica.pool].refused(replica)
        if cause == "Failed":
            self._fault(ticket, replica)
        return True

    async def _too_long(self, ticket: Ticket, response: Response) -> bool:
        """An engine's own context-length error becomes a gap, once. Other errors of the client are passed on."""
        if ticket.ask.facts.context_refused:
            return False
        await asyncio.wait((response.done,), timeout=2.0)
        if not any(CONTEXT_LENGTH in piece for piece in response.early):
            return False
        ticket.ask = replace(ticket.ask, facts=replace(ticket.ask.facts, context_refused=True))
        return True

    def _fault(self, ticket: Ticket, replica: Replica) -> bool:
        """This replica failed before the first content byte: not it again, and not for ever."""
        ticket.faults += 1
        ticket.excluded |= {replica.address}
        self.replicas.pools[replica.pool].refused(replica)
        metrics.WASTED_TRIES.labels(replica.pool, "Fault").inc()
        if ticket.faults < MAX_FAULTS:
            return False
        text = f"{ticket.faults} replicas of pool {replica.pool} failed before they answered; try again"
        headers = self._come_back(replica.pool)
        self._refuse(ticket.exchange, ticket.line, 503, Reason.REPLICA_FAILED, text, headers)
        return True

    async def _wait(self, ticket: Ticket, wait: rule.Wait) -> bool:
        """Queue for the pool with the shortest line. True when the client has its answer."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        entries = {entry.name: entry for entry in self.context.table.table.pools}
        names_ = [name for name in wait.pools if name in entries]
        if not names_:
            self._over(ticket)
            return False
        pool = min(names_, key=lambda name: (self.waiting.length(name), name))
        ticket.pool = pool
        queue = entries[pool].queue
        allowed = queue.cold_start_wait_seconds if wait.cold else queue.max_wait_seconds
        until = ticket.wait_until.setdefault("cold" if wait.cold else "full", begun + allowed)
        until = min(until, ticket.deadline)
        if until <= begun:
            self._over(ticket)
            return False
        try:
            waiter = ticket.waiter(self.waiting.new_id, until)
            bound = await self.waiting.wait(pool, waiter, min(until, begun + RECONSIDER_SECONDS), ticket.excluded)
        except OverflowError as full:
            self._asked(ticket)
            self.accounting.refused(pool, waited=False, repeated=ticket.repeated)
            headers = self._come_back(pool)
            self._refuse(ticket.exchange, ticket.line, 429, Reason.QUEUE_FULL, str(full), headers)
            return True
        ticket.waited_seconds += loop.time() - begun
        if bound is None:
            if loop.time() >= until:
                self._over(ticket)
            return False
        metrics.QUEUE_WAIT.labels(pool).observe(ticket.waited_seconds)
        return await self._local(ticket, pool, bound)

    def _over(self, ticket: Ticket) -> None:
        """The wait is over: the rule decides once more, knowing that."""
        ticket.ask = replace(ticket.ask, facts=replace(ticket.ask.facts, waited=True))

    async def _overflow(self, ticket: Ticket, cloud: rule.Cloud, reason: Reason) -> bool:
        """Send it to the first provider of the tier that takes it. False when none did."""
        counted = cloud.pool if reason in LACK_OF_A_SLOT else None
        ticket.pool = cloud.pool or ticket.pool
        for target in cloud.targets:
            line = ticket.line
            line.tries += 1
            line.destination, line.reason = str(target), reason
            headers = decision_headers(line, ticket.waited_seconds)
            if counted:
                self.accounting.overflowed(counted, reason, ticket.repeated)
            try:
                status, first = await self.cloud.send(target, ticket.ask, ticket.request, ticket.exchange, headers)
            except CloudError as problem:
                line.problem = str(problem)
                if counted:
                    self.accounting.not_overflowed(counted, reason, ticket.repeated)
                continue
            finally:
                if counted:
                    self.accounting.came_back(counted)
            self._asked(ticket)
            line.status, line.problem = status, ""
            tier = "Primary" if cloud.tier is Tier.PRIMARY else "Secondary"
            metrics.OVERFLOW.labels(cloud.pool or "", tier, target.provider, target.model.name, reason).inc()
            self._first(ticket, cloud.pool or "", "cloud", first)
            return True
        return False

    def _refuse_by_rule(self, ticket: Ticket, status: int, pool: str | None, reason: Reason) -> None:
        ticket.pool = pool or ticket.pool
        contended = status in (429, 503)
        if contended and pool:
            self._asked(ticket)
            self.accounting.refused(pool, waited=ticket.ask.facts.waited, repeated=ticket.repeated)
        headers = self._come_back(pool) if contended else []
        self._refuse(ticket.exchange, ticket.line, status, reason, sentence(reason, ticket.ask.facts), headers)

    # Answers.

    def _refuse(
        self, exchange: Exchange, line: Line, status: int, reason: Reason, text: str, headers: Headers | None = None
    ) -> None:
        line.reason, line.status, line.destination = reason, status, "none"
        reply = error(status, text, str(reason), [*(headers or []), *decision_headers(line, 0.0)])
        exchange.reply(reply)

    def _come_back(self, pool: str | None) -> Headers:
        ahead = self.waiting.length(pool) if pool else 0
        rate = self.waiting.drained_per_second(pool) if pool else 0.0
        return [(b"retry-after", b"%d" % retry_after(ahead, rate, self.rng))]

    def _body_for(self, pool: str, ticket: Ticket) -> bytes:
        """What the client sent; where it left the model open, with the name that this pool's engine knows."""
        entry = self.entry(pool)
        served = entry.served_names if entry else ()
        return with_model(ticket.request.body, ticket.ask, served[0]) if served else ticket.request.body

    def _to_sidecar(self, ticket: Ticket, length: int, offer: int | None) -> Headers:
        request, loop = ticket.request, asyncio.get_running_loop()
        passed = [
            (key, value)
            for key, value in end_to_end(request.headers)
            if not key.startswith(INTERNAL_PREFIX) and key not in _REPLACED
        ]
        left, age = ticket.deadline - loop.time(), loop.time() - ticket.arrived
        return [
            (b"host", b"sidecar"),
            *passed,
            self.context.token.header,
            (names.HOP.encode(), b"1"),
            (names.CLIENT.encode(), ticket.line.client.encode()),
            (names.PRIORITY.encode(), ticket.priority.encode()),
            (names.DEADLINE_MS.encode(), b"%d" % max(1, int(left * 1000))),
            (names.AGE_MS.encode(), b"%d" % max(0, int(age * 1000))),
            (REQUEST_ID, ticket.line.request_id.encode()),
            *([(names.OFFER.encode(), b"%d" % offer)] if offer is not None else []),
            (b"content-length", b"%d" % length),
        ]

    def _models(self) -> bytes:
        created = int(self.context.started)
        served = dict.fromkeys(name for pool in self.context.table.table.pools for name in pool.served_names)
        entries = [{"id": n, "object": "model", "created": created, "owned_by": "forebay"} for n in ("auto", *served)]
        return msgspec.json.encode({"object": "list", "data": entries})

    # Accounting.

    def _asked(self, ticket: Ticket) -> None:
        if ticket.pool and not ticket.repeated:
            self.accounting.asked(ticket.pool, time.time())

    def _first(self, ticket: Ticket, pool: str, kind: str, first: float) -> None:
        ticket.line.first_token_ms = int((first - ticket.arrived) * 1000)
        metrics.FIRST_TOKEN.labels(pool, kind).observe(max(0.0, first - ticket.arrived))

    def _finish(self, line: Line, exchange: Exchange, request: Request) -> None:
        seconds = asyncio.get_running_loop().time() - request.seen
        line.duration_ms = int(seconds * 1000)
        kind = "none" if line.destination in ("", "none") else "cloud" if "/" in line.destination else "local"
        pool = line.destination if kind == "local" else ""
        code = str(exchange.status or 499)
        line.status = exchange.status or 499
        metrics.REQUESTS.labels(pool, kind, line.reason, line.priority, line.capability, code).inc()
        if kind != "none":
            metrics.DURATION.labels(pool, kind).observe(seconds)
        self.context.log.write(line)

    def report(self) -> GatewayReport:
        """For the operator."""
        table = self.context.table
        pools = ((entry.name, self.waiting.length(entry.name)) for entry in table.table.pools)
        return GatewayReport(
            replica=self.context.settings.replica,
            version=VERSION,
            started=self.context.started,
            generation=table.table.generation,
            hash=table.table.hash,
            ready=self.ready,
            pools=self.accounting.report(pools),
            missing_keys=self.cloud.missing_keys(),
            table_error=table.problem or self.context.clients.problem,
        )

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        now = asyncio.get_running_loop().time()
        for entry in self.context.table.table.pools:
            fresh = [replica for replica in self.replicas.of(entry.name) if replica.fresh(now)]
            serving = [replica for replica in fresh if replica.state is ReplicaState.SERVING]
            metrics.SLOTS.labels(entry.name).set(sum(replica.slots for replica in serving))
            metrics.SLOTS_RUNNING.labels(entry.name).set(sum(replica.running for replica in serving))
            for state in ReplicaState:
                metrics.REPLICAS.labels(entry.name, state).set(sum(r.state is state for r in fresh))
            for priority in Priority:
                metrics.QUEUE_LENGTH.labels(entry.name, priority).set(self.waiting.count(entry.name, priority))
        metrics.TABLE_GENERATION.set(self.context.table.table.generation)
        metrics.TABLE_REFUSED.set(self.context.table.refused_total)

    # State.

    async def run(self) -> None:
        """Follow the replicas for ever."""
        await self.replicas.run()

    @property
    def ready(self) -> bool:
        """It has a table, and has heard from, or given up on, each replica."""
        return self.context.table.loaded and self.replicas.ready and not self.draining

    def _follow(self, table: RoutingTable) -> None:
        self.policies = {entry.name: PolicyView.of(entry) for entry in table.policies}
        self.cloud.follow(table.policies)
        self.waiting.follow(table.pools)
        self.replicas.follow(table)

    def _offered(self, replica: Replica, offer: SlotOffer) -> None:
        self.waiting.offered(replica, offer)

    def _word(self, pool: str, replica: str) -> WaitingWord:
        return self.waiting.word(pool, replica)

    def entry(self, pool: str) -> PoolEntry | None:
        """A pool of the table."""
        return next((entry for entry in self.context.table.table.pools if entry.name == pool), None)


_DOCUMENTED = frozenset(name.encode() for name in names.REQUEST_HEADERS)
_REPLACED = frozenset({b"host", b"content-length", b"authorization"})
