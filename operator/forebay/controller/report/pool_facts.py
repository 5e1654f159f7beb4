"""From a fleet as it is to what the conditions of one pool depend on. Pure."""

from collections.abc import Iterable

from forebay import engines
from forebay.controller.manifests.statefulset import TemplateChoice, decided_replicas, outdated, recorded
from forebay.controller.observe import engine_versions
from forebay.controller.observe.memory import FleetMemory, ObjectKey
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.routing_table import Acknowledgement
from forebay.controller.report import event_messages
from forebay.controller.report.conditions import AdapterFacts, PoolFacts
from forebay.controller.report.troubles import troubles
from forebay.controller.settings import Settings
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ScaleReason
from forebay.resources.report import SidecarReport
from forebay.resources.terms import ScalingMode


def pool_facts(
    fleet: ObservedFleet,
    pool: ObservedPool,
    spec: PoolSpec,
    memory: FleetMemory,
    sizing: Sizing,
    choice: TemplateChoice,
    settings: Settings,
    programmed: Acknowledgement | None,
    objects: Iterable[ObjectKey],
) -> PoolFacts:
    """What is known of a pool. `objects`: all that it should have."""
    reference = spec.cloud_fallback_policy_ref
    missing = reference is not None and reference.name not in {policy.name for policy in fleet.policies}
    attempt, reason, pods = sizing.memory.attempt, sizing.decision.reason, _staying(pool)
    unasked = max(sizing.wanted - sizing.decision.replicas, 0)
    others_first = reason in (ScaleReason.AWAITS_TURN, ScaleReason.SHARED_DEMAND)
    withdrawn = unasked > 0 and attempt.withdrawn > 0 and not others_first
    unplaced = [pod for pod in pods if not pod.placed and pod.trouble]
    stuck = _stuck(fleet, pool)
    trouble, hints = troubles(pool.pods)
    at_start = _at_start(spec, choice)
    return PoolFacts(
        wanted=sizing.decision.replicas + unasked,
        unasked=unasked,
        ready=_serving(pool, stuck),
        pods=len(pods),
        placed=sum(pod.placed for pod in pods),
        wakes=spec.scaling.mode is ScalingMode.AUTOMATIC,
        gpus=spec.engine.gpus,
        gpu_resource=spec.engine.gpu_resource_name,
        create_failure=pool.create_failure,
        apply_failure=next((memory.failures[key].words for key in objects if key in memory.failures), ""),
        unplaced=unplaced[0].trouble if unplaced else "",
        gated=bool(unplaced) and unplaced[0].gated,
        withdrawn=event_messages.asked_again(attempt, fleet.now) if withdrawn else "",
        first=sizing.ahead if unasked and reason is ScaleReason.AWAITS_TURN else "",
        held=event_messages.shared_demand(sizing.ahead) if unasked and reason is ScaleReason.SHARED_DEMAND else "",
        trouble=trouble,
        hints=hints,
        rollout=sizing.numbers.rollout,
        silent=sizing.numbers.silent,
        heard=sizing.numbers.heard,
        stuck=stuck,
        versions=engine_versions.said(sidecar_reports(fleet, pool)),
        supported=engines.of(spec.engine.type).supported,
        outdated="" if choice.changed else outdated(recorded(pool.statefulset), settings.images),
        adapters=None if at_start else _adapters(fleet, pool, spec),
        adapters_at_start=at_start,
        refused=choice.refused,
        policy_missing=reference.name if reference is not None and missing else "",
        programmed=programmed,
        gateways_ready=sum(pod.counts for pod in fleet.gateways),
    )


def invalid_facts(fleet: ObservedFleet, pool: ObservedPool, programmed: Acknowledgement | None) -> PoolFacts:
    """The same of a pool whose spec is not understood: only what is seen of its pods."""
    return PoolFacts(
        wanted=decided_replicas(pool.statefulset) or 0,
        ready=_serving(pool, _stuck(fleet, pool)),
        pods=len(_staying(pool)),
        invalid=pool.invalid,
        create_failure=pool.create_failure,
        programmed=programmed,
        gateways_ready=sum(pod.counts for pod in fleet.gateways),
    )


def no_node(pool: ObservedPool) -> str:
    """Why a replica has no node, in the words of whoever refuses it."""
    words = (pod.trouble for pod in _staying(pool) if not pod.placed)
    return pool.create_failure or next((item for item in words if item), "")


def sidecar_reports(fleet: ObservedFleet, pool: ObservedPool) -> list[SidecarReport]:
    """What the sidecars of the pool's pods said last."""
    reports = [fleet.heard[pod.name].report for pod in pool.pods if pod.name in fleet.heard]
    return [report for report in reports if isinstance(report, SidecarReport)]


def _at_start(spec: PoolSpec, choice: TemplateChoice) -> str:
    """Why engines start with their adapters; empty where sidecars load them."""
    if not spec.model.adapters:
        return ""
    if not engines.of(spec.engine.type).loads_adapters(spec.engine.args):
        return "engine.args name them, or ask for several API servers"
    fixed = choice.record is not None and not choice.record.adapter_room and not choice.refused
    return "their pod template is one of an older release" if fixed else ""


def _adapters(fleet: ObservedFleet, pool: ObservedPool, spec: PoolSpec) -> AdapterFacts:
    """What the replicas that serve say of the adapters that the pool names. One with an older sidecar says nothing."""
    wanted = {(adapter.name, adapter.source) for adapter in spec.model.adapters}
    lacks = {pod.name: set(wanted) for pod in pool.pods if pod.counts}
    refused = []
    for report in sidecar_reports(fleet, pool):
        said = [item for item in report.adapters if (item.name, item.source) in wanted]
        if report.replica in lacks:
            lacks[report.replica] -= {(item.name, item.source) for item in said if item.loaded}
        refused += [f"{report.replica}: {item.name}: {item.problem}" for item in said if item.problem]
    missing = tuple(f"{name} on {replica}" for replica in sorted(lacks) for name, _ in sorted(lacks[replica]))
    return AdapterFacts(len(wanted), len(lacks), sum(not left for left in lacks.values()), missing, tuple(refused))


def _staying(pool: ObservedPool) -> list[Pod]:
    return [pod for pod in pool.pods if not pod.terminating]


def _serving(pool: ObservedPool, stuck: tuple[str, ...]) -> int:
    return sum(pod.counts and pod.name not in stuck for pod in pool.pods)


def _stuck(fleet: ObservedFleet, pool: ObservedPool) -> tuple[str, ...]:
    """Replicas that answer and do not work."""
    found = ((report.replica, report.engine) for report in sidecar_reports(fleet, pool))
    return tuple(name for name, engine in found if engine is not None and engine.stuck_seconds > 0)
