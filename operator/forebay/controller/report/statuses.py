"""The statuses as they are written, and when that is worth a write. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from forebay.controller.manifests.common import pool_selector
from forebay.controller.manifests.statefulset import decided_replicas
from forebay.controller.observe import engine_versions
from forebay.controller.observe.observe import ObservedPool
from forebay.controller.report.conditions import rfc3339
from forebay.controller.sizing.arbitration import HELD
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.pool_status import (
    MOVED,
    OverflowStatus,
    PoolStatus,
    ReplicaCount,
    ScalingHistory,
    ScalingStatus,
)

NUMBERS_SECONDS: Final = 10.0  # how often changed numbers are written, and the words of what is wrong
ALL_SECONDS: Final = 60.0  # how often anything else is
DECISIONS: Final = 10
_EDGES: Final = ("observedGeneration", "replicas", "readyReplicas", "selector", "tableGeneration", "pools")
_HELD: Final = frozenset(reason.value for reason in HELD)
_WINDOWS: Final = ("peaks", "means", "variances")
_MINUTES: Final = (*_WINDOWS, "peaksUntil")
_COMMITTED: Final = ("committed", "committedHigh")
_NUMBERS: Final = ("slots", "running", "queued", "load")


def pool_status(
    pool: ObservedPool,
    sizing: Sizing,
    conditions: list[dict[str, Any]],
    *,
    table_generation: int,
    told: bool,
    now: float,
    capacity: CapacityStatus,
) -> dict[str, Any]:
    """The whole status of a pool. `told` says that this pass changes its size, or tells what is in the way."""
    numbers, decision, memory = sizing.numbers, sizing.decision, sizing.memory
    status = PoolStatus(
        observed_generation=pool.generation,
        replicas=sum(not pod.terminating for pod in pool.pods),
        ready_replicas=numbers.ready,
        selector=",".join(f"{key}={value}" for key, value in pool_selector(pool.name).items()),
        slots=numbers.slots,
        running=numbers.running,
        queued=numbers.queued,
        load=f"{numbers.running}/{numbers.slots}",
        engine_version=engine_versions.written(memory.versions),
        scaling=ScalingStatus(
            demand=f"{decision.demand:.1f}",
            capacity=decision.capacity or 0,
            desired_replicas=sizing.wanted if decision.advised is None else decision.advised,
            reason=decision.reason.value,
            cold_start_seconds=memory.starts.most or 0,
            decisions=_decisions(pool, sizing, told, now),
            history=_history(sizing),
        ),
        capacity=capacity,
        overflow=OverflowStatus(
            state="Active" if memory.spill.latch.on else "None",
            running=numbers.overflowing,
            total=numbers.overflowed_total,
            cost=_plain(numbers.overflow_cost, 6),
            cost_per_hour=_plain(sizing.cost_per_hour, 2),
        ),
        table_generation=table_generation,
    )
    written = status.model_dump(mode="json", by_alias=True)
    written["scaling"] |= {field: None for field in MOVED if field in (pool.live_status.get("scaling") or {})}
    return {**written, "conditions": conditions}


def _history(sizing: Sizing) -> ScalingHistory:
    """What the next operator goes on from."""
    history, memory = sizing.decision.history, sizing.memory
    return ScalingHistory(
        peaks=list(history.peaks),
        peaks_until=history.until,
        means=[_plain(mean, 3) for mean in history.means],
        variances=[_plain(variance, 3) for variance in history.variances],
        first_replicas=sizing.first,
        cold_starts=list(memory.starts.seconds),
        unplaced_since=round(memory.attempt.since),
        withdrawals=memory.attempt.failures,
        withdrawn_at=round(memory.attempt.withdrawn),
        retry_at=round(memory.attempt.retry),
        wanted_since=round(memory.sleep.since),
        wanted_cost=_plain(memory.sleep.spent, 6),
    )


def worth_writing(new: Mapping[str, Any], live: Mapping[str, Any], since_last: float) -> str:
    """Why the status is to be written now; empty when it can wait. `since_last`: age of the last write in seconds."""
    for field in _EDGES:
        if field in new and new[field] != live.get(field):
            return field
    if _edges(new) != _edges(live):
        return "an edge"
    if since_last >= NUMBERS_SECONDS and _numbers(new) != _numbers(live):
        return "numbers"
    if since_last >= ALL_SECONDS and any(
        _without_nulls(value) != _without_nulls(live.get(field)) for field, value in _news(new, live).items()
    ):
        return "a minute has passed"
    return ""


def _without_nulls(value: Any) -> Any:
    """What the API server keeps of a value: a null of a merge patch is a field that is not there."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _news(status: Mapping[str, Any], live: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status, but with the minutes of the live one where the new ones only repeat its last. Who reads a history
    takes missing minutes for just that: so a fleet at rest, however large, has nothing to write."""
    history, known = _memory(status), _memory(live)
    added = history.get("peaksUntil", 0) - known.get("peaksUntil", 0)
    same = added >= 0 and all(
        known.get(field) and set(history[field][-added - 1 :]) == {known[field][-1]} for field in _WINDOWS
    )
    if not same:
        return status
    minutes = {field: known[field] for field in _MINUTES}
    return {**status, "scaling": {**status["scaling"], "history": {**history, **minutes}}}


def _memory(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return (status.get("scaling") or {}).get("history") or {}


def _edges(status: Mapping[str, Any]) -> tuple[Any, ...]:
    scaling, overflow = status.get("scaling") or {}, status.get("overflow") or {}
    budget = status.get("budget") or {}
    return (
        scaling.get("desiredReplicas"),
        scaling.get("reason") if scaling.get("reason") in _HELD else "",  # an Event told it, and must not again
        _memory(status).get("unplacedSince"),
        _memory(status).get("retryAt"),
        scaling.get("decisions") or [],
        overflow.get("state"),
        budget.get("periodStart"),
        budget.get("closed"),  # what a ledger that is built anew goes on from: nobody else tells of it
        budget.get("closedHigh"),
        _percents(budget),  # so that it misses less than a hundredth of what was granted
        (status.get("capacity") or {}).get("learnt"),  # routers are told of it from here
        sorted(
            (item.get("type"), item.get("status"), item.get("reason"), item.get("observedGeneration"))
            for item in status.get("conditions") or ()
        ),
    )


def _percents(budget: Mapping[str, Any]) -> list[int]:
    amount = Decimal(budget.get("amount") or 0)
    return [int(Decimal(budget.get(field) or 0) * 100 / amount) for field in _COMMITTED] if amount else []


def _numbers(status: Mapping[str, Any]) -> tuple[Any, ...]:
    scaling, overflow = status.get("scaling") or {}, status.get("overflow") or {}
    fast = [status.get(field) for field in _NUMBERS]
    return (
        *fast,
        status.get("engineVersion") or "",
        scaling.get("demand"),
        scaling.get("reason"),
        overflow.get("running"),
        overflow.get("total"),
        _without_nulls(status.get("budget") or {}),
        sorted(
            (item.get("type"), item.get("message"))
            for item in status.get("conditions") or ()
            if item.get("status") == "False"
        ),
    )


def _decisions(pool: ObservedPool, sizing: Sizing, told: bool, now: float) -> list[ReplicaCount]:
    kept, decision = list(pool.status.scaling.decisions), sizing.decision
    if not told:
        return kept
    latest = ReplicaCount(
        time=rfc3339(now),
        from_replicas=decided_replicas(pool.statefulset) or 0,
        to_replicas=decision.replicas,
        reason=decision.reason.value,
        demand=f"{decision.demand:.1f}",
        capacity=decision.capacity or 0,
        wanted=max(sizing.wanted, decision.need),
        window_seconds=round(decision.window),
    )
    return [latest, *kept][:DECISIONS]


def _plain(number: Decimal | float, digits: int) -> str:
    """A decimal without exponent and idle zeros."""
    return f"{number:.{digits}f}".rstrip("0").rstrip(".")
