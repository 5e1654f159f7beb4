"""What a kubelet would say of pods, and routers that answer for them: there is no kubelet behind these API servers."""

from collections.abc import Mapping
from typing import Any

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP, POD, Cluster, ClusterError, Object, ObjectKind
from forebay.resources import names, table
from testing.fake_routers import FakeRouters, Router

NODE = ObjectKind("Node", "v1", "nodes")
_NOW = "2026-01-01T00:00:00Z"


async def add_node(cluster: Cluster, name: str, extended: Mapping[str, int]) -> None:
    """A node that takes anything, with these extended resources."""
    resources = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1000Gi"}
    resources |= {key: str(count) for key, count in extended.items()}
    try:
        await cluster._call("POST", NODE.path(), body={"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    except ClusterError as error:
        if not error.conflict:
            raise
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": _NOW}
    status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
    await cluster.patch(NODE, "", name, {"status": status}, "status")
    await cluster.patch(NODE, "", name, {"spec": {"taints": []}})


class Kubelets:
    """Run the pods of one namespace: each that has a node becomes ready, with a router that has its table."""

    def __init__(self, cluster: Cluster, namespace: str, routers: FakeRouters) -> None:
        self.cluster, self.namespace, self.routers = cluster, namespace, routers
        self._next = 0

    async def run(self) -> None:
        """One round: pods that end are gone, the others run, and routers have the tables that are mounted now."""
        tables = await self._tables()
        pods, _ = await self.cluster.list(POD, self.namespace)
        for pod in pods:
            name = pod["metadata"]["name"]
            if pod["metadata"].get("deletionTimestamp"):
                await self._remove(name)
            elif pod["spec"].get("nodeName") and not pod["status"].get("podIP"):
                await self._start(pod)
        for router in self.routers.by_address.values():
            if router.namespace == self.namespace:
                router.generation = tables.get(router.key, 0)
                router.render()

    async def say(self, pod: str, status: Object) -> None:
        """Write a pod's status as its kubelet would."""
        await self.cluster.patch(POD, self.namespace, pod, {"status": status}, "status")

    async def names(self, component: str = names.COMPONENT_REPLICA) -> list[str]:
        """Pods of the namespace."""
        found, _ = await self.cluster.list(POD, self.namespace, labels=f"{names.LABEL_COMPONENT}={component}")
        return [pod["metadata"]["name"] for pod in found]

    async def _start(self, pod: Object) -> None:
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        self._next += 1
        address = f"127.78.{sum(self.namespace.encode()) % 256}.{self._next}"
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": _NOW} for kind in ("Ready", "Initialized")]
        scheduled = [item for item in pod["status"].get("conditions") or () if item["type"] == "PodScheduled"]
        status: dict[str, Any] = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [*scheduled, *conditions],
            "containerStatuses": [],
        }
        await self.say(name, status)
        self.routers.add(address, Router(name, self.namespace, labels.get(names.LABEL_POOL, "")))

    async def _remove(self, name: str) -> None:
        await self.cluster._call("DELETE", POD.path(self.namespace, name), body={"gracePeriodSeconds": 0})
        router = self.routers.by_pod.pop((self.namespace, name), None)
        for address in [at for at, one in self.routers.by_address.items() if one is router]:
            del self.routers.by_address[address]

    async def _tables(self) -> dict[str, int]:
        try:
            found = await self.cluster.get(CONFIG_MAP, self.namespace, names.ROUTING_CONFIGMAP)
        except ClusterError:
            return {}
        return {key: table.decode(text).generation for key, text in found["data"].items()}
