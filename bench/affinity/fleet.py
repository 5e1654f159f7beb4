"""A pool in simulated time: gateways, queues, slots, offers and engines, each by the code that the routers run.

The rules decide (route, queue, affinity, offers), Admission counts the slots, the simulator's Batch is the engine. Only
the network is left out: a word arrives when it is said. What that costs is measured by `make bench-queue`.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.affinity.placement import Placement, View
from bench.affinity.trace import Request
from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.router.admission import Admission
from forebay.rules import route as rule
from forebay.rules.affinity import put_off
from forebay.rules.capacity import CapacityInputs, capacity, weight
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.offers import Offer
from forebay.rules.queue import Line, Waiter
from forebay.simulator.batch import Batch, Limits, ServiceTime, Step
from forebay.simulator.batch import Sequence as Prompt

POOL = "chat"
MODEL = "model"
REPEAT_SECONDS = 1.0
STEPS_TOGETHER = 100_000
NEAR_SECONDS = 0.02
UNBOUNDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Setup:
    """A pool: replicas of an 8B model on an 80 GB GPU. `max_wait` in seconds."""

    replicas: int = 8
    gateways: int = 2
    limits: Limits = field(default_factory=lambda: Limits(kv_tokens=900_000, max_batched_tokens=2048))
    times: ServiceTime = field(default_factory=ServiceTime)
    max_wait: float = 30.0
    live_tokens: int = 27_000  # p90 of the requests


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


@dataclass(slots=True, eq=False)
class Replica:
    """A sidecar's slots and its engine."""

    name: str
    admission: Admission
    batch: Batch
    members: dict[Prompt, tuple[Journey, int]] = field(default_factory=dict)
    step: Step | None = None
    begun: float = 0.0
    turn: int = 0
    ahead: int = 0  # prompt tokens that wait for their first token


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
        self.now = 0.0
        self.journeys: list[Journey] = []
        self.replicas: dict[str, Replica] = {}
        self.gateways = {f"gateway-{n}": Gateway(f"gateway-{n}", p) for n, p in enumerate(placements)}
        self._among: tuple[str, ...] = ()
        self._rng = random.Random(seed)
        self._ids = itertools.count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._changed: dict[str, None] = {}
        self._found = capacity(
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
            self._at(request.at, partial(self._arrive, request, gateways))
        done = 0
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._settle()
            if len(self.journeys) - done >= 200:
                done = len(self.journeys)
                progress(done / len(requests))
        return self.journeys

    def grow(self, when: float) -> str:
        """One replica more from then on; its name."""
        name = f"{POOL}-{len(self.replicas)}"
        self._at(when, lambda: self._start(name))
        return name

    @property
    def slots(self) -> int:
        """Slots of one replica."""
        return self._found.slots

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
                choice = gateway.placement.choose(journey.request, view, self.now, journey.patient)
                if choice.replica:
                    self._send(journey, self.replicas[choice.replica], None)
                else:
                    journey.patient = False
                    self._wait(journey, choice.home, min(self.now + choice.wait_seconds, self._deadline(journey)))
            case rule.Wait():
                self._wait(journey, "", self._deadline(journey))
            case _:
                journey.refused = True

    def _without_gateway(self, journey: Journey, view: View) -> None:
        choice = journey.gateway.placement.choose(journey.request, view, self.now, True)
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
        wanted = gateway.placement.home(journey.request, self._view(), self.now)
        late = put_off(until - journey.request.at)
        place = Waiter(next(self._ids), Priority.NORMAL, journey.request.at, until, home=wanted, put_off=late)
        line = gateway.homes.setdefault(home, Line(UNBOUNDED)) if home else gateway.line
        line.join(place)
        journey.place, journey.line = place, line
        gateway.places[place.id] = journey
        self._at(until, lambda: self._over(journey, place))
        self._speak(gateway)

    def _over(self, journey: Journey, place: Waiter) -> None:
        """A wait is over: for a home, or for any replica."""
        if journey.place is not place:
            return
        self._leave(journey)
        self._speak(journey.gateway)
        journey.waited = self.now >= self._deadline(journey)
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
            replica.admission.offers.hear(gateway.name, counts, firsts, self.now)
            self._changed[name] = None
        if gateway.places and not gateway.repeats:
            gateway.repeats = True
            self._at(self.now + REPEAT_SECONDS, lambda: self._repeat(gateway))

    def _repeat(self, gateway: Gateway) -> None:
        gateway.repeats = False
        if gateway.places:
            self._speak(gateway)

    def _word(self, gateway: Gateway, replica: str) -> tuple[list[int], list[list[float]]]:
        counts, deadlines = gateway.line.word(self.now, replica)
        home = gateway.homes.get(replica)
        if not home:
            return list(counts), [list(rank) for rank in deadlines]
        more, firsts = home.word(self.now, replica)
        both = [sorted((*a, *b)) for a, b in zip(deadlines, firsts, strict=True)]
        return [a + b for a, b in zip(counts, more, strict=True)], both

    def _settle(self) -> None:
        """Offer free slots to those who wait, until nothing changes any more."""
        while self._changed:
            name = next(iter(self._changed))
            del self._changed[name]
            a = self.replicas[name].admission
            for offer in a.offers.make(a.free, a.free_high, self.now):
                self._offered(self.gateways[offer.gateway], self.replicas[name], offer)

    def _offered(self, gateway: Gateway, replica: Replica, offer: Offer) -> None:
        lines = [line for line in (gateway.line, gateway.homes.get(replica.name)) if line]
        found = [best for line in lines if (best := line.best(replica.name, self.now)) is not None]
        chosen = min(found, key=lambda waiter: waiter.due_at(replica.name), default=None)
        if chosen is None:
            replica.admission.offers.decline(offer.id, self.now, spent=True)
            return
        if offer.rival is not None and chosen.due_at(replica.name) > offer.rival[1] + NEAR_SECONDS:
            replica.admission.offers.hear(gateway.name, *self._word(gateway, replica.name), self.now)
            replica.admission.offers.decline(offer.id, self.now, spent=False)
            self._changed[replica.name] = None
            return
        journey = gateway.places[chosen.id]
        self._leave(journey)
        replica.admission.offers.take(offer.id, self.now)
        self._send(journey, replica, offer.id)
        self._speak(gateway)

    # Engines.

    def _start(self, name: str) -> None:
        admission = Admission(self._found.slots, high_percent=0)
        admission.become(ReplicaState.SERVING)
        self.replicas[name] = Replica(name, admission, Batch(self.setup.limits, self.setup.times))
        self._among = tuple(sorted(self.replicas))

    def _send(self, journey: Journey, replica: Replica, offer: int | None) -> None:
        request = journey.request
        size = weight(self._facts(journey).live_tokens, self._found, self.setup.live_tokens)
        if offer is None:
            admitted = replica.admission.admit(Priority.NORMAL, size)
            assert admitted, f"{replica.name} had no slot"
        else:
            replica.admission.admit_offered(offer, size)
        journey.replica = replica.name
        prompt = Prompt(request.prompt, request.output, self.now, request.blocks)
        replica.members[prompt] = journey, size
        replica.ahead += request.prompt
        replica.batch.add(prompt)
        if replica.step is None:
            self._begin(replica)
        elif replica.step.count > 1:
            replica.batch.cut(replica.step, self.now - replica.begun)
            self._schedule(replica)

    def _begin(self, replica: Replica) -> None:
        step = replica.batch.begin(self.now, STEPS_TOGETHER)
        if step.seconds is None:
            replica.step = None
            return
        replica.step, replica.begun = step, self.now
        self._schedule(replica)

    def _schedule(self, replica: Replica) -> None:
        assert replica.step is not None and replica.step.seconds is not None
        replica.turn += 1
        turn = replica.turn
        self._at(replica.begun + replica.step.seconds, lambda: self._step_over(replica, turn))

    def _step_over(self, replica: Replica, turn: int) -> None:
        if turn != replica.turn or replica.step is None:
            return
        step = replica.step
        for prompt in step.made:
            if not prompt.made:
                journey = replica.members[prompt][0]
                journey.first, journey.cached = self.now, prompt.cached
                replica.ahead -= prompt.prompt
                for gateway in self.gateways.values():
                    gateway.placement.served(journey.request, replica.name, self.now)
        for prompt in replica.batch.finish(step):
            journey, size = replica.members.pop(prompt)
            journey.ended = self.now
            replica.admission.release(self.now - prompt.arrived, weight=size)
            self._changed[replica.name] = None
        self._begin(replica)

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._ids), act))
