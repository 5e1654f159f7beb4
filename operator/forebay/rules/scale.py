"""How many replicas a pool should have: a pure function of demand, capacity and what the last window saw.

Demand is absolute: the concurrent requests that want the pool, whether they run, wait, or left for lack of a slot. It
does not fall because the cloud takes over, so a pool that spills grows. Up at once, down slowly: replicas take minutes
to start, and one that is gone takes its prefix cache along.

- up to `ceil(D / (UP_LOAD * C))` as soon as that has held for the scaleUp window (0 s by default);
- down by one, once `ceil(D / (DOWN_LOAD * C))` has been below the size for the whole scaleDown window, nothing waits,
  and no replica starts or ends. The gap between the two loads keeps a pool from swinging.

D = running + queued + max(overflowing now, lost per second * service seconds), the latter by Little's law.
"""

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from forebay.resources.pool import ScalingMode
from forebay.resources.reasons import ScaleReason
from forebay.rules.capacity import high_reserve

UP_LOAD: Final = 0.9
DOWN_LOAD: Final = 0.75
UP_WINDOW_SECONDS: Final = 0
DOWN_WINDOW_SECONDS: Final = 1200
FINE_SECONDS: Final = 300  # how far back samples of a second go; further back there are minutes
MINUTES: Final = 60  # as long as the longest window
GAP_SECONDS: Final = 90  # a longer pause in observing ends what counts as seen
_SAFE: Final = 1e-9  # 9.000000001 / 9 is one replica, not two


@dataclass(frozen=True, slots=True)
class Demand:
    """What wants a pool now."""

    running: int = 0
    queued: int = 0
    overflowing: int = 0  # at a provider now, for lack of a slot
    lost_per_second: float = 0.0  # overflowed, rejected, expired
    service_seconds: float = 0.0  # mean of one request

    @property
    def concurrent(self) -> float:
        """Requests that would run now if there were room for all."""
        return self.running + self.queued + max(self.overflowing, self.lost_per_second * self.service_seconds)


@dataclass(frozen=True, slots=True)
class Sample:
    """Needs seen within one second."""

    second: int
    down: int  # most replicas that DOWN_LOAD asked for
    up: int  # fewest that UP_LOAD asked for


@dataclass(frozen=True, slots=True)
class History:
    """What was needed lately. `peaks` are maxima of minutes, the last one of minute `until`; they outlive restarts."""

    samples: tuple[Sample, ...] = ()
    peaks: tuple[int, ...] = ()
    until: int = 0
    fine_since: float = 0.0  # samples have no gap since then
    coarse_since: float = 0.0  # minutes have no gap since then
    last: float = 0.0

    @classmethod
    def restored(cls, peaks: tuple[int, ...], until: int, now: float) -> "History":
        """History after a restart, from what the status kept. Short windows begin anew."""
        until = until if peaks else int(now // 60)
        unbroken = now - (until + 1) * 60 <= GAP_SECONDS
        since = (until + 1 - len(peaks)) * 60.0 if unbroken else now
        return cls(peaks=peaks, until=until, fine_since=now, coarse_since=min(since, now), last=now)

    def remember(self, now: float, up: int, down: int) -> "History":
        """The history with one more observation, and without what is too old to matter."""
        second, broken = int(now), now - self.last > GAP_SECONDS
        kept = tuple(item for item in self.samples if second - FINE_SECONDS <= item.second < second)
        same = [item for item in self.samples if item.second == second]
        sample = Sample(second, max([down, *(s.down for s in same)]), min([up, *(s.up for s in same)]))
        peaks, until = _with_peak(self.peaks, self.until, int(now // 60), down)
        return replace(
            self,
            samples=(*kept, sample),
            peaks=peaks,
            until=until,
            fine_since=now if broken else self.fine_since,
            coarse_since=now if broken else self.coarse_since,
            last=now,
        )

    def covers(self, now: float, window: float) -> bool:
        """Whether the whole window has been observed."""
        since = self.fine_since if window <= FINE_SECONDS else min(self.fine_since, self.coarse_since)
        return now - since >= window

    def most(self, now: float, window: float) -> int:
        """Most replicas needed within the window, by the load to shrink to."""
        seen = [item.down for item in self.samples if item.second >= int(now - window)]
        if window > FINE_SECONDS:
            minutes = int(window // 60) + 1
            first = self.until - len(self.peaks) + 1
            seen += [peak for at, peak in enumerate(self.peaks, first) if at > int(now // 60) - minutes]
        return max(seen, default=0)

    def least_up(self, now: float, window: float) -> int | None:
        """Fewest replicas that growing asked for within the window; None when the window is not covered yet."""
        if not self.covers(now, window):
            return None
        return min((item.up for item in self.samples if item.second >= int(now - window)), default=None)


@dataclass(frozen=True, slots=True)
class ScaleInputs:
    """All that a decision depends on. Times are Unix seconds, windows seconds."""

    now: float
    mode: ScalingMode = ScalingMode.AUTOMATIC
    current: int | None = None  # the size decided last; None for a pool without replicas yet
    wished: int = 1  # spec.replicas
    minimum: int = 1
    maximum: int = 1
    demand: Demand = Demand()
    capacity: int | None = None  # slots of one replica that Normal may use; None while nobody knows
    starting: int = 0  # replicas that do not serve yet
    ending: int = 0  # replicas that drain
    fresh: bool = True  # every router was heard of lately
    up_window: float = UP_WINDOW_SECONDS
    down_window: float = DOWN_WINDOW_SECONDS
    idle_to_zero: float | None = None
    last_request: float = 0.0
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True)
class ScaleDecision:
    """The size a pool is to have, and why. `need` is what demand alone asks for."""

    replicas: int
    reason: ScaleReason
    need: int
    demand: float
    capacity: int | None
    window: float
    history: History
    advised: int | None = None  # what Advisory would do

    @property
    def limited(self) -> bool:
        """Whether demand asks for more than the maximum."""
        return self.reason is ScaleReason.MAXIMUM


def normal_slots(slots: int, high_reserved_percent: int) -> int:
    """Slots of a replica that Normal and Low may use: all but High's share, which is rounded down."""
    return slots - high_reserve(slots, high_reserved_percent)


def scale(inputs: ScaleInputs) -> ScaleDecision:
    """Decide the size of one pool."""
    demand = inputs.demand.concurrent
    up, down = _need(demand, inputs.capacity, UP_LOAD), _need(demand, inputs.capacity, DOWN_LOAD)
    history = inputs.history
    if inputs.capacity is not None and inputs.fresh:
        history = history.remember(inputs.now, up, down)
    size, reason = _automatic(inputs, history, up, down)
    window = inputs.down_window if reason is ScaleReason.DEMAND_BELOW_CAPACITY else inputs.up_window
    decision = ScaleDecision(size, reason, up, demand, inputs.capacity, window, history)
    if inputs.mode is ScalingMode.MANUAL:
        return replace(decision, replicas=inputs.wished, reason=ScaleReason.MANUAL)
    if inputs.mode is ScalingMode.ADVISORY:
        held = inputs.wished if inputs.current is None else inputs.current
        return replace(decision, replicas=held, reason=ScaleReason.ADVISORY, advised=size)
    return decision


def _automatic(inputs: ScaleInputs, history: History, up: int, down: int) -> tuple[int, ScaleReason]:
    current, floor = inputs.current, max(inputs.minimum, 1)
    if current is None:
        return min(max(inputs.wished, inputs.minimum), inputs.maximum), ScaleReason.INITIAL
    if inputs.minimum == 0 and (zero := _about_zero(inputs, current)) is not None:
        return zero
    if not floor <= current <= inputs.maximum:
        return _into_bounds(current, floor, inputs.maximum, up)
    if inputs.capacity is None:
        return current, ScaleReason.CAPACITY_UNKNOWN
    if up > current:
        return _grow(inputs, current, history, up)
    return _shrink(inputs, current, history, max(down, floor), floor)


def _into_bounds(current: int, floor: int, maximum: int, up: int) -> tuple[int, ScaleReason]:
    """Somebody moved a bound past the size."""
    if current > maximum:
        return maximum, ScaleReason.MAXIMUM
    return max(floor, min(up, maximum)), ScaleReason.MINIMUM


def _about_zero(inputs: ScaleInputs, current: int) -> tuple[int, ScaleReason] | None:
    """Sleep after a long idle time, wake for any demand; None where neither is at hand."""
    if current == 0:
        woken = inputs.demand.concurrent > 0
        needed = _need(inputs.demand.concurrent, inputs.capacity, UP_LOAD)
        size = min(max(needed, 1), inputs.maximum) if woken else 0
        return size, ScaleReason.DEMAND_ABOVE_CAPACITY if woken else ScaleReason.IDLE
    idle = inputs.idle_to_zero is not None and inputs.now - inputs.last_request >= inputs.idle_to_zero
    if idle and inputs.fresh and inputs.demand.concurrent == 0 and not inputs.starting:
        return 0, ScaleReason.IDLE
    return None


def _grow(inputs: ScaleInputs, current: int, history: History, up: int) -> tuple[int, ScaleReason]:
    held = up if inputs.up_window == 0 else history.least_up(inputs.now, inputs.up_window)
    if held is None or held <= current:
        return current, ScaleReason.WITHIN_CAPACITY
    size = min(held, inputs.maximum)
    return size, ScaleReason.DEMAND_ABOVE_CAPACITY if size > current else ScaleReason.MAXIMUM


def _shrink(inputs: ScaleInputs, current: int, history: History, down: int, floor: int) -> tuple[int, ScaleReason]:
    if down >= current:
        return current, ScaleReason.MINIMUM if current == floor else ScaleReason.WITHIN_CAPACITY
    if not inputs.fresh:  # a router that is not heard of can only hide demand: grow on what is known, never shrink
        return current, ScaleReason.METRICS_STALE
    if inputs.starting or inputs.ending:
        return current, ScaleReason.REPLICAS_STARTING
    quiet = not inputs.demand.queued and history.covers(inputs.now, inputs.down_window)
    if not quiet or max(history.most(inputs.now, inputs.down_window), down) >= current:
        return current, ScaleReason.QUIET_WINDOW
    return current - 1, ScaleReason.DEMAND_BELOW_CAPACITY


def _need(demand: float, capacity: int | None, load: float) -> int:
    """Replicas for this demand at this load of each; 0 while the capacity is unknown."""
    return ceil(demand / (load * capacity) - _SAFE) if capacity else 0


def _with_peak(peaks: tuple[int, ...], until: int, minute: int, need: int) -> tuple[tuple[int, ...], int]:
    """Peaks with one more observation; minutes that nobody observed repeat the last one, on the safe side."""
    if not peaks or minute - until >= MINUTES:
        return (need,), minute
    if minute <= until:
        return (*peaks[:-1], max(peaks[-1], need)), until
    filled = (*peaks, *([peaks[-1]] * (minute - until - 1)), need)
    return filled[-MINUTES:], minute
