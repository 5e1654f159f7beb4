"""A fleet in simulated time. The rules decide, as in the routers: route, queue, affinity, allowance, capacity.

What is left out: the network (a word arrives when it is said; what that costs is measured by `make bench-queue`),
faults, and clients that leave. A freed slot goes to the waiter that comes first over all gateways, which is what slot
offers bring about (rules/offers.py).
"""

import itertools
import random
from collections.abc import Iterable, Iterator
from functools import partial

from forebay.replay.clock import Clock
from forebay.replay.journey import Gateway, Journey
from forebay.replay.nodes import Nodes
from forebay.replay.outcome import Fates
from forebay.replay.pools import Pool
from forebay.replay.replicas import Job, Replica
from forebay.replay.setup import FleetSetup
from forebay.replay.trace import Request
from forebay.resources.reasons import Capability, Reason
from forebay.router.journey import RECONSIDER_SECONDS
from forebay.router.request import CHARACTERS_PER_TOKEN
from forebay.rules import route as rule
from forebay.rules.accounting import LACK_OF_A_SLOT, Accounting
from forebay.rules.affinity import Choice, digest, put_off
from forebay.rules.allowance import Allowance, Place
from forebay.rules.capacity import weight
from forebay.rules.facts import TOTAL_SECONDS, USUAL_ANSWER_TOKENS, CloudTarget, FleetView, PolicyView, RequestFacts
from forebay.rules.queue import Line, Waiter
from forebay.rules.spending import Usage, price
from forebay.simulator.batch import Sequence


class Fleet:
    """All of it; requests go in by `run`."""

    def __init__(self, setup: FleetSetup, seed: int = 0) -> None:
        self.setup = setup
        self.clock = Clock()
        self.fates = Fates()
        nodes = Nodes(setup.gpus)
        self.pools = {pool.name: Pool(pool, self.clock, nodes, exact=setup.exact) for pool in setup.pools}
        self.accounting = Accounting()  # the operator adds up what gateways count: one for all
        self.policies = {entry.name: PolicyView.of(entry) for entry in setup.policies}
        self.gateways = [
            Gateway({pool.name: Line(pool.entry.queue.max_requests) for pool in setup.pools})
            for _ in range(setup.gateways)
        ]
        self.open = 0  # requests on their way
        self._more = False  # whether others are to come
        self._providers = {(policy.name, item.name): item for policy in setup.policies for item in policy.providers}
        self._places: dict[int, Journey] = {}
        self._ids = itertools.count(1)
        self._rng = random.Random(seed)  # noqa: S311 - sessions of those who have none
        capabilities = [capability for pool in setup.pools for capability in pool.entry.capabilities]
        self._usual = Capability.GENERAL if Capability.GENERAL in capabilities else capabilities[0]

    def run(self, requests: Iterable[Request]) -> Iterator[float]:
        """Play the requests to their end; yields the time after each event. Raises ValueError for a trace that is not
        in order."""
        coming = iter(requests)
        self._next(coming)
        while (self.open or self._more) and self.clock.step():
            for pool in self.pools.values():
                while pool.freed:
                    self._offer(pool, pool.freed.popitem()[0])
            yield self.clock.now

    def _next(self, coming: Iterator[Request]) -> None:
        request = next(coming, None)
        self._more = request is not None
        if request is not None:
            if request.at < self.clock.now:
                raise ValueError(f"the trace goes back in time at {request.at} s: sort it by time")
            self.clock.at(request.at, partial(self._arrive, request, coming))

    def _arrive(self, request: Request, coming: Iterator[Request]) -> None:
        self._next(coming)
        self.open += 1
        number = self.fates.begin(request)
        gateway = self.gateways[number % len(self.gateways)]
        session = digest(request.session.encode()) if request.session else self._rng.getrandbits(64)
        facts = RequestFacts(
            model=request.model or "auto",
            priority=request.priority,
            capability=request.capability or self._usual,
            prompt_tokens=request.prompt,
            max_tokens=request.max_tokens,
        )
        self._decide(Journey(number, request, facts, gateway, session))

    # Decisions, as a gateway takes them (router/journey.py).

    def _decide(self, journey: Journey) -> None:
        while True:
            if self.clock.now >= journey.request.at + TOTAL_SECONDS:
                if journey.pool and journey.facts.waited and not journey.at_gap:
                    self.accounting.asked(journey.pool, self.clock.now)
                    self.accounting.refused(journey.pool, waited=True, repeated=False)
                self._end(journey, Reason.DEADLINE_EXCEEDED, 503)
                return
            decision = rule.route(journey.facts, self._view(journey))
            journey.reason = decision.reason
            match decision.destination:
                case rule.Local(pool):
                    done = self._local(journey, self.pools[pool])
                case rule.Wait(pools, cold):
                    journey.at_gap = decision.reason is not Reason.QUEUED
                    done = self._wait(journey, pools, cold)
                case rule.Cloud() as cloud:
                    done = self._overflow(journey, cloud)
                    if not done:
                        journey.learn(cloud_failed=True)
                case rule.Refuse(status, pool):
                    self._refuse(journey, decision.reason, status, pool)
                    done = True
            if done:
                return

    def _view(self, journey: Journey) -> FleetView:
        priority, now, lines = journey.request.priority, self.clock.now, journey.gateway.lines
        views = []
        for name, pool in self.pools.items():
            line = lines[name]
            queued = len(line)
            views.append(pool.view(queued, line.ahead_of(priority, now) if queued else 0))
        return FleetView(tuple(views), self.policies)

    def _asked_of(self, journey: Journey, pool: str) -> None:
        """The pool that this request is counted at; its first one is where it arrived."""
        if not journey.pool:
            self.pools[pool].arrivals += 1
        journey.pool = pool

    # Local.

    def _local(self, journey: Journey, pool: Pool) -> bool:
        """To a replica with a slot, or into the line of its session's home where that is worth a wait."""
        self._asked_of(journey, pool.name)
        choice = self._choose(journey, pool)
        if choice.replica:
            self._send(journey, pool.by_name[choice.replica])
            return True
        if not choice.home:
            return False
        now = self.clock.now
        journey.home_waited = True
        until = min(now + choice.wait_seconds, journey.request.at + TOTAL_SECONDS)
        line = journey.gateway.homes.setdefault(choice.home, Line(pool.setup.entry.queue.max_requests))
        if not self._join(journey, pool, line, until):
            return False
        self.clock.at(until, partial(self._home_over, journey, journey.place, pool))
        return True

    def _choose(self, journey: Journey, pool: Pool) -> Choice:
        now = self.clock.now
        pool.hear(now)
        return pool.sessions.choose(
            journey.session,
            journey.request.prompt,
            pool.among,
            pool.free_of(journey.request.priority),
            pool.ahead_of,
            now,
            not journey.home_waited,
        )

    def _home_over(self, journey: Journey, place: Waiter | None, pool: Pool) -> None:
        if journey.place is not place:
            return
        self._leave(journey, pool)
        choice = self._choose(journey, pool) if pool.among else None
        if choice is not None and choice.replica:
            self._send(journey, pool.by_name[choice.replica])
        else:
            self._decide(journey)

    def _send(self, journey: Journey, replica: Replica) -> None:
        request, pool = journey.request, replica.pool
        size = weight(journey.facts.live_tokens, pool.found, pool.slot_tokens)
        sequence = Sequence(request.prompt, max(1, request.output), self.clock.now, request.blocks)
        known = journey.session if request.session else None
        replica.take(Job(sequence, size, known, partial(self._served, journey, pool.name)), request.priority)

    def _served(self, journey: Journey, pool: str, job: Job, whole: bool) -> None:
        now, at = self.clock.now, journey.request.at
        self.accounting.asked(pool, now)
        if whole:
            first = job.first - at
            self._end(journey, journey.reason, 200, pool, destination=pool, first_token=first, seconds=now - at)
        else:
            self._end(journey, Reason.REPLICA_FAILED, 503, pool)

    # Waiting.

    def _wait(self, journey: Journey, pools: tuple[str, ...], cold: bool) -> bool:
        """Into the shortest line. False when its wait is over already."""
        now, lines = self.clock.now, journey.gateway.lines
        name = min(pools, key=lambda pool: (len(lines[pool]), pool))
        self._asked_of(journey, name)
        pool = self.pools[name]
        queue = pool.setup.entry.queue
        allowed = queue.cold_start_wait_seconds if cold else queue.max_wait_seconds
        until = min(journey.until.setdefault(cold, now + allowed), journey.request.at + TOTAL_SECONDS)
        if until <= now:
            journey.learn(waited=True)
            return False
        if self._join(journey, pool, lines[name], until):
            self.accounting.waits_at_gap(name, int(journey.at_gap))
            again = min(until, now + RECONSIDER_SECONDS)
            self.clock.at(again, partial(self._wait_over, journey, journey.place, pool, until))
        else:
            if not journey.at_gap:
                self.accounting.asked(name, now)
                self.accounting.refused(name, waited=False, repeated=False)
            self._end(journey, Reason.QUEUE_FULL, 429)
        return True

    def _join(self, journey: Journey, pool: Pool, line: Line, until: float) -> bool:
        now, request = self.clock.now, journey.request
        home, late = "", 0.0
        if pool.among and request.session:
            home = pool.sessions.homes(journey.session, pool.among, now)[0]
            late = put_off(until - request.at)
        size = request.prompt * CHARACTERS_PER_TOKEN
        place = Waiter(next(self._ids), request.priority, request.at, until, size, home, late)
        if not line.join(place):
            return False
        self._places[place.id] = journey
        journey.place, journey.line, journey.joined = place, line, now
        pool.queued += 1
        for replica in pool.by_name.values():
            if replica.seen[1] > 0:
                pool.freed[replica] = None
        return True

    def _wait_over(self, journey: Journey, place: Waiter | None, pool: Pool, until: float) -> None:
        if journey.place is not place:
            return
        self._leave(journey, pool)
        self.accounting.waits_at_gap(pool.name, -int(journey.at_gap))
        journey.waited += self.clock.now - journey.joined
        if self.clock.now >= until:
            journey.learn(waited=True)
        self._decide(journey)

    def _leave(self, journey: Journey, pool: Pool) -> None:
        assert journey.place is not None and journey.line is not None
        journey.line.leave(journey.place.id)
        del self._places[journey.place.id]
        journey.place = journey.line = None
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
            journey = self._places[best.id]
            if journey.line is journey.gateway.lines[pool.name]:
                journey.waited += now - journey.joined
                self.accounting.waits_at_gap(pool.name, -int(journey.at_gap))
            self._leave(journey, pool)
            self._send(journey, replica)

    # Cloud.

    def _overflow(self, journey: Journey, cloud: rule.Cloud) -> bool:
        """To the first provider of the tier that takes it. False when none does."""
        if cloud.pool:
            self._asked_of(journey, cloud.pool)
        facts, now = journey.facts, self.clock.now
        limit = USUAL_ANSWER_TOKENS if facts.max_tokens is None else facts.max_tokens
        for target in cloud.targets:
            key = target.policy, target.provider
            allowance = journey.gateway.allowances.setdefault(key, Allowance())
            if allowance.lack(self._providers[key], facts.prompt_tokens + limit, now) is not None:
                continue
            place = allowance.take(facts.prompt_tokens + limit, now)
            counted = cloud.pool if journey.reason in LACK_OF_A_SLOT else None
            if counted:
                self.accounting.overflowed(counted, journey.reason, repeated=False)
            seconds = self.setup.cloud.answer(journey.request.output)
            self.clock.at(now + seconds, partial(self._answered, journey, target, allowance, place, counted, now))
            return True
        return False

    def _answered(
        self,
        journey: Journey,
        target: CloudTarget,
        allowance: Allowance,
        place: Place,
        counted: str | None,
        sent: float,
    ) -> None:
        request, now = journey.request, self.clock.now
        allowance.give_back(place, request.prompt + request.output)
        if counted:
            cost = price(Usage(request.prompt, request.output), target.model)
            self.accounting.came_back(counted, "" if cost is None else str(cost))
        if journey.pool:
            self.accounting.asked(journey.pool, now)
        first = sent - request.at + self.setup.cloud.first_token
        self._end(journey, journey.reason, 200, destination=str(target), first_token=first, seconds=now - request.at)

    # Ends.

    def _refuse(self, journey: Journey, reason: Reason, status: int, pool: str | None) -> None:
        if pool:
            self._asked_of(journey, pool)
            if status in (429, 503):
                self.accounting.asked(pool, self.clock.now)
                self.accounting.refused(pool, waited=journey.facts.waited, repeated=False)
        self._end(journey, reason, status)

    def _end(
        self, journey: Journey, reason: Reason, status: int, pool: str = "", *,
        destination: str = "none", first_token: float = float("nan"), seconds: float = float("nan"),
    ) -> None:  # fmt: skip
        self.open -= 1
        self.fates.end(
            journey.number, pool=pool or journey.pool, destination=destination, reason=reason, status=status,
            waited=journey.waited, first_token=first_token, seconds=seconds,
        )  # fmt: skip


def _key(waiter: Waiter, replica: Replica, now: float) -> tuple[int, float]:
    return waiter.rank(now), waiter.due_at(replica.name)
