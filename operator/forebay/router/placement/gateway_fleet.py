"""The fleet as one gateway knows it: what a request's lifecycle asks of replicas, queues and policies."""

from forebay.resources.table import QueueEntry
from forebay.router.http.call import Address
from forebay.router.placement.gateway_queue import GatewayQueue
from forebay.router.placement.replicas import Replicas
from forebay.rules.affinity import NOBODY, Choice
from forebay.rules.facts import FleetView, PolicyView
from forebay.rules.lifecycle import Lifecycle


class GatewayFleet:
    """Implements rules.steps.LiveFleet."""

    def __init__(self, replicas: Replicas, waiting: GatewayQueue) -> None:
        self.replicas = replicas
        self.waiting = waiting
        self.policies: dict[str, PolicyView] = {}

    def view(self, course: Lifecycle, now: float) -> FleetView:
        """What the rule sees now."""
        waiting, replicas, excluded, facts = self.waiting, self.replicas, course.excluded, course.facts
        priority, model = facts.priority, facts.model
        return FleetView(
            tuple([
                replicas.view(pool, now, waiting.length(name), waiting.ahead_of(name, priority, now), excluded, model)
                for name, pool in replicas.pools.items()
            ]),
            self.policies,
        )  # fmt: skip

    def choose(self, pool: str, course: Lifecycle, now: float) -> Choice:
        """The replica for its session among those that have a slot for its priority, or the one to wait for."""
        found = self.replicas.pools.get(pool)
        if found is None:
            return NOBODY
        found.count(now)
        names = found.having(course.facts.model)
        if not names:
            return NOBODY
        by_name, excluded, priority = found.by_name, course.excluded, course.facts.priority

        def free(name: str) -> int:
            replica = by_name[name]
            return 0 if replica.address in excluded else replica.free_for(priority)

        def ahead(name: str) -> int:
            return by_name[name].ahead

        tokens, patient = course.facts.prompt_tokens, not course.home_waited
        return found.sessions.choose(course.session, tokens, names, free, ahead, now, patient)

    def queue(self, pool: str) -> QueueEntry | None:
        """Bounds of the pool's queue."""
        found = self.replicas.pools.get(pool)
        return None if found is None else found.entry.queue

    def queued(self, pool: str) -> int:
        """How many wait for it at this gateway."""
        return self.waiting.length(pool)

    def home(self, pool: str, course: Lifecycle, now: float) -> str:
        """The replica where its session's prefix is, or will be."""
        found = self.replicas.pools.get(pool)
        names = () if found is None else found.having(course.facts.model)
        return found.sessions.homes(course.session, names, now)[0] if found is not None and names else ""

    def excluded(self, pool: str, course: Lifecycle) -> frozenset[Address]:
        """Replicas of a pool that a request must not go to: they failed it, or lack its model."""
        found = self.replicas.pools.get(pool)
        lacking = found.lacking.get(course.facts.model) if found is not None and found.lacking else None
        return course.excluded if lacking is None else course.excluded | lacking

    def may_retry(self, pool: str, now: float) -> bool:
        """Take one from the pool's retry budget; a pool that is gone has none."""
        found = self.replicas.pools.get(pool)
        return found is not None and found.retries.spend(now)
