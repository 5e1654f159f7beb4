"""One gateway in simulated time: its queues, what it may still send to providers, and the fleet as it knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.replay.pools import Pool
from forebay.resources.table import QueueEntry
from forebay.rules.affinity import NOBODY, Choice
from forebay.rules.allowance import Allowance
from forebay.rules.facts import FleetView, PolicyView
from forebay.rules.lifecycle import Lifecycle
from forebay.rules.queue import WaitQueue


@dataclass(slots=True, eq=False)
class Gateway:
    """Queues by pool and by replica, and allowances by policy and provider. Implements rules.steps.LiveFleet."""

    pools: Mapping[str, Pool]
    policies: dict[str, PolicyView]
    lines: dict[str, WaitQueue] = field(init=False)
    homes: dict[str, WaitQueue] = field(default_factory=dict)
    allowances: dict[tuple[str, str], Allowance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lines = {name: WaitQueue(pool.setup.entry.queue.max_requests) for name, pool in self.pools.items()}

    def line(self, pool: str, home: str) -> WaitQueue:
        """The queue of a pool, or of a session's home."""
        if not home:
            return self.lines[pool]
        return self.homes.setdefault(home, WaitQueue(self.pools[pool].setup.entry.queue.max_requests))

    def allowance(self, policy: str, provider: str) -> Allowance:
        """What it may still send to a provider."""
        return self.allowances.setdefault((policy, provider), Allowance())

    def view(self, course: Lifecycle, now: float) -> FleetView:
        """What the rule sees now."""
        priority, lines = course.facts.priority, self.lines
        views = []
        for name, pool in self.pools.items():
            line = lines[name]
            queued = len(line)
            views.append(pool.view(queued, line.ahead_of(priority, now) if queued else 0))
        return FleetView(tuple(views), self.policies)

    def choose(self, pool: str, course: Lifecycle, now: float) -> Choice:
        """The replica for its session among those with a slot, or the one to wait for."""
        found = self.pools[pool]
        if not found.serving_names:
            return NOBODY
        found.hear(now)
        facts = course.facts
        free, ahead = found.free_of(facts.priority), found.ahead_of
        patient = not course.home_waited
        return found.sessions.choose(
            course.session, facts.prompt_tokens, found.serving_names, free, ahead, now, patient
        )

    def queue(self, pool: str) -> QueueEntry | None:
        """Bounds of the pool's queue."""
        return self.pools[pool].setup.entry.queue

    def queued(self, pool: str) -> int:
        """How many wait for it at this gateway."""
        return len(self.lines[pool])

    def home(self, pool: str, course: Lifecycle, now: float) -> str:
        """The replica where its session's prefix is, or will be."""
        found = self.pools[pool]
        return found.sessions.homes(course.session, found.serving_names, now)[0] if found.serving_names else ""

    def may_retry(self, pool: str, now: float) -> bool:
        """No replica fails here."""
        return True
