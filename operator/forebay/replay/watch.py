"""Looks at pools every period: asks scalers for sizes, has them arbitrated where they are forebay's, notes what is."""

from collections.abc import Mapping

from forebay.replay.fleet import Fleet
from forebay.replay.pools import Pool
from forebay.replay.result import Change, PlayedMinute
from forebay.replay.scaler import Forebay, Scaler, ScalerView
from forebay.resources.terms import ScalingMode
from forebay.rules.arbitrate import Bid, PlacementAttempt, arbitrate

GPUS = "gpus"
"""All pools of a replay compete for the same ones."""


class PoolWatch:
    """One pool and its scaler."""

    def __init__(self, fleet: Fleet, pool: Pool, scaler: Scaler) -> None:
        self.fleet, self.pool, self.scaler = fleet, pool, scaler
        self.minutes: list[PlayedMinute] = []
        self.changes: list[Change] = []
        self.attempt = PlacementAttempt()

    def begin(self) -> None:
        """Look now, and every period."""
        self.resize(self.look())
        self.fleet.clock.at(self.fleet.clock.now + self.scaler.period, self.begin)

    def look(self) -> int:
        """The size that the scaler wants."""
        seen = self.seen()
        self.note(seen)
        return max(0, self.scaler.decide(seen))

    def resize(self, wanted: int) -> None:
        """Ask for so many."""
        if wanted != self.pool.wanted:
            self.changes.append(Change(self.fleet.clock.now, self.pool.name, self.pool.wanted, wanted))
            self.pool.resize(wanted)

    def seen(self) -> ScalerView:
        """The pool as the operator would see it now."""
        (demand,) = self.fleet.accounting.report([(self.pool.name, self.pool.queued)])
        return self.pool.look(demand)

    def note(self, seen: ScalerView) -> None:
        """Into this minute."""
        minute = int(seen.now // 60)
        if not self.minutes or self.minutes[-1].minute != minute:
            self.minutes.append(PlayedMinute(seen.pool, minute))
        self.minutes[-1].add(seen, len(self.pool.serving_names) * self.pool.found.slots)


class ReplayOperator:
    """The pools that forebay scales: each wants a size, and arbitrate says which may ask for one more replica."""

    def __init__(self, fleet: Fleet, watches: Mapping[str, PoolWatch], period: float) -> None:
        self.fleet, self.watches, self.period = fleet, watches, period

    def begin(self) -> None:
        """Look now, and every period."""
        now = self.fleet.clock.now
        bids = [bid for watch in self.watches.values() if (bid := self._bid(watch, watch.look())) is not None]
        for name, grant in arbitrate(bids, now).items():
            self.watches[name].attempt = grant.attempt
            self.watches[name].resize(grant.replicas)
        self.fleet.clock.at(now + self.period, self.begin)

    def _bid(self, watch: PoolWatch, wanted: int) -> Bid | None:
        """As controller/sizing/arbitration.py makes it; None for a pool whose size nobody may change."""
        pool, scaler, setup = watch.pool, watch.scaler, watch.pool.setup
        assert isinstance(scaler, Forebay) and scaler.last is not None and scaler.seen is not None
        decision, entry, scaling = scaler.last, setup.entry, setup.scaling
        if scaling.mode is ScalingMode.MANUAL:
            return None
        needed = decision.need if decision.capacity is not None else max(decision.need, wanted, pool.wanted)
        return Bid(
            pool=pool.name,
            size=pool.wanted,
            wanted=wanted,
            needed=max(needed, scaling.min_replicas),
            placed=pool.placed,
            tail=pool.tail,
            minimum=scaling.min_replicas,
            gpus=GPUS,
            money=(scaler.seen.overflow_hour_cost or 0.0) / setup.gpus,
            pending_seconds=scaling.pending_seconds,
            attempt=watch.attempt,
            serves=frozenset(f"{entry.task}/{capability}" for capability in entry.capabilities),
            demand=decision.demand,
            capacity=decision.capacity or 0,
            load=scaler.load,
            starting=scaler.seen.starting,
            grown=pool.grown,
        )
