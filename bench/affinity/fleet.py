"""A pool in simulated time: gateways, queues, slots, offers and engines, each by the code that the routers run.

The rules decide (route, queue, affinity, offers), Admission counts the slots, the simulator's Batch is the engine. Only
the network is left out: a word arrives when it is said. What that costs is measured by `make bench-queue`.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.affinity.placement import Placement, View
from bench.affinity.setup import Setup
from bench.affinity.trace import Request
from forebay.replay.clock import Clock
from forebay.replay.engines import ReplayEngine
from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.resources.table import QueueEntry
from forebay.rules.admission import Admission
from forebay.rules.affinity import Choice
from forebay.rules.capacity import CapacityInputs, capacity, weight
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.lifecycle import Lifecycle
from forebay.rules.offers import Offer
from forebay.rules.queue import Waiter, WaitQueue
from forebay.rules.steps import Dispatch, Step, WaitForSlot
from forebay.simulator.batch import Batch
from forebay.simulator.batch import Sequence as Prompt

POOL = "chat"
MODEL = "model"
REPEAT_SECONDS = 1.0
NEAR_SECONDS = 0.02
UNBOUNDED = 1_000_000


@dataclass(slots=True, eq=False)
class Played:
    """One request and what became of it; times in seconds of the simulation. `first` None: refused."""

    request: Request
    gateway: "Gateway"
    course: Lifecycle
    waiter: Waiter | None = None
    line: WaitQueue | None = None
    replica: str = ""
    cached: int = 0
    first: float | None = None
    ended: float | None = None
    refused: bool = False

    @property
    def first_token(self) -> float | None:
        """Seconds to the first token."""
        return None if self.first is None else self.first - self.request.at


class Replica:
    """A sidecar's slots and its engine."""

    def __init__(self, name: str, pool: "Pool") -> None:
        self.name = name
        self.pool = pool
        self.admission = Admission(pool.found.slots, high_percent=0)
        self.admission.become(ReplicaState.SERVING)
        self.engine = ReplayEngine(pool.clock, Batch(pool.setup.limits, pool.setup.times), self._first, self._end)
        self.ahead = 0  # prompt tokens that wait for their first token
        self._members: dict[Prompt, tuple[Played, int]] = {}

    def take(self, played: Played, size: int, offer: int | None) -> None:
        """A request comes, for the slot of an offer or for a free one."""
        request = played.request
        if offer is None:
            admitted = self.admission.admit(Priority.NORMAL, size)
            assert admitted, f"{self.name} had no slot"
        else:
            self.admission.admit_offered(offer, size)
        played.replica = self.name
        prompt = Prompt(request.prompt, request.output, self.pool.clock.now, request.blocks)
        self._members[prompt] = played, size
        self.ahead += request.prompt
        self.engine.add(prompt)

    def _first(self, prompt: Prompt) -> None:
        played = self._members[prompt][0]
        played.first, played.cached = self.pool.clock.now, prompt.cached
        self.ahead -= prompt.prompt
        for gateway in self.pool.gateways.values():
            gateway.placement.served(played.request, self.name, self.pool.clock.now)

    def _end(self, prompt: Prompt) -> None:
        played, size = self._members.pop(prompt)
        played.ended = self.pool.clock.now
        self.admission.release(played.ended - prompt.arrived, weight=size)
        self.pool.changed[self.name] = None


@dataclass(slots=True, eq=False)
class Gateway:
    """The lines of one gateway."""

    name: str
    placement: Placement
    line: WaitQueue = field(default_factory=lambda: WaitQueue(UNBOUNDED))
    homes: dict[str, WaitQueue] = field(default_factory=dict)
    waiting: dict[int, Played] = field(default_factory=dict)
    repeats: bool = False


class Pool:
    """The whole of it. Requests in, played out."""

    def __init__(self, setup: Setup, placements: Sequence[Placement], seed: int = 0) -> None:
        self.setup = setup
        self.clock = Clock()
        self.changed: dict[str, None] = {}  # replicas whose slots or waiters changed
        self.played: list[Played] = []
        self.replicas: dict[str, Replica] = {}
        self.gateways = {f"gateway-{n}": Gateway(f"gateway-{n}", p) for n, p in enumerate(placements)}
        self._among: tuple[str, ...] = ()
        self._rng = random.Random(seed)
        self._ids = itertools.count(1)
        self.found = capacity(
            CapacityInputs(
                max_num_seqs=setup.limits.max_num_seqs,
                kv_tokens=setup.limits.kv_tokens,
                live_tokens=setup.live_tokens,
            )
        )
        for number in range(setup.replicas):
            self._start(f"{POOL}-{number}")

    def run(self, requests: Sequence[Request], progress: Callable[[float], None] = lambda _: None) -> list[Played]:
        """Play the requests to their end."""
        gateways = list(self.gateways.values())
        for request in requests:
            self.clock.at(request.at, partial(self._arrive, request, gateways))
        done = 0
        while self.clock.step():
            self._settle()
            if len(self.played) - done >= 200:
                done = len(self.played)
                progress(done / len(requests))
        return self.played

    def grow(self, when: float) -> str:
        """One replica more from then on; its name."""
        name = f"{POOL}-{len(self.replicas)}"
        self.clock.at(when, lambda: self._start(name))
        return name

    @property
    def slots(self) -> int:
        """Slots of one replica."""
        return self.found.slots

    # Requests.

    def _arrive(self, request: Request, gateways: Sequence[Gateway]) -> None:
        facts = RequestFacts(model=MODEL, prompt_tokens=request.prompt)
        course = Lifecycle(facts, request.session, request.at, float("inf"))
        played = Played(request, self._rng.choice(gateways), course)
        self.played.append(played)
        if played.gateway.placement.queues:
            self._take(played, course.start(Sight(self, played), self.clock.now))
        else:
            self._without_gateway(played)

    def _take(self, played: Played, step: Step) -> None:
        """Do what the lifecycle says."""
        match step:
            case Dispatch(_, replica):
                self._send(played, self.replicas[replica], None)
            case WaitForSlot():
                self._wait(played, step.home, step.until, step.prefers, step.away_penalty)
            case _:
                played.refused = True

    def _without_gateway(self, played: Played) -> None:
        """A Service's choice: its replica has a slot, or the request waits there for one."""
        choice = played.gateway.placement.choose(played.request, self.view(), self.clock.now, True)
        if choice.replica and not played.gateway.homes.get(choice.replica):
            self._send(played, self.replicas[choice.replica], None)
        else:
            self._wait(played, choice.replica or choice.home, played.request.at + self.setup.max_wait)

    def view(self) -> View:
        """What a gateway knows of the replicas."""
        return View(
            self._among,
            {name: self.replicas[name].admission.free for name in self._among},
            {name: self.replicas[name].ahead for name in self._among},
        )

    # Queue and offers.

    def _wait(self, played: Played, home: str, until: float, prefers: str = "", late: float = 0.0) -> None:
        """There is one pool: nothing is to be decided anew before the wait is over."""
        gateway = played.gateway
        waiter = Waiter(next(self._ids), Priority.NORMAL, played.request.at, until, home=prefers, away_penalty=late)
        line = gateway.homes.setdefault(home, WaitQueue(UNBOUNDED)) if home else gateway.line
        line.join(waiter)
        played.waiter, played.line = waiter, line
        gateway.waiting[waiter.id] = played
        self.clock.at(until, lambda: self._over(played, waiter))
        self._speak(gateway)

    def _over(self, played: Played, waiter: Waiter) -> None:
        """A wait is over: for a home, or for any replica."""
        if played.waiter is not waiter:
            return
        self._leave(played)
        self._speak(played.gateway)
        if played.gateway.placement.queues:
            self._take(played, played.course.wait_over(Sight(self, played), self.clock.now))
        else:
            played.refused = True

    def _leave(self, played: Played) -> None:
        assert played.waiter is not None and played.line is not None
        played.line.leave(played.waiter.id)
        del played.gateway.waiting[played.waiter.id]
        played.waiter = played.line = None

    def _speak(self, gateway: Gateway) -> None:
        """Tell the replicas who waits, and again every second while somebody does."""
        for name, replica in self.replicas.items():
            counts, firsts = self._word(gateway, name)
            replica.admission.offers.hear(gateway.name, counts, firsts, self.clock.now)
            self.changed[name] = None
        if gateway.waiting and not gateway.repeats:
            gateway.repeats = True
            self.clock.at(self.clock.now + REPEAT_SECONDS, lambda: self._repeat(gateway))

    def _repeat(self, gateway: Gateway) -> None:
        gateway.repeats = False
        if gateway.waiting:
            self._speak(gateway)

    def _word(self, gateway: Gateway, replica: str) -> tuple[list[int], list[list[float]]]:
        counts, deadlines = gateway.line.word(self.clock.now, replica)
        home = gateway.homes.get(replica)
        if not home:
            return list(counts), [list(rank) for rank in deadlines]
        more, firsts = home.word(self.clock.now, replica)
        both = [sorted((*a, *b)) for a, b in zip(deadlines, firsts, strict=True)]
        return [a + b for a, b in zip(counts, more, strict=True)], both

    def _settle(self) -> None:
        """Offer free slots to those who wait, until nothing changes any more."""
        while self.changed:
            name = next(iter(self.changed))
            del self.changed[name]
            a = self.replicas[name].admission
            for offer in a.offers.make(a.free, a.free_high, self.clock.now):
                self._offered(self.gateways[offer.gateway], self.replicas[name], offer)

    def _offered(self, gateway: Gateway, replica: Replica, offer: Offer) -> None:
        lines = [line for line in (gateway.line, gateway.homes.get(replica.name)) if line]
        found = [best for line in lines if (best := line.best(replica.name, self.clock.now)) is not None]
        chosen = min(found, key=lambda waiter: waiter.due_at(replica.name), default=None)
        if chosen is None:
            replica.admission.offers.decline(offer.id, self.clock.now, spent=True)
            return
        if offer.rival is not None and chosen.due_at(replica.name) > offer.rival[1] + NEAR_SECONDS:
            replica.admission.offers.hear(gateway.name, *self._word(gateway, replica.name), self.clock.now)
            replica.admission.offers.decline(offer.id, self.clock.now, spent=False)
            self.changed[replica.name] = None
            return
        played = gateway.waiting[chosen.id]
        self._leave(played)
        replica.admission.offers.take(offer.id, self.clock.now)
        if gateway.placement.queues:
            played.course.slot_granted(replica.name, self.clock.now)
        self._send(played, replica, offer.id)
        self._speak(gateway)

    def _start(self, name: str) -> None:
        self.replicas[name] = Replica(name, self)
        self._among = tuple(sorted(self.replicas))

    def _send(self, played: Played, replica: Replica, offer: int | None) -> None:
        live = played.course.facts.live_tokens
        replica.take(played, weight(live, self.found, self.setup.live_tokens), offer)


class Sight:
    """The pool as the gateway of one request sees it. Implements rules.steps.LiveFleet."""

    def __init__(self, pool: Pool, played: Played) -> None:
        self.pool, self.request, self.gateway = pool, played.request, played.gateway
        self.seen = pool.view()

    def view(self, course: Lifecycle, now: float) -> FleetView:
        waits = len(self.gateway.line)
        free = max(0, sum(self.seen.free.values()) - waits)
        serving = len(self.seen.serving_names)
        return FleetView((PoolView(POOL, (MODEL,), serving=serving, free=free, free_high=free, queued=waits),))

    def choose(self, pool: str, course: Lifecycle, now: float) -> Choice:
        return self.gateway.placement.choose(self.request, self.seen, now, not course.home_waited)

    def queue(self, pool: str) -> QueueEntry:
        return QueueEntry(max_wait_seconds=int(self.pool.setup.max_wait), max_requests=UNBOUNDED)

    def queued(self, pool: str) -> int:
        return len(self.gateway.line)

    def home(self, pool: str, course: Lifecycle, now: float) -> str:
        return self.gateway.placement.home(self.request, self.seen, now)

    def may_retry(self, pool: str, now: float) -> bool:
        return True
