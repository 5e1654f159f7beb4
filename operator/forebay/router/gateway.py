"""The gateway: the fleet's door. Takes requests in, sends each on its way, and says how things are."""

import asyncio
import random
from collections import OrderedDict
from typing import Final

from forebay.resources import headers as names
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.clients import Client
from forebay.resources.names import PATH_REPORT
from forebay.resources.options import proxies
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import GatewayReport, ReplicaState, SlotOffer, WaitingWord, encode
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router import metrics
from forebay.router.access_log_writer import describe
from forebay.router.attempt_result import LONGEST_PAUSE
from forebay.router.client_keys import ANONYMOUS, allowed
from forebay.router.cloud import CloudProviders
from forebay.router.cloud.budgets import GatewayBudgets
from forebay.router.context import VERSION, Context
from forebay.router.dialect import models
from forebay.router.dialect.answers import REQUEST_ID, record_of, refusal
from forebay.router.dialect.pings import keep_open
from forebay.router.dialect.request import parse
from forebay.router.http.cors import Cors
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import RETRY_SOON, error, json_reply, onward, onward_head
from forebay.router.http.values import Headers, Request
from forebay.router.large_bodies import LargeBodies
from forebay.router.placement.gateway_fleet import GatewayFleet
from forebay.router.placement.gateway_queue import GatewayQueue, SlotBinding
from forebay.router.placement.newcomers import Newcomers
from forebay.router.placement.pool_replicas import Replica
from forebay.router.placement.replicas import Replicas
from forebay.router.request_flow import RequestFlow
from forebay.router.request_task import serve
from forebay.router.stored_responses import Keepers, by_gateway
from forebay.router.wake_client import Wake
from forebay.rules.accounting import Accounting
from forebay.rules.addresses import networks
from forebay.rules.dialect.body_size import SMALL_BYTES
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import ENDPOINTS, stored_response
from forebay.rules.facts import PolicyView, RequestFacts
from forebay.rules.retry_after import retry_after
from forebay.rules.senders import Senders, body_digest, sender_at

RETURNING: Final = 4096
RETURN_SECONDS: Final = 120.0
"""How long the age of a client that was told to come back is kept."""


class Gateway:
    """One gateway process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.keepers = Keepers(self)
        self.replicas = Replicas(context, self._offered, self._word)
        self.waiting = GatewayQueue(self.replicas.tell)
        self.sleepers = Wake(context)
        options = context.settings.gateway
        self.budgets = GatewayBudgets(
            context.settings.budget_dir, context.settings.journal_dir,
            lambda: context.unix(asyncio.get_running_loop().time()), self.sleepers.ask_for_money,
        )  # fmt: skip
        self.cloud = CloudProviders(
            context.settings.providers_dir,
            networks(options.provider_networks),
            proxies=proxies(options.provider_proxies),
            budgets=self.budgets,
        )
        origins = context.settings.gateway.cors_origins
        self.cors = Cors(origins) if origins else None
        self.task_source = context.settings.gateway.task_source
        self.accounting = Accounting()
        self.senders = Senders()
        self.newcomers = Newcomers(self.replicas.slots)
        self.fleet = GatewayFleet(self.replicas, self.waiting)
        self.draining = False
        self.in_flight = 0
        self.rng = random.Random()  # noqa: S311 - jitter
        self._totals: dict[str, float] = {}  # longest time for a request that names a model
        self._longest = context.settings.timeouts.total  # and for any other
        self._pings: dict[str, float] = {}  # seconds until a stream that names a model is kept open; 0: it is not
        self._ping = 0.0  # and any other
        self._bodies = LargeBodies(context)
        self._returning: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        context.table.on_change = self._follow

    # Ports.

    def request_port(self, request: Request, exchange: Exchange) -> None:
        """A client. Its x-forebay headers count only where they are documented; the others never go further."""
        if self.cors is not None:
            exchange.added = self.cors.headers(request)
            if (preflight := self.cors.preflight(request)) is not None:
                exchange.reply(preflight)
                return
        self._serve(request, exchange, self.context.clients.of(request.fields))

    def control_port(self, request: Request, exchange: Exchange) -> None:
        """The operator, or a sidecar that hands a request on."""
        if not self.context.token.admits(request):
            exchange.reply(error(401, "this port needs the fleet's token", Reason.UNAUTHORIZED))
        elif request.target == PATH_REPORT:
            exchange.reply(json_reply(encode(self.report())))
        elif request.target in ENDPOINTS or stored_response(request.method, request.target):
            self._serve(request, exchange, self.context.clients.named(request.header(_CLIENT) or ""), handed_on=True)
        else:
            exchange.reply(error(404, "unknown control path", "not_found"))

    def _serve(self, request: Request, exchange: Exchange, client: Client, *, handed_on: bool = False) -> None:
        record = record_of(request, client.name)
        if models.answers(request.method, request.target):
            exchange.reply(models.reply(self.context, record, request.target, self.replicas.lost))
            record.status = exchange.status
            self.context.log.write(record)
            return
        if stored_response(request.method, request.target):
            if self._enter(exchange, record, client):
                work = by_gateway(self, request, exchange, record)
                serve(self.context, exchange, record.path, work, lambda _: self._gone(exchange, record, client))
            return
        if request.target not in ENDPOINTS or request.method != "POST":
            self._refuse(
                exchange, record, 404, Reason.INVALID_REQUEST, f"no {request.method} {request.target[:80]} here"
            )
            return
        if len(request.body) > SMALL_BYTES:
            if self._enter(exchange, record, client):
                self._bodies.read(
                    request,
                    exchange,
                    client,
                    lambda parsed: self._begin(request, exchange, client, record, parsed, handed_on),
                    lambda problem: self._refuse_body(exchange, record, problem, client),
                    lambda: self._gone(exchange, record, client),
                )
            return
        try:
            parsed = allowed(parse(request, client.name, self.task_source), client)
        except BadRequestError as problem:
            self._refuse_body(exchange, record, problem)
            return
        if self._enter(exchange, record, client):
            self._begin(request, exchange, client, record, parsed, handed_on)

    def _enter(self, exchange: Exchange, record: AccessLogEntry, client: Client) -> bool:
        """Count a request, unless its client has as many here as it may; `_leave` gives that back."""
        limit, running = client.max_in_flight, self.context.clients.in_flight
        count = running.get(client.name, 0)
        if limit is not None and count >= limit:
            text = f"client {client.name} has {limit} requests in flight already"
            self._refuse(exchange, record, 429, Reason.CLIENT_LIMIT, text, [RETRY_SOON])
            return False
        running[client.name] = count + 1
        self.in_flight += 1
        return True

    def _leave(self, client: Client) -> None:
        running = self.context.clients.in_flight
        self.in_flight -= 1
        running[client.name] -= 1
        if not running[client.name]:
            del running[client.name]

    def _begin(
        self,
        request: Request,
        exchange: Exchange,
        client: Client,
        record: AccessLogEntry,
        parsed: ParsedRequest,
        handed_on: bool,
    ) -> None:
        """A request that was counted and read sets out."""
        describe(record, parsed.facts, parsed.stream)
        flow = RequestFlow(self, request, exchange, parsed, record, client)
        if self._ping and parsed.stream and (every := self._pings.get(parsed.facts.model, self._ping)):
            keep_open(exchange, record, parsed, every)
        if handed_on:
            self._hand_over(flow)
        if self._returning:
            self._recall(flow)
        try:
            flow.begin()
        except BaseException:
            self.finish(flow)
            raise

    def _hand_over(self, flow: RequestFlow) -> None:
        """A request that a sidecar took in first: its sender, its age and the time left are the first router's."""
        now, fields = asyncio.get_running_loop().time(), flow.request.fields
        if flow.client is ANONYMOUS and (peer := fields.get(_PEER)):
            flow.sender = sender_at(peer.decode("latin-1"))
        age, left = fields.get(_AGE, b""), fields.get(_DEADLINE, b"")
        if age.isdigit():
            flow.course.since = now - int(age) / 1000
        if left.isdigit():
            flow.course.deadline = min(flow.course.deadline, now + int(left) / 1000)

    # What a request on its way asks for.

    def body_for(self, entry: PoolEntry, parsed: ParsedRequest, body: bytes) -> bytes:
        """What the client sent; where it left the model open, with the name that this pool's engine knows."""
        return with_model(body, parsed, entry.served_names[0]) if entry.served_names else body

    def head_for_sidecar(self, flow: RequestFlow, bound: SlotBinding, length: int, now: float) -> bytes:
        """The request's head on its way to a replica."""
        request, parsed, course = flow.request, flow.parsed, flow.course
        headers = onward(request)
        headers += [
            _HOST,
            self.context.token.header,
            (_PRIORITY, parsed.facts.priority.encode()),
            (_DEADLINE, b"%d" % max(1, int((course.deadline - now) * 1000))),
            (_TOKENS, _size(parsed.facts)),
            (_PREFIX, b"%d %d %d" % (course.session, parsed.facts.prompt_tokens, parsed.stream)),
            (REQUEST_ID, flow.record.request_id.encode()),
            (b"content-length", b"%d" % length),
        ]
        if bound.offer is not None:
            headers.append((_OFFER, b"%d" % bound.offer))
        return onward_head(request, headers)

    def longest(self, model: str) -> float:
        """Seconds that a request for this model may take at most: those of the most patient pool that serves it."""
        return self._totals.get(model, self._longest)

    def wake(self, pool: str) -> None:
        """A request wants this pool: where it has no replica, the operator is told."""
        found = self.replicas.pools.get(pool)
        if found is not None and not found.all:
            self.sleepers.ask(pool)

    def retry_after_headers(self, flow: RequestFlow, reason: Reason) -> Headers:
        """When to come back, drawn from the measured drain rate, soon after a fault; whoever does keeps its age."""
        pool, now = flow.course.pool, asyncio.get_running_loop().time()
        ahead = self.waiting.length(pool) if pool else 0
        faulty = reason is Reason.REPLICA_FAILED  # which says nothing of the queue
        rate = self.waiting.drained_per_second(pool) if pool and not faulty else 0.0
        self._returning[_identity(flow)] = (flow.course.since, now)
        if len(self._returning) > RETURNING:
            self._returning.popitem(last=False)
        seconds = max(retry_after(ahead, rate, self.rng), round(min(flow.course.held_off, LONGEST_PAUSE)))
        return [(b"retry-after", b"%d" % seconds)]

    def finish(self, flow: RequestFlow) -> None:
        """A request is over: count it and write it down."""
        record, exchange = flow.record, flow.exchange
        if flow.inside:
            self.newcomers.left(flow.client.name)
        self._leave(flow.client)
        seconds = asyncio.get_running_loop().time() - flow.course.arrived
        record.duration_ms = int(seconds * 1000)
        record.status = exchange.status or 499
        metrics.finished(record, seconds)
        self.context.usage.count(record, flow.course.pool or "", seconds)
        self.context.log.write(record)

    # Answers.

    def _refuse(
        self,
        exchange: Exchange,
        record: AccessLogEntry,
        status: int,
        reason: Reason,
        text: str,
        headers: Headers | None = None,
    ) -> None:
        """Refuse what never set out."""
        exchange.reply(refusal(record, status, reason, text, headers))
        metrics.finished(record, None)
        self.context.log.write(record)

    def _refuse_body(
        self, exchange: Exchange, record: AccessLogEntry, problem: BadRequestError, counted: Client | None = None
    ) -> None:
        self._refuse(exchange, record, problem.status, Reason.INVALID_REQUEST, str(problem))
        if counted is not None:
            self._leave(counted)

    def _gone(self, exchange: Exchange, record: AccessLogEntry, client: Client) -> None:
        """A request that was counted has ended, or its client has left, and it never set out."""
        self._leave(client)
        record.status = exchange.status or 499
        metrics.finished(record, None)
        self.context.log.write(record)

    # State.

    async def run(self) -> None:
        """Follow the replicas, and look after the providers, for ever."""
        self.context.spawn(self.cloud.run())
        if self.budgets.folder is not None:
            self.context.spawn(self.budgets.watch())
        await self.replicas.run()

    @property
    def ready(self) -> bool:
        """It has a table, and has heard from, or given up on, each replica."""
        return self.context.table.loaded and self.replicas.ready and not self.draining

    def report(self) -> GatewayReport:
        """For the operator."""
        table = self.context.table
        now = asyncio.get_running_loop().time()
        pools = [(entry.name, self.waiting.length(entry.name)) for entry in table.table.pools]
        heard = {name: self.replicas.heard(name, now) for name, _ in pools}
        return GatewayReport(
            replica=self.context.settings.replica,
            version=VERSION,
            started=self.context.started,
            generation=table.table.generation,
            hash=table.table.hash,
            ready=self.ready,
            pools=self.accounting.report(pools, heard),
            missing_keys=self.cloud.missing_keys(),
            provider_problems=self.cloud.problems(),
            table_error=table.problem or self.context.clients.problem or self.budgets.problem,
            account=self.budgets.account if self.budgets.folder is not None else "",
            budgets=self.budgets.report(),
            usage=self.context.usage.report(),
            tokens=self.context.token.digests,
        )

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        now = asyncio.get_running_loop().time()
        self.budgets.refresh_metrics()
        for gauge in (metrics.SLOTS, metrics.SLOTS_RUNNING, metrics.REPLICAS, metrics.QUEUE_LENGTH):
            gauge.clear()  # pools come and go
        for name, pool in self.replicas.pools.items():
            fresh = [replica for replica in pool.all.values() if replica.fresh(now)]
            _, slots, running = self.replicas.heard(name, now)
            metrics.SLOTS.labels(name).set(slots)
            metrics.SLOTS_RUNNING.labels(name).set(running)
            for state in ReplicaState:
                metrics.REPLICAS.labels(name, state).set(sum(r.state is state for r in fresh))
            for priority in Priority:
                metrics.QUEUE_LENGTH.labels(name, priority).set(self.waiting.count(name, priority))

    def _follow(self, table: RoutingTable) -> None:
        self.fleet.policies = {entry.name: PolicyView.of(entry) for entry in table.policies}
        self.cloud.follow(table.policies)
        self.waiting.follow(table.pools)
        self.replicas.follow(table)
        self._totals.clear()
        self._pings.clear()
        for pool in self.replicas.pools.values():
            ping = pool.timeouts.ping
            for name in pool.entry.served_names:
                self._totals[name] = max(pool.timeouts.total, self._totals.get(name, 0.0))
                self._pings[name] = _shortest(ping, self._pings.get(name, 0.0))
        self._longest = max(self._totals.values(), default=self.context.settings.timeouts.total)
        self._ping = _shortest(*self._pings.values())
        metrics.know(table.pools)

    def _offered(self, replica: Replica, offer: SlotOffer) -> None:
        self.waiting.offered(replica, offer)

    def _word(self, pool: str, replica: str) -> WaitingWord:
        return self.waiting.word(pool, replica)

    def _recall(self, flow: RequestFlow) -> None:
        """A client that was told to come back, and did, keeps the age of its first coming."""
        known = self._returning.pop(_identity(flow), None)
        if known is not None and flow.course.arrived - known[1] < RETURN_SECONDS:
            flow.course.since = min(flow.course.since, known[0])


def _shortest(*seconds: float) -> float:
    """The shortest of these times; 0 is none."""
    return min([each for each in seconds if each], default=0.0)


def _size(facts: RequestFacts) -> bytes:
    """Live tokens of a request, and its sequences when there are several."""
    tokens = b"%d" % facts.live_tokens
    return b"%s %d" % (tokens, facts.sequences) if facts.sequences > 1 else tokens


def _identity(flow: RequestFlow) -> bytes:
    """The same client with the same request; of a large body, as far as its length and its ends tell."""
    return body_digest(flow.request.body, flow.client.name.encode()[:64])


_HOST: Final = (b"host", b"sidecar")
_CLIENT, _PRIORITY, _OFFER = names.CLIENT.encode(), names.PRIORITY.encode(), names.OFFER.encode()
_AGE, _DEADLINE, _TOKENS = names.AGE_MS.encode(), names.DEADLINE_MS.encode(), names.LIVE_TOKENS.encode()
_PREFIX, _PEER = names.PREFIX.encode(), names.PEER.encode()
