"""What scenes on a real API server are made of: a namespace, an operator that looks when told to, and what it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.aio import client as aio

from forebay.controller.__main__ import Operator
from forebay.controller.cluster.kubernetes_api import EVENT, OWNED, SECRET, Cluster, ClusterError, Object, ObjectKind
from forebay.controller.settings import Settings
from forebay.resources import names
from tests.contract import clusters
from tests.controller.fleets import SETTINGS

USER = None if clusters.OPENSHIFT else names.USER
LOCAL = replace(SETTINGS, host="127.0.0.1", health_port=0, metrics_port=0, wake_port=0, run_as_user=USER)
SIMULATED: dict[str, Any] = {"model": {"name": "m"}, "engine": {"type": "Simulated", "gpus": 0}}


def in_cluster(api: client.ApiClient, scene: Callable[[Cluster], Awaitable[None]]) -> None:
    """Run the scene with a connection of the operator's own kind."""

    async def run() -> None:
        settings = aio.Configuration(host=api.configuration.host)
        for field in ("ssl_ca_cert", "cert_file", "key_file"):
            setattr(settings, field, getattr(api.configuration, field))
        async with Cluster(aio.ApiClient(settings)) as cluster, asyncio.timeout(100):
            await scene(cluster)
        await _goodbyes()

    asyncio.run(run())


async def _goodbyes() -> None:
    """Until connections that were closed have said so over TLS: Python's loop would leave them to the collector, and
    whichever test runs next be charged with them. (uvloop waits for ever where a server's connections outlive it.)"""
    registered = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while len(registered) > 1:  # the loop's own
                await asyncio.sleep(0.02)


def custom(kind: ObjectKind, namespace: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


@asynccontextmanager
async def operator(
    cluster: Cluster, settings: Settings = LOCAL, control_port: int = names.PORT_CONTROL
) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A new operator that makes passes when told to: lists instead of watches. Routers listen on `control_port`."""
    made = Operator(replace(settings, control_port=control_port), cluster)

    async def look(namespace: str) -> None:
        for scope in made.watch.whole:
            await made.watch.list(made.cluster, scope)
        await made.reconciler.run(namespace)

    try:
        yield look
    finally:
        await made.reports.close()


async def versions(cluster: Cluster, namespace: str) -> dict[str, str]:
    """resourceVersion of everything that the operator makes in the namespace."""
    found = {}
    for kind in (*OWNED, SECRET):
        objects, _ = await cluster.list(kind, namespace, labels=names.MANAGED_SELECTOR)
        found |= {f"{kind.kind} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in objects}
    return found


async def told(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    events, _ = await cluster.list(EVENT, namespace)
    mine = (event for event in events if event.get("reportingController") == names.REPORTING_CONTROLLER)
    return sorted((event["reason"], event["note"]) for event in mine)


async def appears(cluster: Cluster, kind: ObjectKind, namespace: str, name: str) -> Object:
    while True:
        try:
            return await cluster.get(kind, namespace, name)
        except ClusterError as error:
            if not error.not_found:
                raise
        await asyncio.sleep(0.05)


def kubeconfig_of(api: client.ApiClient, folder: Path) -> Path:
    """A kubeconfig for those who read one."""
    settings = api.configuration
    kubeconfig = folder / "config"
    access = {"certificate-authority": settings.ssl_ca_cert, "server": settings.host}
    user = {"client-certificate": settings.cert_file, "client-key": settings.key_file}
    document = {
        "clusters": [{"name": "c", "cluster": access}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    return kubeconfig
