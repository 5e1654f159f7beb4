"""The chart's role: the operator needs every right in it, and no other. Proved by the API server's own audit log."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.aio import client as aio

from bench.many.operator import USER, grant
from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, audit_log
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run
from forebay.controller.__main__ import Operator
from forebay.controller.cluster.kubernetes_api import OWNED, POD, POOL, SECRET, STATEFUL_SET, Cluster, ClusterError
from forebay.controller.cluster.kubernetes_api import POLICY as POLICIES
from forebay.resources import names
from testing.fake_routers import FakeRouters
from tests.contract.clusters import forget_fleets
from tests.contract.kubelet import Kubelets
from tests.contract.scene import LOCAL, SIMULATED, appears, custom, in_cluster
from tests.controller.fleets import POLICY

pytestmark = pytest.mark.apiserver
Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""
SERVICE = OWNED[0]
_OWNERS = (
    "OwnerReferencesPermissionEnforcement asks for it, without a call, when the owners of the fleet's objects change"
)
KEPT: dict[Right, str] = {
    ("forebay.dev", "localmodelpools/finalizers", "update"): "the same plugin, where an owner's deletion is blocked",
    **{
        (group, resource, "delete"): _OWNERS
        for group, resource in (
            ("apps", "deployments"),
            ("", "services"),
            ("", "configmaps"),
            ("", "serviceaccounts"),
            ("", "secrets"),
            ("policy", "poddisruptionbudgets"),
            ("networking.k8s.io", "networkpolicies"),
        )
    },
}
"""Rights that the story below does not use, each with why it stays."""


def rules() -> list[dict[str, Any]]:
    """Of the operator's own role in the chart."""
    chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", "forebay-system")
    roles = [d for d in yaml.safe_load_all(chart) if d and d["kind"] == "ClusterRole"]
    own = "forebay-operator-forebay-system"
    found: list[dict[str, Any]] = next(d["rules"] for d in roles if d["metadata"]["name"] == own)
    return found


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(plane: ControlPlane) -> Iterator[tuple[Right, int, str]]:
    """Every right the operator made use of, with the answer's status and the object's name.

    What is refused because its namespace is going away, as other tests' are, says nothing about rights.
    """
    assert plane.authority is not None
    for line in audit_log(plane.authority).read_text().splitlines():
        call = json.loads(line)
        reference, code = call.get("objectRef") or {}, call.get("responseStatus", {}).get("code", 0)
        if call["user"]["username"] != USER or "resource" not in reference:
            continue
        if "being terminated" in call.get("responseStatus", {}).get("message", ""):
            continue
        resource = "/".join(part for part in (reference["resource"], reference.get("subresource")) if part)
        right = (reference.get("apiGroup", ""), resource, call["verb"])
        yield right, code, reference.get("name", "")
        if call["verb"] == "patch" and code == 201:  # server-side apply of something new asks for both
            yield (right[0], right[1], "create"), code, reference.get("name", "")


def test_every_right_is_needed_and_none_is_missing(
    plane: ControlPlane, api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_fleets(api)
    kubeconfig = grant(plane)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))

    async def scene(cluster: Cluster) -> None:
        routers = FakeRouters()
        port = await routers.listen(0)
        settings = replace(LOCAL, namespaces=(), resync_seconds=0.5, own_namespace="forebay-system", control_port=port)
        async with identity(api, kubeconfig) as own:
            made = Operator(settings, own)
            stop = asyncio.Event()
            running = asyncio.create_task(made.run(stop))
            await story(cluster, namespace, Kubelets(cluster, namespace, routers), made)
            stop.set()
            await running
        await routers.stop()

    in_cluster(api, scene)
    calls = list(used(plane))
    refused = {(right, name) for right, code, name in calls if code == 403}
    assert not refused, "the operator asked for what its role does not allow"
    done = {right for right, code, _ in calls if code < 400 or code in (404, 409)}
    assert granted() - done == set(KEPT), "rights that nothing here uses: remove them, or say in KEPT why they stay"
    secrets = {name for (_, resource, verb), _, name in calls if resource == "secrets" and verb != "create"}
    assert secrets <= {names.CONTROL_TOKEN_SECRET}, "the operator reads a Secret that is none of its business"


def identity(api: client.ApiClient, kubeconfig: Path) -> Cluster:
    """A connection with the operator's own certificate."""
    settings = aio.Configuration(host=api.configuration.host)
    settings.ssl_ca_cert = api.configuration.ssl_ca_cert
    settings.cert_file, settings.key_file = (str(kubeconfig.with_suffix(end)) for end in (".crt", ".key"))
    return Cluster(aio.ApiClient(settings))


async def story(cluster: Cluster, namespace: str, kubelets: Kubelets, made: Operator) -> None:
    """All that an operator does in its life."""
    await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
    await cluster.create(custom(POLICIES, namespace, "default", POLICY))
    await appears(cluster, STATEFUL_SET, namespace, "chat")
    await appears(cluster, OWNED[-1], namespace, names.GATEWAY)
    for pod, pool in (("chat-0", "chat"), ("forebay-gateway-0", "")):
        await cluster.create(a_pod(namespace, pod, pool))
    for turn in range(3):  # a changed table: routers are touched; drift: the same Event twice is a series
        await kubelets.run()
        await cluster.patch(POOL, namespace, "chat", {"spec": {"queue": {"maxWaitSeconds": 5 + turn}}})
        await until(lambda: touched(cluster, namespace), f"a touch, turn {turn}")
        await cluster.patch(SERVICE, namespace, "chat", {"spec": {"sessionAffinity": "None"}})
        await until(lambda: affine(cluster, namespace), f"drift corrected, turn {turn}")
    await cluster.create(custom(POOL, namespace, "other", SIMULATED))  # the token's owners change
    await appears(cluster, STATEFUL_SET, namespace, "other")
    await made.nodes.look(made.cluster, ["nvidia.com/gpu"], 0.0)  # as every 15 s while a pool waits for GPUs
    rotate = {"metadata": {"annotations": {names.ANNOTATION_ROTATE: "1"}}}
    await cluster.patch(SECRET, namespace, names.CONTROL_TOKEN_SECRET, rotate)
    made.reconciler.tokens.forget(namespace)
    await until(lambda: staged(cluster, namespace), "a staged token")


def a_pod(namespace: str, name: str, pool: str) -> dict[str, Any]:
    component = names.COMPONENT_REPLICA if pool else names.COMPONENT_GATEWAY
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: component}
    labels |= {names.LABEL_POOL: pool} if pool else {}
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node-1"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def touched(cluster: Cluster, namespace: str) -> bool:
    pod = await cluster.get(POD, namespace, "chat-0")
    return names.ANNOTATION_GENERATION in (pod["metadata"].get("annotations") or {})


async def affine(cluster: Cluster, namespace: str) -> bool:
    return bool((await cluster.get(SERVICE, namespace, "chat"))["spec"]["sessionAffinity"] == "ClientIP")


async def staged(cluster: Cluster, namespace: str) -> bool:
    try:
        secret = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
    except ClusterError:
        return False
    return names.TOKEN_PREVIOUS_KEY in secret["data"]


async def until(look: Any, what: str, seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.1)):
        if await look():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")
