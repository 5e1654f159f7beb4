"""What to do next: one line for every reason of a condition that asks for something. Pure.

A reason stands either here or in FINE; a test holds both against the list of all reasons.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from forebay.cli.glossary import word
from forebay.cli.running.fleet_objects import Fleets, Policy, RunningPool
from forebay.resources import names
from forebay.resources.fields import Condition
from forebay.resources.reasons import POLICY_CONDITIONS, POOL_CONDITIONS, ConditionReason, ConditionType

_R = ConditionReason
WAIT: Final = "wait a minute; if it stays, look at the operator's log"
NEXT: Final[Mapping[ConditionReason, str]] = MappingProxyType({
    _R.PENDING: WAIT,
    _R.REPLICAS_STARTING: "wait for the engines to load; `kubectl logs POD -c engine` shows how far they are",
    _R.REPLICAS_MISSING: "read the message; others serve meanwhile. `kubectl describe pod` of the one that it names",
    _R.ROLLOUT_STUCK: "correct what the message names, or put the spec back; the old pods serve meanwhile",
    _R.REPLICAS_STUCK: "look at that replica's engine log, then delete the pod that the message names",
    _R.NO_REPLICAS_READY: "read the message, then `kubectl describe pod` of a replica and `kubectl logs POD -c engine`",
    _R.INVALID_SPEC: "correct the field that the message names and apply the object again",
    _R.GATEWAY_UNAVAILABLE: f"look at the Deployment {names.GATEWAY}: `kubectl describe deployment {names.GATEWAY}`",
    _R.GATEWAYS_STARTING: "wait a minute; if it stays, `kubectl describe pod` of a gateway",
    _R.GATEWAYS_MISSING: "change what the message names: nodes, the quota, the image or a volume",
    _R.NO_GATEWAYS_READY: "change what the message names: the quota, nodes, the image; clients get no answer",
    _R.OBJECTS_REFUSED: "change what the message names: a quota, a webhook, the operator's rights",
    _R.KEY_MISSING: "create the Secret that apiKeySecretRef names, with that key in it",
    _R.PROVIDER_UNREACHABLE: "correct what the message names; one inside the cluster needs `cloud.allowedNetworks`",
    _R.UNUSED: "name the policy in a pool's cloudFallbackPolicyRef, call it `default`, or delete it",
    _R.ROUTERS_BEHIND: "wait a minute; if it stays, delete the routers' pods that the message names, one at a time",
    _R.NO_ROUTERS: f"look at the Deployment {names.GATEWAY}: no gateway is ready to take requests",
    _R.TABLE_REFUSED: "the router keeps its last good table: give routers and operator the same version",
    _R.CREATE_REFUSED: "change what the message names: the quota, the namespace's Pod Security, a webhook or the spec",
    _R.UNSCHEDULABLE: "add nodes with what a replica asks for, or lower engine.gpus or scaling.maxReplicas",
    _R.SCHEDULING_GATED: "look at whoever set the gate that the message names, such as Kueue: it admits the pod or not",
    _R.WITHDRAWN: "add nodes with free GPUs and it is asked for at once; or lower scaling.maxReplicas",
    _R.AWAITS_TURN: "add nodes with free GPUs, or lower the other pool's scaling.maxReplicas; it is next in turn",
    _R.STALE: "look at the pods that the message names; the pool grows on what is known and does not shrink meanwhile",
    _R.OLDER_ROUTER: "not urgent: it comes with the next change of spec, or now with rollout.adoptRouter: Always",
    _R.UNSUPPORTED_VERSION: "it may well work; else take an engine of a supported version, or a newer forebay",
    _R.NEAR_LIMIT: "raise budget.amount in time, or let requests wait: overflow.normal: Queue",
    _R.BUDGET_PACED: "wait, or raise budget.pacing.burstPercent; requests are served locally meanwhile",
    _R.BUDGET_SPENT: "raise budget.amount, or wait for the next period; requests are served locally meanwhile",
    _R.BUDGET_HELD: "read the message; gateways go on with what they hold",
    _R.ADAPTERS_LOADING: "wait: engines load one after another; one from a hub is downloaded first",
    _R.ADAPTER_REFUSED: "correct the adapter's source or rank, or its files; nobody is served by it meanwhile",
    _R.REFUSED: "correct engine.podTemplate as the message says; until then the pods stay as they are",
    _R.POLICY_NOT_FOUND: "create that policy, or remove cloudFallbackPolicyRef; until then these requests stay local",
})  # fmt: skip
"""By the condition's reason."""
FINE: Final = frozenset({
    _R.REPLICAS_READY, _R.SCALED_TO_ZERO, _R.ACCEPTED, _R.ROUTERS_ACKNOWLEDGED, _R.CREATED, _R.SCHEDULED, _R.REPORTED,
    _R.GATEWAYS_SERVE, _R.NOT_ASKED_FOR, _R.NO_REPLICAS, _R.UP_TO_DATE, _R.MERGED,
    _R.SUPPORTED_VERSION, _R.VERSION_UNKNOWN, _R.NOT_ASKED, _R.LOADED, _R.NO_ADAPTERS, _R.ADAPTERS_AT_START,
    _R.WITHIN_BUDGET,
})  # fmt: skip
"""Reasons that ask for nothing."""
_GOOD_WHEN_FALSE: Final = frozenset({ConditionType.ROUTER_OUTDATED, ConditionType.ENGINE_UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class Issue:
    """One condition that is not as it should be, and what to do about it."""

    namespace: str
    kind: str
    name: str
    condition: str
    reason: str
    message: str
    next: str
    broken: bool  # False: it is on its way, or can wait


def issues(fleets: Fleets) -> tuple[Issue, ...]:
    """Everything that asks for something; what is broken comes first."""
    found = [
        *(issue for item in fleets.pools for issue in _of(names.POOL_KIND, item, POOL_CONDITIONS)),
        *(issue for item in fleets.policies for issue in _of(names.POLICY_KIND, item, _judged(item))),
    ]
    shared: set[tuple[str, str]] = set()  # what all pools of a fleet say is said once
    once = [issue for issue in found if issue.condition != ConditionType.GATEWAYS_READY or _new(issue, shared)]
    return tuple(sorted(once, key=lambda issue: not issue.broken))


def _judged(policy: Policy) -> tuple[ConditionType, ...]:
    paid = policy.spec is not None and policy.spec.budget is not None
    return (*POLICY_CONDITIONS, ConditionType.BUDGET_AVAILABLE) if paid else POLICY_CONDITIONS


def _new(issue: Issue, said: set[tuple[str, str]]) -> bool:
    key = (issue.namespace, issue.message)
    new = key not in said
    said.add(key)
    return new


def _of(kind: str, item: RunningPool | Policy, kinds: Iterable[ConditionType]) -> Iterable[Issue]:
    known = {condition.type: condition for condition in item.status.conditions}
    if missing := [word.value for word in kinds if word.value not in known]:
        words = f"the operator has not said anything of {', '.join(missing)}"
        yield Issue(item.namespace, kind, item.name, missing[0], _R.PENDING, words, NEXT[_R.PENDING], broken=False)
    for condition in item.status.conditions:
        advice = advice_for(condition.reason)
        if condition.status == "Unknown" and condition.reason == _R.INVALID_SPEC:
            continue  # Ready says it
        if advice:
            yield Issue(
                item.namespace, kind, item.name, condition.type, condition.reason, condition.message, advice,
                is_broken(condition),
            )  # fmt: skip
    if item.status.observed_generation < item.generation:
        words = f"this is about generation {item.status.observed_generation}; the object is at {item.generation}"
        yield Issue(item.namespace, kind, item.name, ConditionType.READY, _R.PENDING, words, NEXT[_R.PENDING], False)


def advice_for(reason: str) -> str:
    """What to do about this reason; empty where nothing is. A reason of a newer operator gets none."""
    known = word(ConditionReason, reason)
    return NEXT.get(known, "") if known is not None else ""


def is_broken(condition: Condition) -> bool:
    """Whether it is in the way of serving, rather than on its way or a remark."""
    return condition.status == "False" and condition.type not in _GOOD_WHEN_FALSE
