"""A whole fleet in one process on loopback: simulated engines, sidecars, a provider, a gateway."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import UNSET

from forebay.resources.options import GatewayOptions, Ports, RouterOptions, RouterTimeouts
from forebay.resources.reasons import Capability
from forebay.resources.table import (
    AdapterEntry,
    ModelEntry,
    PolicyEntry,
    PoolEntry,
    ProviderEntry,
    QueueEntry,
    RoutingTable,
    TargetEntry,
    encode,
)
from forebay.resources.terms import Modality, Permission, Task
from forebay.router.context import Context
from forebay.router.gateway import Gateway
from forebay.router.ports import Router
from forebay.router.sidecar import Sidecar
from forebay.router.table_file import TableFile
from forebay.simulator.batch import ServiceTime
from forebay.simulator.engine import SimulatedEngine
from forebay.simulator.http import Connection
from forebay.simulator.settings import GENERATES, POOLS
from forebay.simulator.settings import Settings as SimulatorSettings

FREE = Ports(0, 0, 0, 0)
PLAIN = False
"""To `verify`, of clients that speak plain HTTP: reading the authorities that a system trusts takes 40 ms each time."""
Front = Callable[[str, int], Awaitable[int]]
"""Puts something in front of a part ("engine chat-0", "sidecar chat-0", "provider acme"); from its port to another."""
USUAL = RouterTimeouts()


async def _bare(name: str, port: int) -> int:
    return port


FAST = ServiceTime(base=0.002, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=1e6)
KEYS = {
    "clients": [
        {"name": "vip", "key": "sk-vip", "maxPriority": "High"},
        {"name": "one", "key": "sk-one", "maxInFlight": 1},
    ]
}


@dataclass(frozen=True)
class Pool:
    """What a test wants of one pool."""

    slots: int = 2
    replicas: int = 1
    capabilities: tuple[Capability, ...] = (Capability.GENERAL, Capability.REASONING)
    max_wait_seconds: int = 20
    max_requests: int = 64
    substitute: Permission = Permission.DENIED
    context_tokens: int | None = None
    engine_context: int = 16_384
    task: Task = Task.GENERATE
    inputs: tuple[Modality, ...] = (Modality.TEXT,)
    adapters: tuple[str, ...] = ()  # that its engines start with
    wanted: dict[str, str] = field(default_factory=dict)  # adapters that its sidecars load, name and source


@dataclass
class Fleet:
    """What a test talks to."""

    http: httpx.AsyncClient
    gateway: Router
    more_gateways: list[Router] = field(default_factory=list)
    sidecars: dict[str, Router] = field(default_factory=dict)
    engines: dict[str, SimulatedEngine] = field(default_factory=dict)
    providers: dict[str, SimulatedEngine] = field(default_factory=dict)

    @property
    def gate(self) -> Gateway:
        assert isinstance(self.gateway.role, Gateway)
        return self.gateway.role

    @property
    def gates(self) -> list[Gateway]:
        return [router.role for router in (self.gateway, *self.more_gateways) if isinstance(router.role, Gateway)]

    def side(self, name: str) -> Sidecar:
        role = self.sidecars[name].role
        assert isinstance(role, Sidecar)
        return role

    def url(self, router: Router, port: str = "request") -> str:
        return f"http://127.0.0.1:{getattr(router, port).port}"

    async def ask(
        self, tokens: int = 300, *, key: str = "", stream: bool = False, base: str = "", **more: Any
    ) -> httpx.Response:
        """One chat request; `more` goes into the body, x_* into headers."""
        headers = {k.replace("_", "-"): v for k, v in more.items() if k.startswith("x_")}
        if key:
            headers["authorization"] = f"Bearer {key}"
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": "hello there"}],
            "max_tokens": tokens,
            "min_tokens": tokens,
            "stream": stream,
            **{k: v for k, v in more.items() if not k.startswith("x_")},
        }
        body = {k: v for k, v in body.items() if v is not None}
        return await self.http.post(
            (base or self.url(self.gateway)) + "/v1/chat/completions", json=body, headers=headers
        )

    async def until(self, condition: Any, seconds: float = 10.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet(
    tmp: Path,
    pools: dict[str, Pool],
    *,
    cloud: bool = True,
    policy: dict[str, Any] | None = None,
    gateways: int = 1,
    times: ServiceTime = FAST,
    gateway: dict[str, Any] | None = None,
    timeouts: RouterTimeouts = USUAL,
    front: Front = _bare,
) -> AsyncIterator[Fleet]:
    """Start everything, wait until the gateway has heard of every replica, end everything."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False, verify=PLAIN))
        (tmp / "clients").mkdir()
        (tmp / "clients" / "clients.json").write_text(json.dumps(KEYS))
        providers: dict[str, SimulatedEngine] = {}
        entries: list[PolicyEntry] = []
        if cloud:
            for name in ("acme", "bravo"):
                settings = SimulatorSettings(
                    role="cloud", models=(f"{name}-model",), times=FAST, tasks=GENERATES | POOLS, tools=True
                )
                providers[name], port = await _engine(stack, settings)
                providers[name].port = await front(f"provider {name}", port)  # type: ignore[attr-defined]
            entries = [_policy(providers, policy or {}, timeouts)]
        engines, sidecars, table_pools = {}, {}, []
        for name, wanted in pools.items():
            addresses = []
            for index in range(wanted.replicas):
                replica = f"{name}-{index}"
                settings = SimulatorSettings(
                    models=(f"{name}-model",),
                    adapters={name: name for name in wanted.adapters},
                    loads_adapters=True,
                    tasks=POOLS if wanted.task in POOLS else GENERATES,
                    media=wanted.inputs != (Modality.TEXT,),
                    tools=True,
                    keeps_responses=True,
                    times=times,
                    max_model_len=wanted.engine_context,
                )
                engines[replica], port = await _engine(stack, settings)
                bare = RoutingTable(generation=1, pools=(_entry(name, wanted),))
                sidecars[replica] = await _router(
                    stack, tmp, replica, bare, role="sidecar", pool=name, timeouts=timeouts,
                    engine=("127.0.0.1", await front(f"engine {replica}", port)),
                )  # fmt: skip
                addresses.append(f"127.0.0.1:{await front(f'sidecar {replica}', sidecars[replica].control.port)}")
            table_pools.append(replace_addresses(_entry(name, wanted), addresses))
        table = RoutingTable(generation=1, pools=tuple(table_pools), policies=tuple(entries))
        first = await _router(
            stack, tmp, "gateway-0", table, **{"role": "gateway", "timeouts": timeouts, **(gateway or {})}
        )
        others = [
            await _router(stack, tmp, f"gateway-{number}", table, role="gateway", timeouts=timeouts)
            for number in range(1, gateways)
        ]
        made = Fleet(http, first, others, sidecars, engines, providers)
        for name, router in sidecars.items():  # now that the gateway's port is known
            entry = _entry(name.rpartition("-")[0], pools[name.rpartition("-")[0]])
            known = RoutingTable(generation=2, gateway_addresses=(f"127.0.0.1:{first.control.port}",), pools=(entry,))
            router.context.table.take(known)
        await made.until(lambda: all(made.side(name).ready for name in sidecars))
        expected = sum(pool.replicas for pool in pools.values())
        for gate in made.gates:
            await made.until(
                lambda gate=gate: sum(r.free_high > 0 for p in pools for r in gate.replicas.of(p)) == expected
            )
        yield made


def replace_addresses(entry: PoolEntry, addresses: list[str]) -> PoolEntry:
    return msgspec.structs.replace(entry, addresses=tuple(addresses))


def adapter_entries(wanted: Mapping[str, str]) -> tuple[AdapterEntry, ...]:
    return tuple(AdapterEntry(name=name, source=source) for name, source in wanted.items())


def _entry(name: str, wanted: Pool) -> PoolEntry:
    return PoolEntry(
        name=name,
        served_names=(f"{name}-model", *wanted.adapters, *wanted.wanted),
        adapters=adapter_entries(wanted.wanted) if wanted.wanted else UNSET,
        task=wanted.task,
        inputs=wanted.inputs,
        capabilities=wanted.capabilities,
        slots_per_replica=wanted.slots,
        context_tokens=wanted.context_tokens,
        substitute=wanted.substitute,
        queue=QueueEntry(max_wait_seconds=wanted.max_wait_seconds, max_requests=wanted.max_requests),
    )


def _policy(providers: dict[str, SimulatedEngine], changes: dict[str, Any], timeouts: RouterTimeouts) -> PolicyEntry:
    entries = tuple(
        ProviderEntry(
            name=name,
            base_url=f"http://127.0.0.1:{engine.port}/v1",  # type: ignore[attr-defined]
            models=(ModelEntry(name=f"{name}-model", context_tokens=100_000, drop_fields=("min_tokens",)),),
            first_token_seconds=max(1, round(timeouts.first_token)),
            between_chunks_seconds=max(1, round(timeouts.between_chunks)),
            total_seconds=max(1, round(timeouts.total / 5)),
        )
        for name, engine in providers.items()
    )
    tiers = {
        "primary": (TargetEntry(provider="acme", model="acme-model"),),
        "secondary": (TargetEntry(provider="bravo", model="bravo-model"),),
    }
    return PolicyEntry(name="default", **{"providers": entries, **tiers, **changes})


async def _engine(stack: AsyncExitStack, settings: SimulatorSettings) -> tuple[SimulatedEngine, int]:
    engine = SimulatedEngine(settings)
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []

    def accept() -> Connection:
        connections.append(Connection(engine.handle))
        return connections[-1]

    async def end() -> None:
        """A connection that outlives its loop makes another test fail."""
        server.close()
        running.cancel()
        for connection in connections:
            connection.break_off()
        async with asyncio.timeout(5):
            while not all(connection.gone for connection in connections if connection.transport is not None):
                await asyncio.sleep(0)

    server = await loop.create_server(accept, "127.0.0.1", 0)
    running = loop.create_task(engine.run())
    stack.push_async_callback(end)
    return engine, server.sockets[0].getsockname()[1]


async def _router(stack: AsyncExitStack, tmp: Path, replica: str, table: RoutingTable, **settings: Any) -> Router:
    path = tmp / f"{replica}.json"
    path.write_text(encode(table))
    usual: dict[str, Any] = {"access_log": False, "gateway": GatewayOptions(("127.0.0.0/8",))}
    made = RouterOptions(
        table=path,
        replica=replica,
        host="127.0.0.1",
        ports=FREE,
        clients_dir=tmp / "clients",
        **{**usual, **settings},
    )
    router = Router.of(Context(made, TableFile(path)))
    await router.start()
    stack.push_async_callback(_end, router)
    return router


async def _end(router: Router) -> None:
    for server in (router.request, router.control, router.metrics, router.health):
        server.close()
    if isinstance(router.role, Gateway):
        await router.role.cloud.close()
    else:
        router.role.offering.close()
    await router.context.stop()


__all__ = ["Fleet", "Pool", "fleet", "replace"]
