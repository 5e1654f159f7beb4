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
from forebay.controller.report.conditions import Verdict, conditions, pool_verdicts
from forebay.controller.report.pool_facts import invalid_facts, no_node, pool_facts, sidecar_reports
from forebay.controller.report.statuses import pool_status, worth_writing
from forebay.controller.settings import Settings
from forebay.controller.sizing.capacity_learning import Learning, engine_of, known_for, learn
from forebay.controller.sizing.capacity_record import capacity_status
from forebay.controller.sizing.pool_load import fresh_reports
from forebay.controller.sizing.sizing import OVERFLOW_STOP_SECONDS, Sizing, remembered
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ConditionReason, ConditionType, EventReason, ScaleReason

# Conditions whose turning bad is an Event as well, by the condition's reason.
_NOTED_REASONS = {
    ConditionReason.INVALID_SPEC: EventReason.INVALID_SPEC,
    ConditionReason.REFUSED: EventReason.INVALID_SPEC,
    ConditionReason.POLICY_NOT_FOUND: EventReason.POLICY_NOT_FOUND,
    ConditionReason.CREATE_REFUSED: EventReason.REPLICA_CREATE_FAILED,
    ConditionReason.REPLICAS_STUCK: EventReason.REPLICA_STUCK,
    ConditionReason.NO_GATEWAYS_READY: EventReason.GATEWAYS_FAILED,
    ConditionReason.GATEWAYS_MISSING: EventReason.GATEWAYS_FAILED,
    ConditionReason.ADAPTER_REFUSED: EventReason.ADAPTER_REFUSED,
}
_BY_REASON = (
    ConditionReason.CREATE_REFUSED,
    ConditionReason.REPLICAS_STUCK,
    ConditionReason.NO_GATEWAYS_READY,
    ConditionReason.GATEWAYS_MISSING,
    ConditionReason.ADAPTER_REFUSED,
)
"""Those whose words change from one look to the next."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The batch for one pool, what to remember of it, and its conditions."""

    batch: ActionBatch
    memory: PoolMemory
    verdicts: tuple[Verdict, ...] = ()


def plan_pool(
    fleet: ObservedFleet,
    pool: ObservedPool,
    memory: FleetMemory,
    settings: Settings,
    programmed: Acknowledgement | None,
    sizing: Sizing | None,
    gateways: Verdict,
) -> PoolPlan:
    """Plan one pool. `sizing` is None where its spec is not understood; `gateways` is what all pools share."""
    mine = remembered(pool, memory.pools.get(pool.name), fleet.now)
    if pool.spec is None or sizing is None:
        return _invalid(fleet, pool, mine, programmed, gateways)
    versions = engine_versions.said(sidecar_reports(fleet, pool))
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
    keys = [("StatefulSet", pool.name), *((obj["kind"], obj["metadata"]["name"]) for obj in objects)]
    facts = pool_facts(fleet, pool, pool.spec, memory, sizing, choice, settings, programmed, keys)
    verdicts = pool_verdicts(facts, gateways)
    told = _condition_notes(fleet, pool, verdicts)
    status = pool_status(
        pool,
        sizing,
        conditions(verdicts, pool.live_status.get("conditions") or (), pool.generation, fleet.now),
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
    return PoolPlan(ActionBatch(pool.name, tuple(actions)), kept, verdicts)


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
    fleet: ObservedFleet,
    pool: ObservedPool,
    memory: PoolMemory,
    programmed: Acknowledgement | None,
    gateways: Verdict,
) -> PoolPlan:
    """A spec that makes no sense changes nothing that runs; it is said."""
    verdicts = pool_verdicts(invalid_facts(fleet, pool, programmed), gateways)
    before = pool.live_status.get("conditions") or ()
    status: Object = {
        "observedGeneration": pool.generation,
        "readyReplicas": sum(pod.counts for pod in pool.pods),
        "conditions": conditions(verdicts, before, pool.generation, fleet.now),
    }
    actions: list[Action] = [Say(note) for note in _condition_notes(fleet, pool, verdicts)]
    why = worth_writing({**pool.live_status, **status}, pool.live_status, fleet.now - memory.written)
    if why:
        actions.append(WriteStatus(POOL, pool.name, status, why))
    kept = replace(memory, written=fleet.now if why else memory.written)
    return PoolPlan(ActionBatch(pool.name, tuple(actions)), kept, verdicts)


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
            notes.append(event_messages.scaled(about, decided, sizing, no_node(pool), fleet.now))
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


def _unsupported(about: Regarding, spec: PoolSpec, before: PoolMemory, after: PoolMemory) -> list[Note]:
    """An Event for each version outside of what is supported that was not said before."""
    new = [version for version in after.versions if version not in before.versions]
    found = engine_versions.outside(engines.of(spec.engine.type).supported, new)
    return [event_messages.engine_unsupported(about, words) for words in found]


def _condition_notes(fleet: ObservedFleet, pool: ObservedPool, verdicts: Sequence[Verdict]) -> list[Note]:
    """Events for conditions that have just turned bad; what the status says already was told before.

    Of what all pools of a fleet share, the first one tells.
    """
    before = {item.get("type"): item for item in pool.live_status.get("conditions") or ()}
    about = event_messages.owner_ref(pool.owner, fleet.namespace)
    notes = []
    for verdict in verdicts:
        old = before.get(verdict.type.value) or {}
        reason = _NOTED_REASONS.get(verdict.reason) if verdict.status is not None else None
        new = old.get("reason") != verdict.reason.value
        if verdict.reason not in _BY_REASON:
            new = new or old.get("message") != verdict.message
        shared = verdict.type is ConditionType.GATEWAYS_READY
        if reason is None or not new or (shared and pool is not fleet.pools[0]):
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
        event_messages.held(about, reason, sizing, no_node(pool), fleet.now) for reason in _held_edges(before, sizing)
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
