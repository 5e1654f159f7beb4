"""From an outcome to the numbers that answer the question: what size, what spill, what waits, what cost. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isnan

from forebay.replay import Fate, FleetSetup, PlayedMinute, ReplayResult
from forebay.replay.readers import Trace
from forebay.replay.result import Change, Spent
from forebay.resources.reasons import Priority, Reason


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of some seconds: the median and the tail. None where there are none."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Percentiles | None":
        """Of all that are numbers."""
        found = sorted(value for value in values if not isnan(value))
        if not found:
            return None
        return cls(*(found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class ServedRequests:
    """The requests of one priority."""

    priority: Priority
    requests: int
    local: int
    left: int
    refused: int
    waited: int  # of those that a replica answered
    wait: Percentiles | None  # of those that waited and were answered by a replica
    first_token: Percentiles | None  # of answers by replicas: how fast a provider is, nobody here knows
    per_token: Percentiles | None


@dataclass(frozen=True, slots=True)
class PoolAnswer:
    """One pool. Replicas are means over time, `least` and `most` sizes that were asked for."""

    name: str
    slots: int  # of one replica
    least: int
    mean: float
    most: int
    changes: tuple[Change, ...]
    reversals: int
    gpu_hours: float
    busy: float  # share of its slots in use, mean
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class RefusedRequests:
    """Requests that got no answer."""

    priority: Priority
    reason: Reason
    status: int
    requests: int


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """All of it. `hours` is how long the trace goes on; money in US dollars for the whole of it."""

    trace: Trace
    name: str
    setup: FleetSetup
    hours: float
    requests: int
    local: int
    left: int
    pools: tuple[PoolAnswer, ...]
    served: tuple[ServedRequests, ...]
    spent: tuple[Spent, ...]
    refused: tuple[RefusedRequests, ...]
    minutes: tuple[PlayedMinute, ...]
    local_cost: Decimal | None
    cloud_cost: Decimal | None
    assumptions: tuple[tuple[str, str, str], ...] = ()

    @property
    def total_cost(self) -> Decimal | None:
        """GPUs and cloud together."""
        if self.local_cost is None or self.cloud_cost is None:
            return None
        return self.local_cost + self.cloud_cost


def answer(
    name: str,
    trace: Trace,
    setup: FleetSetup,
    outcome: ReplayResult,
    assumptions: tuple[tuple[str, str, str], ...] = (),
) -> ReplayAnswer:
    """Sum an outcome up."""
    fates = list(outcome.fates)
    by_priority = {priority: [fate for fate in fates if fate.priority is priority] for priority in Priority}
    return ReplayAnswer(
        trace=trace,
        name=name,
        setup=setup,
        hours=outcome.seconds / 3600,
        requests=len(fates),
        local=sum(fate.local for fate in fates),
        left=sum(fate.left for fate in fates),
        pools=tuple(_pool(pool.name, setup, outcome) for pool in setup.pools),
        served=tuple(_served(priority, found) for priority, found in by_priority.items() if found),
        spent=tuple(sorted(outcome.spent, key=lambda item: -item.requests)),
        refused=_refused(fates),
        minutes=tuple(outcome.minutes),
        local_cost=outcome.local_cost,
        cloud_cost=outcome.cloud_cost,
        assumptions=assumptions,
    )


def _pool(name: str, setup: FleetSetup, outcome: ReplayResult) -> PoolAnswer:
    minutes = [minute for minute in outcome.minutes if minute.pool == name]
    changes = tuple(change for change in outcome.changes if change.pool == name)
    gpus = next(pool.gpus for pool in setup.pools if pool.name == name)
    sizes = [outcome.first_sizes[name], *(change.after for change in changes)]
    hour, seconds = outcome.gpu_hour_prices[name], outcome.gpu_seconds[name]
    slots = sum(minute.slots for minute in minutes)
    return PoolAnswer(
        name=name,
        slots=outcome.slots[name],
        least=min(sizes),
        mean=seconds / gpus / outcome.seconds if outcome.seconds else float(sizes[0]),
        most=max(sizes),
        changes=changes,
        reversals=outcome.reversals(name),
        gpu_hours=seconds / 3600,
        busy=sum(minute.running for minute in minutes) / slots if slots else 0.0,
        cost=None if hour is None else hour * Decimal(seconds) / 3600,
    )


def _served(priority: Priority, fates: Sequence[Fate]) -> ServedRequests:
    local = [fate for fate in fates if fate.local]
    waited = [fate for fate in local if fate.waited > 0]
    return ServedRequests(
        priority=priority,
        requests=len(fates),
        local=len(local),
        left=sum(fate.left for fate in fates),
        refused=sum(fate.status != 200 for fate in fates),
        waited=len(waited),
        wait=Percentiles.of(fate.waited for fate in waited),
        first_token=Percentiles.of(fate.first_token for fate in local),
        per_token=Percentiles.of(fate.per_token for fate in local),
    )


def _refused(fates: Sequence[Fate]) -> tuple[RefusedRequests, ...]:
    counts: dict[tuple[Priority, Reason, int], int] = {}
    for fate in fates:
        if fate.status != 200:
            key = fate.priority, fate.reason, fate.status
            counts[key] = counts.get(key, 0) + 1
    return tuple(RefusedRequests(*key, n) for key, n in sorted(counts.items(), key=lambda item: -item[1]))
