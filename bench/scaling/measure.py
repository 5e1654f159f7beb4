"""One trace: every scaler tuned on some days, played on a week that none of them has seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from bench.scaling.capped import capped
from bench.scaling.load import CHARACTERS, DAY, Load, generated
from bench.scaling.money import POINTS, PricePoint, cloud_cost, cost, replicas_cost
from bench.scaling.oracle import oracle, without_cloud
from bench.scaling.play import Outcome, Setup, play
from bench.scaling.settings import KINDS, OURS, Setting

PRIORITIES: Final = ("High", "Normal", "Low")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Days:
    """Which days are tuned on, and which are reported: from and until, in days of the trace."""

    tune: tuple[float, float] = (4.0, 6.0)  # Friday and Saturday of the first week
    report: tuple[float, float] = (7.0, 14.0)  # the second week

    @property
    def all(self) -> int:
        """Days that a generated trace needs."""
        return int(self.report[1])


@dataclass(slots=True)
class Bench:
    """One trace and one cold start. Plays of the same setting are made once."""

    tune: Load
    report: Load
    setup: Setup
    say: Progress
    _played: dict[tuple[Any, ...], Outcome] = field(default_factory=dict)

    def outcome(
        self, load: Load, name: str, setting: Setting, point: PricePoint | None, *, cloud: bool = True
    ) -> Outcome:
        """What becomes of one load under one scaler."""
        point = point if KINDS[name].priced and cloud else None
        key = (load is self.tune, name, setting, point, cloud)
        if key not in self._played:
            setup = self.setup if cloud else without_cloud(self.setup)
            scaler = KINDS[name].make(load, setup, point, setting)
            self._played[key] = play(load, setup, scaler, load.first(setup.capacity))
            self.say(name)
        return self._played[key]

    def tuned(self, name: str, point: PricePoint) -> Setting:
        """The setting that was cheapest at these prices on the days to tune on."""
        return min(KINDS[name].grid, key=lambda setting: cost(self.outcome(self.tune, name, setting, point), point))


def measure(bench: Bench) -> dict[str, Any]:
    """All figures of one trace and one cold start."""
    factor, best = oracle(bench.report, bench.setup)
    rows = [_row("oracle", "", (), best, best)]
    for name in KINDS:
        found = bench.outcome(bench.report, name, (), None)
        rows.append({**_row(name, "own defaults", (), found, best), **_alone(bench, name)})
        if KINDS[name].priced:
            rows += [
                _row(name, f"told {point.name} prices", (), bench.outcome(bench.report, name, (), point), best, point)
                for point in POINTS
            ]
        for point in POINTS if KINDS[name].grid else ():
            setting = bench.tuned(name, point)
            found = bench.outcome(bench.report, name, setting, point)
            rows.append(_row(name, f"tuned for {point.name} prices", setting, found, best, point))
    return {
        "trace": bench.report.name,
        "about": bench.report.about,
        "cold_start": bench.setup.cold_start,
        "character": bench.report.character(),
        "oracle_load": round(factor, 3),
        "rows": rows,
        "budgets": capped(bench.report, bench.setup, bench.outcome(bench.report, OURS, (), None)),
    }


def _alone(bench: Bench, name: str) -> dict[str, float]:
    """What would be late, or refused, with no cloud behind the pool."""
    found = bench.outcome(bench.report, name, (), None, cloud=False)
    requests = sum(found.requests)
    return {
        "late_without_cloud": (sum(found.late) + sum(found.refused)) / requests,
        "refused_without_cloud": sum(found.refused) / requests,
    }


def _row(
    name: str, how: str, setting: Setting, found: Outcome, best: Outcome, point: PricePoint | None = None
) -> dict[str, Any]:
    """One line of the table; costs are of a day. `point` says which of the costs counts."""
    days = found.seconds / DAY
    return {
        "scaler": name,
        "how": how,
        "point": point.name if point else "",
        "setting": list(setting),
        "gpu_hours_day": found.replica_seconds / 3600.0 / days,
        "over_oracle": found.replica_seconds / best.replica_seconds,
        "overflow": found.overflow_share,
        "overflow_by_priority": {
            priority: found.overflowed[index] / max(found.requests[index], 1)
            for index, priority in enumerate(PRIORITIES)
        },
        "late": (sum(found.late) + sum(found.refused)) / sum(found.requests),
        "turns_day": found.turns / days,
        "undone_day": found.undone / days,
        "changes_day": (found.ups + found.downs) / days,
        "replicas_cost_day": replicas_cost(found) / days,
        "cost_day": {each.name: cost(found, each) / days for each in POINTS},
        "cloud_cost_day_by_priority": {
            each.name: {priority: cloud_cost(found, each, index) / days for index, priority in enumerate(PRIORITIES)}
            for each in POINTS
        },
    }


def plays(traces: int, cold_starts: int) -> int:
    """How many plays there are at most, for a bar."""
    each = sum(2 + 3 * kind.priced + len(kind.grid) + 3 * bool(kind.grid) for kind in KINDS.values())
    return traces * cold_starts * each


def benches(
    own: Load | None, like: str, days: Days, cold_starts: list[float], seed: int, say: Progress
) -> Iterator[Bench]:
    """The benches of one trace: generated by the name `like`, or recorded.

    A recorded one that is too short to be tuned on is reported whole, with settings tuned on a generated one.
    """
    say(f"{own.name if own else like}: generating")
    by_name = {kind.name: kind for kind in CHARACTERS}
    whole = own if own is not None and not like else generated(by_name[like], days.all, seed)
    tune = whole.part(days.tune[0] * DAY, days.tune[1] * DAY)
    report = own if own is not None and like else whole.part(days.report[0] * DAY, days.report[1] * DAY)
    for cold_start in cold_starts:
        yield Bench(tune, report, Setup(cold_start=cold_start), say)
