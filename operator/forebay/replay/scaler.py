"""Who decides how many replicas a pool has: forebay's own rule, and room for every other."""

from dataclasses import dataclass
from typing import Protocol

from forebay.replay.setup import FleetSetup, PoolSetup
from forebay.resources.pool import Scaling
from forebay.resources.terms import ScalingMode
from forebay.rules import scale as rule
from forebay.rules.history import History
from forebay.rules.scale import Demand, ScaleDecision, ScaleInputs
from forebay.rules.wake import PAUSE_SECONDS, Sleep, WakeInputs, wake

PERIOD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ScalerView:
    """What any scaler could know of a pool at one moment; times in seconds of the trace, counts of now.

    `size` is what was asked for last. `lost_per_second` (overflowed, rejected, expired for lack of a slot) and
    `service_seconds` (mean of one request) are as the operator counts them; `arrivals_per_second`, `lost`, `overflowed`
    and `spent` (US dollars) are of the time since the last look, the costs of overflow by the hour.
    """

    now: float
    pool: str
    size: int
    ready: int
    starting: int
    ending: int
    running: int
    queued: int
    overflowing: int  # at a provider for lack of a slot
    lost_per_second: float
    service_seconds: float
    capacity: int | None  # slots of one replica that Normal may use
    arrivals_per_second: float
    cold_start_seconds: float
    last_request: float
    lost: int = 0
    overflowed: int = 0
    spent: float = 0.0
    overflow_hour_cost: float | None = None
    overflow_cost_per_request_hour: float | None = None
    unplaced: int = 0  # replicas that no node has


class Scaler(Protocol):
    """One pool's scaler. It may remember; a fleet of several pools takes one for each."""

    period: float
    """Seconds between looks."""

    def decide(self, seen: ScalerView) -> int:
        """Replicas wanted now; the fleet starts and drains them."""


class Fixed:
    """Always the same size."""

    def __init__(self, replicas: int, period: float = PERIOD_SECONDS) -> None:
        self.replicas = replicas
        self.period = period

    def decide(self, seen: ScalerView) -> int:
        """The size."""
        return self.replicas


class Forebay:
    """rules/scale.py and rules/wake.py, as the pool's `scaling` says; Advisory counts as Automatic.

    `overflow`: what does not fit may leave. `replica_hour` in US dollars, for break-even. `last` is its decision.
    """

    def __init__(
        self,
        scaling: Scaling,
        period: float = PERIOD_SECONDS,
        *,
        overflow: bool = True,
        replica_hour: float | None = None,
    ) -> None:
        self.scaling, self.period = scaling, period
        self.overflow, self.replica_hour = overflow, replica_hour
        self.history: History | None = None
        self.sleep = Sleep()
        self.last: ScaleDecision | None = None
        self.seen: ScalerView | None = None
        self.load = rule.SPILLING.up_load  # share of the slots that is to be used

    @classmethod
    def of(cls, setup: FleetSetup, pool: PoolSetup, period: float = PERIOD_SECONDS) -> "Forebay":
        """For one pool of a fleet, with its prices."""
        hour = pool.gpu_hour
        price = None if hour is None else float(hour * pool.gpus)
        return cls(pool.scaling, period, overflow=setup.may_overflow(pool), replica_hour=price)

    def decide(self, seen: ScalerView) -> int:
        """As the operator would."""
        inputs = self._inputs(seen)
        self.seen, self.last, self.load = seen, rule.scale(inputs), rule.pace_of(inputs).up_load
        self.history = self.last.history
        if seen.size or self.scaling.min_replicas or self.scaling.mode is ScalingMode.MANUAL:
            self.sleep = Sleep()
            return self.last.replicas
        awake, self.sleep = wake(self.sleep, self._wake(seen, wanted=self.last.replicas > 0))
        return self.last.replicas if awake else 0

    def _inputs(self, seen: ScalerView) -> ScaleInputs:
        scaling, behavior = self.scaling, self.scaling.behavior
        return ScaleInputs(
            now=seen.now,
            mode=ScalingMode.AUTOMATIC if scaling.mode is ScalingMode.ADVISORY else scaling.mode,
            current=seen.size,
            wished=seen.size,
            minimum=scaling.min_replicas,
            maximum=scaling.max_replicas,
            demand=Demand(
                running=seen.running,
                queued=seen.queued,
                overflowing=seen.overflowing,
                lost_per_second=seen.lost_per_second,
                service_seconds=seen.service_seconds,
            ),
            capacity=seen.capacity,
            starting=seen.starting,
            ending=seen.ending,
            up_window=behavior.scale_up.stabilization_window_seconds,
            down_window=behavior.scale_down.stabilization_window_seconds,
            idle_to_zero=scaling.idle_seconds_to_zero,
            last_request=seen.last_request,
            history=self.history or History.restored((), 0, seen.now),
            overflow_allowed=self.overflow,
            cold_start_seconds=seen.cold_start_seconds,
            unplaced=seen.unplaced,
            replica_hour_price=self.replica_hour,
            overflow_cost_per_request_hour=seen.overflow_cost_per_request_hour,
            period_seconds=self.period,
        )

    def _wake(self, seen: ScalerView, *, wanted: bool) -> WakeInputs:
        price = self.replica_hour
        return WakeInputs(
            now=seen.now,
            after=self.scaling.wake_after,
            wanted=wanted,
            stuck=seen.queued > 0 or seen.lost > seen.overflowed,
            overflowed=seen.overflowed,
            spent=seen.spent,
            cold_start_cost=None if price is None else price * seen.cold_start_seconds / 3600,
            cloud=self.overflow,
            pause=self.scaling.idle_seconds_to_zero or PAUSE_SECONDS,
        )
