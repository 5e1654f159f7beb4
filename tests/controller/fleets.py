"""Fleets for tests: pools, policies, pods and reports as the API server and the routers would have them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner
from forebay.controller.observe.memory import FleetMemory, LastReport, ObjectKey
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy, ObservedPool
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.actions import Apply, WriteStatus
from forebay.controller.plan.plan import Plan, plan
from forebay.controller.settings import Images, Settings
from forebay.resources import names
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import PoolStatus
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport

NOW = 1_800_000_000.0
NAMESPACE = "team"
IMAGES = Images(router="forebay:1", simulator="forebay:1", engine="vllm:1")
SETTINGS = Settings(images=IMAGES, instance="operator-0", own_namespace="forebay-system")

POLICY: dict[str, Any] = {
    "providers": [
        {
            "name": "acme",
            "baseURL": "https://acme.example/v1",
            "apiKeySecretRef": {"name": "provider-keys", "key": "acme"},
            "models": [{"name": "large", "inputPrice": "4", "outputPrice": "20"}],
        },
        {"name": "near", "baseURL": "http://near:8000/v1", "transport": "HTTP", "models": [{"name": "small"}]},
    ],
    "primary": [{"provider": "acme", "model": "large"}],
    "secondary": [{"provider": "near", "model": "small"}],
}


def spec(**changes: Any) -> PoolSpec:
    """A simulated pool's spec; the changes are top-level fields as a user writes them."""
    usual: dict[str, Any] = {
        "model": {"name": "Qwen/Qwen2.5-7B-Instruct", "servedNames": ["qwen-7b"]},
        "engine": {"type": "Simulated", "gpus": 0},
        "capacity": {"slotsPerReplica": 10, "highReservedPercent": 0},
        "scaling": {"minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}}},
    }
    return PoolSpec.model_validate({**usual, **changes})


def pool(name: str = "chat", pool_spec: PoolSpec | None = None, **changes: Any) -> ObservedPool:
    """A pool without anything around it."""
    owner = Owner(names.POOL_KIND, name, f"uid-{name}")
    usual = ObservedPool(owner=owner, generation=1, spec=pool_spec or spec(), created="2027-01-15T07:00:00Z")
    return replace(usual, **changes)


def policy(name: str = "default", **changes: Any) -> ObservedPolicy:
    """A policy with two providers."""
    owner = Owner(names.POLICY_KIND, name, f"uid-{name}-policy")
    return replace(ObservedPolicy(owner=owner, generation=1, spec=PolicySpec.model_validate(POLICY)), **changes)


def gateway(number: int = 0, **changes: Any) -> Pod:
    """A ready gateway."""
    usual = Pod(f"gateway-{number}", f"uid-gateway-{number}", f"10.0.1.{number + 1}", ready=True)
    return replace(usual, **changes)


def replica(number: int = 0, pool_name: str = "chat", **changes: Any) -> Pod:
    """A ready replica."""
    name = f"{pool_name}-{number}"
    return replace(Pod(name, f"uid-{name}", f"10.0.2.{number + 1}", ready=True), **changes)


def gateway_report(
    number: int = 0, *, generation: int = 1, pools: Iterable[PoolDemand] = (), **more: Any
) -> LastReport:
    """What a gateway says."""
    report = GatewayReport(
        replica=f"gateway-{number}", version="1", started=NOW - 9000, generation=generation, hash="", ready=True,
        pools=tuple(pools), **more,
    )  # fmt: skip
    return LastReport(report, NOW)


def sidecar_report(
    number: int = 0, *, pool_name: str = "chat", generation: int = 1, running: int = 0, slots: int = 10, **more: Any
) -> LastReport:
    """What a sidecar says."""
    report = SidecarReport(
        pool=pool_name, replica=f"{pool_name}-{number}", version="1", started=NOW - 9000, generation=generation,
        hash="", state=ReplicaState.SERVING, slots=slots, running=running, **more,
    )  # fmt: skip
    return LastReport(report, NOW)


def fleet(*pools: ObservedPool, **changes: Any) -> ObservedFleet:
    """A namespace with these pools."""
    return replace(ObservedFleet(NAMESPACE, NOW, pools=pools, token=token()), **changes)


def token() -> Object:
    """The control token's Secret, without owners."""
    metadata = {"name": names.CONTROL_TOKEN_SECRET, "namespace": NAMESPACE, "uid": "uid-token"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"current": "c2VjcmV0"}}


def carried_out(observed: ObservedFleet, done: Plan, *, resource_version: str = "7") -> ObservedFleet:
    """The fleet after the plan: what it applied is live, the statuses are written, and every wanted pod is ready."""
    live: dict[ObjectKey, Object] = dict(observed.live)
    statuses: dict[str, Object] = {}
    for batch in done.batches:
        for action in batch.actions:
            if isinstance(action, Apply):
                metadata = {
                    **action.obj["metadata"],
                    "uid": f"uid-{action.key[1]}",
                    "resourceVersion": resource_version,
                }
                live[action.key] = {**action.obj, "metadata": metadata}
            elif isinstance(action, WriteStatus):
                statuses[action.name] = action.status
    pools = tuple(_after(item, live, statuses.get(item.name)) for item in observed.pools)
    policies = tuple(
        replace(item, live_status=found, status=PolicyStatus.model_validate(found))
        if (found := statuses.get(item.name))
        else item
        for item in observed.policies
    )
    secret = live.pop(("Secret", names.CONTROL_TOKEN_SECRET), None)
    held = {**secret, "data": token()["data"]} if secret else observed.token
    return replace(observed, live=live, pools=pools, policies=policies, token=held)


def _after(item: ObservedPool, live: dict[ObjectKey, Object], status: Object | None) -> ObservedPool:
    statefulset = live.get(("StatefulSet", item.name))
    wanted = statefulset["spec"]["replicas"] if statefulset else 0
    pods = tuple(replica(number, item.name) for number in range(wanted))
    item = replace(item, statefulset=statefulset, pods=pods)
    return replace(item, live_status=status, status=PoolStatus.model_validate(status)) if status else item


def running_fleet(pool_spec: PoolSpec | None = None, **changes: Any) -> tuple[ObservedFleet, FleetMemory]:
    """A pool that has been set up and runs quietly, with a policy and two gateways, and the memory of it."""
    observed = fleet(pool(pool_spec=pool_spec, **changes), policies=(policy(),), gateways=(gateway(0), gateway(1)))
    memory = FleetMemory()
    for _ in range(3):
        done = plan(observed, memory, SETTINGS)
        observed, memory = carried_out(observed, done), done.memory
        pods = [pod for item in observed.pools for pod in item.pods]
        heard = {f"gateway-{n}": gateway_report(n) for n in range(2)}
        heard |= {pod.name: sidecar_report(n) for n, pod in enumerate(pods)}
        observed = replace(observed, heard=heard, now=observed.now + 1)
    return observed, memory
