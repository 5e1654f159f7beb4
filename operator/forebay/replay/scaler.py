"""Who decides how many replicas a pool has: forebay's own rule, and room for every other."""

from dataclasses import dataclass
from typing import Protocol

from forebay.resources.pool import Scaling, ScalingMode
from forebay.rules import scale as rule
from forebay.rules.history import History
from forebay.rules.scale import Demand, ScaleDecision, ScaleInputs

PERIOD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What any scaler could know of a pool at one moment; times in seconds of the trace, counts of now.

    `size` is what was asked for last. `lost_per_second` (overflowed, rejected, expired for lack of a slot) and
    `service_seconds` (mean of one request) are as the operator counts them; `arrivals_per_second` since the last look.
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


class Scaler(Protocol):
    """One pool's scaler. It may remember; a fleet of several pools takes one for each."""

    period: float
    """Seconds between looks."""

    def decide(self, seen: Seen) -> int:
        """Replicas wanted now; the fleet starts and drains them."""


class Fixed:
    """Always the same size."""

    def __init__(self, replicas: int, period: float = PERIOD_SECONDS) -> None:
        self.replicas = replicas
        self.period = period

    def decide(self, seen: Seen) -> int:
        """The size."""
        return self.replicas


class Forebay:
    """rules/scale.py with the operator's period, as the pool's `scaling` says. `last` is its latest decision."""

    def __init__(self, scaling: Scaling, period: float = PERIOD_SECONDS) -> None:
        self.scaling = scaling
        self.period = period
        self.history: History | None = None
        self.last: ScaleDecision | None = None

    def inputs(self, seen: Seen) -> ScaleInputs:
        """What the operator would feed the rule."""
        up, down = (
            rules.stabilization_window_seconds
            for rules in (self.scaling.behavior.scale_up, self.scaling.behavior.scale_down)
        )
        return ScaleInputs(
            now=seen.now,
            mode=ScalingMode.AUTOMATIC if self.scaling.mode is ScalingMode.ADVISORY else self.scaling.mode,
            current=seen.size,
            wished=seen.size,
            minimum=self.scaling.min_replicas,
            maximum=self.scaling.max_replicas,
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
            up_window=rule.UP_WINDOW_SECONDS if up is None else up,
            down_window=rule.DOWN_WINDOW_SECONDS if down is None else down,
            idle_to_zero=self.scaling.idle_seconds_to_zero,
            last_request=seen.last_request,
            history=self.history or History.restored((), 0, seen.now),
        )

    def decide(self, seen: Seen) -> int:
        """As the operator would."""
        self.last = rule.scale(self.inputs(seen))
        self.history = self.last.history
        return self.last.replicas
