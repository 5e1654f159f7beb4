"""A cluster in simulated time: plans are carried out, a scheduler hands out GPUs, replicas start, requests come and go.

Demand is a number of requests that want a pool at a time. What finds no slot overflows where a policy allows it, and
waits where none does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.memory import FleetMemory, LastReport
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy, ObservedPool
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.actions import Apply, Note, Say, WriteStatus
from forebay.controller.plan.plan import Plan, plan
from forebay.controller.sizing.gpu_bids import GpuBids
from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import PoolStatus
from forebay.resources.reasons import Reason
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport
from tests.controller.fleets import NOW, SETTINGS, gateway, pool, token

SERVICE_SECONDS = 10.0
OVERFLOW_DOLLARS = 0.01
SLOTS = 10
Demand = Callable[[float], float]


@dataclass
class Counted:
    """Totals of a pool's traffic."""

    overflowed: float = 0.0
    expired: float = 0.0
    finished: float = 0.0
    last_request: float = 0.0


@dataclass
class Team:
    """One namespace. Times of `demand` are seconds since the world began."""

    name: str
    demand: Mapping[str, Demand]
    pools: tuple[ObservedPool, ...]
    policies: tuple[ObservedPolicy, ...] = ()
    live: dict[tuple[str, str], Object] = field(default_factory=dict)
    token: Object = field(default_factory=token)
    memory: FleetMemory = field(default_factory=FleetMemory)
    pods: dict[str, Pod] = field(default_factory=dict)
    counted: dict[str, Counted] = field(default_factory=dict)
    heard: dict[str, LastReport] = field(default_factory=dict)
    notes: list[tuple[float, Note]] = field(default_factory=list)
    sizes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)


@dataclass
class World:
    """All of it. `gpus` are those that nobody has yet; `start` is how long a replica takes to serve."""

    teams: list[Team]
    gpus: int = 100
    start: float = 60.0
    period: float = 5.0
    quota: int = 1000  # pods of a pool that the API server takes
    now: float = NOW
    ledger: GpuBids = field(default_factory=lambda: GpuBids(NOW - 1000))
    roomier: dict[str, float] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            for team in self.teams:
                self._pass(team)
            self.now += self.period

    def restart(self) -> None:
        """The operator loses all that it remembers."""
        self.ledger = GpuBids(self.now)
        for team in self.teams:
            team.memory = FleetMemory()

    def more_gpus(self, count: int, resource: str) -> None:
        """A node comes."""
        self.gpus += count
        self.roomier[resource] = self.now

    def unplaced(self, team: Team, name: str) -> int:
        """Pods of a pool that no node has."""
        return sum(not pod.placed for pod in team.pods.values() if pod.name.startswith(f"{name}-"))

    def _pass(self, team: Team) -> None:
        self._cluster(team)
        self._traffic(team)
        names = {other.name for other in self.teams if other is not team}
        observed = ObservedFleet(
            namespace=team.name,
            now=self.now,
            pools=tuple(self._pool(team, item) for item in team.pools),
            policies=team.policies,
            gateways=(gateway(0),),
            heard=team.heard,
            live=team.live,
            token=team.token,
            rivals=self.ledger.rivals(team.name, self.now),
            rivals_known=self.ledger.knows(names, self.now),
            roomier=dict(self.roomier),
        )
        done = plan(observed, team.memory, SETTINGS)
        self.ledger.tell(team.name, done.bids, self.now)
        team.memory = done.memory
        self._carry_out(team, done)
        self._cluster(team)

    def _pool(self, team: Team, item: ObservedPool) -> ObservedPool:
        mine = tuple(pod for pod in team.pods.values() if pod.name.startswith(f"{item.name}-"))
        found = team.live.get(("StatefulSet", item.name))
        refused = found is not None and len(mine) < found["spec"]["replicas"]
        words = f"pods is forbidden: exceeded quota: gpus, limited: {self.quota}" if refused else ""
        return replace(item, statefulset=found, pods=mine, create_failure=words)

    def _cluster(self, team: Team) -> None:
        """StatefulSet controller, scheduler and kubelet."""
        for item in team.pools:
            assert item.spec is not None
            found = team.live.get(("StatefulSet", item.name))
            wanted = [f"{item.name}-{number}" for number in range(found["spec"]["replicas"] if found else 0)]
            for name in [name for name in team.pods if name.startswith(f"{item.name}-") and name not in wanted]:
                self.gpus += item.spec.engine.gpus if team.pods.pop(name).node else 0
            for name in wanted[: self.quota]:
                made = Pod(name, f"uid-{name}-{self.now}", "10.0.0.1", created=self.now)
                pod = team.pods.setdefault(name, made)
                if not pod.node and self.gpus >= item.spec.engine.gpus:
                    self.gpus -= item.spec.engine.gpus
                    pod = replace(pod, node="node", unschedulable="", created=self.now)
                elif not pod.node:
                    pod = replace(pod, unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
                ready = bool(pod.node) and self.now - pod.created >= self.start
                team.pods[name] = replace(pod, ready=ready, ready_since=pod.created + self.start if ready else 0.0)

    def _traffic(self, team: Team) -> None:
        demands, heard = [], {}
        for item in team.pools:
            wants = team.demand[item.name](self.now - NOW)
            counted = team.counted.setdefault(item.name, Counted())
            pods = [pod for pod in team.pods.values() if pod.name.startswith(f"{item.name}-") and pod.ready]
            running = min(wants, SLOTS * len(pods))
            beyond = wants - running
            leaves = beyond if team.policies else 0.0
            counted.overflowed += leaves * self.period / SERVICE_SECONDS
            counted.finished += running * self.period / SERVICE_SECONDS
            counted.last_request = self.now if wants else counted.last_request
            total = round(counted.overflowed)
            demands.append(
                PoolDemand(
                    pool=item.name,
                    queued=round(beyond - leaves),
                    overflow_running=round(leaves),
                    overflowed_total=total,
                    overflow_by_reason={Reason.ALL_POOLS_FULL: total},
                    overflow_cost_total=_money(total),
                    last_request=counted.last_request,
                )
            )
            for number, pod in enumerate(pods):
                share = round(running * (number + 1) / len(pods)) - round(running * number / len(pods))
                report = SidecarReport(
                    pool=item.name, replica=pod.name, version="1", started=NOW - 9000, generation=1, hash="",
                    state=ReplicaState.SERVING, slots=SLOTS, running=share,
                    finished_total=round(counted.finished / len(pods)),
                    service_seconds_total=round(counted.finished / len(pods)) * SERVICE_SECONDS,
                )  # fmt: skip
                heard[pod.name] = LastReport(report, self.now)
        gate = GatewayReport(
            replica="gateway-0", version="1", started=NOW - 9000, generation=1, hash="", ready=True,
            pools=tuple(demands),
        )  # fmt: skip
        team.heard = {**heard, "gateway-0": LastReport(gate, self.now)}

    def _carry_out(self, team: Team, done: Plan) -> None:
        for action in (action for batch in done.batches for action in batch.actions):
            match action:
                case Apply():
                    self._apply(team, action)
                case Say(note=note):
                    team.notes.append((self.now, note))
                case WriteStatus(name=name, status=status):
                    team.pools = tuple(
                        replace(item, live_status=status, status=PoolStatus.model_validate(status))
                        if item.name == name
                        else item
                        for item in team.pools
                    )
                case _:
                    pass

    def _apply(self, team: Team, action: Apply) -> None:
        kind, name = action.key
        metadata = {**action.obj["metadata"], "uid": f"uid-{name}", "resourceVersion": "7"}
        team.live[action.key] = {**action.obj, "metadata": metadata}
        if kind == "Secret":
            team.token = {**action.obj, "data": team.token["data"]}
        team.notes += [(self.now, note) for note in action.notes]
        team.applied.append(f"{kind} {name}")
        if kind == "StatefulSet":
            sizes = team.sizes.setdefault(name, [])
            if not sizes or sizes[-1][1] != action.obj["spec"]["replicas"]:
                sizes.append((self.now - NOW, action.obj["spec"]["replicas"]))


def _money(count: int) -> Decimal:
    return Decimal(str(OVERFLOW_DOLLARS)) * count


def team(
    name: str, specs: Mapping[str, PoolSpec], demand: Mapping[str, Demand], policies: tuple[ObservedPolicy, ...] = ()
) -> Team:
    """A namespace with pools of these specs."""
    return Team(name, demand, tuple(pool(item, pool_spec) for item, pool_spec in specs.items()), policies)


def told(one: Team, *reasons: str) -> list[tuple[float, str]]:
    """Events of these reasons, with the second at which they were written."""
    return [(at - NOW, note.text) for at, note in one.notes if note.reason.value in reasons]
