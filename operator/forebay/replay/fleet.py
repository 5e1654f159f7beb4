"""A fleet in simulated time. The rules decide, as in the routers: a request's lifecycle, its queue, slots, allowances.

What is left out: the network (a word arrives when it is said; what that costs is measured by `make bench-queue`),
faults, and clients that leave. A freed slot goes to the waiter that comes first over all gateways, which is what slot
offers bring about (rules/offers.py).
"""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from forebay.replay.clock import Clock
from forebay.replay.gateway import Gateway
from forebay.replay.nodes import Nodes
from forebay.replay.pools import Pool
from forebay.replay.replicas import Job, Replica
from forebay.replay.result import Fates
from forebay.replay.setup import FleetSetup
from forebay.replay.trace import TraceRequest
from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Capability, Reason
from forebay.rules.accounting import Accounting
from forebay.rules.affinity import digest
from forebay.rules.allowance import Allowance, Reservation
from forebay.rules.capacity import weight
from forebay.rules.dialect.prompt_content import CHARACTERS_PER_TOKEN
from forebay.rules.facts import USUAL_ANSWER_TOKENS, PolicyView, RequestFacts
from forebay.rules.lifecycle import Lifecycle
from forebay.rules.queue import Waiter, WaitQueue
from forebay.rules.spending import TokenUsage, price
from forebay.rules.steps import (
    AttemptOutcome,
    AttemptResult,
    Demand,
    Dispatch,
    ProviderResult,
    Reject,
    SendToProvider,
    Step,
    WaitForSlot,
)
from forebay.simulator.batch import Sequence

TOTAL_SECONDS = RouterTimeouts().total


@dataclass(slots=True, eq=False)
class PlayedRequest:
    """One request on its way."""

    number: int
    request: TraceRequest
    course: Lifecycle
    gateway: Gateway
    arrived: bool = False  # counted where it arrived
    waiter: Waiter | None = None
    line: WaitQueue | None = None

    @property
    def reason(self) -> Reason:
        """The rule's latest word."""
        assert self.course.decision is not None
        return self.course.decision.reason


class Fleet:
    """All of it; requests go in by `run`."""

    def __init__(self, setup: FleetSetup, seed: int = 0) -> None:
        self.setup = setup
        self.clock = Clock()
        self.fates = Fates()
        nodes = Nodes(setup.gpus)
        self.pools = {pool.name: Pool(pool, self.clock, nodes, exact=setup.exact) for pool in setup.pools}
        self.accounting = Accounting()  # the operator adds up what gateways count: one for all
        policies = {entry.name: PolicyView.of(entry) for entry in setup.policies}
        self.gateways = [Gateway(self.pools, policies) for _ in range(setup.gateways)]
        self.open = 0  # requests on their way
        self._more = False  # whether others are to come
        self._providers = {(policy.name, item.name): item for policy in setup.policies for item in policy.providers}
        self._waiting: dict[int, PlayedRequest] = {}
        self._ids = itertools.count(1)
        self._rng = random.Random(seed)  # noqa: S311 - sessions of those who have none
        capabilities = [capability for pool in setup.pools for capability in pool.entry.capabilities]
        self._usual = Capability.GENERAL if Capability.GENERAL in capabilities else capabilities[0]

    def run(self, requests: Iterable[TraceRequest]) -> Iterator[float]:
        """Play the requests to their end; yields the time after each event. Raises ValueError for a trace that is not
        in order."""
        coming = iter(requests)
        self._next(coming)
        while (self.open or self._more) and self.clock.step():
            for pool in self.pools.values():
                while pool.freed:
                    self._offer(pool, pool.freed.popitem()[0])
            yield self.clock.now

    def _next(self, coming: Iterator[TraceRequest]) -> None:
        request = next(coming, None)
        self._more = request is not None
        if request is not None:
            if request.at < self.clock.now:
                raise ValueError(f"the trace goes back in time at {request.at} s: sort it by time")
            self.clock.at(request.at, partial(self._arrive, request, coming))

    def _arrive(self, request: TraceRequest, coming: Iterator[TraceRequest]) -> None:
        self._next(coming)
        self.open += 1
        number = self.fates.begin(request)
        session = digest(request.session.encode()) if request.session else self._rng.getrandbits(64)
        facts = RequestFacts(
            model=request.model or "auto",
            priority=request.priority,
            capability=request.capability or self._usual,
            prompt_tokens=request.prompt,
            least_tokens=request.prompt,  # a trace has counted them
            max_tokens=request.max_tokens,
        )
        course = Lifecycle(facts, session, request.at, request.at + TOTAL_SECONDS)
        played = PlayedRequest(number, request, course, self.gateways[number % len(self.gateways)])
        self._carry(played, course.start(played.gateway, self.clock.now))

    def _carry(self, played: PlayedRequest, step: Step) -> None:
        """Do what the lifecycle says, until it has to wait for something."""
        following: Step | None = step
        while following is not None:
            following = self._take(played, following)

    def _take(self, played: PlayedRequest, step: Step) -> Step | None:
        self._count(played, step.demand)
        match step:
            case Dispatch(pool, replica):
                self._send(played, self.pools[pool].by_name[replica])
            case WaitForSlot():
                return self._wait(played, step)
            case SendToProvider():
                return self._to_provider(played, step)
            case Reject(status, reason):
                self._end(played, reason, status)
        return None

    def _count(self, played: PlayedRequest, demand: Demand) -> None:
        self.accounting.count(demand, self.clock.now)
        if not played.arrived and played.course.pool:
            played.arrived = True
            self.pools[played.course.pool].arrivals += 1

    # Local.

    def _send(self, played: PlayedRequest, replica: Replica) -> None:
        request, pool = played.request, replica.pool
        size = weight(played.course.facts.live_tokens, pool.found, pool.slot_tokens)
        sequence = Sequence(request.prompt, max(1, request.output), self.clock.now, request.blocks)
        known = played.course.session if request.session else None
        replica.take(Job(sequence, size, known, partial(self._served, played, replica)), request.priority)

    def _served(self, played: PlayedRequest, replica: Replica, job: Job, whole: bool) -> None:
        now, at, pool = self.clock.now, played.request.at, replica.pool.name
        outcome = AttemptOutcome.ANSWERED if whole else AttemptOutcome.BROKEN
        result = AttemptResult(outcome, pool, (replica.name, 0))
        self._count(played, played.course.attempt_ended(result, played.gateway, now).demand)
        if whole:
            first = job.first - at
            self._end(played, played.reason, 200, destination=pool, first_token=first, seconds=now - at)
        else:
            self._end(played, Reason.REPLICA_FAILED, 503)

    # Waiting.

    def _wait(self, played: PlayedRequest, step: WaitForSlot) -> Step | None:
        """Into its queue. The next step where there is no place."""
        course, request, pool = played.course, played.request, self.pools[step.pool]
        size = request.prompt * CHARACTERS_PER_TOKEN
        waiter = Waiter(
            next(self._ids), request.priority, course.since, step.deadline, size, step.prefers, step.away_penalty
        )
        line = played.gateway.line(step.pool, step.home)
        if not line.join(waiter):
            return course.queue_full(line.count(request.priority), played.gateway, self.clock.now)
        self._waiting[waiter.id] = played
        played.waiter, played.line = waiter, line
        pool.queued += 1
        for replica in pool.by_name.values():
            if replica.seen[1] > 0:
                pool.freed[replica] = None
        self.clock.at(step.reconsider_at, partial(self._wait_over, played, waiter, pool))
        return None

    def _wait_over(self, played: PlayedRequest, waiter: Waiter, pool: Pool) -> None:
        if played.waiter is waiter:
            self._leave(played, pool)
            self._carry(played, played.course.wait_over(played.gateway, self.clock.now))

    def _leave(self, played: PlayedRequest, pool: Pool) -> None:
        assert played.waiter is not None and played.line is not None
        played.line.leave(played.waiter.id)
        del self._waiting[played.waiter.id]
        played.waiter = played.line = None
        pool.queued -= 1

    def _offer(self, pool: Pool, replica: Replica) -> None:
        """Free slots go to those who wait, first come first."""
        now, a = self.clock.now, replica.admission
        while pool.queued and a.free_high > 0:
            best: Waiter | None = None
            for gateway in self.gateways:
                for line in (gateway.lines[pool.name], gateway.homes.get(replica.name)):
                    found = line.best(replica.name, now, a.free <= 0) if line else None
                    if found is not None and (best is None or _key(found, replica, now) < _key(best, replica, now)):
                        best = found
            if best is None:
                return
            played = self._waiting[best.id]
            self._leave(played, pool)
            self._carry(played, played.course.slot_granted(replica.name, now))

    # Providers.

    def _to_provider(self, played: PlayedRequest, step: SendToProvider) -> Step | None:
        """To the provider, or the next step where its limits are reached."""
        facts, now, target = played.course.facts, self.clock.now, step.target
        tokens = facts.prompt_tokens + (USUAL_ANSWER_TOKENS if facts.max_tokens is None else facts.max_tokens)
        allowance = played.gateway.allowance(target.policy, target.provider)
        if allowance.lack(self._providers[target.policy, target.provider], tokens, now) is not None:
            return played.course.provider_ended(ProviderResult(taken=False), played.gateway, now)
        place = allowance.take(tokens, now)
        seconds = self.setup.cloud.answer(played.request.output)
        self.clock.at(now + seconds, partial(self._answered, played, step, allowance, place, now))
        return None

    def _answered(
        self, played: PlayedRequest, step: SendToProvider, allowance: Allowance, place: Reservation, sent: float
    ) -> None:
        request, now = played.request, self.clock.now
        allowance.give_back(place, request.prompt + request.output)
        cost = price(TokenUsage(request.prompt, request.output), step.target.model)
        result = ProviderResult(taken=True, cost="" if cost is None else str(cost))
        self._count(played, played.course.provider_ended(result, played.gateway, now).demand)
        first, seconds = sent - request.at + self.setup.cloud.first_token, now - request.at
        self._end(played, step.reason, 200, destination=str(step.target), first_token=first, seconds=seconds)

    # Ends.

    def _end(
        self, played: PlayedRequest, reason: Reason, status: int, *,
        destination: str = "none", first_token: float = float("nan"), seconds: float = float("nan"),
    ) -> None:  # fmt: skip
        self.open -= 1
        self.fates.end(
            played.number, pool=played.course.pool or "", destination=destination, reason=reason, status=status,
            waited=played.course.waited, first_token=first_token, seconds=seconds,
        )  # fmt: skip


def _key(waiter: Waiter, replica: Replica, now: float) -> tuple[int, float]:
    return waiter.rank(now), waiter.due_at(replica.name)
