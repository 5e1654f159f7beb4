"""One pool's size: from its numbers to what the scaling rule wants, and what is to be remembered. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from forebay import engines
from forebay.controller.manifests.statefulset import decided_replicas
from forebay.controller.observe import engine_versions
from forebay.controller.observe.memory import Latch, PoolMemory, Spill
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.settings import Settings
from forebay.controller.sizing.capacity_record import restored
from forebay.controller.sizing.overflow_money import unpaid
from forebay.controller.sizing.pool_load import PoolLoad, fresh_reports, load_of
from forebay.controller.sizing.starts import Starts
from forebay.resources import names
from forebay.resources.entries import policy_entry
from forebay.resources.money_ledger import LedgerEntry
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ScaleReason
from forebay.resources.terms import ScalingMode
from forebay.rules import route
from forebay.rules import scale as rule
from forebay.rules.arbitrate import PlacementAttempt
from forebay.rules.facts import PolicyView
from forebay.rules.history import History
from forebay.rules.lost_demand import Count, Counters
from forebay.rules.scale import Demand, ScaleDecision, ScaleInputs
from forebay.rules.wake import PAUSE_SECONDS, Sleep, WakeInputs, wake

OVERFLOW_START_SECONDS: Final = 10.0  # overflow for so long is worth an Event
OVERFLOW_SIGN_SECONDS: Final = 10.0  # overflow within so long means that it goes on
OVERFLOW_STOP_SECONDS: Final = 60.0  # none for so long means that it has stopped


@dataclass(frozen=True, slots=True)
class Sizing:
    """The size of a pool, the numbers behind it, and what to remember. `wanted` and `why` are the scaling rule's word,
    which `decision` follows as far as GPUs are to be had (controller/sizing/arbitration.py); `ahead` is whom it waits
    for.
    """

    decision: ScaleDecision
    numbers: PoolLoad
    memory: PoolMemory
    wanted: int
    why: ScaleReason
    load: float = rule.SPILLING.up_load
    cold_start: float = 0.0  # seconds
    cost_per_hour: float = 0.0  # US dollars, of what overflows
    ahead: str = ""

    @property
    def first(self) -> int:
        """The first size, while it is being asked for, one replica after the other."""
        given_up = self.decision.reason is ScaleReason.WITHDRAWN
        return self.wanted if self.why is ScaleReason.INITIAL and self.waits and not given_up else 0

    @property
    def waits(self) -> bool:
        """Whether less is asked for than is wanted."""
        return self.wanted > self.decision.replicas


def remembered(pool: ObservedPool, memory: PoolMemory | None, now: float) -> PoolMemory:
    """The memory of a pool; after a restart, what its status kept."""
    if memory is not None:
        return memory
    scaling, kept = pool.status.scaling, pool.status.scaling.history
    means, variances = (tuple(float(value) for value in values) for values in (kept.means, kept.variances))
    history = History.restored(tuple(kept.peaks), kept.peaks_until, now, means, variances)
    told = [reason for reason in ScaleReason if reason.value == scaling.reason]
    return PoolMemory(
        counters=Counters(now),
        history=history,
        spill=Spill(Latch(pool.status.overflow.state == "Active", now, now)),
        held={reason: Latch(True, now, now) for reason in told},
        advised=scaling.desired_replicas if scaling.reason == ScaleReason.ADVISORY.value else None,
        attempt=PlacementAttempt(kept.unplaced_since, now, kept.withdrawals, kept.withdrawn_at, kept.retry_at),
        starts=Starts(tuple(kept.cold_starts)),
        learning=restored(pool.status.capacity),
        sleep=Sleep(kept.wanted_since, now if kept.wanted_since else 0.0, float(kept.wanted_cost)),
        versions=engine_versions.read(pool.status.engine_version),
    )


def size(
    fleet: ObservedFleet,
    pool: ObservedPool,
    spec: PoolSpec,
    memory: PoolMemory,
    settings: Settings,
    ledgers: Mapping[str, LedgerEntry],
) -> Sizing:
    """What the scaling rule wants of one pool. `ledgers` of the fleet's budgets."""
    now = fleet.now
    reports = fresh_reports(fleet, pool.pods, settings.stale_seconds)
    counters = memory.counters.advance(pool.name, reports.gateways, reports.sidecars, now)
    numbers = load_of(pool, spec, reports)
    starts = memory.starts.look(pool.pods, now)
    name, policy = policy_of(fleet, spec)
    budget = policy.budget if policy is not None else None
    latch = unpaid(memory.unpaid, budget, ledgers.get(name), now)
    memory = replace(memory, counters=counters, starts=starts, unpaid=latch)
    inputs = _inputs(fleet, pool, spec, numbers, memory, settings)
    decision, sleep = _woken(rule.scale(inputs), inputs, spec, numbers, memory)
    kept = replace(
        memory,
        history=decision.history,
        spill=_spill(memory.spill, counters, numbers, now),
        sleep=sleep,
        priority=max((pod.priority for pod in pool.pods), default=memory.priority),
    )
    return Sizing(
        decision,
        numbers,
        kept,
        wanted=decision.replicas,
        why=decision.reason,
        load=rule.pace_of(inputs).up_load,
        cold_start=inputs.cold_start_seconds,
        cost_per_hour=counters.cost_per_hour(now),
    )


def _inputs(
    fleet: ObservedFleet,
    pool: ObservedPool,
    spec: PoolSpec,
    numbers: PoolLoad,
    memory: PoolMemory,
    settings: Settings,
) -> ScaleInputs:
    now, counters, behavior = fleet.now, memory.counters, spec.scaling.behavior
    price = spec.gpu_hour_price
    return ScaleInputs(
        now=now,
        mode=spec.scaling.mode,
        current=_current(pool, spec),
        wished=spec.replicas,
        minimum=spec.scaling.min_replicas,
        maximum=spec.scaling.max_replicas,
        demand=Demand(
            running=numbers.running,
            queued=numbers.queued,
            overflowing=numbers.overflowing,
            lost_per_second=counters.lost_per_second(now),
            service_seconds=counters.service_seconds(),
        ),
        capacity=numbers.capacity,
        starting=numbers.starting,
        ending=numbers.ending,
        fresh=numbers.complete,
        up_window=behavior.scale_up.stabilization_window_seconds,
        down_window=behavior.scale_down.stabilization_window_seconds,
        idle_to_zero=spec.scaling.idle_seconds_to_zero,
        last_request=max(numbers.last_request, _born(pool)),
        history=memory.history,
        overflow_allowed=may_overflow(fleet, spec),
        overflow_paid=not memory.unpaid.on,
        cold_start_seconds=float(memory.starts.most or engines.of(spec.engine.type).start_seconds),
        rollout=numbers.rollout,
        unplaced=numbers.unplaced,
        replica_hour_price=float(price) * spec.engine.gpus if price is not None and spec.engine.gpus else None,
        overflow_cost_per_request_hour=counters.cost_per_request_hour(),
        age_seconds=numbers.age,
        period_seconds=settings.resync_seconds,
    )


def may_overflow(fleet: ObservedFleet, spec: PoolSpec) -> bool:
    """Whether a Normal request of this pool may leave for a provider when it is full."""
    name, policy = policy_of(fleet, spec)
    view = None if policy is None else PolicyView.of(policy_entry(name, policy))
    return route.may_overflow(view, spec.overflow.cloud)


def policy_of(fleet: ObservedFleet, spec: PoolSpec) -> tuple[str, PolicySpec | None]:
    """The policy that decides what may leave a pool, by name; None where there is none, or it is not understood."""
    reference = spec.cloud_fallback_policy_ref
    name = reference.name if reference is not None else names.DEFAULT_POLICY
    return name, next((item.spec for item in fleet.policies if item.name == name), None)


def _woken(
    decision: ScaleDecision, inputs: ScaleInputs, spec: PoolSpec, numbers: PoolLoad, memory: PoolMemory
) -> tuple[ScaleDecision, Sleep]:
    """The decision about a pool at zero, which demand alone does not wake."""
    if inputs.current != 0 or inputs.minimum > 0 or inputs.mode is not ScalingMode.AUTOMATIC:
        return decision, Sleep()
    count, price = memory.counters.latest(inputs.now), inputs.replica_hour_price
    awake, sleep = wake(
        memory.sleep,
        WakeInputs(
            now=inputs.now,
            after=spec.scaling.wake_after,
            wanted=decision.replicas > 0,
            stuck=numbers.queued > 0 or count.lost > count.overflowed,
            overflowed=count.overflowed,
            spent=float(count.cost),
            cold_start_cost=None if price is None else price * inputs.cold_start_seconds / 3600,
            cloud=inputs.may_leave,
            pause=spec.scaling.idle_seconds_to_zero or PAUSE_SECONDS,
        ),
    )
    if decision.replicas == 0 or awake:
        return decision, sleep
    return replace(decision, replicas=0, reason=ScaleReason.ASLEEP), sleep


def _current(pool: ObservedPool, spec: PoolSpec) -> int | None:
    """The size decided last, None while the first size is being asked for. A StatefulSet deleted by hand comes back
    with the size it had."""
    decided, kept = decided_replicas(pool.statefulset), pool.status.scaling
    if decided is None:
        return kept.decisions[0].to_replicas if kept.decisions else None
    return None if decided < kept.history.first_replicas and spec.scaling.mode is ScalingMode.AUTOMATIC else decided


def _born(pool: ObservedPool) -> float:
    """When the pool, or its present size, began: idle time counts from there."""
    changes = [item.time for item in pool.status.scaling.decisions if item.from_replicas != item.to_replicas]
    times = [pool.created, *changes[:1]]
    return max((datetime.fromisoformat(time).timestamp() for time in times if time), default=0.0)


def _spill(spill: Spill, counters: Counters, numbers: PoolLoad, now: float) -> Spill:
    """Follow the overflow: whether it goes on, and what has left since it began."""
    recent = counters.overflowed_since(now - OVERFLOW_SIGN_SECONDS)
    sign = recent.overflowed > 0 or numbers.overflowing > 0
    latch = spill.latch.step(sign, now, OVERFLOW_STOP_SECONDS, OVERFLOW_START_SECONDS)
    if not latch.on and latch.first is None:
        return Spill(latch, spill.count if spill.latch.on else Count())
    goes_on = spill.latch.on or spill.latch.first is not None
    return Spill(latch, (spill.count if goes_on else Count()).plus(counters.latest(now)))
