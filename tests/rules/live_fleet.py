"""A fleet for lifecycles: pools with named replicas, two providers, and nothing that waits."""

from dataclasses import dataclass, field

from forebay.resources.reasons import Capability
from forebay.resources.table import ModelEntry, QueueEntry
from forebay.resources.terms import Permission, Tier
from forebay.rules.affinity import NOBODY, Choice
from forebay.rules.facts import CloudTarget, FleetView, PolicyView, PoolView
from forebay.rules.lifecycle import Lifecycle

ACME = CloudTarget("default", "acme", ModelEntry(name="large", context_tokens=100_000))
BRAVO = CloudTarget("default", "bravo", ModelEntry(name="small", context_tokens=32_000))
POLICY = PolicyView("default", {Tier.PRIMARY: (ACME, BRAVO), Tier.SECONDARY: (BRAVO, ACME)})


@dataclass
class Pools:
    """A fleet of pools with named replicas: `slots` by replica. Implements rules.steps.LiveFleet."""

    slots: dict[str, dict[str, int]] = field(default_factory=lambda: {"chat": {"chat-0": 1, "chat-1": 1}})
    policy: PolicyView | None = POLICY
    queues: dict[str, QueueEntry] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    retries: int = 100
    homes: dict[str, Choice] = field(default_factory=dict)
    starting: int = 0
    liar: bool = False  # the view has slots that no replica has

    def view(self, course: Lifecycle, now: float) -> FleetView:
        views = []
        for name, slots in self.slots.items():
            left = {replica: free for replica, free in slots.items() if (replica, 0) not in course.excluded}
            free = 9 if self.liar else sum(left.values())
            views.append(
                PoolView(name, (name, "served"), frozenset(Capability), serving=len(left), free=free, free_high=free,
                         starting=self.starting, queued=self.queued(name), substitute=Permission.ALLOWED)
            )  # fmt: skip
        return FleetView(tuple(views), {"default": self.policy} if self.policy else {})

    def choose(self, pool: str, course: Lifecycle, now: float) -> Choice:
        if pool in self.homes and not course.home_waited:
            return self.homes[pool]
        able = [name for name, free in self.slots.get(pool, {}).items() if free and (name, 0) not in course.excluded]
        return Choice(able[0]) if able else NOBODY

    def queue(self, pool: str) -> QueueEntry | None:
        return self.queues.get(pool, QueueEntry()) if pool in self.slots else None

    def queued(self, pool: str) -> int:
        return self.waiting.get(pool, 0)

    def home(self, pool: str, course: Lifecycle, now: float) -> str:
        return next(iter(self.slots[pool]), "")

    def may_retry(self, pool: str, now: float) -> bool:
        self.retries -= 1
        return self.retries >= 0
