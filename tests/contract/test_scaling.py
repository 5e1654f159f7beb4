"""Scaling against a real API server, with routers that report over HTTP: what is written, by whom, and what is not."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client

from forebay.controller.__main__ import Operator
from forebay.controller.cluster.kubernetes_api import EVENT, POD, POOL, SECRET, STATEFUL_SET, Cluster, Object
from forebay.controller.manifests.common import gateway_selector, pool_labels
from forebay.resources import names
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, Report, SidecarReport, encode
from tests.contract.scene import (
    LOCAL,
    SIMULATED,
    appears,
    custom,
    in_cluster,
    kubeconfig_of,
    operator,
    told,
    versions,
)

pytestmark = pytest.mark.apiserver

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
GATE, REPLICA = f"127.81.{WORKER}.1", f"127.81.{WORKER}.2"
"""The control port is the same for all routers, so tests that run side by side need addresses of their own."""
UP = {"scaleUp": {"stabilizationWindowSeconds": 0}}
FULL: dict[str, Any] = {
    **SIMULATED, "capacity": {"slotsPerReplica": 4, "highReservedPercent": 0},
    "scaling": {"minReplicas": 1, "maxReplicas": 3, "behavior": UP},
}  # fmt: skip


def gateway_says(**demand: Any) -> GatewayReport:
    return GatewayReport(
        replica="gateway-0", version="1", started=1.0, generation=99, hash="", ready=True,
        pools=(PoolDemand(pool="chat", **demand),),
    )  # fmt: skip


def sidecar_says(running: int) -> SidecarReport:
    return SidecarReport(
        pool="chat", replica="chat-0", version="1", started=1.0, generation=99, hash="", state=ReplicaState.SERVING,
        slots=4, running=running,
    )  # fmt: skip


@asynccontextmanager
async def routers(reports: Mapping[str, Report]) -> AsyncIterator[None]:
    """Control ports that answer every request with this report, by address."""

    async def serve(address: str, report: Report) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = encode(report)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            writer.close()

        return await asyncio.start_server(answer, address, names.PORT_CONTROL)

    servers = [await serve(address, report) for address, report in reports.items()]
    try:
        yield
    finally:
        for server in servers:
            server.close()


async def runs(cluster: Cluster, namespace: str, name: str, labels: Mapping[str, str], address: str) -> None:
    """A pod that a node has, and which is ready."""
    labels = {**labels, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    pod: Object = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeName": "somewhere", "automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]
        },
    }  # fmt: skip
    await cluster.create(pod)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
    await cluster.patch(POD, namespace, name, {"status": status}, "status")


@asynccontextmanager
async def full_pool(cluster: Cluster, namespace: str, spec: Object) -> AsyncIterator[Any]:
    """A pool whose only replica is full while two requests wait, and an operator that looks when told to."""
    await cluster.create(custom(POOL, namespace, "chat", spec))
    async with operator(cluster) as look, routers({GATE: gateway_says(queued=2), REPLICA: sidecar_says(4)}):
        await look(namespace)
        await runs(cluster, namespace, "gateway-0", gateway_selector(), GATE)
        await runs(cluster, namespace, "chat-0", pool_labels("chat"), REPLICA)
        yield look


async def size(cluster: Cluster, namespace: str) -> int:
    return int((await cluster.get(STATEFUL_SET, namespace, "chat"))["spec"]["replicas"])


def test_an_automatic_pool_asks_for_one_replica_and_says_why(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        async with full_pool(cluster, namespace, FULL) as look:
            for _ in range(3):
                await look(namespace)
        assert await size(cluster, namespace) == 2
        scaled = [note for reason, note in await told(cluster, namespace) if reason == "ScaledUp"]
        assert scaled == [
            "replicas 1 -> 2: demand 6.0, capacity 4 a replica (Normal), window 0 s, reason DemandAboveCapacity"
        ]
        status = (await cluster.get(POOL, namespace, "chat"))["status"]["scaling"]
        assert status["history"]["unplacedSince"] > 0
        assert status["decisions"][0]["wanted"] == 2
        assert status["history"]["means"]

    in_cluster(api, scene)


def test_an_advisory_pool_writes_nothing_but_events_and_status(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        spec = {**FULL, "scaling": {**FULL["scaling"], "mode": "Advisory"}}
        async with full_pool(cluster, namespace, spec) as look:
            await look(namespace)
            before, pool = await versions(cluster, namespace), await cluster.get(POOL, namespace, "chat")
            for _ in range(3):
                await look(namespace)
            assert await versions(cluster, namespace) == before
        after = await cluster.get(POOL, namespace, "chat")
        assert after["metadata"]["generation"] == pool["metadata"]["generation"]
        assert after["status"]["scaling"]["desiredReplicas"] == 2
        assert await size(cluster, namespace) == 1
        events, _ = await cluster.list(EVENT, namespace)
        advised = [event for event in events if event["reason"] == "ScaleAdvised"]
        assert len(advised) == 1
        assert "would change replicas 1 -> 2: demand 6.0" in advised[0]["note"]

    in_cluster(api, scene)


def test_whoever_writes_scale_drives_a_manual_pool_as_an_hpa_does(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        manual = {**FULL, "scaling": {**FULL["scaling"], "mode": "Manual"}}
        async with full_pool(cluster, namespace, manual) as look:
            await look(namespace)
            assert await size(cluster, namespace) == 1
            for wanted in (3, 2):
                scale = await cluster.patch(POOL, namespace, "chat", {"spec": {"replicas": wanted}}, "scale")
                assert scale["status"]["selector"] == "app.kubernetes.io/component=replica,forebay.dev/pool=chat"
                await look(namespace)
                assert await size(cluster, namespace) == wanted
        scaled = [note for reason, note in await told(cluster, namespace) if reason.startswith("Scaled")]
        assert [note.partition(":")[0] for note in scaled] == ["replicas 3 -> 2", "replicas 1 -> 3"]
        assert all(note.endswith("reason Manual") for note in scaled)

    in_cluster(api, scene)


def test_a_gateways_word_wakes_a_pool_long_before_the_next_look(
    api: client.ApiClient, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of(api, tmp_path)))
    asleep = {**FULL, "replicas": 0, "scaling": {"minReplicas": 0, "maxReplicas": 2}}

    async def scene(cluster: Cluster) -> None:
        made = Operator(replace(LOCAL, namespaces=(namespace,), resync_seconds=60), cluster)
        stop = asyncio.Event()
        running = asyncio.create_task(made.run(stop))
        await made.listed.wait()
        await cluster.create(custom(POOL, namespace, "chat", asleep))
        await appears(cluster, STATEFUL_SET, namespace, "chat")
        assert await size(cluster, namespace) == 0
        await runs(cluster, namespace, "gateway-0", gateway_selector(), GATE)
        secret = await appears(cluster, SECRET, namespace, names.CONTROL_TOKEN_SECRET)
        token = base64.b64decode(secret["data"]["current"]).decode()
        await asyncio.sleep(1)  # passes that the pod has caused
        port = made.wake_server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}{names.PATH_WAKE}{namespace}/chat"
        async with routers({GATE: gateway_says(queued=1)}), httpx.AsyncClient(trust_env=False) as http:
            assert (await http.post(url, headers={"Authorization": "Bearer wrong"})).status_code == 401
            assert (await http.post(url, headers={"Authorization": f"Bearer {token}"})).status_code == 202
            async with asyncio.timeout(10):
                while await size(cluster, namespace) != 1:
                    await asyncio.sleep(0.05)
        stop.set()
        await running

    in_cluster(api, scene)


def test_the_windows_of_the_first_release_survive_its_upgrade(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        await cluster.create(custom(POOL, namespace, "chat", FULL))
        minute = int(time.time() // 60)
        old = {
            "peaks": [3, 2],
            "means": ["24", "16"],
            "variances": ["0", "1"],
            "peaksUntil": minute,
            "coldStarts": [90],
        }
        await cluster.patch(POOL, namespace, "chat", {"status": {"scaling": old}}, "status")
        async with operator(cluster) as look:
            for _ in range(2):
                await look(namespace)
        scaling = (await cluster.get(POOL, namespace, "chat"))["status"]["scaling"]
        assert scaling["history"]["peaks"][:1] == [3]
        assert scaling["history"]["coldStarts"] == [90]
        assert not set(old) & set(scaling)

    in_cluster(api, scene)
