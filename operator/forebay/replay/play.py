"""Play a trace on a fleet: requests as they came, a look of each pool's scaler every period, an outcome."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from forebay.replay.fleet import Fleet
from forebay.replay.outcome import Change, Minute, Outcome, spending
from forebay.replay.pools import Pool
from forebay.replay.scaler import Scaler, Seen
from forebay.replay.setup import FleetSetup, models_of
from forebay.replay.trace import Request

PROGRESS_EVENTS = 1000


def play(
    requests: Iterable[Request],
    setup: FleetSetup,
    scaler: Scaler | Mapping[str, Scaler],
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> Outcome:
    """What would have happened. `scaler`: one for each pool, by name, or the only pool's own.

    Equal arguments give equal outcomes. `progress` hears of the time that has been played, in seconds of the trace.
    Raises ValueError for requests that are not in the order of time, and where a pool has no scaler.
    """
    scalers = scaler if isinstance(scaler, Mapping) else {pool.name: scaler for pool in setup.pools[:1]}
    if lacking := [pool.name for pool in setup.pools if pool.name not in scalers]:
        raise ValueError(f"no scaler for pool {lacking[0]}: give one for each pool, by name")
    fleet = Fleet(setup, seed)
    watches = [Watch(fleet, fleet.pools[name], found) for name, found in scalers.items() if name in fleet.pools]
    for number, now in enumerate(fleet.run(requests)):
        if not number % PROGRESS_EVENTS:
            progress(now)
    for watch in watches:
        watch.note(watch.seen())
    return _outcome(fleet, watches)


class Watch:
    """Looks at one pool every period: asks its scaler, and notes what is."""

    def __init__(self, fleet: Fleet, pool: Pool, scaler: Scaler) -> None:
        self.fleet, self.pool, self.scaler = fleet, pool, scaler
        self.minutes: list[Minute] = []
        self.changes: list[Change] = []
        fleet.clock.at(0.0, self._look)

    def _look(self) -> None:
        """Never the last event: the fleet stops when its requests are over."""
        seen = self.seen()
        self.note(seen)
        wanted = max(0, self.scaler.decide(seen))
        if wanted != self.pool.wanted:
            self.changes.append(Change(seen.now, self.pool.name, self.pool.wanted, wanted))
            self.pool.resize(wanted)
        self.fleet.clock.at(seen.now + self.scaler.period, partial(self._look))

    def seen(self) -> Seen:
        """The pool as the operator would see it now."""
        (demand,) = self.fleet.accounting.report([(self.pool.name, self.pool.queued)])
        return self.pool.look(demand)

    def note(self, seen: Seen) -> None:
        """Into this minute."""
        minute = int(seen.now // 60)
        if not self.minutes or self.minutes[-1].minute != minute:
            self.minutes.append(Minute(seen.pool, minute))
        self.minutes[-1].add(seen, len(self.pool.among) * self.pool.found.slots)


def _outcome(fleet: Fleet, watches: list[Watch]) -> Outcome:
    outcome = Outcome(fleet.clock.now, fleet.fates)
    outcome.minutes = [minute for watch in watches for minute in watch.minutes]
    outcome.changes = sorted((change for watch in watches for change in watch.changes), key=lambda change: change.at)
    outcome.slots = {name: pool.found.slots for name, pool in fleet.pools.items()}
    outcome.first_sizes = {name: pool.first_size for name, pool in fleet.pools.items()}
    outcome.gpu_seconds = {name: pool.gpu_seconds_until_now() for name, pool in fleet.pools.items()}
    outcome.gpu_hour_prices = {name: pool.setup.gpu_hour for name, pool in fleet.pools.items()}
    outcome.spent = spending(fleet.fates, models_of(fleet.setup.policies))
    _count(outcome)
    return outcome


def _count(outcome: Outcome) -> None:
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
