"""The cluster's contents: fleets of pools, and their pods as a kubelet would report them."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from forebay.resources import names
from testing.api import Api, Object, each
from testing.fake_routers import FakeRouters, Router

CUSTOM: Final = f"/apis/{names.API_VERSION}"
GATEWAYS: Final = 2
NOW: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of what."""

    pools: int
    replicas: int = 10  # of each pool but the last
    big: int = 198  # of the last one
    pools_per_fleet: int = 20

    @property
    def fleets(self) -> list[str]:
        """Their namespaces."""
        return [f"team-{number:04d}" for number in range(-(-self.pools // self.pools_per_fleet))]

    def pools_of(self, fleet: int) -> list[str]:
        """Names of one fleet's pools."""
        first = fleet * self.pools_per_fleet
        return [f"pool-{number:04d}" for number in range(first, min(first + self.pools_per_fleet, self.pools))]

    @property
    def last(self) -> tuple[str, str]:
        """Namespace and name of the large pool."""
        return self.fleets[-1], self.pools_of(len(self.fleets) - 1)[-1]

    def replicas_of(self, pool: str) -> int:
        """How many a pool has."""
        return self.big if pool == self.last[1] else self.replicas

    @property
    def all_replicas(self) -> int:
        """Of all pools."""
        return (self.pools - 1) * self.replicas + self.big

    @property
    def pods(self) -> int:
        """Replicas and gateways."""
        return self.all_replicas + len(self.fleets) * GATEWAYS


def pool_body(namespace: str, name: str, replicas: int) -> Object:
    """A vLLM pool as a team would write it."""
    spec: dict[str, Any] = {
        "model": {"name": "Qwen/Qwen2.5-7B-Instruct", "servedNames": [name], "contextTokens": 32768},
        "capabilities": ["general", "classification"],
        "replicas": replicas,
        "engine": {"gpus": 1, "args": ["--max-num-seqs", "64"], "cache": {"hostPath": {"path": "/var/cache/models"}}},
        "scaling": {"mode": "Manual"},  # the size is there at once
        "gpuHourPrice": "1.20",
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": names.API_VERSION, "kind": names.POOL_KIND, "metadata": metadata, "spec": spec}


def policy_body(namespace: str) -> Object:
    """One provider behind every fleet."""
    target = [{"provider": "acme", "model": "large"}]
    provider = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "large"}]}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.POLICY_KIND,
        "metadata": {"name": names.DEFAULT_POLICY, "namespace": namespace},
        "spec": {"providers": [provider], "primary": target, "secondary": target},
    }


async def make_fleets(api: Api, shape: Shape) -> None:
    """Namespaces, pools, policies."""

    async def fleet(item: tuple[int, str]) -> None:
        number, namespace = item
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await api.call("POST", "/api/v1/namespaces", body)
        root = f"{CUSTOM}/namespaces/{namespace}"
        await api.call("POST", f"{root}/{names.POLICY_PLURAL}", policy_body(namespace))
        for pool in shape.pools_of(number):
            await api.call("POST", f"{root}/{names.POOL_PLURAL}", pool_body(namespace, pool, shape.replicas_of(pool)))

    await each(enumerate(shape.fleets), fleet)


async def make_pods(api: Api, shape: Shape, routers: FakeRouters) -> None:
    """The pods that the StatefulSet and Deployment controllers would make, as running and ready."""
    addresses = _addresses()
    wanted = []
    for number, namespace in enumerate(shape.fleets):
        root = f"/apis/apps/v1/namespaces/{namespace}"
        pools = shape.pools_of(number)
        gateway = await api.call("GET", f"{root}/deployments/{names.GATEWAY}")
        for index in range(GATEWAYS):
            router = Router(
                f"{names.GATEWAY}-{index}", namespace, "", {pool: shape.replicas_of(pool) for pool in pools}
            )
            wanted.append((gateway, router, next(addresses)))
        for pool in pools:
            statefulset = await api.call("GET", f"{root}/statefulsets/{pool}")
            for index in range(shape.replicas_of(pool)):
                wanted.append((statefulset, Router(f"{pool}-{index}", namespace, pool), next(addresses)))

    async def pod(item: tuple[Object, Router, str]) -> None:
        owner, router, address = item
        path = f"/api/v1/namespaces/{router.namespace}/pods"
        await api.call("POST", path, _pod(owner, router.pod))
        status = {"status": _status(address)}
        kind = "application/merge-patch+json"
        await api.call("PATCH", f"{path}/{router.pod}/status", status, kind)
        routers.add(address, router)

    await each(wanted, pod)


def _pod(owner: Object, name: str) -> Object:
    template = copy.deepcopy(owner["spec"]["template"])
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    template["metadata"] |= {"name": name, "namespace": metadata["namespace"], "ownerReferences": [reference]}
    template["spec"]["nodeName"] = "bench"
    return {"apiVersion": "v1", "kind": "Pod", **template}


def _status(address: str) -> Object:
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": NOW}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    state = {"running": {"startedAt": NOW}}
    containers = [
        {"name": name, "ready": True, "restartCount": 0, "image": "i", "imageID": f"i@sha256:{'0' * 64}",
         "containerID": f"containerd://{'0' * 64}", "started": True, "state": state}
        for name in ("engine",)
    ]  # fmt: skip
    return {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1", "startTime": NOW,
        "conditions": conditions, "containerStatuses": containers, "qosClass": "Burstable",
    }  # fmt: skip


def _addresses() -> Iterator[str]:
    """Addresses of the loopback network, none of them the usual one."""
    for third in range(256):
        for fourth in range(1, 255):
            yield f"127.77.{third}.{fourth}"
