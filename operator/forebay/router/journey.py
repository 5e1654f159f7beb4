"""One request on its way through a gateway: decided by the rule, tried, and decided again with what was learnt.

Nearly every request goes the short way, by callbacks alone: one decision, one attempt, one answer. What has to wait,
to be tried elsewhere or to leave for a provider goes on as a coroutine.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from forebay.resources.reasons import Priority, Reason
from forebay.resources.terms import CloudUse, Tier
from forebay.router import metrics, trace
from forebay.router.access_log import Line
from forebay.router.accounting import LACK_OF_A_SLOT, REPEATED
from forebay.router.answers import decision_headers, refusal, sentence
from forebay.router.ask import Ask
from forebay.router.attempt import Attempt, Outcome
from forebay.router.clients import Client
from forebay.router.cloud import CloudError, Served
from forebay.router.http.client import Address
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import error
from forebay.router.http.values import Headers, Request
from forebay.router.replicas import PoolReplicas
from forebay.router.request import session_of
from forebay.router.waiting import Bound, choose
from forebay.rules import route as rule
from forebay.rules.affinity import Choice, digest, put_off
from forebay.rules.breaker import Outcome as Tried
from forebay.rules.facts import CloudTarget
from forebay.rules.queue import Waiter
from forebay.rules.retry import patience

if TYPE_CHECKING:
    from forebay.router.gateway import Gateway

MAX_TRIES: Final = 24
"""Places that one request is sent to; its waits are bounded by its deadline."""
MAX_FAILED: Final = 3
"""Places that may fail one request, or refuse it for back-pressure, before no replica is tried any more."""
MAX_SENT: Final = 4
"""Places that may fail it before none of any kind is tried: the other providers are left out."""
LONGEST_PAUSE: Final = 60.0
PAUSE_SECONDS: Final = 1.0
"""How long a replica whose engine said 429 or 503 without Retry-After is left alone."""
REFUSALS: Final = frozenset({"Full", "Draining", "Starting", "BackPressure", "Failed", "Late"})
"""Words of a sidecar that has no slot; they are a metric's label."""
RECONSIDER_SECONDS: Final = 1.0
"""A request that waits is decided anew so often: what was free elsewhere may be full now."""


class Journey:
    """State and steps of one request. Times are of the event loop, in seconds."""

    __slots__ = (
        "_loop",
        "_task",
        "arrived",
        "ask",
        "at_gap",
        "client",
        "deadline",
        "exchange",
        "excluded",
        "failed",
        "gate",
        "held_off",
        "home_waited",
        "line",
        "place",
        "pool",
        "request",
        "session",
        "since",
        "wait_until",
        "waited",
    )  # fmt: skip

    def __init__(
        self, gate: "Gateway", request: Request, exchange: Exchange, ask: Ask, line: Line, client: Client
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.gate = gate
        self.request = request
        self.exchange = exchange
        self.ask = ask
        self.session = digest(session_of(ask))
        self.line = line
        self.client = client
        self.arrived = request.seen or self._loop.time()
        self.since = self.arrived  # of its first coming, where it was told to come back
        self.deadline = self.arrived + time_allowed(ask, gate.context.settings.timeouts.total)
        self.at_gap = False  # it waits although no pool could serve it, as its policy says
        self.excluded: frozenset[Address] = frozenset()
        self.failed = 0  # replicas that failed it or were too busy
        self.held_off = 0.0  # seconds that an engine asked for
        self.home_waited = False
        self.place = 0
        self.pool: str | None = None  # that demand is counted at
        self.waited = 0.0
        self.wait_until: dict[str, float] = {}

    @property
    def priority(self) -> Priority:
        """What was asked for, as far as it is allowed."""
        return self.ask.facts.priority

    @property
    def repeated(self) -> bool:
        """Whether the client's library sends this for the second time: demand is counted once."""
        return self.request.fields.get(REPEATED, b"0") != b"0"

    def begin(self) -> None:
        """Set out: the short way where there is one."""
        if not self.ask.facts.stored_state:
            decision = self._decide()
            if isinstance(decision.destination, rule.Local):
                name = decision.destination.pool
                choice = self._choose(name)
                if choice.replica:
                    bound = Bound(self.gate.replicas.pools[name].by_name[choice.replica])
                    self._launch(bound).on_outcome = self._came_back
                    return
        self._go_on()

    def _came_back(self, attempt: Attempt) -> None:
        """The short way has come to its end."""
        if self._settle(attempt):
            self.gate.finish(self)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._task = self.gate.context.spawn(self._carry())
        self.exchange.on_lost = self._task.cancel

    async def _carry(self) -> None:
        """Decide, try, and decide again, until there is an answer."""
        try:
            if self.ask.facts.stored_state and not await self._find_keeper():
                return
            while self.line.tries < MAX_TRIES and self._loop.time() < self.deadline and not self.exchange.ended:
                if self._task is not None:
                    self.exchange.on_lost = self._task.cancel
                if await self._step():
                    return
            if not self.exchange.ended:
                late = self._loop.time() >= self.deadline
                if late and self.pool and self.ask.facts.waited and not self.at_gap:  # its own time ended in a line
                    self.asked()
                    self.gate.accounting.refused(self.pool, waited=True, repeated=self.repeated)
                text = "no replica could serve this request in time; try again"
                self.refuse(503, Reason.DEADLINE_EXCEEDED if late else Reason.REPLICA_FAILED, text, come_back=True)
        except asyncio.CancelledError:
            if not self.exchange.ended:  # not the client: this router ends
                self.exchange.abort()
        except Exception as problem:  # a bug must not leave a client hanging
            self._loop.call_exception_handler({"message": "a request failed", "exception": problem})
            self._broken()
        finally:
            self.gate.finish(self)

    def _broken(self) -> None:
        if self.exchange.started or self.exchange.ended:
            self.exchange.abort()
        else:
            self.exchange.reply(error(500, "forebay failed to answer this request", "internal_error"))

    async def _step(self) -> bool:
        """One decision and what follows. True when the client has its answer."""
        decision = self._decide()
        match decision.destination:
            case rule.Local(pool):
                bound = await self._bind(pool)
                return bound is not None and await self._local(bound)
            case rule.Cloud() as cloud:
                if await self._overflow(cloud, decision.reason):
                    return True
                self._learn(cloud_failed=True)
                return False
            case rule.Wait() as wait:
                self.at_gap = decision.reason is not Reason.QUEUED
                return await self._wait(wait)
            case rule.Refuse(status, pool):
                self._refuse_by_rule(status, pool, decision.reason)
                return True

    def _decide(self) -> rule.Decision:
        decision = rule.route(self.ask.facts, self.gate.view(self))
        self.line.reason, self.line.decision_inputs = decision.reason, decision.inputs
        return decision

    def _learn(self, **facts: bool | Reason) -> None:
        self.ask = msgspec.structs.replace(self.ask, facts=msgspec.structs.replace(self.ask.facts, **facts))

    # Local.

    def _choose(self, name: str) -> Choice:
        """A replica with a slot, or a home that is worth a wait."""
        pool, tokens = self.gate.replicas.pools[name], self.ask.facts.prompt_tokens
        return choose(pool, self.priority, self.session, tokens, self.excluded, self._loop.time(), not self.home_waited)

    async def _bind(self, name: str) -> Bound | None:
        """A replica with a slot: the session's home, after a short wait for it where its cached prefix is worth one."""
        choice = self._choose(name)
        if choice.home:
            self.home_waited = True
            until = min(self._loop.time() + choice.wait_seconds, self.deadline)
            with contextlib.suppress(OverflowError):
                found = await self.gate.waiting.wait(name, self._waiter(until), until, self.excluded, choice.home)
                if found is not None:
                    return found
            choice = self._choose(name)
        return Bound(self.gate.replicas.pools[name].by_name[choice.replica]) if choice.replica else None

    def _launch(self, bound: Bound) -> Attempt:
        """Send it to a replica."""
        gate, replica = self.gate, bound.replica
        pool = gate.replicas.pools[replica.pool]
        self.pool = self.line.destination = replica.pool
        self.line.tries += 1
        now = self._loop.time()
        pool.take(replica, bound.offer is not None, self.ask.facts.prompt_tokens, now)
        body = gate.body_for(pool.entry, self.ask, self.request.body)
        head = gate.head_for_sidecar(self, bound, len(body), now)
        look_for_length = not self.ask.facts.context_refused
        attempt = Attempt(self.exchange, self._headers, _nobody, look_for_length=look_for_length, bound=bound)
        first_seconds = patience(pool.first_token_seconds, self.ask.facts, self.ask.stream, self.deadline - now)
        attempt.start(gate.context.upstream, replica.address, head, body, first_seconds, self.deadline)
        return attempt

    async def _local(self, bound: Bound) -> bool:
        """Try one replica. True when the client has its answer, or is gone."""
        done: asyncio.Future[Attempt] = self._loop.create_future()
        self._launch(bound).on_outcome = lambda attempt: None if done.done() else done.set_result(attempt)
        return self._settle(await done)

    def _settle(self, attempt: Attempt) -> bool:
        """Learn from an attempt. True when the client has its answer, or is gone; else another way has to be found."""
        assert attempt.bound is not None
        replica, now = attempt.bound.replica, self._loop.time()
        pool = self.gate.replicas.pools.get(replica.pool)
        if attempt.outcome in (Outcome.ANSWERED, Outcome.BROKEN):
            self._served(attempt, pool, now)
            return True
        if attempt.outcome is Outcome.TOO_LONG:
            if pool is not None:
                pool.tried(replica, Tried.SUCCESS, now)
            self._learn(context_refused=True)
            return False
        if attempt.outcome is not Outcome.GONE:
            cause = attempt.problem if attempt.problem in REFUSALS else str(attempt.outcome)
            metrics.WASTED_TRIES.labels(replica.pool, cause).inc()
            if cause in ("Failed", Outcome.FAULT):
                return self._fault(attempt, now)
            if pool is not None:
                pool.refused(replica)
            if cause == Outcome.PRESSED:
                self._pressed(attempt, now)
            elif cause == Outcome.LATE:
                self.deadline = min(self.deadline, now)
        if pool is not None:
            pool.gave_up(replica)
        return self.exchange.ended

    def _served(self, attempt: Attempt, pool: PoolReplicas | None, now: float) -> None:
        """The client has had an answer, or the beginning of one."""
        assert attempt.bound is not None
        replica, line = attempt.bound.replica, self.line
        line.status, line.problem = attempt.status, attempt.problem
        if pool is not None:
            if attempt.late:
                pool.gave_up(replica)
            elif attempt.outcome is Outcome.BROKEN:
                pool.tried(replica, Tried.FAULT, now)
            else:
                first = attempt.first - self.arrived - self.waited if attempt.stream else None
                pool.answered(replica, first, now)
        self.gate.waiting.served(replica.pool)
        self.asked()
        self.answered(attempt.status, attempt.first)

    def _fault(self, attempt: Attempt, now: float) -> bool:
        """This replica failed before the first content byte: not it again, and not for ever."""
        assert attempt.bound is not None
        replica = attempt.bound.replica
        self.failed += 1
        self.excluded |= {replica.address}
        self.line.problem = attempt.problem[:200]
        pool = self.gate.replicas.pools.get(replica.pool)
        if pool is not None:
            pool.tried(replica, Tried.FAULT, now)
        if pool is not None and pool.retries.spend(now):
            if self.failed >= MAX_FAILED:
                self._learn(given_up=Reason.REPLICA_FAILED)
            return self.exchange.ended
        text = f"a replica of pool {replica.pool} failed before it answered ({attempt.problem}); try again"
        self.refuse(503, Reason.REPLICA_FAILED, text, come_back=True)
        return True

    def _pressed(self, attempt: Attempt, now: float) -> None:
        """The engine is alive and too busy: it is left alone for as long as it says, and others are tried."""
        assert attempt.bound is not None
        replica = attempt.bound.replica
        self.failed += 1
        self.held_off = max(self.held_off, attempt.retry_after)
        if (pool := self.gate.replicas.pools.get(replica.pool)) is not None:
            pool.tried(replica, Tried.BACK_PRESSURE, now, min(attempt.retry_after or PAUSE_SECONDS, LONGEST_PAUSE))
        if self.failed >= MAX_FAILED:
            self._learn(given_up=Reason.QUEUE_EXPIRED)

    async def _find_keeper(self) -> bool:
        """Stored state lives in one replica: nothing else will do. False when nobody has it (the client is told)."""
        keeper = await self.gate.keeper_of(self.ask.previous)
        if keeper is None:
            text = "no running replica has the stored response that previous_response_id names: send the input in full"
            self.refuse(404, Reason.STATE_NOT_FOUND, text)
            return False
        others = {replica.address for pool in self.gate.replicas.pools.values() for replica in pool.all.values()}
        self.excluded = frozenset(others - {keeper.address})
        return True

    # Waiting.

    async def _wait(self, wait: rule.Wait) -> bool:
        """Queue for the pool with the shortest line. True when the client has its answer."""
        begun, pools = self._loop.time(), self.gate.replicas.pools
        if wait.cold and self.failed:  # all that ran have failed it: no wait for others to start
            self._learn(given_up=Reason.REPLICA_FAILED)
            return False
        known = [name for name in wait.pools if name in pools]
        if not known:
            self._learn(waited=True)
            return False
        pool = min(known, key=lambda name: (self.gate.waiting.length(name), name))
        self.pool = pool
        queue = pools[pool].entry.queue
        allowed = queue.cold_start_wait_seconds if wait.cold else queue.max_wait_seconds
        if wait.cold and not self.at_gap:
            self.gate.wake(pool)
        until = min(self.wait_until.setdefault("cold" if wait.cold else "full", begun + allowed), self.deadline)
        if until <= begun:
            self._learn(waited=True)
            return False
        accounting = self.gate.accounting
        accounting.waits_at_gap(pool, int(self.at_gap))
        try:
            bound = await self.gate.waiting.wait(
                pool, self._waiter(until, pool), min(until, begun + RECONSIDER_SECONDS), self.excluded
            )
        except OverflowError as full:
            if not self.at_gap:
                self.asked()
                accounting.refused(pool, waited=False, repeated=self.repeated)
            self.refuse(429, Reason.QUEUE_FULL, str(full), come_back=True)
            return True
        finally:
            accounting.waits_at_gap(pool, -int(self.at_gap))
        self.waited += self._loop.time() - begun
        if bound is not None:
            metrics.QUEUE_WAIT.labels(pool).observe(self.waited)
            return await self._local(bound)
        if self._loop.time() >= until:
            self._learn(waited=True)  # the rule decides once more, knowing that the wait is over
        return False

    def _waiter(self, until: float, pool: str = "") -> Waiter:
        """Its place in a line; among equals the earliest end of the wait comes first, and a client that was told to
        come back keeps its age. Where any replica of `pool` will do, its home is preferred."""
        self.place = self.place or self.gate.waiting.new_id()
        size = len(self.request.body)
        home, late, replicas = "", 0.0, self.gate.replicas.pools.get(pool)
        if replicas is not None and replicas.among:
            home = replicas.sessions.homes(self.session, replicas.among, self._loop.time())[0]
            late = put_off(until - self.arrived)
        return Waiter(self.place, self.priority, self.since, until - (self.arrived - self.since), size, home, late)

    # Cloud.

    async def _overflow(self, cloud: rule.Cloud, reason: Reason) -> bool:
        """Send it to the first provider of the tier that takes it. False when none did."""
        counted = cloud.pool if reason in LACK_OF_A_SLOT else None
        self.pool = cloud.pool or self.pool
        accounting, line = self.gate.accounting, self.line
        most = MAX_FAILED if self.ask.facts.given_up is None else MAX_SENT  # a replica may still come after these
        sent = trace.context(self.request)
        for target in cloud.targets:
            if self.failed >= most:
                break
            line.tries += 1
            line.destination, line.reason = str(target), reason
            if counted:
                accounting.overflowed(counted, reason, self.repeated)
                self.gate.wake(counted)
            try:
                served = await self._leave(target, sent, final=cloud.pool is None and target is cloud.targets[-1])
            finally:
                if counted:
                    accounting.came_back(counted, line.cost_usd)
            if served is None:
                if counted:
                    accounting.not_overflowed(counted, reason, self.repeated)
                continue
            self.asked()
            line.status, line.problem = served.status, served.problem
            tier = "Primary" if cloud.tier is Tier.PRIMARY else "Secondary"
            metrics.OVERFLOW.labels(cloud.pool or "", tier, target.provider, target.model.name, reason).inc()
            self.answered(served.status, served.first)
            return True
        return False

    async def _leave(self, target: CloudTarget, trace: Headers, *, final: bool) -> Served | None:
        """Send it to one provider. None when that one did not take it, and another may."""
        line = self.line
        headers = decision_headers(line, self.waited)
        try:
            return await self.gate.cloud.send(
                target, self.ask, self.exchange, headers, line, self.deadline, final=final, trace=trace
            )
        except CloudError as problem:
            line.problem = str(problem)
            self.failed += problem.sent
            return None

    # Answers.

    def _headers(self) -> Headers:
        return decision_headers(self.line, self.waited)

    def _refuse_by_rule(self, status: int, pool: str | None, reason: Reason) -> None:
        self.pool = pool or self.pool
        contended = status in (429, 503)
        if contended and pool and reason is not Reason.REPLICA_FAILED:
            self.asked()
            self.gate.accounting.refused(pool, waited=self.ask.facts.waited, repeated=self.repeated)
        self.refuse(status, reason, sentence(reason, self.ask.facts), come_back=contended)

    def refuse(self, status: int, reason: Reason, text: str, *, come_back: bool = False) -> None:
        """Answer with an error; `come_back`: with the time after which there may be room."""
        headers = self.gate.come_back(self) if come_back else []
        self.exchange.reply(refusal(self.line, status, reason, text, headers))

    def asked(self) -> None:
        """Count it as demand, once."""
        if self.pool and not self.repeated:
            self.gate.accounting.asked(self.pool, self.gate.context.unix(self._loop.time()))

    def answered(self, status: int, first: float) -> None:
        """Note the time to the first content byte."""
        seconds = max(0.0, first - self.arrived)
        self.line.first_token_ms = int(seconds * 1000)
        if status == 200 and self.line.stream:
            metrics.first_token(self.line, seconds)


def time_allowed(ask: Ask, total: float) -> float:
    """Seconds from the first byte of a request to the last one of its answer."""
    return min(ask.timeout_seconds or total, total)


def allowed(ask: Ask, client: Client) -> Ask:
    """The request as far as its client may ask: priority and the cloud."""
    priority = client.priority(ask.asked)
    cloud = CloudUse.NEVER if CloudUse.NEVER in (client.cloud, ask.facts.cloud) else CloudUse.ALLOWED
    if priority is ask.facts.priority and cloud is ask.facts.cloud:
        return ask
    return msgspec.structs.replace(ask, facts=msgspec.structs.replace(ask.facts, priority=priority, cloud=cloud))


def _nobody(_: Attempt) -> None:
    """Set right after."""
