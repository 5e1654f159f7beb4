"""The gateway's view of all replicas: one line to each sidecar, names resolved every second.

What the rule asks for on every request (how many serve, how many slots are free) is kept as sums per pool and counted
anew when a report came or a replica grew stale, so that a decision costs the same with two replicas and with two
hundred.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from forebay.resources.names import PATH_SLOTS, PORT_CONTROL
from forebay.resources.report import (
    ReplicaState,
    SlotOffer,
    SlotReport,
    WaitingWord,
    decode_from_sidecar,
)
from forebay.resources.table import RoutingTable
from forebay.router.context import Context
from forebay.router.http.call import Address
from forebay.router.http.message_channel import DialledChannel
from forebay.router.placement.pool_replicas import PoolReplicas, Replica
from forebay.router.placement.resolve import resolve
from forebay.rules.accounting import ReplicaTotals
from forebay.rules.facts import REPORT_TTL_SECONDS, PoolView

RESOLVE_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.25
RECONNECT_SECONDS: Final = 0.2
LONGEST_RECONNECT_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 2 * REPORT_TTL_SECONDS
"""A line that says nothing for so long is hung up and dialled anew."""
GONE_SECONDS: Final = 10.0
"""A replica whose name has vanished is forgotten after so long without a report."""


class Replicas:
    """Replicas of all pools. `on_offer` gets what a replica offers; `word` is what it is told of who waits."""

    def __init__(
        self,
        context: Context,
        on_offer: Callable[[Replica, SlotOffer], None],
        word: Callable[[str, str], WaitingWord],
    ) -> None:
        self.context = context
        self.listening = context.upstream.listening
        self.on_offer = on_offer
        self.word = word
        self.pools: dict[str, PoolReplicas] = {}
        self._streams: dict[Address, asyncio.Task[None]] = {}
        self._resolved: set[str] = set()

    def follow(self, table: RoutingTable) -> None:
        """Take over the table's pools; replicas of pools that are gone are dropped."""
        entries = {entry.name: entry for entry in table.pools}
        for name in [name for name in self.pools if name not in entries]:
            for address in list(self.pools[name].all):
                self._drop(name, address)
            del self.pools[name]
        for name, entry in entries.items():
            if name not in self.pools:
                self.pools[name] = PoolReplicas(entry)
            self.pools[name].follow(entry, self.context.settings.timeouts)

    async def run(self) -> None:
        """Resolve, and notice who fell silent, for ever."""
        due = 0.0
        self.context.upstream.watch()
        while True:
            now = asyncio.get_running_loop().time()
            for pool in self.pools.values():
                pool.stale = True
                self._give_up_silent(pool, now)
            if now >= due:
                for pool in self.pools.values():
                    pool.learn_patience()
                await asyncio.gather(*(self._resolve(pool) for pool in list(self.pools.values())))
                due = now + RESOLVE_SECONDS
            await asyncio.sleep(SWEEP_SECONDS)

    def _give_up_silent(self, pool: PoolReplicas, now: float) -> None:
        """What waits for its first token at a replica that is lost must not wait out the patience for one."""
        for replica in pool.all.values():
            silent = SILENT_SECONDS < replica.silent_for(now) < float("inf")
            if silent and not replica.silent:
                self.context.upstream.give_up(replica.address)
            replica.silent = silent

    @property
    def ready(self) -> bool:
        """Whether each pool was resolved and each replica was heard of, or given up on."""
        if not set(self.pools) <= self._resolved:
            return False
        return all(r.tried > 1 or r.heard > 0 for pool in self.pools.values() for r in pool.all.values())

    def of(self, pool: str) -> list[Replica]:
        """Replicas of a pool, fresh or not."""
        found = self.pools.get(pool)
        return list(found.all.values()) if found else []

    def heard(self, pool: str, now: float) -> ReplicaTotals:
        """What the replicas of a pool that serve have said lately."""
        serving = [item for item in self.of(pool) if item.fresh(now) and item.state is ReplicaState.SERVING]
        return len(serving), sum(item.slots for item in serving), sum(item.running for item in serving)

    def slots(self) -> int:
        """Slots of all replicas that serve."""
        now = asyncio.get_running_loop().time()
        return sum(item.slots for pool in self.pools.values() for item in pool.all.values() if item.serves(now))

    def lost(self, pool: str, model: str) -> bool:
        """Whether no engine of a pool has this model."""
        found = self.pools.get(pool)
        return found is not None and found.lost(model)

    def tell(self, pool: str) -> None:
        """Tell the replicas of a pool who waits."""
        for replica in self.of(pool):
            replica.say(self.word(pool, replica.name))

    def view(
        self,
        pool: PoolReplicas,
        now: float,
        queued: int,
        ahead: int,
        excluded: frozenset[Address] = frozenset(),
        model: str = "",
    ) -> PoolView:
        """What the rule sees of a pool; `ahead` waiters come before the request, which names `model`."""
        pool.count(now)
        entry, serving, free, free_high = pool.entry, pool.serving, pool.free, pool.free_high
        names = entry.served_names
        if pool.lacking and (lacking := pool.lacking.get(model)):
            excluded |= lacking
            if pool.lost(model):
                names = tuple(name for name in names if name != model)
        for address in excluded:
            replica = pool.all.get(address)
            if replica is not None and replica.serves(now):
                serving, free = serving - 1, free - max(0, replica.free)
                free_high -= max(0, replica.free_high)
        return PoolView(
            name=entry.name,
            names=names,
            capabilities=frozenset(entry.capabilities),
            task=entry.task,
            inputs=frozenset(entry.inputs),
            context_tokens=pool.context if entry.context_tokens is None else entry.context_tokens,
            serving=serving,
            starting=pool.starting,
            free=max(0, free - ahead),
            free_high=max(0, free_high - ahead),
            queued=queued,
            report_age_seconds=round(now - pool.oldest, 3),
            substitute=entry.substitute,
            cloud=entry.cloud,
            policy=entry.policy,
        )

    async def _resolve(self, pool: PoolReplicas) -> None:
        entry = pool.entry
        addresses = await resolve(entry.service, PORT_CONTROL, entry.addresses)
        now = asyncio.get_running_loop().time()
        self._resolved.add(entry.name)
        for address in addresses:
            if address not in pool.all and address not in self._streams:
                replica = pool.all[address] = Replica(address, entry.name, listening=self.listening)
                self._streams[address] = self.context.spawn(self._listen(pool, replica))
        for replica in list(pool.all.values()):
            if replica.address not in addresses and replica.silent_for(now) > GONE_SECONDS:
                self._drop(entry.name, replica.address)

    def _drop(self, pool: str, address: Address) -> None:
        self.pools[pool].all.pop(address, None)
        self.pools[pool].stale = True
        if (stream := self._streams.pop(address, None)) is not None:
            stream.cancel()

    async def _listen(self, pool: PoolReplicas, replica: Replica) -> None:
        """Keep one line open for ever; back off while nobody answers."""
        pause = RECONNECT_SECONDS
        while True:
            heard = replica.heard
            with contextlib.suppress(OSError, TimeoutError):
                await self._converse(pool, replica)
            if replica.heard > heard:
                pause = RECONNECT_SECONDS
            replica.tried += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RECONNECT_SECONDS)

    async def _converse(self, pool: PoolReplicas, replica: Replica) -> None:
        """One line, until it is lost or falls silent."""
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()
        lines = DialledChannel(
            PATH_SLOTS,
            [(b"host", b"sidecar"), self.context.token.header],
            lambda line: self._hear(pool, replica, line),
            lost.set,
        )
        try:
            async with asyncio.timeout(pool.timeouts.connect):
                await loop.create_connection(lambda: lines, *replica.address)
                await lines.opened
            replica.channel = lines
            replica.say(self.word(replica.pool, replica.name))
            opened = self.listening.at(loop.time())
            while not lost.is_set() and self.listening.at(loop.time()) - max(opened, replica.heard) < SILENT_SECONDS:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REPORT_TTL_SECONDS):
                        await lost.wait()
        finally:
            replica.channel = None
            lines.close()

    def _hear(self, pool: PoolReplicas, replica: Replica, line: bytes) -> None:
        try:
            said = decode_from_sidecar(line)
        except ValueError:
            if replica.channel is not None:
                replica.channel.close()
            return
        match said:
            case SlotReport():
                self._report(pool, replica, said)
            case SlotOffer():
                self.on_offer(replica, said)

    def _report(self, pool: PoolReplicas, replica: Replica, said: SlotReport) -> None:
        """A report replaces what was guessed."""
        replica.name, replica.state = said.replica, said.state
        replica.slots, replica.running = said.slots, said.running
        replica.free, replica.free_high = said.free, said.free_high
        replica.ahead, replica.moving, replica.names = said.ahead, said.moving, said.names
        replica.context = said.context
        now = asyncio.get_running_loop().time()
        replica.heard = self.listening.at(now)
        for session, tokens in said.placed:
            pool.sessions.serve(session, replica.name, tokens, now)
        if now < replica.breaker.paused_until:
            replica.free = replica.free_high = 0
        pool.stale = True
