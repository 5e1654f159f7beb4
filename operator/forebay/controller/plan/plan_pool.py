"""What to do about one pool: its objects, its size, its status, its Events. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forebay import engines
from forebay.controller.cluster.kubernetes_api import POOL, Object
from forebay.controller.manifests.common import said_metadata, with_metadata, with_pull_secrets
from forebay.controller.manifests.networkpolicy import replica_network_policy
from forebay.controller.manifests.services import (
    pool_disruption_budget,
    pool_service,
    pool_service_account,
    replicas_service,
)
from forebay.controller.manifests.statefulset import (
    TemplateChoice,
    choose_template,
    decided_replicas,
    kept_cache,
    outdated,
    recorded,
    statefulset,
)
from forebay.controller.observe import engine_versions
from forebay.controller.observe.memory import FleetMemory, PoolMemory
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.plan.actions import Action, ActionBatch, Apply, Note, Regarding, Say, WriteStatus
from forebay.controller.plan.desired_vs_live import desired_vs_live, with_created_note
from forebay.controller.plan.routing_table import Acknowledgement
from forebay.controller.report import event_messages
from forebay.controller.report.conditions import PoolFacts, Verdict, conditions, pool_verdicts
from forebay.controller.report.statuses import pool_status, worth_writing
from forebay.controller.settings import Settings
from forebay.controller.sizing.capacity_learning import Learning, engine_of, known_for, learn
from forebay.controller.sizing.capacity_record import capacity_status
from forebay.controller.sizing.pool_load import fresh_reports
from forebay.controller.sizing.sizing import OVERFLOW_STOP_SECONDS, Sizing, remembered
from forebay.resources import names
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ConditionReason, EventReason, ScaleReason
from forebay.resources.report import SidecarReport

# Conditions whose turning bad is an Event as well, by the condition's reason.
_NOTED_REASONS = {
    ConditionReason.INVALID_SPEC: EventReason.INVALID_SPEC,
    ConditionReason.REFUSED: EventReason.INVALID_SPEC,
    ConditionReason.POLICY_NOT_FOUND: EventReason.POLICY_NOT_FOUND,
    ConditionReason.CREATE_REFUSED: EventReason.REPLICA_CREATE_FAILED,
    ConditionReason.REPLICAS_STUCK: EventReason.REPLICA_STUCK,
}
_BY_REASON = (ConditionReason.CREATE_REFUSED, ConditionReason.REPLICAS_STUCK)
"""Those whose words change from one look to the next."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The batch for one pool, and what to remember of it."""

    batch: ActionBatch
    memory: PoolMemory


def plan_pool(
    fleet: ObservedFleet,
    pool: ObservedPool,
    memory: FleetMemory,
    settings: Settings,
    programmed: Acknowledgement | None,
    sizing: Sizing | None,
) -> PoolPlan:
    """Plan one pool. `sizing` is None where its spec is not understood."""
    mine = remembered(pool, memory.pools.get(pool.name), fleet.now)
    if pool.spec is None or sizing is None:
        return _invalid(fleet, pool, mine, programmed)
    versions = engine_versions.said(_reports(fleet, pool))
    sizing = replace(sizing, memory=replace(sizing.memory, versions=versions or mine.versions))
    learning = _learnt(fleet, pool, pool.spec, mine, settings.stale_seconds)
    possible, choice = _possible(pool, pool.spec, settings)
    about = event_messages.owner_ref(pool.owner, fleet.namespace)
    objects = _objects(fleet, pool, pool.spec, settings)
    applies = [desired_vs_live(obj, fleet, memory, about) for obj in objects]
    applies.append(_statefulset(fleet, pool, possible, memory, sizing, choice))
    first = f": replicas {sizing.decision.replicas}, reason {sizing.decision.reason}" if not pool.statefulset else ""
    done = with_created_note(applies, about, first)
    resized = _resized(pool, sizing, done)
    held = _held_edges(mine, sizing)
    facts = _facts(fleet, pool, pool.spec, memory, sizing, choice, settings, programmed)
    told = _condition_notes(pool, pool_verdicts(facts), fleet.namespace)
    status = pool_status(
        pool,
        sizing,
        conditions(pool_verdicts(facts), pool.live_status.get("conditions") or (), pool.generation, fleet.now),
        table_generation=programmed.generation if programmed else pool.status.table_generation,
        told=resized or bool(held),
        now=fleet.now,
        capacity=capacity_status(learning, pool.spec),
    )
    why = worth_writing(status, pool.live_status, fleet.now - mine.written)
    actions: list[Action] = [
        *done,
        *(Say(note) for note in (*_edges(fleet, pool, mine, sizing), *_moved(about, pool.spec, mine, learning), *told)),
        *(Say(note) for note in _unsupported(about, pool.spec, mine, sizing.memory)),
    ]
    if why:
        actions.append(WriteStatus(POOL, pool.name, status, why))
    kept = replace(
        sizing.memory,
        advised=sizing.decision.advised,
        written=fleet.now if why else mine.written,
        learning=learning,
    )
    return PoolPlan(ActionBatch(pool.name, tuple(actions)), kept)


def _possible(pool: ObservedPool, spec: PoolSpec, settings: Settings) -> tuple[PoolSpec, TemplateChoice]:
    """The spec as far as the pool's StatefulSet can have it, and the template for it."""
    cache, kept = kept_cache(spec.engine.cache, pool.statefulset)
    old = recorded(pool.statefulset)
    if not kept:
        return spec, choose_template(pool.name, spec, settings.images, old, settings.run_as_user)
    possible = spec.model_copy(update={"engine": spec.engine.model_copy(update={"cache": cache})})
    if cache.per_replica is None and old is not None:  # what it was instead, only the old template says
        return possible, TemplateChoice(old, refused=kept)
    choice = choose_template(pool.name, possible, settings.images, old, settings.run_as_user)
    return possible, replace(choice, refused=choice.refused or kept)


def _invalid(
    fleet: ObservedFleet, pool: ObservedPool, memory: PoolMemory, programmed: Acknowledgement | None
) -> PoolPlan:
    """A spec that makes no sense changes nothing that runs; it is said."""
    desired = decided_replicas(pool.statefulset) or 0
    ready = sum(pod.counts for pod in pool.pods)
    facts = PoolFacts(desired, ready, invalid=pool.invalid, pods=len(pool.pods), programmed=programmed)
    verdicts = pool_verdicts(facts)
    before = pool.live_status.get("conditions") or ()
    status: Object = {
        "observedGeneration": pool.generation,
        "readyReplicas": ready,
        "conditions": conditions(verdicts, before, pool.generation, fleet.now),
    }
    actions: list[Action] = [Say(note) for note in _condition_notes(pool, verdicts, fleet.namespace)]
    why = worth_writing({**pool.live_status, **status}, pool.live_status, fleet.now - memory.written)
    if why:
        actions.append(WriteStatus(POOL, pool.name, status, why))
    kept = replace(memory, written=fleet.now if why else memory.written)
    return PoolPlan(ActionBatch(pool.name, tuple(actions)), kept)


def _objects(fleet: ObservedFleet, pool: ObservedPool, spec: PoolSpec, settings: Settings) -> list[Object]:
    """Everything but the StatefulSet, in the order in which it is needed."""
    namespace, owner = fleet.namespace, pool.owner
    objects = [
        with_pull_secrets(pool_service_account(namespace, owner), settings.pull_secrets),
        replicas_service(namespace, owner),
        pool_service(namespace, owner, spec),
        pool_disruption_budget(namespace, owner),
    ]
    objects = [with_metadata(obj, said_metadata(spec)) for obj in objects]
    if settings.network_policies:
        objects.append(replica_network_policy(namespace, owner, spec, settings))
    return objects


def _statefulset(
    fleet: ObservedFleet,
    pool: ObservedPool,
    spec: PoolSpec,
    memory: FleetMemory,
    sizing: Sizing,
    choice: TemplateChoice,
) -> Apply | None:
    if choice.record is None:
        return None
    about, target = event_messages.owner_ref(pool.owner, fleet.namespace), sizing.decision.replicas
    notes: list[Note] = []
    if pool.statefulset is not None:
        decided, found = decided_replicas(pool.statefulset) or 0, int(pool.statefulset["spec"].get("replicas", 1))
        if target != decided:
            notes.append(event_messages.scaled(about, decided, sizing, _trouble(pool), fleet.now))
        elif found != target:
            notes.append(event_messages.restored(about, found, target))
        if choice.changed:
            notes.append(event_messages.template_changed(about, choice.why))
    desired = with_metadata(statefulset(fleet.namespace, pool.owner, spec, choice.record, target), said_metadata(spec))
    return desired_vs_live(desired, fleet, memory, about, notes)


def _resized(pool: ObservedPool, sizing: Sizing, applies: Sequence[Apply]) -> bool:
    """Whether this pass changes the size, the first size included."""
    touched = any(apply.key == ("StatefulSet", pool.name) for apply in applies)
    return touched and decided_replicas(pool.statefulset) != sizing.decision.replicas


def _facts(
    fleet: ObservedFleet,
    pool: ObservedPool,
    spec: PoolSpec,
    memory: FleetMemory,
    sizing: Sizing,
    choice: TemplateChoice,
    settings: Settings,
    programmed: Acknowledgement | None,
) -> PoolFacts:
    mine = {("StatefulSet", pool.name), *(("Service", name) for name in (pool.name, names.replicas_service(pool.name)))}
    failures = [failure.words for key, failure in memory.failures.items() if key in mine]
    reference = spec.cloud_fallback_policy_ref
    missing = reference is not None and reference.name not in {policy.name for policy in fleet.policies}
    attempt = sizing.memory.attempt
    withdrawn = attempt.withdrawn > 0 and sizing.waits
    waiting = [f"{pod.name}: {pod.waiting}" for pod in pool.pods if pod.waiting and not pod.terminating]
    return PoolFacts(
        desired=sizing.decision.replicas,
        ready=sizing.numbers.ready,
        gpus=spec.engine.gpus,
        gpu_resource=spec.engine.gpu_resource_name,
        create_failure=pool.create_failure,
        apply_failure=failures[0] if failures else "",
        pods=sum(not pod.terminating for pod in pool.pods),
        unschedulable=_unschedulable(pool),
        withdrawn=event_messages.asked_again(attempt, fleet.now) if withdrawn else "",
        first=sizing.ahead if sizing.decision.reason is ScaleReason.AWAITS_TURN else "",
        waiting=waiting[0] if waiting else pool.stuck,
        silent=sizing.numbers.silent,
        heard=sizing.numbers.heard,
        stuck=_stuck(fleet, pool),
        versions=engine_versions.said(_reports(fleet, pool)),
        supported=engines.of(spec.engine.type).supported,
        outdated="" if choice.changed else outdated(recorded(pool.statefulset), settings.images),
        refused=choice.refused,
        policy_missing=reference.name if reference is not None and missing else "",
        programmed=programmed,
    )


def _unschedulable(pool: ObservedPool) -> str:
    """The scheduler's words about one of the pool's pods."""
    return next((pod.unschedulable for pod in pool.pods if pod.unschedulable and not pod.terminating), "")


def _trouble(pool: ObservedPool) -> str:
    """Why a replica has no node, in the words of whoever refuses it."""
    return pool.create_failure or _unschedulable(pool)


def _stuck(fleet: ObservedFleet, pool: ObservedPool) -> tuple[str, ...]:
    """Replicas that answer and do not work."""
    found = ((it.replica, it.engine) for it in _reports(fleet, pool))
    return tuple(name for name, engine in found if engine is not None and engine.stuck_seconds > 0)


def _reports(fleet: ObservedFleet, pool: ObservedPool) -> list[SidecarReport]:
    """What the sidecars of the pool's pods said last."""
    reports = [fleet.heard[pod.name].report for pod in pool.pods if pod.name in fleet.heard]
    return [report for report in reports if isinstance(report, SidecarReport)]


def _unsupported(about: Regarding, spec: PoolSpec, before: PoolMemory, after: PoolMemory) -> list[Note]:
    """An Event for each version outside of what is supported that was not said before."""
    new = [version for version in after.versions if version not in before.versions]
    found = engine_versions.outside(engines.of(spec.engine.type).supported, new)
    return [event_messages.engine_unsupported(about, words) for words in found]


def _condition_notes(pool: ObservedPool, verdicts: Sequence[Verdict], namespace: str) -> list[Note]:
    """Events for conditions that have just turned bad; what the status says already was told before."""
    before = {item.get("type"): item for item in pool.live_status.get("conditions") or ()}
    about = event_messages.owner_ref(pool.owner, namespace)
    notes = []
    for verdict in verdicts:
        old = before.get(verdict.type.value) or {}
        reason = _NOTED_REASONS.get(verdict.reason)
        new = old.get("reason") != verdict.reason.value
        if verdict.reason not in _BY_REASON:
            new = new or old.get("message") != verdict.message
        if reason is None or not new:
            continue
        notes.append(event_messages.refused(about, reason, verdict.message))
    return notes


def _held_edges(before: PoolMemory, sizing: Sizing) -> list[ScaleReason]:
    """What has just come in the way of the size that is wanted."""
    known = {reason for reason, latch in before.held.items() if latch.on}
    return [reason for reason, latch in sizing.memory.held.items() if latch.on and reason not in known]


def _learnt(fleet: ObservedFleet, pool: ObservedPool, spec: PoolSpec, memory: PoolMemory, stale: float) -> Learning:
    """What the latest reports of the replicas add to what is known of their engines."""
    sidecars = fresh_reports(fleet, pool.pods, stale).sidecars
    table = known_for(spec, memory.learning.live_tokens)
    return learn(memory.learning, spec, engine_of(pool.statefulset), sidecars, table, fleet.now)


def _moved(about: Regarding, spec: PoolSpec, before: PoolMemory, after: Learning) -> list[Note]:
    """An Event for each step that a replica's capacity takes; its first value is none."""
    was, found = before.learning.capacity(spec), after.capacity(spec)
    if not before.learning.slots or was.slots == found.slots:
        return []
    return [event_messages.capacity_changed(about, was.slots, found, after)]


def _edges(fleet: ObservedFleet, pool: ObservedPool, before: PoolMemory, sizing: Sizing) -> list[Note]:
    """Events for what began or ended in the pool's numbers."""
    about, after, decision = event_messages.owner_ref(pool.owner, fleet.namespace), sizing.memory, sizing.decision
    notes = [
        event_messages.held(about, reason, sizing, _trouble(pool), fleet.now) for reason in _held_edges(before, sizing)
    ]
    if decision.advised is not None and decision.advised not in (before.advised, decision.replicas):
        notes.append(event_messages.advised(about, decision.replicas, decision))
    was, now = before.spill.latch, after.spill.latch
    if now.on and not was.on:
        notes.append(event_messages.overflow_started(about, after.spill.count, sizing.numbers))
    if was.on and not now.on:
        seconds = was.last - was.since
        notes.append(event_messages.overflow_stopped(about, after.spill.count, seconds, OVERFLOW_STOP_SECONDS))
    return notes
