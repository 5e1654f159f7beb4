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
class AdapterFacts:
    """How far the replicas that serve are with the LoRA adapters that a pool names."""

    wanted: int
    replicas: int  # that serve
    complete: int  # of those, that list every adapter
    missing: tuple[str, ...] = ()  # replicas and adapters that they do not list
    refused: tuple[str, ...] = ()  # replica, adapter, and what its engine says


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What the conditions of a pool depend on. All numbers are of replicas."""

    wanted: int  # that the scaling rule would have, whether they are asked for or not
    ready: int  # that serve: of pods that end, and of engines that make no token, none
    unasked: int = 0  # of the wanted ones, how many the API server is not asked for
    pods: int = 0  # that exist
    placed: int = 0  # that a node has
    invalid: str = ""
    wakes: bool = True  # demand starts one where none is wanted
    gpus: int = 0
    gpu_resource: str = ""
    create_failure: str = ""  # of pods, in the API server's words
    apply_failure: str = ""  # of one of the pool's objects, in the API server's words
    unplaced: str = ""  # a pod that has no node, and why, in the words of whoever says so
    gated: bool = False  # it is held by a scheduling gate
    withdrawn: str = ""  # when a replica that found no node is asked for again
    first: str = ""  # the pool that asks for the same GPUs before this one
    held: str = ""  # what else is in the way of asking for all that are wanted
    trouble: tuple[str, ...] = ()  # pods that do not start and why, in the words of whoever says so
    hints: tuple[str, ...] = ()  # what is said of pods that start as usual
    rollout: bool = False  # the template's pods are being replaced
    silent: tuple[str, ...] = ()  # routers whose last report is too old
    heard: int = 0  # routers whose last report is fresh
    stuck: tuple[str, ...] = ()  # replicas whose engine answers probes and makes no token
    outdated: str = ""
    versions: tuple[str, ...] = ()  # that engines say, each once; empty for one that says none
    supported: Versions | None = None  # of the pool's type of engine
    adapters: AdapterFacts | None = None  # of a pool whose sidecars load and unload them
    adapters_at_start: str = ""  # why engines start with theirs
    refused: str = ""
    policy_missing: str = ""
    programmed: Acknowledgement | None = None
    gateways_ready: int = 0

    @property
    def desired(self) -> int:
        """Replicas that are asked for."""
        return self.wanted - self.unasked

    @property
    def unasked_for(self) -> str:
        """Why not all that are wanted are asked for."""
        if self.withdrawn:
            return f"no node took another replica; {self.withdrawn}"
        return f"{self.first} asks for the same GPUs first" if self.first else self.held


def pool_verdicts(facts: PoolFacts, gateways: Verdict | None = None) -> tuple[Verdict, ...]:
    """All conditions of a pool; `gateways` is the one that all pools of a fleet share."""
    return (
        _ready(facts),
        _programmed(facts.programmed, facts.gateways_ready, facts.policy_missing),
        gateways or Verdict(Type.GATEWAYS_READY, None, Reason.PENDING, "the gateways were not looked at yet"),
        _created(facts),
        _gpus(facts),
        _fresh(facts),
        _outdated(facts),
        _version(facts),
        _adapters(facts),
        _template(facts),
    )


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the conditions of a policy depend on."""

    name: str
    invalid: str = ""
    gateways_ready: int = 0
    gateway_trouble: str = ""  # why none is ready, in the words of whoever says so
    missing_keys: tuple[str, ...] = ()  # providers
    provider_problems: tuple[str, ...] = ()  # provider and why nothing can be sent to its address
    pools: int = 0
    programmed: Acknowledgement | None = None


def policy_verdicts(facts: PolicyFacts) -> tuple[Verdict, ...]:
    """All conditions of a policy."""
    return _policy_ready(facts), _programmed(facts.programmed, facts.gateways_ready, "")


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
    if facts.invalid:
        return Verdict(Type.READY, False, Reason.INVALID_SPEC, _not_understood(facts))
    if facts.wanted == 0:
        next_one = "demand will start one" if facts.wakes else "and demand starts none: spec.replicas decides"
        return Verdict(Type.READY, True, Reason.SCALED_TO_ZERO, f"no replica is wanted; {next_one}")
    counted, serves = f"{facts.ready} of {facts.wanted} replicas serve", facts.ready > 0
    if facts.stuck:
        return _stuck(facts, counted)
    if facts.ready >= facts.wanted:
        return Verdict(Type.READY, True, Reason.REPLICAS_READY, counted)
    kept = facts.refused if not facts.pods else ""
    in_the_way = (facts.apply_failure, kept, facts.create_failure, *facts.trouble, facts.unasked_for)
    words = [item for item in in_the_way if item]
    if not words:
        said = "; ".join((counted, *facts.hints))
        return Verdict(Type.READY, serves, Reason.REPLICAS_STARTING, said)
    reason = Reason.ROLLOUT_STUCK if facts.rollout and facts.trouble else Reason.REPLICAS_MISSING
    return Verdict(Type.READY, serves, reason if serves else Reason.NO_REPLICAS_READY, f"{counted}: {'; '.join(words)}")


def _stuck(facts: PoolFacts, counted: str) -> Verdict:
    which = ", ".join(facts.stuck[:5])
    words = f"{counted}; the engine of {which} answers its probes and makes no token, so it gets no requests"
    advice = "delete its pod if it does not come to itself"
    return Verdict(Type.READY, facts.ready > 0, Reason.REPLICAS_STUCK, f"{words}: {advice}")


def _not_asked(facts: PoolFacts, kind: ConditionType) -> Verdict | None:
    """What cannot be known of pods that nobody asks for; None where some are wanted."""
    if facts.invalid:
        return Verdict(kind, None, Reason.INVALID_SPEC, _not_understood(facts))
    if facts.wanted == 0:
        return Verdict(kind, None, Reason.SCALED_TO_ZERO, "no replica is wanted, so none is asked for")
    return None


def _not_understood(facts: PoolFacts) -> str:
    return f"the spec is not understood: {facts.invalid}"


def _programmed(programmed: Acknowledgement | None, gateways: int, policy_missing: str) -> Verdict:
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
    if not gateways:
        words = f"no gateway is ready to take generation {programmed.generation}"
        return Verdict(kind, False, Reason.NO_ROUTERS, words)
    if programmed.complete:
        return Verdict(kind, True, Reason.ROUTERS_ACKNOWLEDGED, counted)
    return Verdict(kind, False, Reason.ROUTERS_BEHIND, f"{counted}; behind: {', '.join(programmed.behind[:5])}")


def _created(facts: PoolFacts) -> Verdict:
    kind, counted = Type.REPLICAS_CREATED, f"{facts.pods} of {facts.desired} pods exist"
    if words := facts.apply_failure or facts.create_failure:
        return Verdict(kind, False, Reason.CREATE_REFUSED, words)
    if (unknown := _not_asked(facts, kind)) is not None:
        return unknown
    if facts.desired == 0:
        return Verdict(kind, None, Reason.NOT_ASKED_FOR, f"0 of {facts.wanted} wanted replicas are asked for")
    if facts.pods >= facts.desired:
        return Verdict(kind, True, Reason.CREATED, counted)
    return Verdict(kind, None, Reason.PENDING, counted)


def _gpus(facts: PoolFacts) -> Verdict:
    kind, counted = Type.GPUS_AVAILABLE, f"{facts.placed} of {facts.wanted} replicas have a node"
    if (unknown := _not_asked(facts, kind)) is not None:
        return unknown
    if facts.placed >= facts.wanted:
        return Verdict(kind, True, Reason.SCHEDULED, counted)
    if facts.unplaced:
        each = f"each replica asks for {facts.gpus} {facts.gpu_resource}: " if facts.gpus else ""
        reason = Reason.SCHEDULING_GATED if facts.gated else Reason.UNSCHEDULABLE
        return Verdict(kind, False, reason, f"{each}{facts.unplaced}")
    if facts.withdrawn or facts.first:
        return Verdict(kind, False, Reason.WITHDRAWN if facts.withdrawn else Reason.AWAITS_TURN, facts.unasked_for)
    return Verdict(kind, None, Reason.PENDING, "; ".join(item for item in (counted, facts.held) if item))


def _fresh(facts: PoolFacts) -> Verdict:
    kind = Type.METRICS_FRESH
    if facts.silent:
        return Verdict(kind, False, Reason.STALE, f"no recent report from {', '.join(facts.silent[:5])}")
    if not facts.heard:
        return Verdict(kind, None, Reason.NO_REPLICAS, "no router to hear of yet")
    return Verdict(kind, True, Reason.REPORTED, f"{facts.heard} routers report")


def _outdated(facts: PoolFacts) -> Verdict:
    if facts.invalid:
        return Verdict(Type.ROUTER_OUTDATED, None, Reason.INVALID_SPEC, _not_understood(facts))
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


def _adapters(facts: PoolFacts) -> Verdict:
    kind, found = Type.ADAPTERS_LOADED, facts.adapters
    if facts.invalid:
        return Verdict(kind, None, Reason.INVALID_SPEC, _not_understood(facts))
    if found is None or not found.wanted:
        fixed = facts.adapters_at_start
        reason = Reason.ADAPTERS_AT_START if fixed else Reason.NO_ADAPTERS
        words = f"engines start with their adapters and load no others: {fixed}"
        return Verdict(kind, None, reason, words if fixed else "the pool names no adapters")
    counted = f"{found.complete} of {found.replicas} replicas have all {found.wanted} adapters"
    if found.refused:
        return Verdict(kind, False, Reason.ADAPTER_REFUSED, f"{counted}; {'; '.join(found.refused[:3])}")
    if not found.replicas:
        return Verdict(kind, None, Reason.NO_REPLICAS, "no replica serves that could load them")
    if found.complete < found.replicas:
        which = f"; missing: {', '.join(found.missing[:5])}" if found.missing else ""
        return Verdict(kind, None, Reason.ADAPTERS_LOADING, f"{counted}{which}")
    return Verdict(kind, True, Reason.LOADED, counted)


def _template(facts: PoolFacts) -> Verdict:
    if facts.invalid:
        return Verdict(Type.POD_TEMPLATE_ACCEPTED, None, Reason.INVALID_SPEC, _not_understood(facts))
    if facts.refused:
        return Verdict(Type.POD_TEMPLATE_ACCEPTED, False, Reason.REFUSED, facts.refused)
    return Verdict(Type.POD_TEMPLATE_ACCEPTED, True, Reason.MERGED, "the pod template is as the spec asks")


def _policy_ready(facts: PolicyFacts) -> Verdict:
    kind = Type.READY
    if facts.invalid:
        return Verdict(kind, False, Reason.INVALID_SPEC, f"the spec is not understood: {facts.invalid}")
    if not facts.gateways_ready:
        words = ": ".join(item for item in ("no gateway is ready", facts.gateway_trouble) if item)
        return Verdict(kind, False, Reason.GATEWAY_UNAVAILABLE, words)
    if facts.missing_keys:
        which = ", ".join(facts.missing_keys)
        return Verdict(kind, False, Reason.KEY_MISSING, f"gateways have no API key for {which}: fill apiKeySecretRef")
    if facts.provider_problems:
        return Verdict(kind, False, Reason.PROVIDER_UNREACHABLE, "; ".join(facts.provider_problems[:3]))
    if not facts.pools:
        return Verdict(kind, True, Reason.UNUSED, f"no pool refers to {facts.name}")
    return Verdict(kind, True, Reason.ACCEPTED, f"decides for {facts.pools} pools")
