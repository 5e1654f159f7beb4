"""What the operator remembers between two passes over a fleet. All of it may be lost: the next pass goes on without."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.controller.demand import Count, Counters
from forebay.resources.report import Report
from forebay.rules.scale import History

ObjectKey = tuple[str, str]
"""Kind and name; the namespace is the fleet's."""

RETRY_MOST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
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
    """On with the first sign, off when there has been none for a while: one edge for what flickers."""

    on: bool = False
    since: float = 0.0
    last: float = 0.0

    def step(self, sign: bool, now: float, off_after: float) -> "Latch":
        """The latch after one more look."""
        if sign:
            return Latch(True, self.since if self.on else now, now)
        if self.on and now - self.last >= off_after:
            return Latch(False, now, self.last)
        return self


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
    limited: Latch = Latch()
    advised: int | None = None
    written: float = 0.0  # when the status was last written


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
    heard: Mapping[str, Heard] = field(default_factory=dict)  # by pod
    failures: Mapping[ObjectKey, Failure] = field(default_factory=dict)
    normalised: Mapping[ObjectKey, frozenset[str]] = field(default_factory=dict)  # paths that the API server rewrites
    touched: Mapping[str, Touched] = field(default_factory=dict)  # by pod uid
    pending: tuple[int, float] | None = None  # generation written by this process and not yet acknowledged, and when
    policies_written: Mapping[str, float] = field(default_factory=dict)
