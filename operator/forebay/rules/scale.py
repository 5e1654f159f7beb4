"""How many replicas a pool should have: a pure function of demand, capacity, prices and what the last window saw.

Demand is absolute: the concurrent requests that want the pool, whether they run, wait, or left for lack of a slot. It
does not fall because the cloud takes over, so a pool that spills grows.

- Up, to `ceil(mean D / (up_load * C))`, the mean taken over the scaleUp window: 60 s, or the time of two requests if
  that is longer, at a load of 0.9 where the cloud takes what does not fit; 30 s and 0.75 where nothing may leave.
  Replicas that start count.
- Down by one, once `ceil(D / (down_load * C))` has been below the size for the whole scaleDown window (30 minutes, or
  three cold starts), nothing waits, and no replica starts, ends or rolls. The gap between the loads, and that a size
  once asked for counts as needed for the window, keep a pool from swinging.
- Where a budget does not pay for what leaves (rules/budget/outlook.py), a pool is sized as one whose requests may not
  leave: there is no third pace.
- Where a replica-hour and what leaves both have a price, money decides instead of loads (rules/marginal_value.py): a
  replica is started if it saves what it costs, with its start and its window paid back within an hour, and goes once it
  has saved less than it costs for the whole window. A burst may then be the cloud's, so means are taken over longer:
  180 s upwards, 60 s downwards.
- Reports older than three periods hold the size. A router that is silent can only hide demand: never down, but up.

D = running + queued + max(overflowing now, lost per second * service seconds), the latter by Little's law.
"""

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from forebay.resources.reasons import ScaleReason
from forebay.resources.terms import ScalingMode
from forebay.rules.capacity import high_reserve
from forebay.rules.history import History
from forebay.rules.marginal_value import BreakEven, DemandDistribution


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly a pool follows its demand. Loads are shares of a replica's slots, windows seconds."""

    up_load: float = 0.9
    down_load: float = 0.7
    up_window: float = 60.0
    down_window: float = 1800.0
    down_mean: float = 0.0  # seconds over which demand is averaged before the scaleDown window looks at it


SPILLING: Final = Pace()
"""Where the cloud takes what does not fit."""
LOCAL_ONLY: Final = Pace(up_load=0.75, down_load=0.6, up_window=30.0)
"""Where nothing may leave: faster, with more headroom."""
PRICED: Final = Pace(up_window=180.0, down_mean=60.0)
"""Where money decides; the loads then serve until a price is known."""

SERVICE_TIMES: Final = 2  # that the scaleUp window spans at least: what runs now tells little of what comes
COLD_STARTS: Final = 3  # that the scaleDown window spans at least
STALE_PERIODS: Final = 3
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
class ScaleInputs:
    """All that a decision depends on. Times are Unix seconds, windows seconds, money US dollars."""

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
    up_window: float | None = None  # None: what the pace says
    down_window: float | None = None  # None: what the pace says, or three cold starts
    idle_to_zero: float | None = None
    last_request: float = 0.0
    history: History = field(default_factory=History)
    overflow_allowed: bool = True  # False: local-only, no policy, no provider
    overflow_paid: bool = True  # False: the policy's budget does not last
    cold_start_seconds: float = 300.0  # from wanted to serving, p90 of the last starts; else the engine's default
    rollout: bool = False  # a change of the template is under way
    unplaced: int = 0  # replicas that no node takes or the API server refuses; they count as starting, too
    replica_hour_price: float | None = None
    overflow_cost_per_request_hour: float | None = None  # of one unit of demand that leaves, by the hour
    age_seconds: float = 0.0  # of the oldest report that counts
    period_seconds: float = 5.0  # between two reports of a router
    pace: Pace | None = None  # None: as `may_leave` asks for

    @property
    def may_leave(self) -> bool:
        """Whether the cloud takes what does not fit."""
        return self.overflow_allowed and self.overflow_paid


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
    kept: float | None = None  # requests that the replica in question keeps from leaving, where money decides
    pays_from: float | None = None  # so many
    unpaid: bool = False  # what does not fit would leave if there were money


def normal_slots(slots: int, high_reserved_percent: int) -> int:
    """Slots of a replica that Normal and Low may use: all but High's share, which is rounded down."""
    return slots - high_reserve(slots, high_reserved_percent)


def break_even(inputs: ScaleInputs) -> BreakEven | None:
    """The prices to weigh; None where one is missing or nothing may leave."""
    price, each = inputs.replica_hour_price, inputs.overflow_cost_per_request_hour
    if not inputs.may_leave or price is None or not each:
        return None
    return BreakEven(price, each)


def pace_of(inputs: ScaleInputs) -> Pace:
    """The pace of a pool, with the windows that its spec names."""
    usual = LOCAL_ONLY if not inputs.may_leave else PRICED if break_even(inputs) else SPILLING
    pace = inputs.pace or usual
    spanned = SERVICE_TIMES * inputs.demand.service_seconds if inputs.may_leave else 0.0
    up = max(pace.up_window, spanned)
    down = max(pace.down_window, COLD_STARTS * inputs.cold_start_seconds)
    up = up if inputs.up_window is None else inputs.up_window
    down = down if inputs.down_window is None else inputs.down_window
    return Pace(pace.up_load, pace.down_load, up, down, min(pace.down_mean, down))


def scale(inputs: ScaleInputs) -> ScaleDecision:
    """Decide the size of one pool."""
    look = _look(inputs)
    size, reason = _automatic(look)
    history = look.history
    if inputs.current is not None and size > inputs.current:
        history = history.noted(size)
    shrinks = inputs.current is not None and size < inputs.current
    decision = ScaleDecision(
        replicas=size,
        reason=reason,
        need=look.up,
        demand=inputs.demand.concurrent,
        capacity=inputs.capacity,
        window=look.pace.down_window if shrinks else look.pace.up_window,
        history=history,
        unpaid=inputs.overflow_allowed and not inputs.overflow_paid,
    )
    if look.weighs is not None and (shrinks or size != inputs.current or reason is ScaleReason.CLOUD_CHEAPER):
        decision = _with_worth(decision, look, look.weighs, shrinks=shrinks)
    if inputs.mode is ScalingMode.MANUAL:
        return replace(decision, replicas=inputs.wished, reason=ScaleReason.MANUAL)
    if inputs.mode is ScalingMode.ADVISORY:
        held = inputs.wished if inputs.current is None else inputs.current
        return replace(decision, replicas=held, reason=ScaleReason.ADVISORY, advised=size)
    return decision


@dataclass(frozen=True, slots=True)
class _Look:
    """The inputs with what follows from them: the replicas to grow to, to shrink to, and that demand alone asks for."""

    inputs: ScaleInputs
    pace: Pace
    history: History
    up: int
    down: int
    by_load: int
    mean: float = 0.0
    lately: float = 0.0
    variance: float = 0.0
    weighs: BreakEven | None = None

    @property
    def floor(self) -> int:
        return max(self.inputs.minimum, 1)


def _look(inputs: ScaleInputs) -> _Look:
    pace, demand, capacity, history = pace_of(inputs), inputs.demand.concurrent, inputs.capacity, inputs.history
    counts, prices = capacity is not None and not _stale(inputs), break_even(inputs)
    down = 0 if prices else _need(demand, capacity, pace.down_load)
    if counts:
        history = history.remember(inputs.now, demand, down, complete=inputs.fresh)
    mean = history.mean(inputs.now, pace.up_window)
    up = _need(mean, capacity, pace.up_load)
    if not capacity or prices is None:
        return _Look(inputs, pace, history, up, down, up)
    lately = history.mean(inputs.now, pace.down_mean) if pace.down_mean else demand
    variance, most = history.variance(inputs.now, pace.down_window), inputs.maximum + 1  # one more says: limited
    worth = DemandDistribution(mean, variance).worthwhile(capacity, prices.to_start(_bound(inputs, pace)), most)
    down = DemandDistribution(lately, variance).worthwhile(capacity, prices.to_stay(), most)
    history = history.noted(down) if counts else history
    return _Look(inputs, pace, history, worth, down, up, mean, lately, variance, prices)


def _bound(inputs: ScaleInputs, pace: Pace) -> float:
    """Seconds for which a replica is paid without being needed: while it starts, and before it may go."""
    return inputs.cold_start_seconds + pace.down_window


def _with_worth(decision: ScaleDecision, look: _Look, prices: BreakEven, *, shrinks: bool) -> ScaleDecision:
    """The decision with what the replica that goes, comes or does not come is worth."""
    inputs, current, capacity = look.inputs, look.inputs.current or 0, look.inputs.capacity or 1
    if shrinks:
        kept = DemandDistribution(look.lately, look.variance).kept(current, capacity)
        return replace(decision, kept=kept, pays_from=prices.to_stay())
    kept = DemandDistribution(look.mean, look.variance).kept(max(decision.replicas, current + 1), capacity)
    return replace(decision, kept=kept, pays_from=prices.to_start(_bound(inputs, look.pace)))


def _automatic(look: _Look) -> tuple[int, ScaleReason]:
    inputs, current = look.inputs, look.inputs.current
    if current is None:
        return min(max(inputs.wished, inputs.minimum), inputs.maximum), ScaleReason.INITIAL
    if inputs.minimum == 0 and (zero := _about_zero(look, current)) is not None:
        return zero
    if not look.floor <= current <= inputs.maximum:
        return _into_bounds(look, current)
    if inputs.capacity is None or _stale(inputs):
        return current, ScaleReason.CAPACITY_UNKNOWN if inputs.capacity is None else ScaleReason.METRICS_STALE
    return _grow(look, current) if look.up > current else _shrink(look, current)


def _into_bounds(look: _Look, current: int) -> tuple[int, ScaleReason]:
    """Somebody moved a bound past the size."""
    maximum = look.inputs.maximum
    if current > maximum:
        return maximum, ScaleReason.MAXIMUM
    return max(look.floor, min(look.up, maximum)), ScaleReason.MINIMUM


def _about_zero(look: _Look, current: int) -> tuple[int, ScaleReason] | None:
    """Sleep after a long idle time, wake for any demand; None where neither is at hand."""
    inputs = look.inputs
    if current == 0:
        woken = inputs.demand.concurrent > 0
        needed = _need(inputs.demand.concurrent, inputs.capacity, look.pace.up_load)
        size = min(max(needed, 1), inputs.maximum) if woken else 0
        return size, ScaleReason.DEMAND_ABOVE_CAPACITY if woken else ScaleReason.IDLE
    idle = inputs.idle_to_zero is not None and inputs.now - inputs.last_request >= inputs.idle_to_zero
    certain = inputs.fresh and not _stale(inputs) and not inputs.rollout
    if idle and certain and inputs.demand.concurrent == 0 and not inputs.starting:
        return 0, ScaleReason.IDLE
    return None


def _grow(look: _Look, current: int) -> tuple[int, ScaleReason]:
    size = min(look.up, look.inputs.maximum)
    if size == current:
        return current, ScaleReason.MAXIMUM
    if look.inputs.unplaced:
        return current, ScaleReason.REPLICA_UNPLACED
    return size, ScaleReason.DEMAND_ABOVE_CAPACITY


def _shrink(look: _Look, current: int) -> tuple[int, ScaleReason]:
    cheaper = look.by_load > current  # demand would grow the pool, money does not
    if look.down >= current or current == look.floor:
        full = ScaleReason.MINIMUM if current == look.floor else ScaleReason.WITHIN_CAPACITY
        return current, ScaleReason.CLOUD_CHEAPER if cheaper else full
    if (held := _held(look.inputs)) is not None:
        return current, held
    now, window = look.inputs.now, look.pace.down_window
    waits = look.inputs.demand.queued > 0 and break_even(look.inputs) is None  # Low waits wherever others leave
    if waits or not look.history.covers(now, window) or look.history.most(now, window) >= current:
        return current, ScaleReason.QUIET_WINDOW
    spills = look.inputs.demand.concurrent > (current - 1) * (look.inputs.capacity or 0)
    return current - 1, ScaleReason.CLOUD_CHEAPER if spills else ScaleReason.DEMAND_BELOW_CAPACITY


def _held(inputs: ScaleInputs) -> ScaleReason | None:
    """What forbids shrinking, whatever the demand."""
    if not inputs.fresh:
        return ScaleReason.METRICS_STALE
    if inputs.starting or inputs.ending:
        return ScaleReason.REPLICAS_STARTING
    return ScaleReason.ROLLOUT if inputs.rollout else None


def _stale(inputs: ScaleInputs) -> bool:
    return inputs.age_seconds > STALE_PERIODS * inputs.period_seconds


def _need(demand: float, capacity: int | None, load: float) -> int:
    """Replicas for this demand at this load of each; 0 while the capacity is unknown."""
    return ceil(demand / (load * capacity) - _SAFE) if capacity else 0
