"""What the API server knows of fleets, as values: pools, policies and the Events about them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from forebay.cli.problem import Problem
from forebay.cli.running.cluster import ClusterReader, Object
from forebay.resources import names
from forebay.resources.fields import Condition
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import PoolStatus

EVENTS_API: Final = "events.k8s.io/v1"
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RunningPool:
    """A LocalModelPool. `spec` is None where this program does not understand it."""

    namespace: str
    name: str
    spec: PoolSpec | None
    status: PoolStatus
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """A CloudFallbackPolicy."""

    namespace: str
    name: str
    spec: PolicySpec | None
    status: PolicyStatus
    generation: int = 0


@dataclass(frozen=True, slots=True)
class KubeEvent:
    """One Event; `time` is when it was last seen (RFC 3339, UTC), `count` how often."""

    time: str
    reason: str
    note: str
    kind: str
    name: str
    warning: bool = False
    count: int = 1


@dataclass(frozen=True, slots=True)
class Fleets:
    """Everything of forebay's in one namespace, or in all of them."""

    pools: tuple[RunningPool, ...] = ()
    policies: tuple[Policy, ...] = ()

    @property
    def several(self) -> bool:
        """Whether a namespace has to be named."""
        return len({*(pool.namespace for pool in self.pools), *(policy.namespace for policy in self.policies)}) > 1


def fleets(cluster: ClusterReader, namespace: str) -> Fleets:
    """Read the pools and policies; an empty namespace means all. Raises Problem."""
    pools = cluster.list(names.API_VERSION, names.POOL_PLURAL, namespace)
    return Fleets(tuple(map(pool_of, pools)), policies(cluster, namespace))


def policies(cluster: ClusterReader, namespace: str) -> tuple[Policy, ...]:
    """Read the policies alone; an empty namespace means all. Raises Problem."""
    return tuple(map(policy_of, cluster.list(names.API_VERSION, names.POLICY_PLURAL, namespace)))


def pool(cluster: ClusterReader, namespace: str, name: str) -> RunningPool | None:
    """One pool; None where there is none of this name. Raises Problem."""
    found = cluster.get(names.API_VERSION, names.POOL_PLURAL, namespace, name)
    return pool_of(found) if found is not None else None


def events_about(cluster: ClusterReader, namespace: str, *, about: str = "") -> tuple[KubeEvent, ...]:
    """The Events that forebay wrote, oldest first; `about` is the name of a pool or policy. Raises Problem."""
    query = {"fieldSelector": f"regarding.name={about}"} if about else {}
    return kube_events(cluster.list(EVENTS_API, "events", namespace, **query))


def kube_events(events: Iterable[Object]) -> tuple[KubeEvent, ...]:
    """Those of them that are forebay's, oldest first."""
    mine = (item for item in events if item.get("reportingController") == names.REPORTING_CONTROLLER)
    return tuple(map(_kube_event, sorted(mine, key=_last_seen)))


def pool_of(obj: Object) -> RunningPool:
    """A pool as the API server has it. Raises Problem when its status makes no sense."""
    spec = _parsed(PoolSpec, obj.get("spec") or {})
    return RunningPool(*_where(obj), spec, _status(PoolStatus, obj), _generation(obj))


def policy_of(obj: Object) -> Policy:
    """A policy as the API server has it. Raises Problem when its status makes no sense."""
    spec = _parsed(PolicySpec, obj.get("spec") or {})
    return Policy(*_where(obj), spec, _status(PolicyStatus, obj), _generation(obj))


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """One condition by its type."""
    return next((item for item in conditions if item.type == kind), None)


def _where(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])


def _generation(obj: Object) -> int:
    return int(obj["metadata"].get("generation", 0))


def _parsed(model: type[T], raw: Object) -> T | None:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def _status(model: type[T], obj: Object) -> T:
    found = _parsed(model, obj.get("status") or {})
    if found is None:
        where, name = _where(obj)
        raise Problem(
            f"the status of {name} in namespace {where} is not understood: "
            "this program may be older than the operator; update it"
        )
    return found


def _last_seen(event: Object) -> str:
    """To the microsecond, as far as the Event says so."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
    )


def _kube_event(event: Object) -> KubeEvent:
    series, about = event.get("series") or {}, event.get("regarding") or {}
    time = _last_seen(event)
    return KubeEvent(
        time=time[:19] + "Z" if time else "",
        reason=str(event.get("reason", "")),
        note=str(event.get("note", "")),
        kind=str(about.get("kind", "")),
        name=str(about.get("name", "")),
        warning=event.get("type") == "Warning",
        count=int(series.get("count", 1)),
    )
