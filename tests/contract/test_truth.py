"""Truth in status: each condition becomes true and false for a real reason, in the words of whoever refused, and clears
by itself once that is mended. Pods are made by Kubernetes' own controllers; only the kubelet is played."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client
from msgspec.structs import replace as replaced

from forebay.controller.cluster.kubernetes_api import EVENT, POD, POOL, STATEFUL_SET, Cluster, Object, ObjectKind
from forebay.controller.cluster.kubernetes_api import POLICY as POLICIES
from forebay.controller.settings import Settings
from forebay.resources import names
from forebay.resources.reasons import ConditionType
from forebay.resources.report import AdapterReport
from testing.fake_routers import FakeRouters
from tests.contract import clusters
from tests.contract.kubelet import Kubelets, add_node
from tests.contract.scene import LOCAL, custom, in_cluster, operator, told
from tests.controller.fleets import IMAGES, POLICY

pytestmark = pytest.mark.apiserver
QUOTA = ObjectKind("ResourceQuota", "v1", "resourcequotas")
NAMESPACE = ObjectKind("Namespace", "v1", "namespaces")
ACCOUNT = ObjectKind("ServiceAccount", "v1", "serviceaccounts")
LONGEST_SECONDS = 60
GPU = "nvidia.com/gpu"

Look = Callable[[str], Awaitable[None]]


@dataclass
class Stage:
    """A namespace with an operator, and kubelets that run what is scheduled there."""

    cluster: Cluster
    namespace: str
    look: Look
    kubelets: Kubelets
    routers: FakeRouters

    async def pool(self, **spec: Any) -> None:
        """Create the pool `chat`."""
        engine = {"type": "Simulated", "gpus": 0, **spec.pop("engine", {})}
        await self.cluster.create(
            custom(POOL, self.namespace, "chat", {"model": {"name": "m"}, "engine": engine, **spec})
        )

    async def change(self, spec: Object) -> None:
        """Change the pool's spec."""
        await self.cluster.patch(POOL, self.namespace, "chat", {"spec": spec})

    async def condition(self, kind: str, name: str = "chat", of: ObjectKind = POOL) -> Object:
        """A condition as it stands in the status."""
        found = await self.cluster.get(of, self.namespace, name)
        return next(item for item in found["status"]["conditions"] if item["type"] == kind)

    async def becomes(
        self,
        kind: str,
        status: str,
        reason: str,
        *words: str,
        name: str = "chat",
        of: ObjectKind = POOL,
        run: bool = True,
    ) -> str:
        """Let time pass until a condition reads so. Returns its message."""
        seen: Object = {}
        for _ in range(LONGEST_SECONDS * 2):
            if run:
                await self.kubelets.run()
            await self.look(self.namespace)
            seen = await self.condition(kind, name, of)
            if (seen["status"], seen["reason"]) == (status, reason) and all(word in seen["message"] for word in words):
                return str(seen["message"])
            await asyncio.sleep(0.3)
        raise AssertionError(
            f"{kind} is not {status}/{reason} {words} but {seen}; {await told(self.cluster, self.namespace)}"
        )


@asynccontextmanager
async def stage(
    cluster: Cluster, settings: Settings = LOCAL, labels: dict[str, str] | None = None
) -> AsyncIterator[Stage]:
    """A new namespace on a cluster with one node of four GPUs."""
    await add_node(cluster, "node-1", {GPU: 4})
    metadata = {"generateName": "truth-", "labels": labels or {}, "annotations": clusters.namespace_annotations()}
    made = await cluster._call("POST", NAMESPACE.path(), body={"metadata": metadata})
    namespace = made["metadata"]["name"]
    routers = FakeRouters()
    port = await routers.listen(0)
    try:
        async with operator(cluster, replace(settings, namespaces=(namespace,)), port) as look:
            yield Stage(cluster, namespace, look, Kubelets(cluster, namespace, routers), routers)
    finally:
        await routers.stop()
        await cluster._call("DELETE", NAMESPACE.path("", namespace))


def play(api: client.ApiClient, scene: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    """Run a scene on a stage of its own."""

    async def on_stage(cluster: Cluster) -> None:
        async with stage(cluster, **options) as there:
            await scene(there)

    in_cluster(api, on_stage)


def shows(*kinds: ConditionType) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test that sees these conditions both true and false."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        SHOWN.update(kinds)
        return test

    return mark


SHOWN: set[ConditionType] = set()


@shows(ConditionType.REPLICAS_CREATED, ConditionType.READY)
def test_a_quota_that_is_used_up(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        hard = {"hard": {f"requests.{GPU}": "0"}}
        await on.cluster._call("POST", QUOTA.path(on.namespace), body={"metadata": {"name": "gpus"}, "spec": hard})
        await on.pool(engine={"gpus": 1})
        await on.becomes("ReplicasCreated", "False", "CreateRefused", "exceeded quota: gpus", f"requests.{GPU}=1")
        await on.becomes("Ready", "False", "NoReplicasReady", "exceeded quota")
        assert "ReplicaCreateFailed" in {reason for reason, _ in await told(on.cluster, on.namespace)}
        await on.cluster._call("DELETE", QUOTA.path(on.namespace, "gpus"))
        await on.becomes("ReplicasCreated", "True", "Created", "1 of 1")
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


@shows(ConditionType.REPLICAS_CREATED)
def test_pod_security_that_refuses_an_engine(managed_api: client.ApiClient) -> None:
    enforced = "pod-security.kubernetes.io/enforce"

    async def scene(on: Stage) -> None:
        await on.pool(engine={"type": "VLLM", "gpus": 1})
        words = ('violates PodSecurity "restricted', 'container "engine" must set securityContext.runAsNonRoot=true')
        message = await on.becomes("ReplicasCreated", "False", "CreateRefused", words[0])
        assert "runAsNonRoot" in message and 'container "router"' not in message
        await on.cluster.patch(NAMESPACE, "", on.namespace, {"metadata": {"labels": {enforced: "baseline"}}})
        await on.becomes("ReplicasCreated", "True", "Created")

    play(managed_api, scene, labels={enforced: "restricted"})


@shows(ConditionType.REPLICAS_CREATED)
def test_a_service_account_that_does_not_exist(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool(engine={"podTemplate": {"spec": {"serviceAccountName": "nobody"}}})
        await on.becomes("ReplicasCreated", "False", "CreateRefused", 'serviceaccount "nobody" not found')
        await on.cluster._call("POST", ACCOUNT.path(on.namespace), body={"metadata": {"name": "nobody"}})
        await on.becomes("ReplicasCreated", "True", "Created")

    play(managed_api, scene)


@shows(ConditionType.REPLICAS_CREATED)
def test_a_statefulset_that_the_api_server_refuses(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool(engine={"podTemplate": {"spec": {"priorityClassName": "Not A Name"}}})
        # An old API server takes any pod template; then it is the StatefulSet's controller that tells.
        word, event = (
            ("PriorityClass", "ReplicaCreateFailed") if clusters.OLDEST else ("priorityClassName", "ApplyFailed")
        )
        await on.becomes("ReplicasCreated", "False", "CreateRefused", "StatefulSet chat", word)
        assert event in {reason for reason, _ in await told(on.cluster, on.namespace)}
        await on.change({"engine": {"podTemplate": None}})
        await on.becomes("ReplicasCreated", "True", "Created")

    play(managed_api, scene)


@shows(ConditionType.GPUS_AVAILABLE)
def test_no_node_has_such_a_gpu(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        slice_name = f"{on.namespace}.example/slice"
        await on.pool(engine={"gpus": 2, "gpuResourceName": slice_name})
        await on.becomes("GPUsAvailable", "False", "Unschedulable", f"2 {slice_name}", f"Insufficient {slice_name}")
        await on.becomes("Ready", "False", "NoReplicasReady", "Insufficient")
        await add_node(on.cluster, f"node-{on.namespace}", {slice_name: 2})
        await on.becomes("GPUsAvailable", "True", "Scheduled", "1 of 1")
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


@shows(ConditionType.READY)
def test_a_secret_that_is_missing(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool(model={"name": "m", "tokenSecretRef": {"name": "hub", "key": "token"}})
        await on.becomes("ReplicasCreated", "True", "Created", run=False)
        waiting = {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}
        engine = {"name": "engine", "ready": False, "restartCount": 0, "image": "i", "imageID": "",
                  "state": {"waiting": waiting}}  # fmt: skip
        await on.kubelets.say("chat-0", {"phase": "Pending", "containerStatuses": [engine]})
        await on.becomes("Ready", "False", "NoReplicasReady", "chat-0", "container engine", 'secret "hub" not found',
                         run=False)  # fmt: skip
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


@shows(ConditionType.READY)
def test_a_volume_that_cannot_be_mounted(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        volume = {"name": "extra", "secret": {"secretName": "absent"}}
        await on.pool(engine={"podTemplate": {"spec": {"volumes": [volume]}}})
        await on.becomes("GPUsAvailable", "True", "Scheduled", run=False)
        pod = await scheduled(on)
        creating = {"name": "engine", "ready": False, "restartCount": 0, "image": "i", "imageID": "",
                    "state": {"waiting": {"reason": "ContainerCreating"}}}  # fmt: skip
        await on.kubelets.say("chat-0", {"phase": "Pending", "containerStatuses": [creating]})
        for reason, note in (
            ("FailedMount", 'MountVolume.SetUp failed for volume "extra" : secret "absent" not found'),
            ("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"'),
            ("FailedCreatePodSandBox", "plugin type=cilium failed"),
        ):
            await on.cluster.create(warning(on.namespace, pod, reason, note))
            await on.becomes("Ready", "False", "NoReplicasReady", "chat-0", reason, note, run=False)
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


async def scheduled(on: Stage) -> Object:
    for _ in range(100):
        pod = await on.cluster.get(POD, on.namespace, "chat-0")
        if pod["spec"].get("nodeName"):
            return pod
        await asyncio.sleep(0.1)
    raise AssertionError("chat-0 is not scheduled")


def warning(namespace: str, pod: Object, reason: str, note: str) -> Object:
    metadata = pod["metadata"]
    return {
        "apiVersion": EVENT.api_version,
        "kind": "Event",
        "metadata": {"generateName": "chat-0-", "namespace": namespace},
        "eventTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "reportingController": "kubelet",
        "reportingInstance": "node-1",
        "action": "Mount",
        "reason": reason,
        "type": "Warning",
        "note": note,
        "regarding": {"kind": "Pod", "namespace": namespace, "name": metadata["name"], "uid": metadata["uid"]},
    }


@shows(ConditionType.GATEWAYS_READY)
def test_a_quota_that_refuses_the_gateways(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        hard = {"hard": {"pods": "1"}}
        await on.pool()
        await on.becomes("ReplicasCreated", "True", "Created")
        await on.becomes("GatewaysReady", "True", "GatewaysServe", "2 of 2")
        await on.cluster._call("POST", QUOTA.path(on.namespace), body={"metadata": {"name": "few"}, "spec": hard})
        for gateway in await on.kubelets.names(names.COMPONENT_GATEWAY):
            await on.cluster._call("DELETE", POD.path(on.namespace, gateway), body={"gracePeriodSeconds": 0})
        await on.becomes("GatewaysReady", "False", "NoGatewaysReady", "0 of 2 gateways serve", "exceeded quota: few")
        await on.becomes("RoutingProgrammed", "False", "NoRouters", "no gateway is ready")
        assert (await on.condition("Ready"))["status"] == "True"
        assert "GatewaysFailed" in {reason for reason, _ in await told(on.cluster, on.namespace)}
        await on.cluster._call("DELETE", QUOTA.path(on.namespace, "few"))
        await on.becomes("GatewaysReady", "True", "GatewaysServe", "2 of 2")
        await on.becomes("RoutingProgrammed", "True", "RoutersAcknowledged")

    play(managed_api, scene)


def test_a_scheduling_gate(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        gate = {"name": "example.com/admission"}
        await on.pool(engine={"podTemplate": {"spec": {"schedulingGates": [gate]}}})
        await on.becomes("GPUsAvailable", "False", "SchedulingGated", "example.com/admission", "Scheduling is blocked")
        await on.becomes("Ready", "False", "NoReplicasReady", "chat-0", "example.com/admission")
        await on.cluster.patch(POD, on.namespace, "chat-0", {"spec": {"schedulingGates": None}})
        await on.becomes("GPUsAvailable", "True", "Scheduled", "1 of 1")
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


@shows(ConditionType.ROUTING_PROGRAMMED)
def test_routers_and_their_table(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool()
        await on.becomes("RoutingProgrammed", "False", "NoRouters", "no gateway is ready", run=False)
        await on.becomes("RoutingProgrammed", "True", "RoutersAcknowledged", "3 of 3")
        await on.change({"queue": {"maxWaitSeconds": 7}})
        await on.becomes("RoutingProgrammed", "False", "RoutersBehind", "behind: ", run=False)
        await on.becomes("RoutingProgrammed", "True", "RoutersAcknowledged", "generation 2")
        await on.change({"cloudFallbackPolicyRef": {"name": "spill"}})
        await on.becomes("RoutingProgrammed", "False", "PolicyNotFound", "names spill", "create it")
        await on.cluster.create(custom(POLICIES, on.namespace, "spill", POLICY))
        await on.becomes("RoutingProgrammed", "True", "RoutersAcknowledged")

    play(managed_api, scene)


@shows(ConditionType.METRICS_FRESH)
def test_a_router_that_falls_silent(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool()
        await on.becomes("MetricsFresh", "True", "Reported", "3 routers")
        silent = {address: one for address, one in on.routers.by_address.items() if one.pod == "chat-0"}
        for address in silent:
            del on.routers.by_address[address]
        await on.becomes("MetricsFresh", "False", "Stale", "chat-0", run=False)
        on.routers.by_address.update(silent)
        await on.becomes("MetricsFresh", "True", "Reported", run=False)

    play(managed_api, scene, settings=replace(LOCAL, resync_seconds=0.2))


@shows(ConditionType.ENGINE_UNSUPPORTED)
def test_an_engine_that_nobody_has_tried(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool()
        await on.becomes("Ready", "True", "ReplicasReady")
        await on.becomes("EngineUnsupported", "Unknown", "NotAsked")
        (sidecar,) = [one for one in on.routers.by_address.values() if one.pod == "chat-0"]
        for said, status, reason in (
            ("0.32.0", "False", "SupportedVersion"), ("", "Unknown", "VersionUnknown"),
            ("0.99.0", "True", "UnsupportedVersion"), ("0.31.1", "False", "SupportedVersion"),
        ):  # fmt: skip
            sidecar.more = {"engine_version": said}
            sidecar.render()
            await on.becomes("EngineUnsupported", status, reason, said)
        assert "an engine says 0.99.0, newer" in str(await told(on.cluster, on.namespace))

    play(managed_api, scene)


@shows(ConditionType.ADAPTERS_LOADED)
def test_an_adapter_that_an_engine_refuses(managed_api: client.ApiClient) -> None:
    law = AdapterReport(name="law", source="/adapters/law")

    async def scene(on: Stage) -> None:
        await on.pool(model={"name": "m", "adapters": [{"name": "law", "source": "/adapters/law"}]})
        await on.becomes("Ready", "True", "ReplicasReady")
        await on.becomes("AdaptersLoaded", "Unknown", "AdaptersLoading", "law on chat-0")
        (sidecar,) = [one for one in on.routers.by_address.values() if one.pod == "chat-0"]
        for said, status, reason, words in (
            (replaced(law, problem="No adapter found"), "False", "AdapterRefused", "chat-0: law: No adapter found"),
            (replaced(law, loaded=True), "True", "Loaded", "1 of 1 replicas have all 1 adapters"),
        ):
            sidecar.more = {"adapters": (said,)}
            sidecar.render()
            await on.becomes("AdaptersLoaded", status, reason, words)
        assert "AdapterRefused" in {reason for reason, _ in await told(on.cluster, on.namespace)}
        before = (await on.cluster.get(STATEFUL_SET, on.namespace, "chat"))["spec"]["template"]
        await on.change({"model": {"name": "m", "adapters": [{"name": "law", "source": "/adapters/law-2"}]}})
        await on.becomes("AdaptersLoaded", "Unknown", "AdaptersLoading", "law on chat-0")
        assert (await on.cluster.get(STATEFUL_SET, on.namespace, "chat"))["spec"]["template"] == before

    play(managed_api, scene)


@shows(ConditionType.ROUTER_OUTDATED)
def test_a_newer_router(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool()
        await on.becomes("Ready", "True", "ReplicasReady")
        await on.becomes("RouterOutdated", "False", "UpToDate")
        uid = (await on.cluster.get(POD, on.namespace, "chat-0"))["metadata"]["uid"]
        newer = replace(LOCAL, images=replace(IMAGES, router="forebay:2"), namespaces=(on.namespace,))
        async with operator(on.cluster, newer) as on.look:
            await on.becomes("RouterOutdated", "True", "OlderRouter", "forebay:1", "forebay:2", "adoptRouter: Always")
            assert (await on.cluster.get(POD, on.namespace, "chat-0"))["metadata"]["uid"] == uid
            await on.change({"rollout": {"adoptRouter": "Always"}})
            await on.becomes("RouterOutdated", "False", "UpToDate")

    play(managed_api, scene)


@shows(ConditionType.POD_TEMPLATE_ACCEPTED)
def test_a_pod_template_that_contradicts_forebay(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.pool(engine={"podTemplate": {"spec": {"hostNetwork": True}}})
        await on.becomes("PodTemplateAccepted", "False", "Refused", "engine.podTemplate sets hostNetwork", "remove it")
        await on.change({"engine": {"podTemplate": {"spec": {"hostNetwork": None}}}})
        await on.becomes("PodTemplateAccepted", "True", "Merged")
        await on.becomes("Ready", "True", "ReplicasReady")

    play(managed_api, scene)


def test_a_policy_without_gateways_keys_or_addresses(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        await on.cluster.create(custom(POLICIES, on.namespace, "default", POLICY))
        ready: dict[str, Any] = {"name": "default", "of": POLICIES}
        await on.becomes("Ready", "False", "GatewayUnavailable", run=False, **ready)
        await on.becomes("RoutingProgrammed", "False", "NoRouters", run=False, **ready)
        await on.becomes("Ready", "True", "Unused", **ready)
        await on.becomes("RoutingProgrammed", "True", "RoutersAcknowledged", **ready)
        await on.pool()
        await on.becomes("Ready", "True", "Accepted", "1 pool", **ready)
        gateways_say(on, missing_keys=("default/acme",))
        await on.becomes("Ready", "False", "KeyMissing", "acme", "apiKeySecretRef", run=False, **ready)
        gateways_say(on, provider_problems=("default/near: near has no address",))
        await on.becomes("Ready", "False", "ProviderUnreachable", "near has no address", run=False, **ready)
        gateways_say(on)
        await on.becomes("Ready", "True", "Accepted", run=False, **ready)

    play(managed_api, scene)


@shows(ConditionType.BUDGET_AVAILABLE)
def test_a_budget_that_is_spent_and_raised(managed_api: client.ApiClient) -> None:
    async def scene(on: Stage) -> None:
        acme = POLICY["providers"][0]
        target = [{"provider": "acme", "model": "large"}]
        spec = {"providers": [acme], "primary": target, "secondary": target, "budget": {"amount": "0"}}
        await on.cluster.create(custom(POLICIES, on.namespace, "default", spec))
        budget: dict[str, Any] = {"name": "default", "of": POLICIES}
        await on.becomes("BudgetAvailable", "False", "Spent", "$0.0000 of $0", run=False, **budget)
        await on.cluster.patch(POLICIES, on.namespace, "default", {"spec": {"budget": {"amount": "50"}}})
        await on.becomes("BudgetAvailable", "True", "WithinBudget", "of $50", run=False, **budget)
        status = (await on.cluster.get(POLICIES, on.namespace, "default"))["status"]["budget"]
        assert (status["amount"], status["spent"]) == ("50", "0")
        await on.cluster.patch(POLICIES, on.namespace, "default", {"spec": {"budget": {"timeZone": "Mars/Olympus"}}})
        await on.becomes("BudgetAvailable", "False", "Held", "Mars/Olympus", "correct it", run=False, **budget)

    play(managed_api, scene)


def gateways_say(on: Stage, **what: Any) -> None:
    for router in on.routers.by_address.values():
        if not router.pool:
            router.more = what
            router.render()


def test_every_condition_is_seen_both_true_and_false() -> None:
    assert set(ConditionType) == SHOWN
