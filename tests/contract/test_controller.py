"""The controller against a real API server: what it applies is taken, stays, and is not applied again."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client

from e2e.cluster.controlplane import ControlPlane
from forebay.controller.__main__ import Operator
from forebay.controller.cluster.event_recorder import Recorder
from forebay.controller.cluster.kubernetes_api import (
    CONFIG_MAP,
    EVENT,
    OWNED,
    POOL,
    SECRET,
    STATEFUL_SET,
    Cluster,
    ClusterError,
    Object,
)
from forebay.controller.cluster.kubernetes_api import POLICY as POLICIES
from forebay.controller.plan.actions import Note
from forebay.controller.report.event_messages import object_ref
from forebay.resources import names
from forebay.resources.reasons import EventReason
from tests.contract.scene import LOCAL, SIMULATED, appears, custom, in_cluster, operator, told, versions
from tests.controller.fleets import POLICY

pytestmark = pytest.mark.apiserver
SERVICE = OWNED[0]
VLLM: dict[str, Any] = {
    "model": {"name": "Qwen/Qwen2.5-72B-Instruct", "tokenSecretRef": {"name": "hub", "key": "token"}},
    "engine": {
        "gpus": 2,
        "cache": {"perReplica": {"storage": "1024Gi"}},
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "containers": [
                    {"name": "engine", "resources": {"requests": {"cpu": "4000m", "memory": "2048Mi"}}},
                    {"name": "helper", "image": "helper:1", "resources": {"limits": {"cpu": 1}}},
                ],
                "volumes": [{"name": "more", "emptyDir": {"sizeLimit": "1024Mi"}}],
            },
        },
    },
    "scaling": {"minReplicas": 1, "maxReplicas": 4},
}


def test_everything_is_taken_once_and_then_left_alone(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        await cluster.create(custom(POOL, namespace, "big", VLLM))
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        await cluster.create(custom(POLICIES, namespace, "default", POLICY))
        async with operator(cluster) as look:
            for _ in range(3):
                await look(namespace)
            settled = await versions(cluster, namespace)
            for _ in range(2):
                await look(namespace)
            assert await versions(cluster, namespace) == settled
        async with operator(cluster) as restarted:
            await restarted(namespace)
        assert await versions(cluster, namespace) == settled
        assert len([name for name in settled if name.startswith("StatefulSet")]) == 2
        assert [reason for reason, _ in await told(cluster, namespace)] == ["Created"] * 3
        pool = await cluster.get(POOL, namespace, "big")
        assert {item["type"]: item["status"] for item in pool["status"]["conditions"]}["PodTemplateAccepted"] == "True"
        assert pool["status"]["selector"] == "app.kubernetes.io/component=replica,forebay.dev/pool=big"

    in_cluster(api, scene)


def test_what_somebody_changes_is_put_right(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        async with operator(cluster) as look:
            await look(namespace)
            await cluster.patch(SERVICE, namespace, "chat", {"spec": {"sessionAffinity": "None"}})
            await cluster.patch(STATEFUL_SET, namespace, "chat", {"spec": {"replicas": 3}})
            await look(namespace)
        service = await cluster.get(SERVICE, namespace, "chat")
        statefulset = await cluster.get(STATEFUL_SET, namespace, "chat")
        assert service["spec"]["sessionAffinity"] == "ClientIP"
        assert statefulset["spec"]["replicas"] == 1
        assert {"DriftCorrected", "ScaleRestored"} <= {reason for reason, _ in await told(cluster, namespace)}

    in_cluster(api, scene)


def test_an_object_of_somebody_else_is_not_taken_over(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        ports = [{"port": 1}]
        await cluster.create({**custom(SERVICE, namespace, "chat", {"ports": ports})})
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        async with operator(cluster) as look:
            await look(namespace)
            await look(namespace)
        service = await cluster.get(SERVICE, namespace, "chat")
        assert [port["port"] for port in service["spec"]["ports"]] == [1]
        pool = await cluster.get(POOL, namespace, "chat")
        created = next(item for item in pool["status"]["conditions"] if item["type"] == "ReplicasCreated")
        assert "Service chat exists already and is not forebay's" in created["message"]
        assert "ApplyFailed" in {reason for reason, _ in await told(cluster, namespace)}

    in_cluster(api, scene)


def test_a_pod_template_that_the_api_server_refuses_is_told_in_its_words(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        engine = {**SIMULATED["engine"], "podTemplate": {"spec": {"noSuchField": 1}}}
        await cluster.create(custom(POOL, namespace, "chat", {**SIMULATED, "engine": engine}))
        async with operator(cluster) as look:
            await look(namespace)
        (note,) = [note for reason, note in await told(cluster, namespace) if reason == "ApplyFailed"]
        assert "noSuchField" in note

    in_cluster(api, scene)


def test_the_token_is_made_once_and_survives_a_change_of_owners(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        async with operator(cluster) as look:
            await look(namespace)
            await look(namespace)
        first = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
        await cluster.create(custom(POOL, namespace, "other", SIMULATED))
        async with operator(cluster) as look:
            await look(namespace)
        second = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
        assert second["data"] == first["data"]
        assert len(base64.b64decode(first["data"]["current"])) >= 40
        assert {owner["name"] for owner in second["metadata"]["ownerReferences"]} == {"chat", "other"}

    in_cluster(api, scene)


def test_a_token_that_was_deleted_comes_back_and_one_that_nobody_knows_is_made_anew(
    api: client.ApiClient, namespace: str
) -> None:
    """Routers get another token one after the other, and would refuse each other in between."""

    async def scene(cluster: Cluster) -> None:
        core = client.CoreV1Api(api)
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        async with operator(cluster) as look:
            await look(namespace)
            await look(namespace)
            first = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
            core.delete_namespaced_secret(names.CONTROL_TOKEN_SECRET, namespace)
            await cluster.create(custom(POOL, namespace, "other", SIMULATED))
            for _ in range(3):
                await look(namespace)
            made = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
            assert (made["data"], made["metadata"]["uid"] != first["metadata"]["uid"]) == (first["data"], True)
            core.patch_namespaced_secret(names.CONTROL_TOKEN_SECRET, namespace, {"data": None})
        async with operator(cluster) as restarted:
            await restarted(namespace)
        mended = await cluster.get(SECRET, namespace, names.CONTROL_TOKEN_SECRET)
        assert len(base64.b64decode(mended["data"]["current"])) >= 40
        assert mended["data"] != made["data"]

    in_cluster(api, scene)


def test_a_table_is_not_written_over_a_newer_one(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        table: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "t", "namespace": namespace},
            "data": {"a": "1"},
        }
        first = await cluster.apply(table)
        await cluster.apply({**table, "data": {"a": "2"}})
        metadata = {**table["metadata"], "resourceVersion": first["metadata"]["resourceVersion"]}
        with pytest.raises(ClusterError) as caught:
            await cluster.apply({**table, "metadata": metadata, "data": {"b": "3"}})
        assert caught.value.conflict
        again = await cluster.apply({**table, "data": {"b": "3"}})
        assert again["data"] == {"b": "3"}
        assert (await cluster.get(CONFIG_MAP, namespace, "t"))["data"] == {"b": "3"}

    in_cluster(api, scene)


def test_what_is_said_again_becomes_a_series(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        pool = await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        recorder = Recorder(cluster, "operator-0")
        note = Note(object_ref(pool), EventReason.SCALE_LIMITED, "Scale", "too little", warning=True)
        for _ in range(3):
            await recorder.write(note)
        await recorder.write(replace(note, text="x" + "é" * 2000))
        events, _ = await cluster.list(EVENT, namespace, fields="regarding.name=chat")
        series = {event["note"][0]: event for event in events}
        assert series["t"]["series"]["count"] == 3
        assert series["t"]["reportingController"] == "forebay.dev/operator"
        assert series["t"]["reportingInstance"] == "operator-0"
        assert (series["t"]["type"], series["t"]["action"]) == ("Warning", "Scale")
        assert series["t"]["regarding"]["uid"] == pool["metadata"]["uid"]
        assert series["x"]["note"].endswith("é...")

    in_cluster(api, scene)


def test_each_change_of_size_is_an_event_of_its_own(api: client.ApiClient, namespace: str) -> None:
    async def scene(cluster: Cluster) -> None:
        pool = await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        recorder = Recorder(cluster, "operator-0")
        for reason, step in ((EventReason.SCALED_UP, "1 -> 2"), (EventReason.SCALED_DOWN, "2 -> 1")) * 2:
            await recorder.write(Note(object_ref(pool), reason, "Scale", f"replicas {step}: the same figures"))
        events, _ = await cluster.list(EVENT, namespace, fields="regarding.name=chat")
        told = [event["note"][9:15] for event in sorted(events, key=lambda event: event["eventTime"])]
        assert told == ["1 -> 2", "2 -> 1"] * 2

    in_cluster(api, scene)


def test_the_whole_operator_follows_what_it_watches(
    plane: ControlPlane, api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))  # kopf has a connection of its own

    async def scene(cluster: Cluster) -> None:
        made = Operator(replace(LOCAL, namespaces=(namespace,), resync_seconds=60), cluster)
        stop = asyncio.Event()
        running = asyncio.create_task(made.run(stop))
        await made.listed.wait()
        assert made.sickness() == ""
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        statefulset = await appears(cluster, STATEFUL_SET, namespace, "chat")
        await cluster.patch(STATEFUL_SET, namespace, "chat", {"spec": {"replicas": 3}})
        while (await cluster.get(STATEFUL_SET, namespace, "chat"))["spec"]["replicas"] != 1:
            await asyncio.sleep(0.05)
        assert statefulset["metadata"]["ownerReferences"][0]["name"] == "chat"
        stop.set()
        await running

    in_cluster(api, scene)


def test_what_an_api_server_forgot_over_its_restart_is_listed_anew(
    plane: ControlPlane,
    api: client.ApiClient,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real 410 Gone: versions of before its restart are too old for its watch cache, once others have moved on."""
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))

    def config_map(name: str, **more: Any) -> Object:
        labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **more}

    async def scene(cluster: Cluster) -> None:
        made = Operator(replace(LOCAL, namespaces=(namespace,)), cluster)
        await cluster.create(config_map("kept"))
        await cluster.create(config_map("goes"))
        await made.watch.list(cluster, namespace)
        following = asyncio.create_task(made.watch.follow(cluster, namespace, lambda: None))
        await asyncio.sleep(1)
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))  # the watches of other kinds do not hear of it
        await asyncio.to_thread(plane.restart_apiserver)
        await asyncio.to_thread(client.CoreV1Api(api).delete_namespaced_config_map, "goes", namespace)
        await cluster.create(config_map("late"))
        async with asyncio.timeout(30):
            while {obj["metadata"]["name"] for obj in made.cache.of("ConfigMap")} != {"kept", "late"}:
                await asyncio.sleep(0.05)
            await cluster.patch(CONFIG_MAP, namespace, "late", {"data": {"a": "b"}})
            while "data" not in (made.cache.get("ConfigMap", namespace, "late") or {}):
                await asyncio.sleep(0.05)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    in_cluster(api, scene)
    assert "too old resource version" in caplog.text


@pytest.mark.parametrize(
    "text", ["emoji 🌊", "bell \x07", "c1 \x85\x9f", "bom \ufeff", "none \uffff", "tab\tlines\n\u2028\u2029", "\x7f"]
)
def test_any_text_survives_an_apply(api: client.ApiClient, namespace: str, text: str) -> None:
    async def scene(cluster: Cluster) -> None:
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t", "namespace": namespace}}
        applied = await cluster.apply({**body, "data": {"text": text}})
        assert applied["data"]["text"] == text

    in_cluster(api, scene)
