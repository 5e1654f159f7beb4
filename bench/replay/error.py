"""How far the quick engine is from the simulator's own, and how fast both are: one trace, both engines."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.replay import Fixed, FleetSetup, PoolSetup, TraceRequest, play, simple_policy
from forebay.resources.pool import Scaling
from forebay.resources.table import PoolEntry
from forebay.simulator.batch import BatchLimits

REPLICAS = 2


@dataclass(frozen=True, slots=True)
class Played:
    """One engine's figures; seconds. `speed`: requests played in a minute of CPU."""

    speed: float
    local: float
    first: tuple[float, float]  # p50, p95
    seconds: tuple[float, float]
    per_token: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Error:
    """Both, and by how much the quick one is off, as shares of the exact one's figures."""

    requests: int
    quick: Played
    exact: Played

    @property
    def rows(self) -> list[tuple[str, float, float]]:
        """Name, exact, quick."""
        names = ("first token", "whole answer", "per token")
        rows = [("share served locally", self.exact.local, self.quick.local)]
        for name, exact, quick in zip(names, _times(self.exact), _times(self.quick), strict=True):
            for word, a, b in zip(("p50", "p95"), exact, quick, strict=True):
                rows.append((f"{name}, {word}, s", a, b))
        return rows


def compare(requests: Sequence[TraceRequest], slots: int, limits: BatchLimits) -> Error:
    """Play a trace on two replicas, with either engine."""
    return Error(len(requests), _played(requests, slots, limits, exact=False),
                 _played(requests, slots, limits, exact=True))  # fmt: skip


def _played(requests: Sequence[TraceRequest], slots: int, limits: BatchLimits, *, exact: bool) -> Played:
    entry = PoolEntry(name="chat", served_names=("m",), slots_per_replica=slots)
    pool = PoolSetup(entry, Scaling(min_replicas=REPLICAS, max_replicas=REPLICAS), replicas=REPLICAS, limits=limits)
    begun = time.process_time()
    outcome = play(requests, FleetSetup((pool,), (simple_policy(),), exact=exact), Fixed(REPLICAS))
    speed = 60 * len(requests) / (time.process_time() - begun)
    served = [fate for fate in outcome.fates if fate.local]
    return Played(
        speed,
        len(served) / len(requests),
        _percentiles([fate.first_token for fate in served]),
        _percentiles([fate.seconds for fate in served]),
        _percentiles([fate.per_token for fate in served if fate.output > 1]),
    )


def _percentiles(values: list[float]) -> tuple[float, float]:
    found = sorted(values)
    return found[len(found) // 2], found[int(len(found) * 0.95)]


def _times(played: Played) -> tuple[tuple[float, float], ...]:
    return played.first, played.seconds, played.per_token
