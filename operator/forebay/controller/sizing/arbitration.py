"""From what the scaling rule wants of each pool to what each may ask for now. Pure; the rule is rules/arbitrate.py."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from forebay.controller.observe.memory import FleetMemory, Latch
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.plan.drift import fingerprint
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import ScaleReason
from forebay.resources.terms import ScalingMode
from forebay.rules.arbitrate import PLACING_SECONDS, Bid, Grant, arbitrate

HELD_STOP_SECONDS: Final = 60.0
HELD: Final[Mapping[ScaleReason, float]] = {
    ScaleReason.MAXIMUM: 0.0,
    ScaleReason.CLOUD_CHEAPER: 10.0,
    ScaleReason.REPLICA_UNPLACED: 0.0,  # the scheduler's time is over by then
    ScaleReason.AWAITS_TURN: 10.0,
    ScaleReason.SHARED_DEMAND: 10.0,
    ScaleReason.ASLEEP: 10.0,
}
"""What may be in the way of the size that is wanted, and for how many seconds before it is an Event. That a replica
was withdrawn is an Event of its own."""
CREATED_SECONDS: Final = 30.0
"""How long it may take until a pool's first replica has a StatefulSet; after that, something is in its way."""


def arbitrated(
    fleet: ObservedFleet, memory: FleetMemory, sizings: Mapping[str, Sizing]
) -> tuple[dict[str, Sizing], tuple[Bid, ...]]:
    """The sizings with what each pool may ask for, and what other fleets need to know of that."""
    mine = {
        pool.name: _competing(_bid(fleet, pool, pool.spec, sizings[pool.name]), pool.name, memory, fleet.now)
        for pool in fleet.pools
        if pool.spec is not None and pool.name in sizings and pool.spec.scaling.mode is ScalingMode.AUTOMATIC
    }
    grants = arbitrate((*mine.values(), *fleet.rivals), fleet.now)
    after = {}
    told = []
    for name, sizing in sizings.items():
        if name not in mine:
            after[name] = _held(sizing, fleet.now)
            continue
        grant = grants[mine[name].pool]
        if mine[name].gpus and not fleet.rivals_known and grant.replicas > mine[name].size:
            grant = replace(grant, replicas=mine[name].size, attempt=mine[name].attempt)
        after[name] = _held(_granted(sizing, grant), fleet.now)
        told.append(replace(mine[name], size=grant.replicas, attempt=grant.attempt))
    return after, tuple(bid for bid in told if bid.active)


def gpus_of(spec: PoolSpec) -> str:
    """A name for the GPUs that a pool competes for: their resource, and where its pods may be placed."""
    if not spec.engine.gpus:
        return ""
    pod = (spec.engine.pod_template or {}).get("spec")
    fields = pod if isinstance(pod, dict) else {}  # one that is no object is refused elsewhere
    where = {key: fields[key] for key in ("nodeSelector", "affinity") if fields.get(key)}
    return f"{spec.engine.gpu_resource_name}#{fingerprint(where)}" if where else spec.engine.gpu_resource_name


def resource_of(gpus: str) -> str:
    """The resource that the name of some GPUs begins with."""
    return gpus.partition("#")[0]


def _bid(fleet: ObservedFleet, pool: ObservedPool, spec: PoolSpec, sizing: Sizing) -> Bid:
    numbers, memory, decision = sizing.numbers, sizing.memory, sizing.decision
    unknown = numbers.capacity is None or sizing.why in (ScaleReason.METRICS_STALE, ScaleReason.INITIAL)
    needed = max(decision.need, sizing.wanted, numbers.size) if unknown else decision.need
    return Bid(
        pool=f"{fleet.namespace}/{pool.name}",
        size=numbers.size,
        wanted=sizing.wanted,
        needed=max(needed, spec.scaling.min_replicas),
        placed=numbers.placed,
        tail=numbers.tail,
        minimum=spec.scaling.min_replicas,
        gpus=gpus_of(spec),
        priority=memory.priority,
        money=sizing.cost_per_hour / max(spec.engine.gpus, 1),
        pending_seconds=spec.scaling.pending_seconds,
        rollout=numbers.rollout,
        attempt=memory.attempt,
        each=spec.engine.gpus,
        lacks_gpus=_lacks_gpus(pool, spec),
        roomier=fleet.roomier.get(spec.engine.gpu_resource_name, 0.0),
        serves=frozenset(f"{fleet.namespace}/{spec.model.task}/{capability}" for capability in spec.capabilities),
        demand=decision.demand,
        capacity=numbers.capacity or 0,
        load=sizing.load,
        starting=numbers.starting,
        grown=max((pod.ready_since for pod in pool.pods if pod.counts), default=0.0),
    )


def _lacks_gpus(pool: ObservedPool, spec: PoolSpec) -> bool | None:
    """Whether more GPUs would get the pool's replica a node, as far as the API server or the scheduler have said.

    The scheduler counts nodes by what each lacks. A taint with the resource's own name is that of the nodes that have
    GPUs: what does not tolerate it lacks GPUs on the others, where there never will be any.
    """
    if pool.create_failure:
        return False
    words = next((pod.unschedulable for pod in pool.pods if pod.unschedulable and not pod.terminating), "")
    if not words:
        return None
    resource = spec.engine.gpu_resource_name
    return f"Insufficient {resource}" in words and f"{{{resource}:" not in words


def _competing(bid: Bid, name: str, memory: FleetMemory, now: float) -> Bid:
    """The bid; nobody waits for a pool whose StatefulSet the API server refuses, or which cannot have one."""
    hopeless = bid.size == 0 and bid.attempt.since > 0 and now - bid.attempt.since > CREATED_SECONDS
    return replace(bid, gpus="") if hopeless or ("StatefulSet", name) in memory.failures else bid


def _granted(sizing: Sizing, grant: Grant) -> Sizing:
    decision = replace(sizing.decision, replicas=grant.replicas, reason=grant.reason or sizing.decision.reason)
    memory = replace(sizing.memory, attempt=grant.attempt)
    return replace(sizing, decision=decision, memory=memory, ahead=grant.first)


def _held(sizing: Sizing, now: float) -> Sizing:
    """The sizing with the latches of what is in the way; those that are off and quiet are forgotten."""
    before, reason = sizing.memory.held, _in_the_way(sizing, now)
    after = {
        word: latch
        for word, lasts in HELD.items()
        if (latch := before.get(word, Latch()).step(word is reason, now, HELD_STOP_SECONDS, lasts)).on
        or latch.first is not None
    }
    return replace(sizing, memory=replace(sizing.memory, held=after))


def _in_the_way(sizing: Sizing, now: float) -> ScaleReason | None:
    """The decision's reason, unless it keeps nothing from anybody: a maximum that is enough, a pod just made."""
    decision = sizing.decision
    if decision.reason is ScaleReason.MAXIMUM and decision.need <= decision.replicas:
        return None
    young = now - sizing.memory.attempt.since < PLACING_SECONDS
    return None if decision.reason is ScaleReason.REPLICA_UNPLACED and young else decision.reason
