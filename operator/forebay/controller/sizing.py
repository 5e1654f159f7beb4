"""One pool's numbers: from reports to demand and capacity, from those to a size. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from forebay.controller.demand import Count, Counters
from forebay.controller.manifests.statefulset import decided_replicas
from forebay.controller.memory import Latch, PoolMemory, Spill
from forebay.controller.observe import ObservedFleet, ObservedPool, Pod
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ScaleReason
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport
from forebay.rules import scale as rule
from forebay.rules.history import History
from forebay.rules.scale import Demand, ScaleDecision, ScaleInputs

OVERFLOW_SIGN_SECONDS: Final = 10.0  # overflow within so long means that it goes on
OVERFLOW_STOP_SECONDS: Final = 20.0  # none for so long means that it has stopped
LIMITED_STOP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """What a pool carries now, from fresh reports alone."""

    ready: int
    starting: int
    ending: int
    slots: int
    running: int
    capacity: int | None  # slots of one replica that Normal may use
    queued: int
    overflowing: int
    overflowed_total: int
    silent: tuple[str, ...]  # routers that should report and do not
    heard: int
    last_request: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """The size of a pool, the numbers behind it, and what to remember."""

    decision: ScaleDecision
    numbers: PoolNumbers
    memory: PoolMemory


def remembered(pool: ObservedPool, memory: PoolMemory | None, now: float) -> PoolMemory:
    """The memory of a pool; after a restart, what its status kept."""
    if memory is not None:
        return memory
    kept = pool.status.scaling
    history = History.restored(tuple(kept.peaks), kept.peaks_until, now)
    spilling = Latch(pool.status.overflow.state == "Active", now, now)
    limited = Latch(kept.reason == ScaleReason.MAXIMUM.value, now, now)
    advised = kept.desired_replicas if kept.reason == ScaleReason.ADVISORY.value else None
    return PoolMemory(Counters(now), history, Spill(spilling), limited, advised)


def size(fleet: ObservedFleet, pool: ObservedPool, spec: PoolSpec, memory: PoolMemory, stale: float) -> Sizing:
    """Decide the size of one pool. `stale` is the age in seconds from which a report does not count."""
    now = fleet.now
    gateways, sidecars, silent = fresh_reports(fleet, pool.pods, stale)
    counters = memory.counters.advance(pool.name, gateways, sidecars, now)
    numbers = _numbers(pool, spec, gateways, sidecars, silent)
    behavior = spec.scaling.behavior
    inputs = ScaleInputs(
        now=now,
        mode=spec.scaling.mode,
        current=_current(pool),
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
        fresh=not silent and bool(gateways),
        up_window=_or(behavior.scale_up.stabilization_window_seconds, rule.UP_WINDOW_SECONDS),
        down_window=_or(behavior.scale_down.stabilization_window_seconds, rule.DOWN_WINDOW_SECONDS),
        idle_to_zero=spec.scaling.idle_seconds_to_zero,
        last_request=max(numbers.last_request, _born(pool)),
        history=memory.history,
    )
    decision = rule.scale(inputs)
    kept = replace(
        memory,
        counters=counters,
        history=decision.history,
        spill=_spill(memory.spill, counters, numbers, now),
        limited=memory.limited.step(decision.limited, now, LIMITED_STOP_SECONDS),
    )
    return Sizing(decision, numbers, kept)


def fresh_reports(
    fleet: ObservedFleet, pods: Sequence[Pod], stale: float
) -> tuple[list[GatewayReport], list[SidecarReport], tuple[str, ...]]:
    """Fresh reports of the gateways and of these pods, and the names of ready routers that owe one."""
    fresh = {name: item.report for name, item in fleet.heard.items() if fleet.now - item.time <= stale}
    silent = tuple(pod.name for pod in (*fleet.gateways, *pods) if pod.counts and pod.name not in fresh)
    gateways = [report for pod in fleet.gateways if isinstance(report := fresh.get(pod.name), GatewayReport)]
    sidecars = [report for pod in pods if isinstance(report := fresh.get(pod.name), SidecarReport)]
    return gateways, sidecars, silent


def _numbers(
    pool: ObservedPool,
    spec: PoolSpec,
    gateways: Sequence[GatewayReport],
    sidecars: Sequence[SidecarReport],
    silent: tuple[str, ...],
) -> PoolNumbers:
    serving = [report for report in sidecars if report.state is ReplicaState.SERVING and report.slots > 0]
    mine = [item for report in gateways for item in report.pools if item.pool == pool.name]
    wanted = int(pool.statefulset["spec"].get("replicas", 1)) if pool.statefulset else 0
    ready = sum(pod.counts for pod in pool.pods)
    return PoolNumbers(
        ready=ready,
        starting=max(wanted - ready, 0),
        ending=sum(pod.terminating for pod in pool.pods),
        slots=sum(report.slots for report in serving),
        running=sum(report.running for report in sidecars),
        capacity=_capacity(pool, spec, serving),
        queued=sum(item.queued for item in mine),
        overflowing=sum(item.overflow_running for item in mine),
        overflowed_total=sum(item.overflowed_total for item in mine),
        silent=silent,
        heard=len(gateways) + len(sidecars),
        last_request=_last_request(gateways, sidecars, mine),
    )


def _capacity(pool: ObservedPool, spec: PoolSpec, serving: Sequence[SidecarReport]) -> int | None:
    """As reported; while nobody serves, as the spec says or as it was last."""
    percent = spec.capacity.high_reserved_percent
    if serving:
        return rule.normal_slots(sum(report.slots for report in serving) // len(serving), percent)
    if spec.capacity.slots_per_replica is not None:
        return rule.normal_slots(spec.capacity.slots_per_replica, percent)
    return pool.status.scaling.capacity or None


def _last_request(
    gateways: Sequence[GatewayReport], sidecars: Sequence[SidecarReport], mine: Sequence[PoolDemand]
) -> float:
    """Of any request; a gateway that has just begun may have missed one."""
    return max(
        [0.0]
        + [report.started for report in gateways]
        + [report.last_request for report in sidecars]
        + [item.last_request for item in mine]
    )


def _current(pool: ObservedPool) -> int | None:
    """The size decided last; a StatefulSet deleted by hand comes back with the size it had."""
    decided = decided_replicas(pool.statefulset)
    if decided is None and pool.status.scaling.decisions:
        return pool.status.scaling.desired_replicas
    return decided


def _born(pool: ObservedPool) -> float:
    """When the pool, or its present size, began: idle time counts from there."""
    times = [pool.created, *(item.time for item in pool.status.scaling.decisions[:1])]
    return max((datetime.fromisoformat(time).timestamp() for time in times if time), default=0.0)


def _spill(spill: Spill, counters: Counters, numbers: PoolNumbers, now: float) -> Spill:
    """Follow the overflow: whether it goes on, and what has left since it began."""
    recent = counters.overflowed_since(now - OVERFLOW_SIGN_SECONDS)
    latch = spill.latch.step(recent.overflowed > 0 or numbers.overflowing > 0, now, OVERFLOW_STOP_SECONDS)
    if not latch.on:
        return Spill(latch, spill.count if spill.latch.on else Count())
    step = next((item.count for item in counters.steps[-1:] if item.time == now), Count())
    return Spill(latch, (spill.count if spill.latch.on else Count()).plus(step))


def _or(value: int | None, default: float) -> float:
    return default if value is None else value
