"""No condition is True whose claim a second reader of the same objects denies.

Clusters are generated as the API server would have them, and go through the cache, the observation and the plan. The
second reader looks at the same raw objects, knows nothing of the operator's code, and says only what a claim means.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from forebay.controller.cluster.kubernetes_api import Object, ObjectKind
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.observe.memory import Failure, FleetMemory, LastReport
from forebay.controller.observe.observe import observe
from forebay.controller.plan.actions import Apply, WriteStatus
from forebay.controller.plan.plan import Plan, plan
from forebay.controller.report import conditions
from forebay.resources import names
from forebay.resources.reasons import POOL_CONDITIONS, ConditionType
from forebay.resources.report import AdapterReport
from testing.examples import examples
from tests.controller.fleets import (
    NAMESPACE,
    NOW,
    SETTINGS,
    gateway_report,
    policy,
    running_fleet,
    sidecar_report,
    token,
)

GATEWAYS = SETTINGS.gateway_replicas
STALE = SETTINGS.stale_seconds
MEMORY_KEYS = [
    ("StatefulSet", "chat"), ("Service", "chat"), ("Deployment", names.GATEWAY), ("Service", names.CLIENT_SERVICE),
    ("ConfigMap", names.ROUTING_CONFIGMAP), ("Secret", names.CONTROL_TOKEN_SECRET),
]  # fmt: skip
LAW, TAX, NO_LAW, OLD_LAW = (
    AdapterReport(name="law", source="/adapters/law", loaded=True),
    AdapterReport(name="tax", source="/adapters/tax", loaded=True),
    AdapterReport(name="law", source="/adapters/law", problem="no such file"),
    AdapterReport(name="law", source="/adapters/law-1", loaded=True),
)
ADAPTED = [(), (LAW,), (LAW, TAX), (LAW, TAX), (NO_LAW, TAX), (OLD_LAW, TAX)]
"""What sidecars say of the adapters that they were asked for, before or now."""
SEEN: set[str] = set()
pytestmark = pytest.mark.slow


@dataclass
class Cluster:
    """Raw objects, and what routers say: all that both readers have."""

    spec: Object
    asked: int
    history: Object
    pods: list[Object]
    reports: dict[str, LastReport]
    failures: list[tuple[str, str]] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)  # objects that somebody deleted
    token: bool = True

    async def list(self, kind: ObjectKind, namespace: str, **_: Any) -> tuple[list[Object], str]:
        return self.events, "1"

    async def secret(self, namespace: str) -> Object | None:
        return token() if self.token else None

    def value(self, namespace: str) -> str:
        return "t"

    def lost_one(self, namespace: str) -> None:
        return None

    async def fetch(self, token: str, addresses: dict[str, str], **_: Any) -> dict[str, Any]:
        return {}


def pods_of(base: str, most: int, labels: Object, component: str) -> st.SearchStrategy[list[Object]]:
    ordinals = st.lists(st.integers(0, most), max_size=most, unique=True)
    return ordinals.flatmap(lambda which: st.tuples(*(pod(f"{base}-{n}", labels, component) for n in which)).map(list))


@st.composite
def pod(draw: st.DrawFn, name: str, labels: Object, component: str) -> Object:
    node = draw(st.sampled_from(["", "node-1"]))
    gates = [] if node else draw(st.sampled_from([[], [{"name": "kueue.x-k8s.io/admission"}]]))
    phase = draw(st.sampled_from(["Pending", "Running", "Failed"] if node else ["Pending"]))
    ready = phase == "Running" and draw(st.booleans())
    status: Object = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    said = draw(st.sampled_from([None, "Unschedulable", "SchedulingGated", "SchedulerError"]))
    if said and not node:
        status["conditions"].append({"type": "PodScheduled", "status": "False", "reason": said, "message": "none"})
    if phase == "Failed":
        status |= {"reason": draw(st.sampled_from(["Evicted", "UnexpectedAdmissionError"])), "message": "words"}
    if node:
        status["conditions"].append({"type": "PodScheduled", "status": "True"})
        waits = draw(st.sampled_from([None, "ContainerCreating", "ImagePullBackOff", "CrashLoopBackOff", "NewWord"]))
        if waits and not ready:
            status["containerStatuses"] = [{"name": "engine", "state": {"waiting": {"reason": waits}}}]
    if ready:
        status["podIP"] = "10.0.0.1"
    metadata: Object = {
        "name": name, "namespace": NAMESPACE, "uid": f"uid-{name}",
        "labels": {**labels, names.LABEL_COMPONENT: component, names.LABEL_MANAGED_BY: names.MANAGED_BY},
    }  # fmt: skip
    if draw(st.integers(0, 5)) == 0:
        metadata["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    spec: Object = {"nodeName": node} if node else {"schedulingGates": gates}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    mode = draw(st.sampled_from(["Automatic", "Manual"]))
    asked, least = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    gpus = draw(st.sampled_from([0, 2]))
    spec: Object = {
        "model": {"name": "m"}, "engine": {"type": "Simulated", "gpus": gpus},
        "scaling": {"mode": mode, "minReplicas": least, "maxReplicas": 3},
    }  # fmt: skip
    if mode == "Manual":
        spec["replicas"] = draw(st.integers(0, 3))
    if draw(st.integers(0, 7)) == 0:
        spec["engine"]["podTemplate"] = {"spec": {"hostNetwork": True}}
    if draw(st.integers(0, 9)) == 0:
        spec["engine"]["gpus"] = "many"
    adapters = draw(st.sampled_from([(), (), ("law",), ("law", "tax")]))
    if adapters:
        spec["model"]["adapters"] = [{"name": name, "source": f"/adapters/{name}"} for name in adapters]
    withdrawn = draw(st.booleans())
    history = {"withdrawals": 1, "withdrawnAt": int(NOW) - 9, "retryAt": int(NOW) + 300} if withdrawn else {}
    replicas = draw(pods_of("chat", 3, {names.LABEL_POOL: "chat"}, names.COMPONENT_REPLICA))
    gateways = draw(pods_of("gateway", 3, {}, names.COMPONENT_GATEWAY))
    reports = {}
    for obj in (*replicas, *gateways):
        name = obj["metadata"]["name"]
        generation, age, error = draw(
            st.sampled_from([(1, 0, ""), (1, 0, ""), (0, 0, ""), (1, 900, ""), (1, 0, "bad")])
        )
        made = gateway_report if name.startswith("gateway") else sidecar_report
        if draw(st.integers(0, 4)):
            number = int(name.rpartition("-")[2])
            more = {} if made is gateway_report or not adapters else {"adapters": draw(st.sampled_from(ADAPTED))}
            report = made(number, generation=generation, table_error=error, **more)
            reports[name] = replace(report, time=NOW - age)
    return Cluster(
        spec, asked, history, [*replicas, *gateways], reports,
        failures=draw(st.lists(st.sampled_from(MEMORY_KEYS), max_size=1)),
        lost=draw(st.lists(st.sampled_from(MEMORY_KEYS[:-1]), max_size=1)),
        token=draw(st.integers(0, 7)) > 0,
    )  # fmt: skip


def settled() -> list[Object]:
    """What the operator has made of a fleet at rest."""
    fleet, _ = running_fleet()
    return [*fleet.live.values()]


SETTLED = settled()


def _of_size(obj: Object, size: int) -> Object:
    marks = {**obj["metadata"]["annotations"], names.ANNOTATION_REPLICAS: str(size)}
    return {
        **obj,
        "spec": {**obj["spec"], "replicas": size},
        "metadata": {**obj["metadata"], "annotations": marks},
    }


def judged(cluster: Cluster) -> tuple[Plan, dict[str, str], list[Object]]:
    """The statuses of the pool's conditions, by type, and the objects that are live."""
    cache = ObjectCache()
    live = [obj for obj in SETTLED if (obj["kind"], obj["metadata"]["name"]) not in cluster.lost]
    for obj in live:
        cache.put(_of_size(obj, cluster.asked) if obj["kind"] == "StatefulSet" else obj)
    for obj in cluster.pods:
        cache.put({**obj, "metadata": {**obj["metadata"], "resourceVersion": "5"}})
    metadata = {"name": "chat", "namespace": NAMESPACE, "uid": "uid-chat", "resourceVersion": "5", "generation": 1}
    status = {"scaling": {"history": cluster.history}}
    kind = {"apiVersion": names.API_VERSION, "kind": names.POOL_KIND}
    cache.put({**kind, "metadata": metadata, "spec": cluster.spec, "status": status})
    memory = FleetMemory(failures={key: Failure("no: quota", 2, NOW + 30) for key in cluster.failures})

    class Tokens:
        secret, value, lost = cluster.secret, cluster.value, cluster.lost_one

    seen = asyncio.run(
        observe(NAMESPACE, cache, cluster=cluster, tokens=Tokens(), reports=cluster, memory=memory, now=NOW)  # type: ignore[arg-type]
    )
    seen = replace(seen, heard=cluster.reports, policies=(policy(),))
    done = plan(seen, memory, SETTINGS)
    written = [action for batch in done.batches for action in batch.actions if isinstance(action, WriteStatus)]
    status = next(action.status for action in written if action.name == "chat")
    return done, {item["type"]: item["status"] for item in status["conditions"]}, live


def denied(cluster: Cluster, said: dict[str, str], live: list[Object], tables_change: bool) -> Iterator[str]:
    """Claims of conditions that are True, and that the objects do not bear out. Knows nothing of the operator."""

    def is_true(obj: Object, kind: str) -> bool:
        return any(c["type"] == kind and c["status"] == "True" for c in obj["status"]["conditions"])

    staying = [obj for obj in cluster.pods if not obj["metadata"].get("deletionTimestamp")]
    mine = [obj for obj in staying if obj["metadata"]["name"].startswith("chat-")]
    doors = [obj for obj in staying if obj["metadata"]["name"].startswith("gateway-")]
    scaling = cluster.spec["scaling"]
    wanted = cluster.spec["replicas"] if scaling["mode"] == "Manual" else scaling["minReplicas"]
    clear = cluster.spec["engine"]["gpus"] != "many"
    ready = [obj for obj in (*mine, *doors) if is_true(obj, "Ready")]
    kinds = {(obj["kind"], obj["metadata"]["name"]) for obj in live}
    shared = [key for key in MEMORY_KEYS if key[1] != "chat"]

    def reported(obj: Object) -> Any:
        return cluster.reports.get(obj["metadata"]["name"])

    claims = {
        "Ready": clear and (wanted == 0 or any(obj in ready for obj in mine)),
        "GPUsAvailable": clear and sum(
            bool(obj["spec"].get("nodeName")) and obj["status"]["phase"] != "Failed" for obj in mine
        ) >= max(wanted, 1),
        "ReplicasCreated": clear and bool(mine) and not any(key[1] == "chat" for key in cluster.failures),
        "RoutingProgrammed": any(obj in ready for obj in doors) and not tables_change and all(
            reported(obj) and reported(obj).report.generation >= 1 and not reported(obj).report.table_error
            for obj in ready
        ),
        "GatewaysReady": sum(obj in ready for obj in doors) >= GATEWAYS and cluster.token and all(
            key in kinds and key not in cluster.failures for key in shared if key[0] != "Secret"
        ) and not (("Secret", names.CONTROL_TOKEN_SECRET) in cluster.failures and not cluster.token),
        "MetricsFresh": bool(cluster.reports) and all(
            reported(obj) and NOW - reported(obj).time <= STALE for obj in ready
        ),
        "AdaptersLoaded": any(obj in ready for obj in mine) and all(
            any((said.name, said.source) == (one["name"], one["source"]) and said.loaded
                for said in (reported(obj).report.adapters if reported(obj) else ()))
            for one in cluster.spec["model"].get("adapters", ()) for obj in mine if obj in ready
        ),
        "PodTemplateAccepted": clear and not cluster.spec["engine"].get("podTemplate"),
    }  # fmt: skip
    yield from (kind for kind, holds in claims.items() if said.get(kind) == "True" and not holds)


def look(cluster: Cluster) -> list[str]:
    done, said, live = judged(cluster)
    assert set(said) == {kind.value for kind in POOL_CONDITIONS}
    SEEN.add(repr(sorted(said.items())))
    applies = [action for batch in done.batches for action in batch.actions if isinstance(action, Apply)]
    tables_change = any(
        action.key == ("ConfigMap", names.ROUTING_CONFIGMAP) and "data" in action.why for action in applies
    )
    return list(denied(cluster, said, live, tables_change))


@given(clusters())
@examples(2, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_condition_is_true_whose_claim_a_second_reader_denies(cluster: Cluster) -> None:
    assert not look(cluster)


def lies(facts: conditions.PoolFacts) -> conditions.Verdict:
    """As it once was: no word of a scheduler was taken for a node."""
    kind = ConditionType.GPUS_AVAILABLE
    return conditions.Verdict(kind, facts.pods >= facts.desired, conditions.Reason.SCHEDULED, "have a node")


def zero(facts: conditions.PoolFacts) -> conditions.Verdict:
    """As it once was: what is asked for was taken for what is wanted."""
    fine = facts.desired == 0 or facts.ready > 0
    return conditions.Verdict(ConditionType.READY, fine, conditions.Reason.SCALED_TO_ZERO, "none runs")


def loaded(facts: conditions.PoolFacts) -> conditions.Verdict:
    """As it easily is: what nobody complains of is taken for loaded."""
    found = facts.adapters
    fine = True if found is not None and not found.refused else None
    return conditions.Verdict(ConditionType.ADAPTERS_LOADED, fine, conditions.Reason.LOADED, "all are loaded")


@pytest.mark.parametrize(
    ("judge", "lie", "caught"),
    [("_gpus", lies, "GPUsAvailable"), ("_ready", zero, "Ready"), ("_adapters", loaded, "AdaptersLoaded")],
)
def test_a_condition_that_lies_is_caught(judge: str, lie: Any, caught: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, judge, lie)
    found: set[str] = set()

    @given(clusters())
    @examples(1, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    def looked_at(cluster: Cluster) -> None:
        found.update(look(cluster))

    looked_at()
    assert caught in found


def test_many_states_were_seen() -> None:
    assert len(SEEN) > 10  # different combinations of all conditions, so that the property is not held by one state
