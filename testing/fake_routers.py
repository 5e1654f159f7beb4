"""One local server that stands in for every router, and for the kubelets that bring them their tables.

Pods have addresses of 127.0.0.0/8; the server is bound to the loopback device, and the Host header says who was asked.
A router takes over a table when its pod is touched, after the time that a kubelet needs (0.2 to 0.4 s as measured).
"""

import asyncio
import json
import random
import socket
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, cast

from forebay.resources import names
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport, encode
from testing.api import Api

SLOTS: Final = 32
KUBELET_SECONDS: Final = (0.2, 0.4)
_SO_BINDTODEVICE: Final = 25


@dataclass(slots=True)
class Router:
    """One pod's router."""

    pod: str
    namespace: str
    pool: str  # empty for a gateway
    pools: dict[str, int] = field(default_factory=dict)  # of a gateway: replicas by pool
    generation: int = 0
    applied: float = 0.0  # time.monotonic()
    told: int = 0  # the generation that the operator has heard of
    acknowledged: float = 0.0  # time.monotonic() when it first did
    answer: bytes = b""
    more: dict[str, Any] = field(default_factory=dict)  # further fields of its report

    @property
    def key(self) -> str:
        return names.pool_table_key(self.pool) if self.pool else names.GATEWAY_TABLE_KEY

    def render(self) -> None:
        """Its report as an HTTP response."""
        common: dict[str, Any] = {
            "replica": self.pod,
            "version": "bench",
            "started": 1_700_000_000.0,
            "generation": self.generation,
        }
        if self.pool:
            common |= {"pool": self.pool, "state": ReplicaState.SERVING, "slots": SLOTS, "running": 0}
            body = encode(SidecarReport(hash="", **common, **self.more))
        else:
            demand = tuple(PoolDemand(pool=pool, serving=n, slots=n * SLOTS) for pool, n in sorted(self.pools.items()))
            body = encode(GatewayReport(hash="", ready=True, pools=demand, **common, **self.more))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.answer = head.encode() + body


class FakeRouters:
    """All routers of all fleets."""

    def __init__(self, seed: int = 7) -> None:
        self.by_address: dict[str, Router] = {}
        self.by_pod: dict[tuple[str, str], Router] = {}
        self.asked = 0
        self._tables: dict[str, dict[str, int]] = defaultdict(dict)
        self._rng = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    def add(self, address: str, router: Router) -> None:
        """One more router; it has no table yet."""
        self.by_address[address] = self.by_pod[router.namespace, router.pod] = router
        router.render()

    async def listen(self, port: int = 0) -> int:
        """Answer for all of them on this port, 0 for a free one. Returns the port."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")  # nobody else reaches it
        listening.bind(("0.0.0.0", port))
        listening.listen(4096)
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Answer(self), sock=listening)
        return int(listening.getsockname()[1])

    def follow(self, api: Api) -> None:
        """Follow ConfigMaps and pods as kubelets do."""
        loop = asyncio.get_running_loop()
        selector = f"labelSelector={names.MANAGED_SELECTOR.replace('=', '%3D')}"
        self._tasks = [
            loop.create_task(self._configmaps(api, f"/api/v1/configmaps?{selector}")),
            loop.create_task(self._pods(api, f"/api/v1/pods?{selector}")),
        ]

    async def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    async def _configmaps(self, api: Api, path: str) -> None:
        async for event in api.watch(path):
            obj = event["object"]
            tables = {key: json.loads(text)["generation"] for key, text in (obj.get("data") or {}).items()}
            self._tables[obj["metadata"]["namespace"]] = tables

    async def _pods(self, api: Api, path: str) -> None:
        touched: dict[tuple[str, str], str] = {}
        async for event in api.watch(path):
            metadata = event["object"]["metadata"]
            where = metadata["namespace"], metadata["name"]
            value = (metadata.get("annotations") or {}).get(names.ANNOTATION_GENERATION, "")
            if value and touched.get(where) != value and (router := self.by_pod.get(where)) is not None:
                touched[where] = value
                asyncio.get_running_loop().call_later(self._rng.uniform(*KUBELET_SECONDS), self._apply, router)

    def _apply(self, router: Router) -> None:
        router.generation = self._tables[router.namespace].get(router.key, 0)
        router.applied = time.monotonic()
        router.render()

    def table_now(self) -> None:
        """Every router has its table, as after a start."""
        for router in self.by_address.values():
            self._apply(router)


class _Answer(asyncio.Protocol):
    """Keep-alive HTTP, one request at a time: what a report needs."""

    def __init__(self, all_of_them: FakeRouters) -> None:
        self._all = all_of_them
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._reply(head)

    def _reply(self, head: bytes) -> None:
        at = head.lower().index(b"host: ") + 6
        host = head[at : head.index(b":", at)].decode()
        router = self._all.by_address.get(host)
        self._all.asked += 1
        if router is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        if router.told != router.generation:
            router.told, router.acknowledged = router.generation, time.monotonic()
        self._transport.write(router.answer)
