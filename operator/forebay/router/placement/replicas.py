"""The gateway's view of all replicas: one line to each sidecar, names resolved every second.

What the rule asks for on every request (how many serve, how many slots are free) is kept as sums per pool and counted
anew when a report came or a replica grew stale, so that a decision costs the same with two replicas and with two
hundred.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from forebay.resources.names import PATH_SLOTS, PORT_CONTROL
from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Priority
from forebay.resources.report import (
    OfferAnswer,
    ReplicaState,
    SlotOffer,
    SlotReport,
    WaitingWord,
    decode_from_sidecar,
    encode,
)
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router.context import Context, waits
from forebay.router.http.call import USUAL as USUAL_WAITS
from forebay.router.http.call import Address, Waits
from forebay.router.http.message_channel import DialledChannel, MessageChannel
from forebay.router.placement.resolve import resolve
from forebay.rules.accounting import ReplicaTotals
from forebay.rules.affinity import Sessions
from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, answering, begun, given_up, is_shut
from forebay.rules.facts import REPORT_TTL_SECONDS, PoolView
from forebay.rules.listed_names import missing
from forebay.rules.listening import ListeningTime
from forebay.rules.retry import RetryBudget

RESOLVE_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.25
RECONNECT_SECONDS: Final = 0.2
LONGEST_RECONNECT_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 2 * REPORT_TTL_SECONDS
"""A line that says nothing for so long is hung up and dialled anew."""
FIRST_TOKENS: Final = 500
LIMITS: Final = BreakerLimits(faults=3, open_seconds=1.0, most_seconds=8.0, row_seconds=2.0, senders=2, probes=4)
"""Three faults in a row, of two senders, over two seconds without an answer: a replica is left alone for a second, then
two, up to 8 s.
The first content byte of any of four requests then brings it back."""
BROKEN_LIMITS: Final = replace(LIMITS, row_seconds=0.0)
"""Of an answer that broke off after its first content byte: that byte says nothing for the replica, so no row has to
last."""
FINE: Final = Breaker()
USUAL: Final = RouterTimeouts()
GONE_SECONDS: Final = 10.0
"""A replica whose name has vanished is forgotten after so long without a report."""


@dataclass(slots=True, eq=False)
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
    ahead: int = 0  # prompt tokens that wait there for their first token
    names: tuple[str, ...] = ()  # that its engine lists
    heard: float = float("-inf")  # in listening time
    tried: int = 0  # connections attempted; a gateway is ready once each was tried
    breaker: Breaker = FINE
    silent: bool = False  # it was heard of, and is not any more
    moving: bool = False  # its engine makes tokens
    channel: MessageChannel | None = None
    listening: ListeningTime = field(default_factory=ListeningTime)

    def fresh(self, now: float) -> bool:
        """Heard of lately: otherwise it is absent, neither free nor full."""
        return self.silent_for(now) < REPORT_TTL_SECONDS

    def silent_for(self, now: float) -> float:
        """Seconds of listening in which nothing was heard of it."""
        return self.listening.at(now) - self.heard

    def at_work(self, now: float) -> bool:
        """Whether its engine makes tokens, as its sidecar says: an answer that is silent may be under way."""
        return self.moving and self.fresh(now)

    def serves(self, now: float) -> bool:
        """Whether a request may go there, slots aside."""
        if self.state is not ReplicaState.SERVING or not self.fresh(now):
            return False
        return self.breaker is FINE or not is_shut(self.breaker, now, LIMITS)

    def may_take(self, now: float) -> bool:
        """Whether a slot that it offers may be used: its engine has not asked to be left alone."""
        return self.serves(now) and now >= self.breaker.paused_until

    def free_for(self, priority: Priority) -> int:
        """Slots for a request of this priority."""
        return self.free_high if priority is Priority.HIGH else self.free

    def say(self, what: OfferAnswer | WaitingWord) -> None:
        """Answer an offer of its, or tell it who waits; without a line it learns that from the loss of it."""
        if self.channel is not None:
            self.channel.send(encode(what))


@dataclass(slots=True)
class PoolReplicas:
    """The replicas of one pool, and their sums."""

    entry: PoolEntry
    sessions: Sessions = field(default_factory=Sessions)
    all: dict[Address, Replica] = field(default_factory=dict)
    by_name: dict[str, Replica] = field(default_factory=dict)  # those that serve
    serving_names: tuple[str, ...] = ()  # their names: the same object as long as they are the same
    lacking: dict[str, set[Address]] = field(default_factory=dict)  # by name: those that serve, but not that
    serving: int = 0
    starting: int = 0
    free: int = 0
    free_high: int = 0
    oldest: float = 0.0
    retries: RetryBudget = field(default_factory=RetryBudget)
    timeouts: RouterTimeouts = USUAL
    waits: Waits = USUAL_WAITS
    first_token_seconds: float = 60.0
    first_tokens: deque[float] = field(default_factory=lambda: deque(maxlen=FIRST_TOKENS))
    stale: bool = True  # the sums have to be counted anew

    def count(self, now: float) -> None:
        """Count the sums anew, if something changed."""
        if not self.stale:
            return
        self.stale = False
        serving = [replica for replica in self.all.values() if replica.serves(now)]
        self.serving = len(serving)
        self.starting = sum(r.state is ReplicaState.STARTING and r.fresh(now) for r in self.all.values())
        self.free = sum(max(0, replica.free) for replica in serving)
        self.free_high = sum(max(0, replica.free_high) for replica in serving)
        self.oldest = now - max((replica.silent_for(now) for replica in serving), default=0.0)
        names = tuple(sorted(replica.name for replica in serving))
        if names != self.serving_names:
            self.serving_names = names
        self.by_name = {replica.name: replica for replica in serving}
        self.lacking = {}
        for replica in serving:
            for model in missing(self.entry.served_names, replica.names):
                self.lacking.setdefault(model, set()).add(replica.address)

    def having(self, model: str) -> tuple[str, ...]:
        """The names of those that serve, and have this model."""
        if not self.lacking or (lacking := self.lacking.get(model)) is None:
            return self.serving_names
        return tuple(name for name in self.serving_names if self.by_name[name].address not in lacking)

    def lost(self, model: str) -> bool:
        """Whether no replica has this model, by the word of all their engines."""
        lacking = self.lacking.get(model)
        return lacking is not None and len(lacking) == self.serving and not self.starting

    def take(self, replica: Replica, offered: bool, prompt_tokens: int, now: float) -> None:
        """A request is on its way: until the next report, count it. A slot that was offered is not free any more."""
        self.retries.request()
        replica.ahead += prompt_tokens
        if replica.breaker is not FINE:
            replica.breaker = begun(replica.breaker, now)
            self.stale = True
        replica.running += 1
        if offered:
            return
        self.free -= replica.free > 0
        self.free_high -= replica.free_high > 0
        replica.free -= 1
        replica.free_high -= 1

    def refused(self, replica: Replica) -> None:
        """It said full: believe it until the next report."""
        replica.free = replica.free_high = 0
        self.stale = True

    def answered(self, replica: Replica, first_token: float | None, now: float) -> None:
        """It served a request; `first_token` in seconds since the request was sent there, where that was streamed."""
        if first_token is not None:
            self.first_tokens.append(first_token)
        self.tried(replica, CallResult.SUCCESS, now)

    def fails_others(self, replica: Replica, now: float) -> bool:
        """Whether what failed there was not one sender's doing, as far as is known."""
        return len(replica.breaker.senders) >= LIMITS.senders or not replica.serves(now)

    def answering(self, replica: Replica, now: float) -> None:
        """The first content byte has come from a replica that was in doubt."""
        replica.breaker = answering(replica.breaker, now)
        self.stale = True

    def tried(
        self,
        replica: Replica,
        outcome: CallResult,
        now: float,
        pause: float = 0.0,
        limits: BreakerLimits = LIMITS,
        sender: str = "",
    ) -> None:
        """What a try says of the replica's health. For `pause` seconds it has no slots for this gateway."""
        if replica.breaker is FINE and outcome is CallResult.SUCCESS:
            return
        found = after(replica.breaker, outcome, now, limits, pause, sender)
        if found.paused_until <= now:
            found = replace(found, paused_until=0.0)
        replica.breaker = FINE if found == FINE else found
        if pause:
            replica.free = replica.free_high = 0
        self.stale = True

    def gave_up(self, replica: Replica) -> None:
        """A try ended without telling anything."""
        if replica.breaker is not FINE:
            replica.breaker = given_up(replica.breaker)
            self.stale = True

    def follow(self, entry: PoolEntry, usual: RouterTimeouts) -> None:
        """Take over the pool's entry."""
        self.entry, self.timeouts = entry, entry.waits(usual)
        self.waits = waits(self.timeouts)
        self.learn_patience()

    def learn_patience(self) -> None:
        """How long a first token may take: ten times what nearly all took lately, and what its timeout says."""
        least = self.first_token_seconds = self.timeouts.first_token
        if len(self.first_tokens) >= FIRST_TOKENS // 10:
            ordered = sorted(self.first_tokens)
            self.first_token_seconds = max(least, 10 * ordered[int(len(ordered) * 0.99)])


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
            context_tokens=entry.context_tokens,
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
        now = asyncio.get_running_loop().time()
        replica.heard = self.listening.at(now)
        for session, tokens in said.placed:
            pool.sessions.serve(session, replica.name, tokens, now)
        if now < replica.breaker.paused_until:
            replica.free = replica.free_high = 0
        pool.stale = True
