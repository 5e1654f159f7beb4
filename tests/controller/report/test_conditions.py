"""Conditions as a table: what was observed, and what people read."""

from typing import Any

import pytest

from forebay.controller.plan.routing_table import Acknowledgement
from forebay.controller.report.conditions import (
    AdapterFacts,
    PolicyFacts,
    PoolFacts,
    Verdict,
    conditions,
    policy_verdicts,
    pool_verdicts,
    rfc3339,
)
from forebay.controller.report.gateways import GatewayFacts, gateways_verdict
from forebay.engines.vllm import VLLM
from forebay.resources.reasons import CONDITION_REASONS, POOL_CONDITIONS, ConditionReason, ConditionType

ALL = Acknowledgement(3, ready=3, acknowledged=3)


def adapters(wanted: int, replicas: int, complete: int, **words: tuple[str, ...]) -> PoolFacts:
    return PoolFacts(replicas, replicas, adapters=AdapterFacts(wanted, replicas, complete, **words))


def said(*versions: str) -> PoolFacts:
    return PoolFacts(1, 1, versions=versions, supported=VLLM.supported)


def found(facts: PoolFacts, kind: ConditionType) -> Verdict:
    return next(verdict for verdict in pool_verdicts(facts) if verdict.type is kind)


@pytest.mark.parametrize(
    ("facts", "kind", "status", "reason", "says"),
    [
        (PoolFacts(2, 2), "Ready", True, "ReplicasReady", "2 of 2 replicas serve"),
        (PoolFacts(3, 1), "Ready", True, "ReplicasStarting", "1 of 3"),
        (PoolFacts(3, 0, pods=3), "Ready", False, "ReplicasStarting", "0 of 3"),
        (PoolFacts(3, 0, pods=3, hints=("chat-0: Unhealthy: x",)), "Ready", False, "ReplicasStarting", "Unhealthy: x"),
        (PoolFacts(3, 2, pods=3, stuck=("chat-1",)), "Ready", True, "ReplicasStuck", "chat-1 answers its probes"),
        (PoolFacts(1, 0, pods=1, stuck=("chat-0",)), "Ready", False, "ReplicasStuck", "0 of 1"),
        (
            PoolFacts(3, 0, pods=3, trouble=("no gpu",)),
            "Ready",
            False,
            "NoReplicasReady",
            "0 of 3 replicas serve: no gpu",
        ),
        (PoolFacts(2, 1, pods=2, trouble=("chat-1: x",)), "Ready", True, "ReplicasMissing", "serve: chat-1: x"),
        (PoolFacts(2, 1, pods=2, trouble=("chat-1: x",), rollout=True), "Ready", True, "RolloutStuck", "chat-1: x"),
        (PoolFacts(2, 1, pods=2, rollout=True), "Ready", True, "ReplicasStarting", "1 of 2"),
        (PoolFacts(1, 0, unasked=1, withdrawn="again in 5 min"), "Ready", False, "NoReplicasReady", "again in 5 min"),
        (PoolFacts(1, 0, unasked=1, first="b/greedy"), "Ready", False, "NoReplicasReady", "b/greedy asks"),
        (PoolFacts(3, 2, unasked=1, pods=2, held="b starts"), "Ready", True, "ReplicasMissing", "2 of 3"),
        (PoolFacts(1, 0, refused="no"), "Ready", False, "NoReplicasReady", "0 of 1 replicas serve: no"),
        (PoolFacts(0, 0), "Ready", True, "ScaledToZero", "demand will start one"),
        (PoolFacts(0, 0, wakes=False), "Ready", True, "ScaledToZero", "demand starts none"),
        (PoolFacts(1, 1, invalid="engine: wrong"), "Ready", False, "InvalidSpec", "engine: wrong"),
        (PoolFacts(1, 1, programmed=ALL, gateways_ready=2), "RoutingProgrammed", True, "RoutersAcknowledged", "3 of 3"),
        (PoolFacts(1, 1), "RoutingProgrammed", None, "Pending", "not written"),
        (PoolFacts(1, 1, programmed=ALL), "RoutingProgrammed", False, "NoRouters", "no gateway"),
        (
            PoolFacts(1, 1, programmed=Acknowledgement(3, 2, 1, ("chat-0",)), gateways_ready=1),
            "RoutingProgrammed",
            False,
            "RoutersBehind",
            "behind: chat-0",
        ),
        (
            PoolFacts(1, 1, programmed=Acknowledgement(3, 2, 2, (), ("chat-0: schema 9",)), gateways_ready=1),
            "RoutingProgrammed",
            False,
            "TableRefused",
            "chat-0: schema 9",
        ),
        (PoolFacts(1, 1, programmed=ALL, policy_missing="x"), "RoutingProgrammed", False, "PolicyNotFound", "names x"),
        (PoolFacts(1, 1), "GatewaysReady", None, "Pending", ""),
        (PoolFacts(2, 2, pods=2), "ReplicasCreated", True, "Created", "2 of 2"),
        (PoolFacts(2, 1, pods=1, create_failure="exceeded quota"), "ReplicasCreated", False, "CreateRefused", "quota"),
        (PoolFacts(2, 1, pods=1), "ReplicasCreated", None, "Pending", "1 of 2"),
        (PoolFacts(2, 0, unasked=2), "ReplicasCreated", None, "NotAskedFor", "0 of 2"),
        (PoolFacts(0, 0), "ReplicasCreated", None, "ScaledToZero", ""),
        (PoolFacts(2, 2, pods=2, placed=2), "GPUsAvailable", True, "Scheduled", "2 of 2"),
        (PoolFacts(2, 2, pods=2, placed=1), "GPUsAvailable", None, "Pending", "1 of 2 replicas have a node"),
        (PoolFacts(0, 0), "GPUsAvailable", None, "ScaledToZero", ""),
        (
            PoolFacts(2, 1, pods=2, placed=1, gpus=2, gpu_resource="nvidia.com/gpu", unplaced="0/3 nodes"),
            "GPUsAvailable",
            False,
            "Unschedulable",
            "2 nvidia.com/gpu: 0/3 nodes",
        ),
        (PoolFacts(1, 0, pods=1, unplaced="held by x", gated=True), "GPUsAvailable", False, "SchedulingGated", "by x"),
        (PoolFacts(1, 0, unasked=1, withdrawn="again"), "GPUsAvailable", False, "Withdrawn", "again"),
        (PoolFacts(2, 1, unasked=1, pods=1, placed=1, first="b"), "GPUsAvailable", False, "AwaitsTurn", "b asks"),
        (PoolFacts(2, 1, unasked=1, pods=1, placed=1, held="b starts"), "GPUsAvailable", None, "Pending", "b starts"),
        (PoolFacts(1, 1, heard=3), "MetricsFresh", True, "Reported", "3 routers"),
        (PoolFacts(1, 1, heard=2, silent=("chat-0",)), "MetricsFresh", False, "Stale", "chat-0"),
        (PoolFacts(1, 1), "MetricsFresh", None, "NoReplicas", "no router"),
        (PoolFacts(1, 1, outdated="older"), "RouterOutdated", True, "OlderRouter", "adoptRouter: Always"),
        (PoolFacts(1, 1), "RouterOutdated", False, "UpToDate", "this release"),
        (PoolFacts(1, 1), "EngineUnsupported", None, "NotAsked", "no engine was asked"),
        (PoolFacts(1, 1, versions=("0.32.0",)), "EngineUnsupported", None, "NotAsked", "no engine was asked"),
        (said("0.32.0"), "EngineUnsupported", False, "SupportedVersion", "engines say 0.32.0; supported are 0.11.0 to"),
        (said("0.12.0", "0.32.1"), "EngineUnsupported", False, "SupportedVersion", "say 0.12.0, 0.32.1"),
        (said("0.10.2", "0.32.0"), "EngineUnsupported", True, "UnsupportedVersion", "0.10.2, older than"),
        (said("0.33.0"), "EngineUnsupported", True, "UnsupportedVersion", "0.33.0, newer than what is supported: 0.11"),
        (said("", "0.33.0"), "EngineUnsupported", True, "UnsupportedVersion", "0.33.0"),
        (said("", "0.32.0"), "EngineUnsupported", None, "VersionUnknown", "does not say its version; supported are"),
        (said("dev"), "EngineUnsupported", None, "VersionUnknown", "says that it is dev, which is no version"),
        (PoolFacts(1, 1), "AdaptersLoaded", None, "NoAdapters", "names no adapters"),
        (
            PoolFacts(1, 1, adapters_at_start="why"),
            "AdaptersLoaded",
            None,
            "AdaptersAtStart",
            "load no others: why",
        ),
        (adapters(2, 3, 3), "AdaptersLoaded", True, "Loaded", "3 of 3 replicas have all 2 adapters"),
        (adapters(2, 3, 2, missing=("law on chat-1",)), "AdaptersLoaded", None, "AdaptersLoading", "law on chat-1"),
        (adapters(2, 3, 2, refused=("chat-1: law: no",)), "AdaptersLoaded", False, "AdapterRefused", "chat-1: law: no"),
        (adapters(2, 0, 0), "AdaptersLoaded", None, "NoReplicas", "no replica"),
        (adapters(0, 3, 3), "AdaptersLoaded", None, "NoAdapters", "names no adapters"),
        (PoolFacts(1, 1, invalid="x"), "AdaptersLoaded", None, "InvalidSpec", "x"),
        (PoolFacts(1, 1, refused="no"), "PodTemplateAccepted", False, "Refused", "no"),
        (PoolFacts(1, 1), "PodTemplateAccepted", True, "Merged", ""),
        (PoolFacts(1, 1, invalid="x", pods=1, placed=1), "PodTemplateAccepted", None, "InvalidSpec", "x"),
        (PoolFacts(1, 1, invalid="x", pods=1, placed=1), "GPUsAvailable", None, "InvalidSpec", "x"),
        (PoolFacts(1, 1, invalid="x", pods=1, placed=1), "RouterOutdated", None, "InvalidSpec", "x"),
    ],
)
def test_a_pools_condition(facts: PoolFacts, kind: str, status: bool | None, reason: str, says: str) -> None:
    verdict = found(facts, ConditionType(kind))
    assert (verdict.status, verdict.reason.value) == (status, reason)
    assert verdict.reason in CONDITION_REASONS[verdict.type]
    assert says in verdict.message


def test_a_pool_has_every_condition() -> None:
    assert {verdict.type for verdict in pool_verdicts(PoolFacts(1, 1))} == set(POOL_CONDITIONS)


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        (PolicyFacts("p", gateways_ready=1, pools=2), True, ConditionReason.ACCEPTED),
        (PolicyFacts("p", gateways_ready=1), True, ConditionReason.UNUSED),
        (PolicyFacts("p", gateways_ready=1, missing_keys=("acme",)), False, ConditionReason.KEY_MISSING),
        (PolicyFacts("p", gateways_ready=1, provider_problems=("a: x",)), False, ConditionReason.PROVIDER_UNREACHABLE),
        (PolicyFacts("p", gateway_trouble="quota"), False, ConditionReason.GATEWAY_UNAVAILABLE),
        (PolicyFacts("p"), False, ConditionReason.GATEWAY_UNAVAILABLE),
        (PolicyFacts("p", invalid="x"), False, ConditionReason.INVALID_SPEC),
    ],
)
def test_a_policys_readiness(facts: PolicyFacts, status: bool, reason: ConditionReason) -> None:
    ready = policy_verdicts(facts)[0]
    assert (ready.status, ready.reason) == (status, reason)


@pytest.mark.parametrize(
    ("facts", "status", "reason", "says"),
    [
        (GatewayFacts(2, 2), True, "GatewaysServe", "2 of 2 gateways serve"),
        (GatewayFacts(2, 2, rollout=True), True, "GatewaysServe", "2 of 2"),
        (GatewayFacts(2, 2, rollout=True, trouble=("quota",)), True, "RolloutStuck", "2 of 2 gateways serve: quota"),
        (GatewayFacts(2, 1), False, "GatewaysStarting", "1 of 2"),
        (GatewayFacts(2, 1, trouble=("no node",)), False, "GatewaysMissing", "1 of 2 gateways serve: no node"),
        (GatewayFacts(2, 0, trouble=("quota",)), False, "NoGatewaysReady", "0 of 2 gateways serve: quota"),
        (GatewayFacts(2, 2, refused=("Service forebay: no",)), False, "ObjectsRefused", "Service forebay: no"),
        (GatewayFacts(2, 2, missing=("Secret x",)), False, "GatewaysStarting", "not there yet: Secret x"),
        (GatewayFacts(2, 0, missing=("Secret x",), trouble=("quota",)), False, "NoGatewaysReady", "quota"),
    ],
)
def test_what_the_fleet_shares(facts: GatewayFacts, status: bool, reason: str, says: str) -> None:
    verdict = gateways_verdict(facts)
    assert (verdict.status, verdict.reason.value) == (status, reason)
    assert verdict.reason in CONDITION_REASONS[verdict.type]
    assert says in verdict.message
    assert verdict in pool_verdicts(PoolFacts(1, 1), verdict)


def one(status: bool | None, before: list[dict[str, Any]], now: float) -> dict[str, Any]:
    verdict = Verdict(ConditionType.READY, status, ConditionReason.REPLICAS_READY, "m")
    return conditions([verdict], before, 2, now)[0]


def test_the_transition_time_moves_only_when_the_status_does() -> None:
    first = one(True, [], 1_800_000_000.0)
    assert first["lastTransitionTime"] == rfc3339(1_800_000_000.0)
    assert one(True, [first], 1_800_000_060.0)["lastTransitionTime"] == rfc3339(1_800_000_000.0)
    assert one(False, [first], 1_800_000_060.0)["lastTransitionTime"] == rfc3339(1_800_000_060.0)


def test_the_time_of_a_condition_listed_by_default_is_not_kept() -> None:
    default = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:00Z"}
    assert one(None, [default], 1_800_000_000.0)["lastTransitionTime"] == rfc3339(1_800_000_000.0)
