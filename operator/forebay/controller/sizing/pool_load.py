"""What a pool carries now, from the routers' fresh reports and from its pods. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf

from forebay.controller.manifests.statefulset import decided_replicas
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.observe.pods import Pod
from forebay.resources.pool import PoolSpec
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport
from forebay.rules.scale import normal_slots


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """What a pool carries now."""

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
    complete: bool  # no router is silent, and at least one gateway speaks
    last_request: float
    size: int = 0  # replicas asked for
    placed: int = 0  # of those, how many a node has
    tail: int = 0  # how many of the last ordinals no node has
    rollout: bool = False  # replicas are being replaced
    age: float = inf  # seconds, of the oldest report that counts
    overflow_cost: Decimal = Decimal(0)  # US dollars, as the gateways that run now have counted

    @property
    def unplaced(self) -> int:
        """Replicas that no node has."""
        return max(self.size - self.placed, 0)


@dataclass(frozen=True, slots=True)
class FreshReports:
    """Fresh reports of the gateways and of one pool's sidecars, and the names of ready routers that owe one."""

    gateways: tuple[GatewayReport, ...]
    sidecars: tuple[SidecarReport, ...]
    silent: tuple[str, ...]
    age: float = inf


def fresh_reports(fleet: ObservedFleet, pods: Sequence[Pod], stale: float) -> FreshReports:
    """Those no older than `stale` seconds."""
    fresh = {name: item for name, item in fleet.heard.items() if fleet.now - item.time <= stale}
    silent = tuple(pod.name for pod in (*fleet.gateways, *pods) if pod.counts and pod.name not in fresh)
    mine = [fresh[pod.name] for pod in (*fleet.gateways, *pods) if pod.name in fresh]
    reports = [item.report for item in mine]
    return FreshReports(
        tuple(report for report in reports if isinstance(report, GatewayReport)),
        tuple(report for report in reports if isinstance(report, SidecarReport)),
        silent,
        max((fleet.now - item.time for item in mine), default=inf),
    )


def load_of(pool: ObservedPool, spec: PoolSpec, reports: FreshReports) -> PoolLoad:
    """The numbers of one pool."""
    sidecars = reports.sidecars
    serving = [report for report in sidecars if report.state is ReplicaState.SERVING and report.slots > 0]
    mine = [item for report in reports.gateways for item in report.pools if item.pool == pool.name]
    wanted = int(pool.statefulset["spec"].get("replicas", 1)) if pool.statefulset else 0
    size = decided_replicas(pool.statefulset) or 0
    placed = {pod.ordinal for pod in pool.pods if pod.placed and 0 <= pod.ordinal < size}
    ready = sum(pod.counts for pod in pool.pods)
    return PoolLoad(
        ready=ready,
        starting=max(wanted - ready, 0),
        ending=sum(pod.terminating for pod in pool.pods),
        slots=sum(report.slots for report in serving),
        running=sum(report.running for report in sidecars),
        capacity=_capacity(pool, spec, serving),
        queued=sum(item.queued for item in mine),
        overflowing=sum(item.overflow_running for item in mine),
        overflowed_total=sum(item.overflowed_total for item in mine),
        silent=reports.silent,
        heard=len(reports.gateways) + len(sidecars),
        complete=bool(reports.gateways) and not reports.silent,
        last_request=_last_request(reports, mine),
        size=size,
        placed=len(placed),
        tail=next((back for back in range(size) if size - 1 - back in placed), size),
        rollout=_rolls(pool),
        age=reports.age,
        overflow_cost=sum((item.overflow_cost_total for item in mine), Decimal(0)),
    )


def _capacity(pool: ObservedPool, spec: PoolSpec, serving: Sequence[SidecarReport]) -> int | None:
    """As reported, back-pressure left out; while nobody serves, as the spec says or as it was last."""
    percent = spec.capacity.high_reserved_percent
    if serving:
        return normal_slots(sum(report.capacity or report.slots for report in serving) // len(serving), percent)
    if spec.capacity.slots_per_replica is not None:
        return normal_slots(spec.capacity.slots_per_replica, percent)
    return pool.status.scaling.capacity or None


def _last_request(reports: FreshReports, mine: Sequence[PoolDemand]) -> float:
    """Of any request; a gateway that has just begun may have missed one."""
    return max(
        [0.0]
        + [report.started for report in reports.gateways]
        + [report.last_request for report in reports.sidecars]
        + [item.last_request for item in mine]
    )


def _rolls(pool: ObservedPool) -> bool:
    """Whether the StatefulSet has a revision that not all of its pods have yet."""
    status = (pool.statefulset or {}).get("status") or {}
    return bool(status.get("updateRevision")) and status["updateRevision"] != status.get("currentRevision")
