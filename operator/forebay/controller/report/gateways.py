"""The condition of what all pools of a fleet share: gateways, Services, token, routing table. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forebay.controller.cluster.kubernetes_api import DEPLOYMENT, Object
from forebay.controller.observe.memory import TOKEN, Failure, ObjectKey
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.report.conditions import Verdict
from forebay.controller.report.troubles import troubles
from forebay.resources import names
from forebay.resources.reasons import ConditionReason, ConditionType


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What GatewaysReady depends on."""

    wanted: int
    ready: int
    refused: tuple[str, ...] = ()  # applies of what the fleet shares, in the API server's words
    missing: tuple[str, ...] = ()  # what it shares and has not yet, as kind and name
    trouble: tuple[str, ...] = ()  # why gateways do not start, in the words of whoever says so
    hints: tuple[str, ...] = ()
    rollout: bool = False  # not all of them have the present template


def gateway_facts(
    fleet: ObservedFleet, shared: Iterable[Object], failures: Mapping[ObjectKey, Failure]
) -> GatewayFacts:
    """`shared`: every object that the fleet shares, as it should be, but the token's Secret."""
    wanted = {(obj["kind"], obj["metadata"]["name"]): obj for obj in shared}
    there = {key for key, obj in fleet.live.items() if not obj["metadata"].get("deletionTimestamp")}
    if has_token(fleet):
        there.add(TOKEN)
    key = (DEPLOYMENT.kind, names.GATEWAY)
    live, size = fleet.live.get(key) or {}, int(wanted[key]["spec"]["replicas"])
    ready = sum(pod.counts for pod in fleet.gateways)
    found, hints = troubles(pod for pod in fleet.gateways if not (pod.failed and ready >= size))
    return GatewayFacts(
        wanted=size,
        ready=ready,
        refused=tuple(failures[item].words for item in (*wanted, TOKEN) if item in failures),
        missing=tuple(" ".join(item) for item in (*wanted, TOKEN) if item not in there),
        trouble=(*_refused_pods(live), *found),
        hints=hints,
        rollout=_rolls(live, size),
    )


def has_token(fleet: ObservedFleet) -> bool:
    """Whether the Secret of the control token is there, with a token in it."""
    return bool(((fleet.token or {}).get("data") or {}).get(names.TOKEN_CURRENT_KEY))


def gateways_verdict(facts: GatewayFacts) -> Verdict:
    """GatewaysReady, the same for every pool of a fleet."""
    kind, counted = ConditionType.GATEWAYS_READY, f"{facts.ready} of {facts.wanted} gateways serve"

    def verdict(status: bool, reason: ConditionReason, *words: str) -> Verdict:
        return Verdict(kind, status, reason, ": ".join((counted, *(["; ".join(words)] if words else []))))

    if facts.refused:
        return verdict(False, ConditionReason.OBJECTS_REFUSED, *facts.refused)
    if facts.ready < facts.wanted and facts.trouble:
        reason = ConditionReason.GATEWAYS_MISSING if facts.ready else ConditionReason.NO_GATEWAYS_READY
        return verdict(False, reason, *facts.trouble)
    if facts.missing:
        return verdict(False, ConditionReason.GATEWAYS_STARTING, f"not there yet: {', '.join(facts.missing)}")
    if facts.ready < facts.wanted:
        return verdict(False, ConditionReason.GATEWAYS_STARTING, *facts.hints)
    if facts.rollout and facts.trouble:
        return verdict(True, ConditionReason.ROLLOUT_STUCK, *facts.trouble)
    return verdict(True, ConditionReason.GATEWAYS_SERVE)


def _refused_pods(deployment: Object) -> Iterable[str]:
    """What the Deployment says of pods that the API server refuses."""
    for item in (deployment.get("status") or {}).get("conditions") or ():
        if item["type"] == "ReplicaFailure" and item["status"] == "True":
            yield str(item.get("message") or item.get("reason"))


def _rolls(deployment: Object, size: int) -> bool:
    status = deployment.get("status") or {}
    return bool(status) and int(status.get("updatedReplicas") or 0) < size
