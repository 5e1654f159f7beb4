"""What the operator remembers between two passes over a fleet. All of it may be lost: the next pass goes on without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from forebay.controller.sizing.capacity_learning import Learning
from forebay.controller.sizing.starts import Starts
from forebay.resources import names
from forebay.resources.reasons import ScaleReason
from forebay.resources.report import Report
from forebay.rules.arbitrate import PlacementAttempt
from forebay.rules.history import History
from forebay.rules.lost_demand import Count, Counters
from forebay.rules.wake import Sleep

ObjectKey = tuple[str, str]
"""Kind and name; the namespace is the fleet's."""

TOKEN: Final[ObjectKey] = ("Secret", names.CONTROL_TOKEN_SECRET)
RETRY_MOST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class LastReport:
    """The last report of a router, when it last held, and when it came (Unix seconds): see listening.py."""

    report: Report
    time: float
    came: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """An apply that the API server refused, in its words; tried again at `retry` (Unix seconds)."""

    words: str
    attempts: int
    retry: float

    def again(self, words: str, now: float) -> "Failure":
        """The failure after one more attempt."""
        return Failure(words, self.attempts + 1, now + min(2.0**self.attempts, RETRY_MOST_SECONDS))


@dataclass(frozen=True, slots=True)
class Latch:
    """On once signs have lasted, off when there has been none for a while: one edge for what flickers."""

    on: bool = False
    since: float = 0.0
    last: float = 0.0
    first: float | None = None  # sign of a row that has not lasted long enough yet

    def step(self, sign: bool, now: float, off_after: float, on_after: float = 0.0) -> "Latch":
        """The latch after one more look."""
        if self.on:
            over = not sign and now - self.last >= off_after
            return Latch(False, now, self.last) if over else replace(self, last=now) if sign else self
        if not sign:
            return replace(self, first=None)
        first = now if self.first is None else self.first
        return Latch(True, first, now) if now - first >= on_after else replace(self, first=first)


@dataclass(frozen=True, slots=True)
class Spill:
    """Overflow of one pool: whether it goes on, and what has left since it began."""

    latch: Latch = Latch()
    count: Count = field(default_factory=Count)


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """What is remembered of one pool."""

    counters: Counters
    history: History
    spill: Spill = Spill()
    unpaid: Latch = Latch()  # the budget of its policy does not pay for what would leave
    held: Mapping[ScaleReason, Latch] = field(default_factory=dict)  # what is in the way of the size that is wanted
    advised: int | None = None
    attempt: PlacementAttempt = field(default_factory=PlacementAttempt)
    starts: Starts = field(default_factory=Starts)
    sleep: Sleep = field(default_factory=Sleep)
    priority: int = 0  # of the pods' priority class, as last seen
    written: float = 0.0  # when the status was last written
    learning: Learning = field(default_factory=Learning)
    versions: tuple[str, ...] = ()  # that its engines last said, each once


@dataclass(frozen=True, slots=True)
class Touched:
    """How often, and when, a pod was told of a generation."""

    generation: int
    times: int
    last: float


@dataclass(frozen=True, slots=True)
class FleetMemory:
    """What is remembered of one fleet."""

    pools: Mapping[str, PoolMemory] = field(default_factory=dict)
    heard: Mapping[str, LastReport] = field(default_factory=dict)  # by pod
    failures: Mapping[ObjectKey, Failure] = field(default_factory=dict)
    normalised: Mapping[ObjectKey, frozenset[str]] = field(default_factory=dict)  # paths that the API server rewrites
    touched: Mapping[str, Touched] = field(default_factory=dict)  # by pod uid
    pending: tuple[int, float] | None = None  # generation written by this process and not yet acknowledged, and when
    budget_written: float = 0.0  # when a ledger was last written
    budget_touched: Mapping[str, Touched] = field(default_factory=dict)  # by pod uid: for a version of a ledger
    policies_written: Mapping[str, float] = field(default_factory=dict)
