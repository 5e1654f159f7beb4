"""What there is: one fleet as a frozen value, from the cache and from the routers' reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from forebay.controller.cluster.kubernetes_api import OWNED, POD, POLICY, POOL, Cluster, Object
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.cluster.report_client import ControlTokens, ReportClient, rotating
from forebay.controller.manifests.common import Owner
from forebay.controller.observe.memory import FleetMemory, LastReport, ObjectKey
from forebay.controller.observe.pods import Pod
from forebay.controller.observe.quiet_sidecars import sidecars_are_quiet
from forebay.controller.observe.warnings import create_failure, with_warnings
from forebay.resources import names
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import PoolStatus
from forebay.resources.report import GatewayReport
from forebay.rules.arbitrate import Bid

T = TypeVar("T", bound=BaseModel)
RESERVED = frozenset({names.CLIENT_SERVICE, names.GATEWAY})


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
    heard: Mapping[str, LastReport] = field(default_factory=dict)
    live: Mapping[ObjectKey, Object] = field(default_factory=dict)
    token: Object | None = None
    lost_token: Object | None = None  # as it was when it last had one
    rivals: tuple[Bid, ...] = ()  # what pools of other fleets ask for
    roomier: Mapping[str, float] = field(default_factory=dict)  # by GPU resource: when nodes last had more (Unix s)
    rivals_known: bool = True  # every other fleet has said what it asks for
    last_words: tuple[str, ...] = ()  # of gateways whose pods are gone

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Every pool and policy: the owners of what the fleet shares."""
        return (*(pool.owner for pool in self.pools), *(policy.owner for policy in self.policies))


async def observe(
    namespace: str,
    cache: ObjectCache,
    *,
    cluster: Cluster,
    tokens: ControlTokens,
    reports: ReportClient,
    memory: FleetMemory,
    now: float,
) -> ObservedFleet:
    """Look at one fleet. Raises ClusterError when the token's Secret cannot be read."""
    pods = _pods(cache, namespace)
    secret, heard = None, {}
    if cache.any(POOL, namespace) or cache.any(POLICY, namespace):
        secret = await tokens.secret(namespace)
        heard = await _listen(pods, tokens.value(namespace), reports, memory, now, everybody=rotating(secret))
    live = {(kind.kind, obj["metadata"]["name"]): obj for kind in OWNED for obj in cache.of(kind.kind, namespace)}
    pools = [
        _pool(obj, live, pods.get(obj["metadata"]["name"], ()))
        for obj in cache.of(POOL.kind, namespace)
        if not obj["metadata"].get("deletionTimestamp")
    ]
    policies = [
        _policy(obj) for obj in cache.of(POLICY.kind, namespace) if not obj["metadata"].get("deletionTimestamp")
    ]
    return ObservedFleet(
        namespace,
        now,
        tuple([await _with_words(pool, namespace, cluster) for pool in pools]),
        tuple(policies),
        await with_warnings(pods.get("", ()), namespace, cluster),
        heard,
        live,
        secret,
        tokens.lost(namespace),
        last_words=tuple(words for obj in cache.departed(namespace) if (words := Pod.of(obj).last_words)),
    )


def _pods(cache: ObjectCache, namespace: str) -> dict[str, tuple[Pod, ...]]:
    """Replicas by their pool, and the gateways by the empty name."""
    found: dict[str, list[Pod]] = {}
    for obj in cache.of(POD.kind, namespace):
        labels = obj["metadata"].get("labels") or {}
        if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY:
            found.setdefault("", []).append(Pod.of(obj))
        elif pool := labels.get(names.LABEL_POOL):
            found.setdefault(pool, []).append(Pod.of(obj))
    return {pool: tuple(pods) for pool, pods in found.items()}


async def _listen(
    pods: Mapping[str, tuple[Pod, ...]],
    token: str,
    reports: ReportClient,
    memory: FleetMemory,
    now: float,
    *,
    everybody: bool,
) -> dict[str, LastReport]:
    """What every router last said: the gateways are asked, and those sidecars for which they do not speak."""
    before = memory.heard
    gateways = [pod for pod in pods.get("", ()) if pod.address]
    new = await reports.fetch(token, {pod.name: pod.address for pod in gateways}, keep=True)
    said = [report if isinstance(report := new.get(pod.name), GatewayReport) else None for pod in gateways]
    asked: list[Pod] = []
    spoken_for: list[Pod] = []
    for pool, mine in pods.items():
        if pool:
            resting = not everybody and all(pod.counts and pod.uid not in memory.touched for pod in mine)
            resting = resting and sidecars_are_quiet(pool, [pod.name for pod in mine], said, before, now)
            (spoken_for if resting else asked).extend(pod for pod in mine if pod.address)
    new |= await reports.fetch(token, {pod.name: pod.address for pod in asked})
    heard = {pod.name: before[pod.name] for pod in (*gateways, *asked) if pod.name in before}
    heard |= {pod.name: replace(before[pod.name], time=now) for pod in spoken_for}
    return heard | {name: LastReport(report, now, now) for name, report in new.items()}


async def _with_words(pool: ObservedPool, namespace: str, cluster: Cluster) -> ObservedPool:
    """Pods that are missing, or that do not get on, have a reason that only Events tell."""
    pool = replace(pool, pods=await with_warnings(pool.pods, namespace, cluster))
    wanted = pool.statefulset["spec"].get("replicas", 1) if pool.statefulset else 0
    if pool.statefulset is None or len(pool.pods) >= wanted:
        return pool
    decided = pool.status.scaling.decisions[0].time if pool.status.scaling.decisions else ""
    return replace(pool, create_failure=await create_failure(pool.statefulset, namespace, cluster, decided))


def _pool(obj: Object, live: Mapping[ObjectKey, Object], pods: tuple[Pod, ...]) -> ObservedPool:
    metadata = obj["metadata"]
    spec, invalid = _parsed(PoolSpec, obj.get("spec") or {})
    status, wrong = _parsed(PoolStatus, obj.get("status") or {})
    if metadata["name"] in RESERVED:
        spec, invalid = None, f"the name {metadata['name']} is taken by an object of the fleet: choose another name"
    return ObservedPool(
        owner=Owner(names.POOL_KIND, metadata["name"], metadata["uid"]),
        generation=metadata.get("generation", 0),
        spec=spec,
        invalid=invalid,
        created=metadata.get("creationTimestamp", ""),
        status=status or PoolStatus(),
        live_status={} if wrong else obj.get("status") or {},
        statefulset=live.get(("StatefulSet", metadata["name"])),
        pods=pods,
    )


def _policy(obj: Object) -> ObservedPolicy:
    metadata = obj["metadata"]
    spec, invalid = _parsed(PolicySpec, obj.get("spec") or {})
    status, wrong = _parsed(PolicyStatus, obj.get("status") or {})
    return ObservedPolicy(
        owner=Owner(names.POLICY_KIND, metadata["name"], metadata["uid"]),
        generation=metadata.get("generation", 0),
        spec=spec,
        invalid=invalid,
        status=status or PolicyStatus(),
        live_status={} if wrong else obj.get("status") or {},
    )


def _parsed(model: type[T], raw: Object) -> tuple[T | None, str]:
    """The typed value, or None and what is wrong with the raw one."""
    try:
        return model.model_validate(raw), ""
    except ValidationError as error:
        wrong = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:3]]
        return None, "; ".join(wrong)
