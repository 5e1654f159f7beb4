"""What there is: one fleet as a frozen value, from the cache and from the routers' reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from forebay.controller.cache import Cache
from forebay.controller.cluster import EVENT, OWNED, POD, POLICY, POOL, Cluster, ClusterError, Object
from forebay.controller.manifests.common import Owner
from forebay.controller.memory import FleetMemory, Heard, ObjectKey
from forebay.controller.pods import Pod
from forebay.controller.reports import Reports, Tokens
from forebay.resources import names
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.pool import PoolSpec, PoolStatus
from forebay.rules.arbitrate import Bid

T = TypeVar("T", bound=BaseModel)
RESERVED = frozenset({names.DOOR_SERVICE, names.GATEWAY})


@dataclass(frozen=True, slots=True)
class ObservedPool:
    """A pool as it is. `spec` is None, and `invalid` says why, when it makes no sense."""

    owner: Owner
    generation: int
    spec: PoolSpec | None
    invalid: str = ""
    created: str = ""
    status: PoolStatus = field(default_factory=PoolStatus)
    live_status: Mapping[str, Any] = field(default_factory=dict)
    statefulset: Object | None = None
    pods: tuple[Pod, ...] = ()
    create_failure: str = ""  # why the StatefulSet controller cannot create pods

    @property
    def name(self) -> str:
        """Name of the pool."""
        return self.owner.name


@dataclass(frozen=True, slots=True)
class ObservedPolicy:
    """A policy as it is."""

    owner: Owner
    generation: int
    spec: PolicySpec | None
    invalid: str = ""
    status: PolicyStatus = field(default_factory=PolicyStatus)
    live_status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.owner.name


@dataclass(frozen=True, slots=True)
class ObservedFleet:
    """One namespace: its pools, policies, gateways, and every object that is ours in it. `now` is Unix seconds."""

    namespace: str
    now: float
    pools: tuple[ObservedPool, ...] = ()
    policies: tuple[ObservedPolicy, ...] = ()
    gateways: tuple[Pod, ...] = ()
    heard: Mapping[str, Heard] = field(default_factory=dict)
    live: Mapping[ObjectKey, Object] = field(default_factory=dict)
    token: Object | None = None
    rivals: tuple[Bid, ...] = ()  # what pools of other fleets ask for
    roomier: Mapping[str, float] = field(default_factory=dict)  # by GPU resource: when nodes last had more (Unix s)
    rivals_known: bool = True  # every other fleet has said what it asks for

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Every pool and policy: the owners of what the fleet shares."""
        return (*(pool.owner for pool in self.pools), *(policy.owner for policy in self.policies))


async def observe(
    namespace: str,
    cache: Cache,
    *,
    cluster: Cluster,
    tokens: Tokens,
    reports: Reports,
    memory: FleetMemory,
    now: float,
) -> ObservedFleet:
    """Look at one fleet. Raises ClusterError when the token's Secret cannot be read."""
    pods = [(_labels(obj), Pod.of(obj)) for obj in cache.of(POD.kind, namespace)]
    secret, heard = None, dict(memory.heard)
    if next(cache.of(POOL.kind, namespace), None) or next(cache.of(POLICY.kind, namespace), None):
        secret = await tokens.secret(namespace)
        addresses = {pod.name: pod.address for _, pod in pods if pod.address}
        new = await reports.fetch(tokens.value(namespace), addresses)
        heard = {name: known for name, known in heard.items() if name in addresses}
        heard |= {name: Heard(report, now) for name, report in new.items()}
    live = {(kind.kind, obj["metadata"]["name"]): obj for kind in OWNED for obj in cache.of(kind.kind, namespace)}
    pools = [
        _pool(obj, live, tuple(pod for labels, pod in pods if labels.get(names.LABEL_POOL) == obj["metadata"]["name"]))
        for obj in cache.of(POOL.kind, namespace)
        if not obj["metadata"].get("deletionTimestamp")
    ]
    policies = [
        _policy(obj) for obj in cache.of(POLICY.kind, namespace) if not obj["metadata"].get("deletionTimestamp")
    ]
    return ObservedFleet(
        namespace,
        now,
        tuple([await _with_failure(pool, namespace, cluster) for pool in pools]),
        tuple(policies),
        tuple(pod for labels, pod in pods if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY),
        heard,
        live,
        secret,
    )


async def _with_failure(pool: ObservedPool, namespace: str, cluster: Cluster) -> ObservedPool:
    """Pods that are missing have a reason, and the StatefulSet controller tells it in Events."""
    wanted = pool.statefulset["spec"].get("replicas", 1) if pool.statefulset else 0
    if pool.statefulset is None or len(pool.pods) >= wanted:
        return pool
    fields = f"regarding.kind=StatefulSet,regarding.name={pool.name},reason=FailedCreate"
    try:
        events, _ = await cluster.list(EVENT, namespace, fields=fields)
    except ClusterError:
        return pool
    mine = [event for event in events if event["regarding"].get("uid") == pool.statefulset["metadata"]["uid"]]
    latest = max(mine, key=_last_seen, default=None)
    return replace(pool, create_failure=str(latest.get("note", ""))) if latest else pool


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def _pool(obj: Object, live: Mapping[ObjectKey, Object], pods: tuple[Pod, ...]) -> ObservedPool:
    metadata = obj["metadata"]
    spec, invalid = _parsed(PoolSpec, obj.get("spec") or {})
    status, _ = _parsed(PoolStatus, obj.get("status") or {})
    if metadata["name"] in RESERVED:
        spec, invalid = None, f"the name {metadata['name']} is taken by an object of the fleet: choose another name"
    return ObservedPool(
        owner=Owner(names.POOL_KIND, metadata["name"], metadata["uid"]),
        generation=metadata.get("generation", 0),
        spec=spec,
        invalid=invalid,
        created=metadata.get("creationTimestamp", ""),
        status=status or PoolStatus(),
        live_status=obj.get("status") or {},
        statefulset=live.get(("StatefulSet", metadata["name"])),
        pods=pods,
    )


def _policy(obj: Object) -> ObservedPolicy:
    metadata = obj["metadata"]
    spec, invalid = _parsed(PolicySpec, obj.get("spec") or {})
    status, _ = _parsed(PolicyStatus, obj.get("status") or {})
    return ObservedPolicy(
        owner=Owner(names.POLICY_KIND, metadata["name"], metadata["uid"]),
        generation=metadata.get("generation", 0),
        spec=spec,
        invalid=invalid,
        status=status or PolicyStatus(),
        live_status=obj.get("status") or {},
    )


def _parsed(model: type[T], raw: Object) -> tuple[T | None, str]:
    """The typed value, or None and what is wrong with the raw one."""
    try:
        return model.model_validate(raw), ""
    except ValidationError as error:
        wrong = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:3]]
        return None, "; ".join(wrong)


def _labels(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}
