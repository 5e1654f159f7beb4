"""Pools in simulated time: their size, cold starts and drains, and the sums that decisions are made from."""

from collections.abc import Callable, Iterator
from functools import partial

from forebay.replay.clock import Clock
from forebay.replay.nodes import Nodes
from forebay.replay.replicas import Replica
from forebay.replay.scaler import ScalerView
from forebay.replay.setup import PoolSetup
from forebay.resources.reasons import Priority
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport
from forebay.resources.terms import ScalingMode
from forebay.rules.affinity import Sessions
from forebay.rules.capacity import CapacityInputs, Learnt, capacity, slot_tokens
from forebay.rules.facts import PoolView
from forebay.rules.lost_demand import Counters
from forebay.rules.scale import normal_slots


class Pool:
    """One pool: its replicas by ordinal, as a StatefulSet has them, and the sums that decisions are made from."""

    def __init__(self, setup: PoolSetup, clock: Clock, nodes: Nodes, *, exact: bool) -> None:
        self.setup, self.clock, self.nodes, self.exact = setup, clock, nodes, exact
        self.name = setup.name
        entry = setup.entry
        told, most = entry.learnt, setup.limits.max_num_seqs
        self.found = capacity(
            CapacityInputs(
                override=entry.slots_per_replica,
                max_num_seqs=min(entry.max_num_seqs or most, most),
                kv_tokens=setup.limits.kv_tokens,
                live_tokens=setup.live_tokens,
                learnt=None if told is None else Learnt(told.slots, told.bound, told.kv_tokens),
            )
        )
        self.slot_tokens = slot_tokens(self.found, setup.limits.kv_tokens)
        self.capabilities, self.inputs = frozenset(entry.capabilities), frozenset(entry.inputs)
        self.sessions = Sessions()
        self.replicas: dict[int, Replica] = {}
        self.by_name: dict[str, Replica] = {}  # those that serve
        self.serving_names: tuple[str, ...] = ()
        self.wanted = 0
        self.free = self.free_high = 0
        self.starting = 0  # those that a node has and that do not serve yet
        self.grown = 0.0  # when the latest one began to serve
        self.queued = 0  # at all gateways
        self.untold: dict[Replica, None] = {}  # they have news of first tokens
        self.freed: dict[Replica, None] = {}  # they have a slot that somebody may wait for
        self.finished, self.service_seconds = 0, 0.0
        self.gpu_seconds = 0.0  # of replicas that have ended
        self.arrivals = 0
        self.last_change = 0.0
        self._known = entry.slots_per_replica is not None
        self._counters = Counters(0.0)
        self._looked, self._arrivals = 0.0, 0
        bounds, manual = setup.scaling, setup.scaling.mode is ScalingMode.MANUAL
        within = min(max(setup.replicas, bounds.min_replicas), bounds.max_replicas)
        self.first_size = setup.replicas if manual else within
        self.resize(self.first_size, warm=True)

    def view(self, queued: int, ahead: int) -> PoolView:
        """What the rule sees at a gateway where `queued` wait, `ahead` of them before the request that is decided."""
        entry = self.setup.entry
        return PoolView(
            self.name,
            entry.served_names,
            self.capabilities,
            entry.task,
            self.inputs,
            entry.context_tokens,
            len(self.serving_names),
            self.starting,
            max(0, self.free - ahead),
            max(0, self.free_high - ahead),
            queued,
            0.0,
            entry.substitute,
            entry.cloud,
            entry.policy,
        )

    def free_of(self, priority: Priority) -> Callable[[str], int]:
        """Free slots of a replica for this priority."""
        by_name = self.by_name
        if priority is Priority.HIGH:
            return lambda name: by_name[name].seen[1]
        return lambda name: by_name[name].seen[0]

    def ahead_of(self, replica: str) -> int:
        """Prompt tokens that wait there."""
        return self.by_name[replica].ahead

    @property
    def running(self) -> int:
        """Slots in use."""
        return sum(replica.admission.running for replica in self.replicas.values())

    def in_state(self, state: ReplicaState) -> int:
        """How many replicas are."""
        return sum(replica.state is state for replica in self.replicas.values())

    def hear(self, now: float) -> None:
        """Let gateways know what they would know by now."""
        if self.untold:
            for replica in sorted(self.untold, key=lambda replica: replica.news_since):
                replica.hear(now)

    # Size.

    def resize(self, wanted: int, *, warm: bool = False) -> None:
        """From now on so many; `warm`: new ones serve at once."""
        self.wanted, self.last_change = wanted, self.clock.now
        for ordinal in [ordinal for ordinal in self.replicas if ordinal >= wanted]:
            self._drain(self.replicas[ordinal])
        for ordinal in range(wanted):
            if ordinal not in self.replicas:
                self._start(ordinal, warm=warm)

    def _start(self, ordinal: int, *, warm: bool = False) -> None:
        replica = self.replicas[ordinal] = Replica(self, ordinal)
        self.nodes.ask(replica, self.setup.gpus, partial(self._place, replica, warm))

    def _place(self, replica: Replica, warm: bool) -> None:
        """A node has it; it serves after a cold start, or at once where it was `warm` and has not waited."""
        at_once = warm and replica.born == self.clock.now
        replica.placed, replica.born = True, self.clock.now
        self.starting += 1
        if at_once:
            self._serve(replica)
        else:
            self.clock.at(self.clock.now + self.setup.cold_start, partial(self._serve, replica))

    def _serve(self, replica: Replica) -> None:
        if self.replicas.get(replica.ordinal) is not replica:
            return
        self.starting -= 1
        self.grown = self.clock.now if self.clock.now else self.grown
        self._known = True
        self.by_name[replica.name] = replica
        self.serving_names = tuple(sorted(self.by_name))
        replica.admission.become(ReplicaState.SERVING)

    def _drain(self, replica: Replica) -> None:
        if replica.state is ReplicaState.STARTING:
            self.starting -= replica.placed
            self._gone(replica)
        elif replica.state is ReplicaState.SERVING:
            del self.by_name[replica.name]
            self.serving_names = tuple(sorted(self.by_name))
            replica.admission.become(ReplicaState.DRAINING)
            self.clock.at(self.clock.now + self.setup.entry.drain_seconds, replica.cut)
            self.look_after(replica)

    def look_after(self, replica: Replica) -> None:
        """One that drains and has nothing left to do is gone."""
        if replica.state is ReplicaState.DRAINING and replica.idle and self.replicas.get(replica.ordinal) is replica:
            self._gone(replica)

    def _gone(self, replica: Replica) -> None:
        del self.replicas[replica.ordinal]
        if replica.placed:
            self.gpu_seconds += (self.clock.now - replica.born) * self.setup.gpus
            self.nodes.give_back(self.setup.gpus)
        else:
            self.nodes.forget(replica)
        if replica.ordinal < self.wanted:
            self._start(replica.ordinal)

    def gpu_seconds_until_now(self) -> float:
        """Of all replicas there were."""
        alive: Iterator[float] = (self.clock.now - it.born for it in self.replicas.values() if it.placed)
        return self.gpu_seconds + sum(alive) * self.setup.gpus

    @property
    def placed(self) -> int:
        """Replicas of the size asked for that a node has."""
        return sum(replica.placed for ordinal, replica in self.replicas.items() if ordinal < self.wanted)

    @property
    def tail(self) -> int:
        """How many of the last ordinals have no node."""
        placed = [ordinal for ordinal, replica in self.replicas.items() if replica.placed and ordinal < self.wanted]
        return self.wanted - 1 - max(placed, default=-1)

    # What a scaler sees.

    def look(self, demand: PoolDemand) -> ScalerView:
        """The numbers that the operator would have: from the routers' totals, by its own counting."""
        now = self.clock.now
        gateways = GatewayReport(
            replica="gateways", version="", started=0.0, generation=0, hash="", ready=True, pools=(demand,)
        )
        sidecars = SidecarReport(
            pool=self.name, replica="sidecars", version="", started=0.0, generation=0, hash="",
            state=ReplicaState.SERVING, slots=0, running=0,
            finished_total=self.finished, service_seconds_total=self.service_seconds,
        )  # fmt: skip
        self._counters = self._counters.advance(self.name, (gateways,), (sidecars,), now)
        elapsed, arrived = now - self._looked, self.arrivals - self._arrivals
        self._looked, self._arrivals = now, self.arrivals
        ready, latest = len(self.serving_names), self._counters.latest(now)
        percent = self.setup.entry.high_reserved_percent
        return ScalerView(
            now=now,
            pool=self.name,
            size=self.wanted,
            ready=ready,
            starting=max(self.wanted - ready, 0),
            ending=self.in_state(ReplicaState.DRAINING),
            running=self.running,
            queued=demand.queued,
            overflowing=demand.overflow_running,
            lost_per_second=self._counters.lost_per_second(now),
            service_seconds=self._counters.service_seconds(),
            capacity=normal_slots(self.found.slots, percent) if self._known else None,
            arrivals_per_second=arrived / elapsed if elapsed else 0.0,
            cold_start_seconds=self.setup.cold_start,
            last_request=max(demand.last_request, self.last_change),
            lost=latest.lost,
            overflowed=latest.overflowed,
            spent=float(latest.cost),
            overflow_hour_cost=self._counters.cost_per_hour(now),
            overflow_cost_per_request_hour=self._counters.cost_per_request_hour(),
            unplaced=self.wanted - self.placed,
        )
