"""The gateway's view of all replicas: one stream of slot reports from each sidecar, names resolved every second."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from forebay.resources.names import PATH_SLOTS, PORT_CONTROL
from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState, SlotReport, decode_slots
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router.context import Context
from forebay.router.http.client import Address, UpstreamError
from forebay.router.http.message import request_head
from forebay.router.resolve import resolve
from forebay.rules.facts import REPORT_TTL_SECONDS, PoolView

RESOLVE_SECONDS: Final = 1.0
RECONNECT_SECONDS: Final = (0.2, 3.0)
STREAM_SECONDS: Final = 86_400.0
GONE_SECONDS: Final = 10.0
"""A replica whose name has vanished is forgotten after so long without a report."""


@dataclass(slots=True)
class Replica:
    """One replica as last heard of. `free` and `free_high` go down at once when this gateway sends a request there."""

    address: Address
    pool: str
    name: str = ""
    state: ReplicaState = ReplicaState.STARTING
    slots: int = 0
    running: int = 0
    free: int = 0
    free_high: int = 0
    heard: float = float("-inf")
    tried: int = 0  # connections attempted; a gateway is ready once each was tried

    def fresh(self, now: float) -> bool:
        """Heard of lately: otherwise it is absent, neither free nor full."""
        return now - self.heard < REPORT_TTL_SECONDS

    def free_for(self, priority: Priority) -> int:
        """Slots for a request of this priority."""
        return self.free_high if priority is Priority.HIGH else self.free

    def take(self) -> None:
        """A request is on its way: until the next report, count it."""
        self.free, self.free_high, self.running = self.free - 1, self.free_high - 1, self.running + 1

    def refused(self) -> None:
        """It said full: believe it until the next report."""
        self.free = self.free_high = 0

    def hear(self, report: SlotReport, now: float) -> None:
        """A report replaces what was guessed."""
        self.name, self.state, self.slots, self.running = report.replica, report.state, report.slots, report.running
        self.free, self.free_high, self.heard = report.free, report.free_high, now


class Replicas:
    """Replicas of all pools. `on_report` is called with the pool's name after each report that may free a slot."""

    def __init__(self, context: Context, on_report: Callable[[str], None]) -> None:
        self.context = context
        self.on_report = on_report
        self._by_address: dict[Address, Replica] = {}
        self._streams: dict[Address, asyncio.Task[None]] = {}
        self._entries: dict[str, PoolEntry] = {}
        self._resolved: set[str] = set()

    def follow(self, table: RoutingTable) -> None:
        """Take over the table's pools; replicas of pools that are gone are dropped."""
        self._entries = {entry.name: entry for entry in table.pools}
        for address, replica in list(self._by_address.items()):
            if replica.pool not in self._entries:
                self._drop(address)

    async def run(self) -> None:
        """Resolve for ever."""
        while True:
            await asyncio.gather(*(self._resolve(entry) for entry in list(self._entries.values())))
            await asyncio.sleep(RESOLVE_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether each pool was resolved and each replica was heard of, or given up on."""
        if not set(self._entries) <= self._resolved:
            return False
        return all(replica.tried > 1 or replica.heard > 0 for replica in self._by_address.values())

    def of(self, pool: str) -> list[Replica]:
        """Replicas of a pool, fresh or not."""
        return [replica for replica in self._by_address.values() if replica.pool == pool]

    def serving(self, pool: str, now: float) -> list[Replica]:
        """Those that serve and were heard of lately."""
        return [r for r in self.of(pool) if r.state is ReplicaState.SERVING and r.fresh(now)]

    def view(self, entry: PoolEntry, now: float, queued: int, ahead: int, excluded: Iterable[Address] = ()) -> PoolView:
        """What the rule sees of a pool; `ahead` waiters come before the request that is decided."""
        skip = set(excluded)
        fresh = [r for r in self.of(entry.name) if r.fresh(now) and r.address not in skip]
        serving = [r for r in fresh if r.state is ReplicaState.SERVING]
        return PoolView(
            name=entry.name,
            names=entry.served_names,
            capabilities=frozenset(entry.capabilities),
            task=entry.task,
            inputs=frozenset(entry.inputs),
            context_tokens=entry.context_tokens,
            serving=len(serving),
            starting=sum(r.state is ReplicaState.STARTING for r in fresh),
            free=max(0, sum(max(0, r.free) for r in serving) - ahead),
            free_high=max(0, sum(max(0, r.free_high) for r in serving) - ahead),
            queued=queued,
            report_age_seconds=round(max((now - r.heard for r in fresh), default=0.0), 3),
            substitute=entry.substitute,
            cloud=entry.cloud,
            policy=entry.policy,
        )

    async def _resolve(self, entry: PoolEntry) -> None:
        addresses = await resolve(entry.service, PORT_CONTROL, entry.addresses)
        now = asyncio.get_running_loop().time()
        self._resolved.add(entry.name)
        for address in addresses:
            if address not in self._by_address:
                self._by_address[address] = Replica(address, entry.name)
                self._streams[address] = self.context.spawn(self._listen(self._by_address[address]))
        for replica in self.of(entry.name):
            if replica.address not in addresses and now - replica.heard > GONE_SECONDS:
                self._drop(replica.address)

    def _drop(self, address: Address) -> None:
        self._by_address.pop(address, None)
        if (stream := self._streams.pop(address, None)) is not None:
            stream.cancel()

    async def _listen(self, replica: Replica) -> None:
        """Keep one stream open for ever; back off while nobody answers."""
        pause = RECONNECT_SECONDS[0]
        while True:
            with contextlib.suppress(UpstreamError, msgspec.DecodeError):
                await self._stream(replica)
                pause = RECONNECT_SECONDS[0]
            replica.tried += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_SECONDS[1])

    async def _stream(self, replica: Replica) -> None:
        headers = [(b"host", b"sidecar"), self.context.token.header]
        head = request_head("GET", PATH_SLOTS, headers)
        response = await self.context.upstream.send(replica.address, head, b"", 2.0)
        try:
            if response.status != 200:
                raise UpstreamError(f"slot reports refused: {response.status}")
            rest = b""
            loop = asyncio.get_running_loop()

            def hear(piece: bytes) -> None:
                nonlocal rest
                *lines, rest = (rest + piece).split(b"\n")
                if lines:
                    replica.hear(decode_slots(lines[-1]), loop.time())
                    self.on_report(replica.pool)

            await response.relay(hear, REPORT_TTL_SECONDS * 2, STREAM_SECONDS)
        finally:
            response.close()
