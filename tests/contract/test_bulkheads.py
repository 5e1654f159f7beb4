"""Two namespaces of one operator on a real API server: one loses its Role, the other does not notice."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from kubernetes import client
from kubernetes.aio import client as aio

from e2e.cluster import tools
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run
from forebay.controller.__main__ import Operator
from forebay.controller.cluster import embedded_kopf
from forebay.controller.cluster.kubernetes_api import POOL, STATEFUL_SET, Cluster
from tests.contract.scene import LOCAL, SIMULATED, appears, custom, in_cluster

pytestmark = pytest.mark.apiserver
ROLE = "operator"
MANUAL = {**SIMULATED, "replicas": 1, "scaling": {"mode": "Manual", "minReplicas": 0, "maxReplicas": 9}}
REACTS_SECONDS = 5.0


@pytest.fixture
def spaces(api: client.ApiClient) -> Iterator[tuple[str, str]]:
    """Two namespaces: in the first lives the operator's ServiceAccount."""
    core = client.CoreV1Api(api)
    first, second = (core.create_namespace({"metadata": {"generateName": "bulk-"}}).metadata.name for _ in range(2))
    core.create_namespaced_service_account(first, {"metadata": {"name": ROLE}})
    yield first, second
    for name in (first, second):
        core.delete_namespace(name)


def rules(namespace: str) -> list[dict[str, Any]]:
    """What the chart's Roles in a namespace allow the operator."""
    values = ("--set", f"namespaces={{{namespace}}}")
    chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", "forebay-system", *values)
    roles = [d for d in yaml.safe_load_all(chart) if d and d["kind"] == "Role"]
    return [rule for role in roles if role["metadata"]["namespace"] == namespace for rule in role["rules"]]


def token(api: client.ApiClient, namespace: str) -> str:
    """A token of the ServiceAccount."""
    core = client.CoreV1Api(api)
    asked = core.create_namespaced_service_account_token(ROLE, namespace, {"spec": {"expirationSeconds": 3600}})
    return str(asked.status.token)


def kubeconfig(api: client.ApiClient, token: str, folder: Path) -> Path:
    """A kubeconfig with a token."""
    settings = api.configuration
    access = {"certificate-authority": settings.ssl_ca_cert, "server": settings.host}
    document = {
        "clusters": [{"name": "c", "cluster": access}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def connection(api: client.ApiClient, token: str) -> Cluster:
    """A connection with a token."""
    settings = aio.Configuration(host=api.configuration.host, api_key={"authorization": f"Bearer {token}"})
    settings.ssl_ca_cert = api.configuration.ssl_ca_cert
    return Cluster(aio.ApiClient(settings))


def short_watches() -> Callable[[], kopf.OperatorSettings]:
    """An API server asks for rights when a watch begins, and not again while it lasts."""
    original = embedded_kopf.watch_settings

    def settings() -> kopf.OperatorSettings:
        made = original()
        made.watching.server_timeout = 2
        return made

    return settings


def test_a_namespace_that_loses_its_role_and_gets_it_back_is_no_business_of_the_other(
    api: client.ApiClient,
    spaces: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rbac, (well, ill) = client.RbacAuthorizationV1Api(api), spaces
    mine = token(api, well)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(api, mine, tmp_path)))
    monkeypatch.setattr(embedded_kopf, "watch_settings", short_watches())
    subject = {"kind": "ServiceAccount", "name": ROLE, "namespace": well}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROLE}

    def allow(namespace: str) -> None:
        rbac.create_namespaced_role(namespace, {"metadata": {"name": ROLE}, "rules": rules(namespace)})

    for name in spaces:
        allow(name)
        binding = {"metadata": {"name": ROLE}, "roleRef": reference, "subjects": [subject]}
        rbac.create_namespaced_role_binding(name, binding)
    took = list[float]()

    async def reacts(cluster: Cluster, namespace: str, size: int) -> None:
        began = time.monotonic()
        await cluster.patch(POOL, namespace, "chat", {"spec": {"replicas": size}})
        while (await cluster.get(STATEFUL_SET, namespace, "chat"))["spec"]["replicas"] != size:
            await asyncio.sleep(0.05)
        took.append(time.monotonic() - began)

    async def scene(cluster: Cluster) -> None:
        async with connection(api, mine) as own:
            made, stop = Operator(replace(LOCAL, namespaces=spaces, resync_seconds=60), own), asyncio.Event()
            running = asyncio.create_task(made.run(stop))
            for name in spaces:
                await cluster.create(custom(POOL, name, "chat", MANUAL))
            for name in spaces:
                await appears(cluster, STATEFUL_SET, name, "chat")
            await asyncio.to_thread(rbac.delete_namespaced_role, ROLE, ill)
            size, kopf_ended, out = 2, False, time.monotonic()
            while not kopf_ended or time.monotonic() - out < 20:
                await reacts(cluster, well, size)
                size = 1 + size % 4
                kopf_ended = kopf_ended or "kopf ended: " in made.watch._ended.get(ill, "")
                assert not running.done()
                await asyncio.sleep(0.5)
            assert max(took) < REACTS_SECONDS
            assert "is forbidden: User" in made.watch.problem(ill)
            assert {name for name, _ in made._refusals()} == {ill}
            assert (made.unready(), made.sickness()) == ("", "")
            await cluster.patch(POOL, ill, "chat", {"spec": {"replicas": 3}})
            await asyncio.to_thread(allow, ill)
            back = time.monotonic()
            while (await cluster.get(STATEFUL_SET, ill, "chat"))["spec"]["replicas"] != 3:
                await reacts(cluster, well, size)
                size = 1 + size % 4
            assert time.monotonic() - back < 20
            took.clear()
            while list(made._refusals()):
                await asyncio.sleep(0.1)
            for size in (1, 2, 4):
                for name in (ill, well):
                    await reacts(cluster, name, size)
            assert max(took) < REACTS_SECONDS
            stop.set()
            await running

    in_cluster(api, scene)
    loud = [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL") and not _kopfs(one)]
    assert not loud, loud


def _kopfs(record: logging.LogRecord) -> bool:
    """Its own words; and where it ends while a watch waits for headers, asyncio's about a callback of its own."""
    return "kopf" in record.name or (record.name == "asyncio" and "/kopf/_cogs/" in record.getMessage())
