"""What a fleet reports, added up over time: pure transitions, one FleetTotals a fleet. All of it may be lost.

A total of a router process counts from the first look at it; a process that began after the operator counts whole.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final, Generic, Protocol, Self, TypeVar

from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.report import PoolDemand, Report, SidecarReport
from forebay.resources.summary import MINUTES, Minute
from forebay.resources.usage import UsageRow

REMEMBERED_PROCESSES: Final = 512
"""Router processes that are remembered after they ended, so that a late answer does not count twice."""


class Addable(Protocol):
    """What can be added and taken away."""

    def __add__(self, other: Self) -> Self: ...
    def __sub__(self, other: Self) -> Self: ...

    @property
    def backwards(self) -> bool:
        """Whether a total fell, so that its process must have begun again."""


S = TypeVar("S", bound=Addable)


@dataclass(frozen=True, slots=True)
class ResettableTotal(Generic[S]):
    """Totals that outlive the processes that count them."""

    since: float  # Unix seconds
    total: S
    last: Mapping[str, tuple[float, S]] = field(default_factory=dict)  # by process: when it began, and its totals

    def advance(self, read: Mapping[str, tuple[float, S]]) -> "ResettableTotal[S]":
        """The meter after one more look at the processes that answered."""
        total = self.total
        for process, (started, now) in read.items():
            known = self.last.get(process)
            if known is not None and known[0] == started:
                grown = now - known[1]
                total = total + (now if grown.backwards else grown)
            elif started >= self.since:
                total = total + now
        kept = {**self.last, **read}
        while len(kept) > REMEMBERED_PROCESSES + len(read):
            del kept[next(iter(kept))]
        return replace(self, total=total, last=kept)


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Usage by (pool, destination, client, priority, capability): requests, seconds, tokens in and out, dollars."""

    rows: Mapping[tuple[str, ...], tuple[Decimal, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[UsageRow]) -> "UsageSums":
        """From a router's report."""
        return cls({
            (row.pool, row.destination, row.client, row.priority, row.capability): (
                Decimal(row.requests), Decimal(str(row.seconds)), Decimal(row.input_tokens),
                Decimal(row.output_tokens), Decimal(row.dollars),
            )
            for row in rows
        })  # fmt: skip

    def __add__(self, other: "UsageSums") -> "UsageSums":
        return self._with(other, 1)

    def __sub__(self, other: "UsageSums") -> "UsageSums":
        return self._with(other, -1)

    def _with(self, other: "UsageSums", sign: int) -> "UsageSums":
        rows = dict(self.rows)
        for key, values in other.rows.items():
            mine = rows.get(key, (Decimal(0),) * len(values))
            rows[key] = tuple(a + sign * b for a, b in zip(mine, values, strict=True))
        return UsageSums(rows)

    @property
    def backwards(self) -> bool:
        """Whether a total fell."""
        return any(values[0] < 0 for values in self.rows.values())

    def listed(self) -> Iterator[UsageRow]:
        """As the summary has it."""
        for key, (requests, seconds, tokens_in, tokens_out, dollars) in self.rows.items():
            if requests:
                yield UsageRow(
                    pool=key[0], destination=key[1], client=key[2], priority=key[3], capability=key[4],
                    requests=int(requests), seconds=float(seconds), input_tokens=int(tokens_in),
                    output_tokens=int(tokens_out), dollars=format(dollars.normalize(), "f"),
                )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CounterSums:
    """Totals of one pool, by name."""

    values: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "CounterSums") -> "CounterSums":
        names = {**self.values, **other.values}
        return CounterSums({name: self.values.get(name, 0) + other.values.get(name, 0) for name in names})

    def __sub__(self, other: "CounterSums") -> "CounterSums":
        names = {**self.values, **other.values}
        return CounterSums({name: self.values.get(name, 0) - other.values.get(name, 0) for name in names})

    @property
    def backwards(self) -> bool:
        """Whether a total that cannot fall did. An overflow that no provider took is taken back."""
        return any(value < 0 for name, value in self.values.items() if not name.startswith(OVERFLOW))


OVERFLOW: Final = "overflow "
Totals = dict[str, tuple[float, CounterSums]]
"""By process: when it began, and what it has counted since."""


@dataclass(frozen=True, slots=True)
class RunningMinute:
    """The minute under way: how many looks, and the sums of what they saw."""

    at: int = 0
    looks: int = 0
    sums: tuple[float, ...] = (0.0,) * 5

    def with_look(self, at: int, values: tuple[float, ...]) -> "RunningMinute":
        """With one more look."""
        if at != self.at:
            return RunningMinute(at, 1, values)
        return RunningMinute(at, self.looks + 1, tuple(a + b for a, b in zip(self.sums, values, strict=True)))

    def minute(self) -> Minute:
        """The means so far."""
        return Minute(self.at, *(round(value / max(self.looks, 1), 2) for value in self.sums))


@dataclass(frozen=True, slots=True)
class PoolTotals:
    """One pool over time."""

    engine: ResettableTotal[CounterSums]
    demand: ResettableTotal[CounterSums]
    gpu_seconds: float = 0.0
    running: RunningMinute = RunningMinute()
    minutes: tuple[Minute, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """One fleet over time. `looked`: when it was last looked at."""

    since: float
    looked: float
    usage: ResettableTotal[UsageSums]
    pools: Mapping[str, PoolTotals] = field(default_factory=dict)

    @classmethod
    def begun(cls, now: float) -> "FleetTotals":
        """Empty."""
        return cls(now, now, ResettableTotal(now, UsageSums()))

    def advance(self, fleet: ObservedFleet) -> "FleetTotals":
        """The tally after one more look. Reports that are not of now count once: their totals have not grown."""
        reports = [item.report for item in fleet.heard.values()]
        usage = {report.replica: (report.started, UsageSums.of(report.usage)) for report in reports}
        engines, demands = _by_pool(reports)
        pools = {
            pool.name: self._pool(fleet, pool, engines.get(pool.name, {}), demands.get(pool.name, {}))
            for pool in fleet.pools
        }
        return replace(self, looked=fleet.now, usage=self.usage.advance(usage), pools=pools)

    def _pool(self, fleet: ObservedFleet, pool: ObservedPool, engines: Totals, demands: Totals) -> PoolTotals:
        known = self.pools.get(pool.name)
        if known is None:
            known = PoolTotals(ResettableTotal(self.since, CounterSums()), ResettableTotal(self.since, CounterSums()))
        gpus = pool.spec.engine.gpus if pool.spec is not None else 0
        return replace(
            known,
            engine=known.engine.advance(engines),
            demand=known.demand.advance(demands),
            gpu_seconds=known.gpu_seconds + gpus * len(pool.pods) * max(fleet.now - self.looked, 0.0),
        )

    def with_sizes(self, sizings: Mapping[str, Sizing], now: float) -> "FleetTotals":
        """With what each pool carries now, in the minute under way."""
        pools = dict(self.pools)
        for name, sizing in sizings.items():
            if (known := pools.get(name)) is not None:
                pools[name] = _in_minute(known, sizing, int(now // 60))
        return replace(self, pools=pools)


def _in_minute(known: PoolTotals, sizing: Sizing, at: int) -> PoolTotals:
    seen = sizing.numbers
    values = tuple(map(float, (seen.ready, seen.slots, seen.running, seen.queued, seen.overflowing)))
    done = known.running
    minutes = known.minutes if at == done.at or not done.looks else (*known.minutes, done.minute())[-MINUTES:]
    return replace(known, running=done.with_look(at, values), minutes=minutes)


def _by_pool(reports: Iterable[Report]) -> tuple[dict[str, Totals], dict[str, Totals]]:
    """What engines and gateways have counted, by pool and by process; one walk, however many pools there are."""
    engines: dict[str, Totals] = {}
    demands: dict[str, Totals] = {}
    for report in reports:
        if isinstance(report, SidecarReport):
            engines.setdefault(report.pool, {})[report.replica] = (report.started, _tokens(report))
        else:
            for seen in report.pools:
                demands.setdefault(seen.pool, {})[report.replica] = (report.started, _demand(seen))
    return engines, demands


def _tokens(report: SidecarReport) -> CounterSums:
    engine = report.engine
    if engine is None:
        return CounterSums()
    return CounterSums({"prompt": engine.prompt_tokens_total, "generation": engine.generation_tokens_total})


def _demand(seen: PoolDemand) -> CounterSums:
    counted = {"requests": seen.requests_total, "rejected": seen.rejected_total, "expired": seen.expired_total}
    return CounterSums({**counted, **{f"{OVERFLOW}{reason}": n for reason, n in seen.overflow_by_reason.items()}})
