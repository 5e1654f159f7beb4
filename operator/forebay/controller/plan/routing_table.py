"""The routing table of a fleet, and who has taken it over. Pure.

Each key of the ConfigMap is one table with a generation of its own, raised only when its content changes: the gateways'
table, and for each pool the part that its sidecars mount. What nobody changed keeps its text to the letter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from forebay.controller.observe.memory import LastReport
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy, ObservedPool
from forebay.controller.observe.pods import Pod
from forebay.resources import names, table
from forebay.resources.entries import policy_entry, pool_entry
from forebay.resources.options import RouterTimeouts
from forebay.resources.table import (
    PolicyEntry,
    PoolEntry,
    RoutingTable,
)

_USUAL: Final = RouterTimeouts()


@dataclass(frozen=True, slots=True)
class TableUpdate:
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


def table_update(fleet: ObservedFleet, operator: str = "", timeouts: RouterTimeouts = _USUAL) -> TableUpdate:
    """What the routing ConfigMap should hold, given what it holds. `operator` is its Service, a DNS name; `timeouts`
    are those of pools that say none."""
    live = (fleet.live.get(("ConfigMap", names.ROUTING_CONFIGMAP)) or {}).get("data") or {}
    old = {key: found for key, text in live.items() if (found := _decoded(text)) is not None}
    tables = _tables(fleet, old.get(names.GATEWAY_TABLE_KEY), operator, timeouts)
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
    return TableUpdate(data, generations, changed=bool(fresh) or set(live) != set(data))


def acknowledgement(generation: int, pods: Iterable[Pod], heard: Mapping[str, LastReport]) -> Acknowledgement:
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


def _tables(
    fleet: ObservedFleet, previous: RoutingTable | None, operator: str, timeouts: RouterTimeouts
) -> dict[str, RoutingTable]:
    pools = [entry for pool in fleet.pools if (entry := _pool(pool, fleet.namespace, previous, timeouts)) is not None]
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


def _pool(
    pool: ObservedPool, namespace: str, previous: RoutingTable | None, timeouts: RouterTimeouts
) -> PoolEntry | None:
    """A pool whose spec makes no sense keeps the entry it had."""
    before = next((entry for entry in previous.pools if entry.name == pool.name), None) if previous else None
    if pool.spec is None:
        return before
    had = before is not None and before.adapters is not msgspec.UNSET
    return pool_entry(pool.name, namespace, pool.spec, pool.status.capacity, timeouts, had_adapters=had)


def _policy(policy: ObservedPolicy, previous: RoutingTable | None) -> PolicyEntry | None:
    if policy.spec is None:
        return next((entry for entry in previous.policies if entry.name == policy.name), None) if previous else None
    return policy_entry(policy.name, policy.spec)
