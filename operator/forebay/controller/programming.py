"""The routing table of a fleet, and who has taken it over. Pure.

Each key of the ConfigMap is one table with a generation of its own, raised only when its content changes: the gateways'
table, and for each pool the part that its sidecars mount. What nobody changed keeps its text to the letter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from forebay.controller.manifests.template import max_num_seqs
from forebay.controller.memory import Heard
from forebay.controller.observe import ObservedFleet, ObservedPolicy, ObservedPool
from forebay.controller.pods import Pod
from forebay.resources import names, table
from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.policy import PolicySpec, Provider
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import CapacityBound
from forebay.resources.table import (
    LearntEntry,
    ModelEntry,
    PolicyEntry,
    PoolEntry,
    ProviderEntry,
    QueueEntry,
    RoutingTable,
    TargetEntry,
)

_NOTHING_LEARNT: Final = CapacityStatus()


@dataclass(frozen=True, slots=True)
class Programme:
    """The ConfigMap's data, and the generation of each of its tables."""

    data: Mapping[str, str]
    generations: Mapping[str, int]
    changed: bool

    @property
    def generation(self) -> int:
        """The highest generation."""
        return max(self.generations.values(), default=0)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far routers are with one table: those that are ready, those that have it, and what others complain of."""

    generation: int
    ready: int = 0
    acknowledged: int = 0
    behind: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every ready router has the table."""
        return self.acknowledged == self.ready and not self.errors

    def __add__(self, other: "Acknowledgement") -> "Acknowledgement":
        return Acknowledgement(
            max(self.generation, other.generation),
            self.ready + other.ready,
            self.acknowledged + other.acknowledged,
            self.behind + other.behind,
            self.errors + other.errors,
        )


def programme(fleet: ObservedFleet, operator: str = "") -> Programme:
    """What the routing ConfigMap should hold, given what it holds. `operator` is its Service, a DNS name."""
    live = (fleet.live.get(("ConfigMap", names.ROUTING_CONFIGMAP)) or {}).get("data") or {}
    old = {key: found for key, text in live.items() if (found := _decoded(text)) is not None}
    tables = _tables(fleet, old.get(names.GATEWAY_TABLE_KEY), operator)
    have = _reported(fleet)
    fresh = {
        key
        for key, new in tables.items()
        if key not in old
        or table.content_hash(new) != old[key].hash
        or have.get(key, 0) > old[key].generation  # an older one was put back: no router takes it
    }
    following = 1 + max([*(item.generation for item in old.values()), *_known(fleet)], default=0)
    data, generations = {}, {}
    for key, new in tables.items():
        generations[key] = following if key in fresh else old[key].generation
        data[key] = table.encode(msgspec.structs.replace(new, generation=following)) if key in fresh else live[key]
    return Programme(data, generations, changed=bool(fresh) or set(live) != set(data))


def acknowledgement(generation: int, pods: Iterable[Pod], heard: Mapping[str, Heard]) -> Acknowledgement:
    """How far these routers are with the table of this generation. Those that are not ready or end do not count."""
    ready = [pod for pod in pods if pod.counts]
    reports = {pod.name: heard[pod.name].report for pod in ready if pod.name in heard}
    done = {name for name, report in reports.items() if report.generation >= generation}
    return Acknowledgement(
        generation,
        len(ready),
        len(done),
        tuple(pod.name for pod in ready if pod.name not in done),
        tuple(f"{name}: {report.table_error}" for name, report in reports.items() if report.table_error),
    )


def _tables(fleet: ObservedFleet, previous: RoutingTable | None, operator: str) -> dict[str, RoutingTable]:
    pools = [entry for pool in fleet.pools if (entry := _pool(pool, fleet.namespace, previous)) is not None]
    policies = [kept for policy in fleet.policies if (kept := _policy(policy, previous)) is not None]
    bare = RoutingTable(fleet=fleet.namespace, gateways=f"{names.GATEWAY}.{fleet.namespace}.svc")
    whole = msgspec.structs.replace(bare, pools=tuple(pools), policies=tuple(policies), operator=operator)
    parts = {names.pool_table_key(pool.name): msgspec.structs.replace(bare, pools=(pool,)) for pool in pools}
    return {names.GATEWAY_TABLE_KEY: whole, **parts}


def _reported(fleet: ObservedFleet) -> dict[str, int]:
    """The highest generation of each table that one of its routers has."""
    readers = {names.GATEWAY_TABLE_KEY: fleet.gateways}
    readers |= {names.pool_table_key(pool.name): pool.pods for pool in fleet.pools}
    return {
        key: max((fleet.heard[pod.name].report.generation for pod in pods if pod.name in fleet.heard), default=0)
        for key, pods in readers.items()
    }


def _known(fleet: ObservedFleet) -> Iterable[int]:
    """Generations that were seen elsewhere: a ConfigMap deleted by hand must not begin again below them."""
    yield from (item.report.generation for item in fleet.heard.values())
    yield from (item.status.table_generation for item in fleet.pools)
    yield from (item.status.table_generation for item in fleet.policies)


def _decoded(text: str) -> RoutingTable | None:
    try:
        return table.decode(text)
    except table.TableError:
        return None


def _pool(pool: ObservedPool, namespace: str, previous: RoutingTable | None) -> PoolEntry | None:
    """A pool whose spec makes no sense keeps the entry it had."""
    if pool.spec is None:
        return next((entry for entry in previous.pools if entry.name == pool.name), None) if previous else None
    return pool_entry(pool.name, namespace, pool.spec, pool.status.capacity)


def _policy(policy: ObservedPolicy, previous: RoutingTable | None) -> PolicyEntry | None:
    if policy.spec is None:
        return next((entry for entry in previous.policies if entry.name == policy.name), None) if previous else None
    return policy_entry(policy.name, policy.spec)


def pool_entry(name: str, namespace: str, spec: PoolSpec, capacity: CapacityStatus = _NOTHING_LEARNT) -> PoolEntry:
    """What routers need to know of a pool."""
    return PoolEntry(
        name=name,
        served_names=spec.model.names(),
        capabilities=tuple(sorted(spec.capabilities)),
        task=spec.model.task,
        inputs=tuple(sorted(spec.model.inputs)),
        context_tokens=spec.model.context_tokens,
        service=f"{names.replicas_service(name)}.{namespace}.svc",
        slots_per_replica=spec.capacity.slots_per_replica,
        learnt=_learnt(spec, capacity),
        high_reserved_percent=spec.capacity.high_reserved_percent,
        max_num_seqs=max_num_seqs(spec.engine),
        drain_seconds=spec.engine.drain_seconds,
        queue=QueueEntry(
            max_wait_seconds=spec.queue.max_wait_seconds,
            cold_start_wait_seconds=spec.queue.cold_start_wait_seconds,
            max_requests=spec.queue.max_requests,
        ),
        substitute=spec.overflow.substitute,
        cloud=spec.overflow.cloud,
        policy=spec.cloud_fallback_policy_ref.name if spec.cloud_fallback_policy_ref else None,
    )


def _learnt(spec: PoolSpec, capacity: CapacityStatus) -> LearntEntry | None:
    """What was learnt, from the status: so it outlives the operator. An override leaves nothing to tell."""
    bound = next((word for word in CapacityBound if word == capacity.learnt_bound), None)
    if spec.capacity.slots_per_replica is not None or bound is None or not capacity.learnt:
        return None
    return LearntEntry(slots=capacity.learnt, bound=bound, kv_tokens=capacity.kv_tokens)


def policy_entry(name: str, spec: PolicySpec) -> PolicyEntry:
    """What gateways need to know of a policy."""
    return PolicyEntry(
        name=name,
        providers=tuple(_provider(provider) for provider in spec.providers),
        primary=tuple(TargetEntry(provider=item.provider, model=item.model) for item in spec.primary),
        secondary=tuple(TargetEntry(provider=item.provider, model=item.model) for item in spec.secondary),
        full_when=spec.overflow.full_when,
        high=spec.overflow.high,
        normal=spec.overflow.normal,
        low=spec.overflow.low,
        gap=spec.on_capability_gap,
        cloud=spec.cloud,
    )


def _provider(provider: Provider) -> ProviderEntry:
    timeouts = provider.timeouts
    return ProviderEntry(
        name=provider.name,
        base_url=provider.base_url,
        models=tuple(
            ModelEntry(
                name=model.name,
                task=model.task,
                input_price=model.input_price,
                cached_input_price=model.cached_input_price,
                output_price=model.output_price,
                context_tokens=model.context_tokens,
                inputs=tuple(sorted(model.inputs)),
                max_tokens_field=model.max_tokens_field,
                drop_fields=tuple(model.drop_fields),
                accept_fields=tuple(model.accept_fields),
            )
            for model in provider.models
        ),
        has_key=provider.api_key_secret_ref is not None,
        max_concurrent_requests=provider.limits.max_concurrent_requests,
        requests_per_minute=provider.limits.requests_per_minute,
        tokens_per_minute=provider.limits.tokens_per_minute,
        connect_seconds=timeouts.connect_seconds,
        first_token_seconds=timeouts.first_token_seconds,
        between_chunks_seconds=timeouts.between_chunks_seconds,
        total_seconds=timeouts.total_seconds,
    )
