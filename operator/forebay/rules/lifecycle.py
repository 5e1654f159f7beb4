"""One request from its arrival to its answer, as a machine without I/O: no clock, no sockets, no metrics.

The driver asks `start` what to do, does it, and tells how it ended; each answer is the next step, until one is final
(Reject, Done). The gateway drives it with sockets (router), replay and the affinity bench with a simulated clock. What
is learnt on the way (a wait that is over, a replica that failed, a provider that did not take it) becomes facts, and
the rule decides again: rules/route.py stays the only place that says where a request goes.

Each step carries the demand that came up since the one before; the driver counts it. Every request ends in one final
step, is counted as asked at most once, is sent nowhere after its deadline and to at most MAX_SENT places that fail it.
Times are seconds of the driver's clock.
"""

from typing import Final

import msgspec

from forebay.resources.reasons import NO_MONEY, Priority, Reason
from forebay.rules import route as rule
from forebay.rules.affinity import away_penalty
from forebay.rules.facts import RequestFacts
from forebay.rules.steps import (
    Address,
    AttemptOutcome,
    AttemptResult,
    Demand,
    DemandEvent,
    DemandKind,
    Dispatch,
    Done,
    LiveFleet,
    LocateState,
    ProviderResult,
    Reject,
    SendToProvider,
    Step,
    WaitForSlot,
)

MAX_TRIES: Final = 24
"""Places that one request is sent to; its waits are bounded by its deadline."""
MAX_FAILED: Final = 3
"""Places that may fail one request, or refuse it for back-pressure, before no replica is tried any more."""
MAX_SENT: Final = 4
"""Places that may fail it before none of any kind is tried: the other providers are left out."""
RECONSIDER_SECONDS: Final = 1.0
"""A request that waits is decided anew so often: what was free elsewhere may be full now."""
LACK_OF_A_SLOT: Final = frozenset(
    {Reason.HIGH_PRIORITY_OVERFLOW, Reason.ALL_POOLS_FULL, Reason.CAPABLE_POOLS_FULL, Reason.QUEUE_EXPIRED,
     Reason.NO_REPLICAS}
)  # fmt: skip
"""Reasons that are demand for local capacity; gaps, faults and what is not portable are not."""
NOBODY: Final = frozenset({Reason.CLOUD_UNAVAILABLE, Reason.NO_REPLICAS, Reason.REPLICA_FAILED})
"""Reasons of a 503 that nobody was there for the request: then a provider's refusal is told. A replica that is merely
full has not refused it, and may take it when the client comes back."""


class Lifecycle:
    """One request's course.

    `session` is the digest of its session key, `arrived` when it came, `since` when its client first came with it (it
    may have been told to come back), `deadline` when its time is over, `previous` the stored response that it goes on
    from. `repeated`: the client's library sends it once more, so it is no new demand.
    """

    def __init__(
        self,
        facts: RequestFacts,
        session: int,
        arrived: float,
        deadline: float,
        *,
        previous: str = "",
        repeated: bool = False,
    ) -> None:
        self.facts = facts
        self.session = session
        self.arrived = arrived
        self.since = arrived
        self.deadline = deadline
        self.previous = previous
        self.repeated = repeated
        self.decision: rule.Decision | None = None  # the latest one
        self.excluded: frozenset[Address] = frozenset()  # replicas that it must not go to
        self.pool: str | None = None  # that its demand is counted at
        self.tries = 0  # places that it was sent to
        self.failed = 0  # replicas that failed it or were too busy, and providers that failed it
        self.refused = False  # by a provider: 4xx
        self.held_off = 0.0  # seconds that an engine asked for
        self.waited = 0.0  # seconds in queues
        self.home_waited = False
        self.at_gap = False  # it waits although no pool could serve it, as its policy says
        self._wait: WaitForSlot | None = None
        self._wait_began = 0.0
        self._ends: dict[bool, float] = {}  # of its waits, by whether that is a cold one
        self._cloud: rule.Cloud | None = None
        self._next_target = 0
        self._no_money: Reason | None = None  # what the tier's providers were passed over for
        self._too_dear = 0  # how many of them were
        self._left: str | None = None  # it is at a provider, for lack of a slot of this pool
        self._demand: list[DemandEvent] = []

    @property
    def priority(self) -> Priority:
        """What counts."""
        return self.facts.priority

    # What the driver tells.

    def start(self, fleet: LiveFleet, now: float) -> Step:
        """It has arrived."""
        if self.facts.stored_state:
            return LocateState(self.previous)
        return self._decide(fleet, now)

    def state_located(self, others: frozenset[Address] | None, fleet: LiveFleet, now: float) -> Step:
        """One replica alone stores what it goes on from: `others` must not have it. None: no replica does."""
        if others is None:
            text = "no running replica has the stored response that previous_response_id names: send the input in full"
            return self._reject(404, Reason.STATE_NOT_FOUND, text)
        self.excluded = others
        return self._decide(fleet, now)

    def slot_granted(self, replica: str, now: float) -> Dispatch:
        """This replica of the pool that it waited for holds a slot for it."""
        assert self._wait is not None
        pool = self._wait.pool
        self._leave_queue(now)
        return self._dispatch(pool, replica)

    def wait_over(self, fleet: LiveFleet, now: float) -> Step:
        """No slot came so far: the wait is over, or it is time to decide anew."""
        wait = self._wait
        assert wait is not None
        self._leave_queue(now)
        if self.facts.no_money is not None:  # there may be some by now
            self._learn(no_money=None)
        if not wait.home:
            if now >= wait.until:
                self._learn(waited=True)
        elif now < self.deadline and (choice := fleet.choose(wait.pool, self, now)).replica:
            return self._dispatch(wait.pool, choice.replica)
        return self._decide(fleet, now)

    def queue_full(self, waiting: int, fleet: LiveFleet, now: float) -> Step:
        """There was no place in the queue, where `waiting` of its priority wait."""
        wait = self._wait
        assert wait is not None
        if wait.home:
            return self.wait_over(fleet, now)
        self._leave_queue(now)
        if not self.at_gap:
            self._asked(DemandKind.REJECTED)
        text = f"{waiting} {self.priority} requests wait for pool {wait.pool} already"
        return self._reject(429, Reason.QUEUE_FULL, text, retry_after=True)

    def attempt_ended(self, result: AttemptResult, fleet: LiveFleet, now: float) -> Step:
        """The attempt at a replica is over."""
        outcome = result.outcome
        if outcome is AttemptOutcome.ANSWERED or outcome is AttemptOutcome.BROKEN:
            self._asked()
            return self._done()
        if outcome is AttemptOutcome.GONE:
            return self._done()
        if outcome is AttemptOutcome.FAULT:
            return self._fault(result, fleet, now)
        if outcome is AttemptOutcome.PRESSED:
            self.failed += 1
            self.held_off = max(self.held_off, result.retry_after)
            if self.failed >= MAX_FAILED:
                self._learn(given_up=Reason.QUEUE_EXPIRED)
        elif outcome is AttemptOutcome.TOO_LONG:
            self._learn(refused_by=self.facts.refused_by | {result.pool})
        elif outcome is AttemptOutcome.LATE:
            self.deadline = min(self.deadline, now)
        return self._decide(fleet, now)

    def provider_ended(self, result: ProviderResult, fleet: LiveFleet, now: float) -> Step:
        """The provider has answered the client, or did not take it."""
        overflowed = self._left is not None and not self.repeated
        pool = self._come_back(result.cost)
        if result.taken:
            self._asked()
            return self._done()
        if overflowed and pool is not None and self.decision is not None:
            self._note(DemandKind.NOT_OVERFLOWED, pool, self.decision.reason)
        if result.no_money is not None:
            self.tries -= 1
            self._too_dear += 1
            self._no_money = max(self._no_money or NO_MONEY[0], result.no_money, key=NO_MONEY.index)
        self.failed += result.sent
        self.refused = self.refused or result.refused
        return self._to_provider(now) or self._decide(fleet, now)

    def abandoned(self, now: float, cost: str = "") -> Done:
        """The client has left, or the driver ends: nothing stays counted as waiting or under way. `cost` as far as a
        provider has generated."""
        if self._wait is not None:
            self._leave_queue(now)
        self._come_back(cost)
        return self._done()

    # Decisions.

    def _decide(self, fleet: LiveFleet, now: float) -> Step:
        """Ask the rule until it names something to do: each round that does not has learnt a fact."""
        while self.tries < MAX_TRIES and now < self.deadline:
            decision = self.decision = rule.route(self.facts, fleet.view(self, now))
            step = self._carry_out(decision, fleet, now)
            if step is not None:
                return step
        return self._out_of_time(now)

    def _carry_out(self, decision: rule.Decision, fleet: LiveFleet, now: float) -> Step | None:
        match decision.destination:
            case rule.Local() as local:
                return self._to_replica(local.pool, fleet, now)
            case rule.Cloud() as cloud:
                self._cloud, self._next_target = cloud, 0
                self._no_money, self._too_dear = None, 0
                self.pool = cloud.pool or self.pool
                return self._to_provider(now)
            case rule.Wait() as wait:
                self.at_gap = decision.reason is not Reason.QUEUED
                return self._into_queue(wait, fleet, now)
            case rule.Refuse() as refusal:
                return self._refuse(refusal, decision.reason)

    def _learn(self, **facts: bool | Reason | frozenset[str] | None) -> None:
        self.facts = msgspec.structs.replace(self.facts, **facts)

    # Local.

    def _to_replica(self, pool: str, fleet: LiveFleet, now: float) -> Step | None:
        """To a replica with a slot, or into the queue of its session's home where its cached prefix is worth that."""
        choice = fleet.choose(pool, self, now)
        if choice.replica:
            return self._dispatch(pool, choice.replica)
        if choice.home:
            self.home_waited = True
            until = min(now + choice.wait_seconds, self.deadline)
            return self._queue(pool, choice.home, until, until, now)
        self.at_gap = False
        step = self._into_queue(rule.Wait((pool,)), fleet, now)  # the slot went to somebody else meanwhile
        if step is None:
            self._learn(given_up=Reason.QUEUE_EXPIRED)  # so that the rule does not name this pool again
        return step

    def _dispatch(self, pool: str, replica: str) -> Dispatch:
        self.pool = pool
        self.tries += 1
        return Dispatch(pool, replica, self._counted())

    def _fault(self, result: AttemptResult, fleet: LiveFleet, now: float) -> Step:
        """A replica failed before the first content byte: not it again, and others within the retry budget."""
        self.failed += 1
        self.excluded |= {result.address}
        if result.own_fault:
            self._learn(own_fault=True)
        if not result.final and fleet.may_retry(result.pool, now):
            if self.failed >= MAX_FAILED:
                self._learn(given_up=Reason.REPLICA_FAILED)
            return self._decide(fleet, now)
        text = f"a replica of pool {result.pool} failed before it answered ({result.problem}); try again"
        return self._reject(503, Reason.REPLICA_FAILED, text, retry_after=True)

    # Waiting.

    def _into_queue(self, wait: rule.Wait, fleet: LiveFleet, now: float) -> Step | None:
        """Queue for the pool with the shortest queue. None when there is nothing to wait for."""
        if wait.cold and self.failed:  # all that ran have failed it: no wait for others to start
            self._learn(given_up=Reason.REPLICA_FAILED, waited=self.facts.waited or self.at_gap)
            return None
        pools = [pool for pool in wait.pools if fleet.queue(pool) is not None]
        pool = min(pools, key=lambda name: (fleet.queued(name), name), default=None)
        bounds = None if pool is None else fleet.queue(pool)
        if pool is None or bounds is None:
            self._learn(waited=True)
            return None
        self.pool = pool
        if wait.cold and not self.at_gap:
            self._note(DemandKind.WANTED, pool)
        allowed = bounds.cold_start_wait_seconds if wait.cold else bounds.max_wait_seconds
        until = min(self._ends.setdefault(wait.cold, now + allowed), self.deadline)
        if until <= now:
            self._learn(waited=True)
            return None
        if self.at_gap:
            self._note(DemandKind.GAP_WAIT, pool)
        home = fleet.home(pool, self, now)
        return self._queue(pool, "", until, min(until, now + RECONSIDER_SECONDS), now, home)

    def _queue(
        self, pool: str, home: str, until: float, reconsider_at: float, now: float, prefers: str = ""
    ) -> WaitForSlot:
        """A client that was told to come back keeps its age in the order of the queue."""
        penalty = away_penalty(until - self.arrived) if prefers else 0.0
        deadline = until - (self.arrived - self.since)
        self._wait = WaitForSlot(pool, home, until, reconsider_at, deadline, prefers, penalty, self._counted())
        self._wait_began = now
        return self._wait

    def _leave_queue(self, now: float) -> None:
        wait, self._wait = self._wait, None
        if wait is not None and not wait.home:
            self.waited += now - self._wait_began
            if self.at_gap:
                self._note(DemandKind.GAP_WAIT_OVER, wait.pool)

    # Cloud.

    def _to_provider(self, now: float) -> Step | None:
        """The next provider of the tier; None when none is left, or enough have failed it."""
        cloud = self._cloud
        assert cloud is not None and self.decision is not None
        most = MAX_FAILED if self.facts.given_up is None else MAX_SENT  # a replica may still come after these
        spent = self.failed >= most or self.tries >= MAX_TRIES or now >= self.deadline
        if spent or self._next_target >= len(cloud.targets):
            if self._no_money is not None and self._too_dear == len(cloud.targets):
                self._learn(no_money=self._no_money)
            else:
                self._learn(cloud_failed=True)
            return None
        target = cloud.targets[self._next_target]
        self._next_target += 1
        self.tries += 1
        reason = self.decision.reason
        if cloud.pool is not None and reason in LACK_OF_A_SLOT:
            self._left = cloud.pool
            self._note(DemandKind.LEFT, cloud.pool)
            if not self.repeated:
                self._note(DemandKind.OVERFLOWED, cloud.pool, reason)
            self._note(DemandKind.WANTED, cloud.pool)
        return SendToProvider(target, cloud.tier, reason, cloud.pool, self._counted())

    def _come_back(self, cost: str) -> str | None:
        """It is at no provider any more; the pool that it had left for lack of a slot, if any."""
        pool, self._left = self._left, None
        if pool is not None:
            self._note(DemandKind.CAME_BACK, pool, None, cost)
        return pool

    # Ends.

    def _refuse(self, refusal: rule.Refuse, reason: Reason) -> Reject:
        """The rule's word. What was refused for lack of a slot is demand; what failed or fits nowhere is not."""
        status, pool = refusal.status, refusal.pool
        self.pool = pool or self.pool
        contended = status in (429, 503)
        if contended and pool and reason is not Reason.REPLICA_FAILED:
            self._asked(DemandKind.EXPIRED if self.facts.waited else DemandKind.REJECTED)
        return self._reject(status, reason, refusal.text, retry_after=contended)

    def _out_of_time(self, now: float) -> Reject:
        """Its time is over, or it was sent to enough places."""
        late = now >= self.deadline
        if late and self.pool and self.facts.waited and not self.at_gap:  # its own time ended in a queue
            self._asked(DemandKind.EXPIRED)
        text = "no replica could serve this request in time; try again"
        reason = Reason.DEADLINE_EXCEEDED if late else Reason.REPLICA_FAILED
        return self._reject(503, reason, text, retry_after=True)

    def _reject(self, status: int, reason: Reason, text: str = "", retry_after: bool = False) -> Reject:
        refused = self.refused and status == 503 and reason in NOBODY
        return Reject(status, reason, text, retry_after and not refused, refused, self._counted())

    def _done(self) -> Done:
        return Done(self._counted())

    # Demand.

    def _asked(self, refused: DemandKind | None = None) -> None:
        """Count it as demand, and why it was refused, if it was."""
        if self.pool and not self.repeated:
            self._note(DemandKind.ASKED, self.pool)
            if refused is not None:
                self._note(refused, self.pool)

    def _note(self, kind: DemandKind, pool: str, reason: Reason | None = None, cost: str = "") -> None:
        self._demand.append(DemandEvent(kind, pool, reason, cost))

    def _counted(self) -> Demand:
        """What came up since the last step."""
        if not self._demand:
            return ()
        demand = tuple(self._demand)
        self._demand.clear()
        return demand
