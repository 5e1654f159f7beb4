"""The conditions of pools and policies: pure functions of what was observed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forebay.controller.observe import engine_versions
from forebay.controller.plan.routing_table import Acknowledgement
from forebay.engines.version import Support, Versions
from forebay.resources.reasons import ConditionReason, ConditionType

Type, Reason = ConditionType, ConditionReason


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition, without the times. `status` is None for Unknown."""

    type: ConditionType
    status: bool | None
    reason: ConditionReason
    message: str


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What the conditions of a pool depend on."""

    desired: int
    ready: int
    invalid: str = ""
    gpus: int = 0
    gpu_resource: str = ""
    create_failure: str = ""  # of pods, in the API server's words
    apply_failure: str = ""  # of one of the pool's objects, in the API server's words
    pods: int = 0
    unschedulable: str = ""
    withdrawn: str = ""  # when a replica that found no node is asked for again
    first: str = ""  # the pool that asks for the same GPUs before this one
    waiting: str = ""  # a pod and why its containers do not run, in the kubelet's words
    silent: tuple[str, ...] = ()  # routers whose last report is too old
    heard: int = 0  # routers whose last report is fresh
    stuck: tuple[str, ...] = ()  # replicas whose engine answers probes and makes no token
    outdated: str = ""
    versions: tuple[str, ...] = ()  # that engines say, each once; empty for one that says none
    supported: Versions | None = None  # of the pool's type of engine
    refused: str = ""
    policy_missing: str = ""
    programmed: Acknowledgement | None = None


def pool_verdicts(facts: PoolFacts) -> tuple[Verdict, ...]:
    """All conditions of a pool."""
    return (
        _ready(facts),
        _programmed(facts.programmed, facts.policy_missing),
        _created(facts),
        _gpus(facts),
        _fresh(facts),
        _outdated(facts),
        _version(facts),
        _template(facts),
    )


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the conditions of a policy depend on."""

    name: str
    invalid: str = ""
    gateways_ready: int = 0
    missing_keys: tuple[str, ...] = ()  # providers
    provider_problems: tuple[str, ...] = ()  # provider and why nothing can be sent to its address
    pools: int = 0
    programmed: Acknowledgement | None = None


def policy_verdicts(facts: PolicyFacts) -> tuple[Verdict, ...]:
    """All conditions of a policy."""
    return _policy_ready(facts), _programmed(facts.programmed, "")


def conditions(
    verdicts: Iterable[Verdict], before: Sequence[Mapping[str, Any]], generation: int, now: float
) -> list[dict[str, Any]]:
    """Conditions as the status holds them; the transition time moves only when the status does."""
    known = {item.get("type"): item for item in before}
    return [_condition(verdict, known.get(verdict.type.value), generation, now) for verdict in verdicts]


def rfc3339(time: float) -> str:
    """Unix seconds as metav1.Time."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(verdict: Verdict, old: Mapping[str, Any] | None, generation: int, now: float) -> dict[str, Any]:
    status = {True: "True", False: "False", None: "Unknown"}[verdict.status]
    # Conditions that the API's defaults listed as Unknown have the time 0.
    same = old is not None and old.get("status") == status and not old["lastTransitionTime"].startswith("1970")
    return {
        "type": verdict.type.value,
        "status": status,
        "reason": verdict.reason.value,
        "message": verdict.message[:32768],
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else rfc3339(now),
    }


def _ready(facts: PoolFacts) -> Verdict:
    counted = f"{facts.ready} of {facts.desired} replicas serve"
    if facts.invalid:
        return Verdict(Type.READY, False, Reason.INVALID_SPEC, f"the spec is not understood: {facts.invalid}")
    if facts.desired == 0:
        return Verdict(Type.READY, True, Reason.SCALED_TO_ZERO, "no replica runs; demand will start one")
    if facts.stuck:
        return _stuck(facts, counted)
    if facts.ready >= facts.desired:
        return Verdict(Type.READY, True, Reason.REPLICAS_READY, counted)
    trouble = facts.apply_failure or facts.refused or facts.create_failure or facts.unschedulable or facts.waiting
    counted = f"{counted}: {trouble}" if trouble else counted
    starting = facts.ready > 0 or (facts.pods > 0 and not trouble)
    reason = Reason.REPLICAS_STARTING if starting else Reason.NO_REPLICAS_READY
    return Verdict(Type.READY, facts.ready > 0, reason, counted)


def _stuck(facts: PoolFacts, counted: str) -> Verdict:
    which = ", ".join(facts.stuck[:5])
    words = f"{counted}; the engine of {which} answers its probes and makes no token, so it gets no requests"
    advice = "delete its pod if it does not come to itself"
    return Verdict(Type.READY, facts.ready > 0, Reason.REPLICAS_STUCK, f"{words}: {advice}")


def _programmed(programmed: Acknowledgement | None, policy_missing: str) -> Verdict:
    kind = Type.ROUTING_PROGRAMMED
    if policy_missing:
        return Verdict(
            kind,
            False,
            Reason.POLICY_NOT_FOUND,
            f"cloudFallbackPolicyRef names {policy_missing}, which does not exist in this namespace: create it or "
            "remove the reference; until then these requests stay local",
        )
    if programmed is None:
        return Verdict(kind, None, Reason.PENDING, "the routing table is not written yet")
    counted = f"{programmed.acknowledged} of {programmed.ready} routers have generation {programmed.generation}"
    if programmed.errors:
        return Verdict(kind, False, Reason.TABLE_REFUSED, f"{counted}; {'; '.join(programmed.errors[:3])}")
    if not programmed.ready:
        return Verdict(kind, False, Reason.NO_ROUTERS, f"no router is ready to take generation {programmed.generation}")
    if programmed.complete:
        return Verdict(kind, True, Reason.ROUTERS_ACKNOWLEDGED, counted)
    return Verdict(kind, False, Reason.ROUTERS_BEHIND, f"{counted}; behind: {', '.join(programmed.behind[:5])}")


def _created(facts: PoolFacts) -> Verdict:
    kind = Type.REPLICAS_CREATED
    if words := facts.apply_failure or facts.create_failure:
        return Verdict(kind, False, Reason.CREATE_REFUSED, words)
    if facts.pods >= facts.desired:
        return Verdict(kind, True, Reason.CREATED, f"{facts.pods} of {facts.desired} pods exist")
    return Verdict(kind, None, Reason.PENDING, f"{facts.pods} of {facts.desired} pods exist")


def _gpus(facts: PoolFacts) -> Verdict:
    kind = Type.GPUS_AVAILABLE
    if facts.unschedulable:
        wanted = f"each replica asks for {facts.gpus} {facts.gpu_resource}: " if facts.gpus else ""
        return Verdict(kind, False, Reason.UNSCHEDULABLE, f"{wanted}{facts.unschedulable}")
    if facts.withdrawn:
        return Verdict(kind, False, Reason.WITHDRAWN, f"no node took another replica; {facts.withdrawn}")
    if facts.first:
        return Verdict(kind, False, Reason.AWAITS_TURN, f"{facts.first} asks for the same GPUs first")
    if facts.pods >= facts.desired:
        return Verdict(kind, True, Reason.SCHEDULED, f"{facts.pods} of {facts.desired} replicas have a node")
    return Verdict(kind, None, Reason.PENDING, "waits for pods")


def _fresh(facts: PoolFacts) -> Verdict:
    kind = Type.METRICS_FRESH
    if facts.silent:
        return Verdict(kind, False, Reason.STALE, f"no recent report from {', '.join(facts.silent[:5])}")
    if not facts.heard:
        return Verdict(kind, None, Reason.NO_REPLICAS, "no router to hear of yet")
    return Verdict(kind, True, Reason.REPORTED, f"{facts.heard} routers report")


def _outdated(facts: PoolFacts) -> Verdict:
    if facts.outdated:
        advice = "they change with the pool's next change of spec, or at once with rollout.adoptRouter: Always"
        return Verdict(Type.ROUTER_OUTDATED, True, Reason.OLDER_ROUTER, f"{facts.outdated}; {advice}")
    return Verdict(Type.ROUTER_OUTDATED, False, Reason.UP_TO_DATE, "replicas run this release's router")


def _version(facts: PoolFacts) -> Verdict:
    kind, supported = Type.ENGINE_UNSUPPORTED, facts.supported
    if supported is None or not facts.versions:
        return Verdict(kind, None, Reason.NOT_ASKED, "no engine was asked for its version yet")
    if outside := engine_versions.outside(supported, facts.versions):
        return Verdict(kind, True, Reason.UNSUPPORTED_VERSION, f"an engine says {'; '.join(outside[:3])}")
    if unknown := [said for said in facts.versions if supported.judge(said) is Support.UNKNOWN]:
        words = f"says that it is {unknown[0]}, which is no version" if unknown[0] else "does not say its version"
        return Verdict(kind, None, Reason.VERSION_UNKNOWN, f"an engine {words}; supported are {supported}")
    said = ", ".join(facts.versions[:5])
    return Verdict(kind, False, Reason.SUPPORTED_VERSION, f"engines say {said}; supported are {supported}")


def _template(facts: PoolFacts) -> Verdict:
    if facts.refused:
        return Verdict(Type.POD_TEMPLATE_ACCEPTED, False, Reason.REFUSED, facts.refused)
    return Verdict(Type.POD_TEMPLATE_ACCEPTED, True, Reason.MERGED, "the pod template is as the spec asks")


def _policy_ready(facts: PolicyFacts) -> Verdict:
    kind = Type.READY
    if facts.invalid:
        return Verdict(kind, False, Reason.INVALID_SPEC, f"the spec is not understood: {facts.invalid}")
    if not facts.gateways_ready:
        return Verdict(kind, False, Reason.GATEWAY_UNAVAILABLE, "no gateway is ready")
    if facts.missing_keys:
        which = ", ".join(facts.missing_keys)
        return Verdict(kind, False, Reason.KEY_MISSING, f"gateways have no API key for {which}: fill apiKeySecretRef")
    if facts.provider_problems:
        return Verdict(kind, False, Reason.PROVIDER_UNREACHABLE, "; ".join(facts.provider_problems[:3]))
    if not facts.pools:
        return Verdict(kind, True, Reason.UNUSED, f"no pool refers to {facts.name}")
    return Verdict(kind, True, Reason.ACCEPTED, f"decides for {facts.pools} pools")
