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
from forebay.replay.engines import Engine
from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.rules import route as rule
from forebay.rules.admission import Admission
from forebay.rules.affinity import put_off
from forebay.rules.capacity import CapacityInputs, capacity, weight
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.offers import Offer
from forebay.rules.queue import Line, Waiter
from forebay.simulator.batch import Batch
from forebay.simulator.batch import Sequence as Prompt

POOL = "chat"
MODEL = "model"
REPEAT_SECONDS = 1.0
NEAR_SECONDS = 0.02
UNBOUNDED = 1_000_000


@dataclass(slots=True, eq=False)
class Journey:
    """One request and what became of it; times in seconds of the simulation. `first` None: refused."""

    request: Request
    gateway: "Gateway"
    waited: bool = False
    patient: bool = True
    place: Waiter | None = None
    line: Line | None = None
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
        self.engine = Engine(pool.clock, Batch(pool.setup.limits, pool.setup.times), self._first, self._end)
        self.ahead = 0  # prompt tokens that wait for their first token
        self._members: dict[Prompt, tuple[Journey, int]] = {}

    def take(self, journey: Journey, size: int, offer: int | None) -> None:
        """A request comes, for the slot of an offer or for a free one."""
        request = journey.request
        if offer is None:
            admitted = self.admission.admit(Priority.NORMAL, size)
            assert admitted, f"{self.name} had no slot"
        else:
            self.admission.admit_offered(offer, size)
        journey.replica = self.name
        prompt = Prompt(request.prompt, request.output, self.pool.clock.now, request.blocks)
        self._members[prompt] = journey, size
        self.ahead += request.prompt
        self.engine.add(prompt)

    def _first(self, prompt: Prompt) -> None:
        journey = self._members[prompt][0]
        journey.first, journey.cached = self.pool.clock.now, prompt.cached
        self.ahead -= prompt.prompt
        for gateway in self.pool.gateways.values():
            gateway.placement.served(journey.request, self.name, self.pool.clock.now)

    def _end(self, prompt: Prompt) -> None:
        journey, size = self._members.pop(prompt)
        journey.ended = self.pool.clock.now
        self.admission.release(journey.ended - prompt.arrived, weight=size)
        self.pool.changed[self.name] = None


@dataclass(slots=True, eq=False)
class Gateway:
    """The lines of one gateway."""

    name: str
    placement: Placement
    line: Line = field(default_factory=lambda: Line(UNBOUNDED))
    homes: dict[str, Line] = field(default_factory=dict)
    places: dict[int, Journey] = field(default_factory=dict)
    repeats: bool = False


class Pool:
    """The whole of it. Requests in, journeys out."""

    def __init__(self, setup: Setup, placements: Sequence[Placement], seed: int = 0) -> None:
        self.setup = setup
        self.clock = Clock()
        self.changed: dict[str, None] = {}  # replicas whose slots or waiters changed
        self.journeys: list[Journey] = []
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

    def run(self, requests: Sequence[Request], progress: Callable[[float], None] = lambda _: None) -> list[Journey]:
        """Play the requests to their end."""
        gateways = list(self.gateways.values())
        for request in requests:
            self.clock.at(request.at, partial(self._arrive, request, gateways))
        done = 0
        while self.clock.step():
            self._settle()
            if len(self.journeys) - done >= 200:
                done = len(self.journeys)
                progress(done / len(requests))
        return self.journeys

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
        journey = Journey(request, self._rng.choice(gateways))
        self.journeys.append(journey)
        self._decide(journey)

    def _decide(self, journey: Journey) -> None:
        gateway, view = journey.gateway, self._view()
        if not gateway.placement.queues:
            self._without_gateway(journey, view)
            return
        facts = self._facts(journey)
        match rule.route(facts, FleetView((self._pool_view(gateway, view),))).destination:
            case rule.Local():
                choice = gateway.placement.choose(journey.request, view, self.clock.now, journey.patient)
                if choice.replica:
                    self._send(journey, self.replicas[choice.replica], None)
                else:
                    journey.patient = False
                    self._wait(journey, choice.home, min(self.clock.now + choice.wait_seconds, self._deadline(journey)))
            case rule.Wait():
                self._wait(journey, "", self._deadline(journey))
            case _:
                journey.refused = True

    def _without_gateway(self, journey: Journey, view: View) -> None:
        choice = journey.gateway.placement.choose(journey.request, view, self.clock.now, True)
        if journey.waited:
            journey.refused = True
        elif choice.replica and not journey.gateway.homes.get(choice.replica):
            self._send(journey, self.replicas[choice.replica], None)
        else:
            self._wait(journey, choice.replica or choice.home, self._deadline(journey))

    def _deadline(self, journey: Journey) -> float:
        return journey.request.at + self.setup.max_wait

    def _facts(self, journey: Journey) -> RequestFacts:
        request = journey.request
        return RequestFacts(model=MODEL, prompt_tokens=request.prompt, waited=journey.waited)

    def _view(self) -> View:
        return View(
            self._among,
            {name: self.replicas[name].admission.free for name in self._among},
            {name: self.replicas[name].ahead for name in self._among},
        )

    def _pool_view(self, gateway: Gateway, view: View) -> PoolView:
        waits = len(gateway.line)
        free = max(0, sum(view.free.values()) - waits)
        return PoolView(POOL, (MODEL,), serving=len(view.among), free=free, free_high=free, queued=waits)

    # Queue and offers.

    def _wait(self, journey: Journey, home: str, until: float) -> None:
        gateway = journey.gateway
        wanted = gateway.placement.home(journey.request, self._view(), self.clock.now)
        late = put_off(until - journey.request.at)
        place = Waiter(next(self._ids), Priority.NORMAL, journey.request.at, until, home=wanted, put_off=late)
        line = gateway.homes.setdefault(home, Line(UNBOUNDED)) if home else gateway.line
        line.join(place)
        journey.place, journey.line = place, line
        gateway.places[place.id] = journey
        self.clock.at(until, lambda: self._over(journey, place))
        self._speak(gateway)

    def _over(self, journey: Journey, place: Waiter) -> None:
        """A wait is over: for a home, or for any replica."""
        if journey.place is not place:
            return
        self._leave(journey)
        self._speak(journey.gateway)
        journey.waited = self.clock.now >= self._deadline(journey)
        self._decide(journey)

    def _leave(self, journey: Journey) -> None:
        assert journey.place is not None and journey.line is not None
        journey.line.leave(journey.place.id)
        del journey.gateway.places[journey.place.id]
        journey.place = journey.line = None

    def _speak(self, gateway: Gateway) -> None:
        """Tell the replicas who waits, and again every second while somebody does."""
        for name, replica in self.replicas.items():
            counts, firsts = self._word(gateway, name)
            replica.admission.offers.hear(gateway.name, counts, firsts, self.clock.now)
            self.changed[name] = None
        if gateway.places and not gateway.repeats:
            gateway.repeats = True
            self.clock.at(self.clock.now + REPEAT_SECONDS, lambda: self._repeat(gateway))

    def _repeat(self, gateway: Gateway) -> None:
        gateway.repeats = False
        if gateway.places:
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
        journey = gateway.places[chosen.id]
        self._leave(journey)
        replica.admission.offers.take(offer.id, self.clock.now)
        self._send(journey, replica, offer.id)
        self._speak(gateway)

    def _start(self, name: str) -> None:
        self.replicas[name] = Replica(name, self)
        self._among = tuple(sorted(self.replicas))

    def _send(self, journey: Journey, replica: Replica, offer: int | None) -> None:
        live = self._facts(journey).live_tokens
        replica.take(journey, weight(live, self.found, self.setup.live_tokens), offer)
