"""Play a trace on a fleet: requests as they came, a look of each pool's scaler every period, an outcome."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from forebay.replay.fleet import Fleet
from forebay.replay.result import ReplayResult, spending
from forebay.replay.scaler import Forebay, Scaler
from forebay.replay.setup import FleetSetup, models_of
from forebay.replay.trace import TraceRequest
from forebay.replay.watch import PoolWatch, ReplayOperator

PROGRESS_EVENTS = 1000


def play(
    requests: Iterable[TraceRequest],
    setup: FleetSetup,
    scaler: Scaler | Mapping[str, Scaler],
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> ReplayResult:
    """What would have happened. `scaler`: one for each pool, by name, or the only pool's own.

    Equal arguments give equal outcomes. `progress` hears of the time that has been played, in seconds of the trace.
    Raises ValueError for requests that are not in the order of time, and where a pool has no scaler.
    """
    scalers = scaler if isinstance(scaler, Mapping) else {pool.name: scaler for pool in setup.pools[:1]}
    if lacking := [pool.name for pool in setup.pools if pool.name not in scalers]:
        raise ValueError(f"no scaler for pool {lacking[0]}: give one for each pool, by name")
    fleet = Fleet(setup, seed)
    watches = {name: PoolWatch(fleet, fleet.pools[name], scalers[name]) for name in fleet.pools}
    ours = {name: watch for name, watch in watches.items() if isinstance(watch.scaler, Forebay)}
    if ours:
        ReplayOperator(fleet, ours, min(watch.scaler.period for watch in ours.values())).begin()
    for name, watch in watches.items():
        if name not in ours:
            watch.begin()
    for number, now in enumerate(fleet.run(requests)):
        if not number % PROGRESS_EVENTS:
            progress(now)
    for watch in watches.values():
        watch.note(watch.seen())
    return _outcome(fleet, list(watches.values()))


def _outcome(fleet: Fleet, watches: list[PoolWatch]) -> ReplayResult:
    outcome = ReplayResult(fleet.clock.now, fleet.fates)
    outcome.minutes = [minute for watch in watches for minute in watch.minutes]
    outcome.changes = sorted((change for watch in watches for change in watch.changes), key=lambda change: change.at)
    outcome.slots = {name: pool.found.slots for name, pool in fleet.pools.items()}
    outcome.first_sizes = {name: pool.first_size for name, pool in fleet.pools.items()}
    outcome.gpu_seconds = {name: pool.gpu_seconds_until_now() for name, pool in fleet.pools.items()}
    outcome.gpu_hour_prices = {name: pool.setup.gpu_hour for name, pool in fleet.pools.items()}
    outcome.spent = spending(fleet.fates, models_of(fleet.setup.policies))
    _count(outcome)
    return outcome


def _count(outcome: ReplayResult) -> None:
    """What arrived, left and was refused, by pool and minute of arrival."""
    arrived: Counter[tuple[str, int]] = Counter()
    left: Counter[tuple[str, int]] = Counter()
    refused: Counter[tuple[str, int]] = Counter()
    for fate in outcome.fates:
        key = fate.pool, int(fate.at // 60)
        arrived[key] += 1
        left[key] += fate.left
        refused[key] += fate.status != 200
    for minute in outcome.minutes:
        key = minute.pool, minute.minute
        minute.arrivals, minute.overflowed, minute.refused = arrived[key], left[key], refused[key]
