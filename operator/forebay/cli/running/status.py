"""`kubectl forebay status`: pools and policies, what their conditions mean, and what to do next."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forebay.cli import console
from forebay.cli.console import FormatOption, OutputFormat
from forebay.cli.glossary import meaning
from forebay.cli.running.advice import Issue, issues
from forebay.cli.running.cluster_options import (
    ContextOption,
    EverywhereOption,
    KubeconfigOption,
    NamespaceOption,
    connect,
)
from forebay.cli.running.fleet_objects import Fleets, Policy, RunningPool, condition, fleets
from forebay.cli.running.timeline import capacity_unknown
from forebay.resources.policy import Target
from forebay.resources.reasons import ConditionReason, ConditionType, Priority, ScaleReason
from forebay.rules.facts import gap_tier


def status(
    namespace: NamespaceOption = "",
    everywhere: EverywhereOption = False,
    output: FormatOption = OutputFormat.TABLE,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Pools, policies, what is wrong with them in plain words, and what to do next."""
    cluster, where = connect(kubeconfig, context, namespace, everywhere)
    found = fleets(cluster, where)
    if output is OutputFormat.TABLE:
        show(console.out(), found, where)
    else:
        console.emit(as_data(found), output)


def show(to: Console, found: Fleets, where: str) -> None:
    """Print it for a person."""
    if not found.pools and not found.policies:
        scope = f"namespace {where}" if where else "this cluster"
        to.print(f"{scope} has no pool and no policy: apply one, or look elsewhere with -n or -A")
        return
    for part in screen(found):
        to.print(part)


def screen(found: Fleets) -> list[RenderableType]:
    """The tables and sentences, from top to bottom."""
    wrong = issues(found)
    parts: list[RenderableType] = []
    if found.pools:
        parts.append(_pools(found))
    if found.policies:
        parts += ["", _policies(found)]
    parts += [
        Text(f"{pool.name}: {says}") for pool in found.pools if _serves(pool) and (says := capacity_unknown(pool))
    ]
    if not wrong:
        return [*parts, "", "[green]nothing to do[/green]: every condition is as it should be"]
    return [*parts, "", "[bold]what to do next[/bold]", *(_issue(item, found.several) for item in wrong)]


def _serves(pool: RunningPool) -> bool:
    return pool.status.ready_replicas > 0


def _pools(found: Fleets) -> Table:
    where = ("namespace",) if found.several else ()
    numbers = ("replicas", "load", "queued")
    made = console.table(*where, "pool", "ready", *numbers, "spilling", "why this size", right=numbers)
    for pool in found.pools:
        status = pool.status
        made.add_row(
            *((pool.namespace,) if found.several else ()),
            pool.name,
            _ready(status.conditions),
            f"{status.ready_replicas}/{status.scaling.desired_replicas}",
            status.load or "-",
            str(status.queued),
            spilling(pool),
            escape(size_in_words(status.scaling.reason)),
        )
    return made


def _policies(found: Fleets) -> Table:
    where = ("namespace",) if found.several else ()
    made = console.table(*where, "policy", "ready", "pools", "high goes to", "others go to", right=("pools",))
    for policy in found.policies:
        made.add_row(
            *((policy.namespace,) if found.several else ()),
            policy.name,
            _ready(policy.status.conditions),
            str(policy.status.pools),
            *targets(policy),
        )
    return made


def spilling(pool: RunningPool) -> str:
    """Whether requests of this pool leave for the cloud."""
    overflow = pool.status.overflow
    if overflow.state == "Active":
        return f"[yellow]yes[/yellow], {overflow.running} now"
    return f"no, {overflow.total} before" if overflow.total else "no"


def size_in_words(reason: str) -> str:
    """A reason for a pool's size in plain words."""
    return meaning(ScaleReason, reason) or "not decided yet"


def targets(policy: Policy) -> tuple[str, str]:
    """Where High goes, and where the others do."""
    if policy.spec is None:
        return "-", "-"
    high, others = (policy.spec.targets(gap_tier(priority)) for priority in (Priority.HIGH, Priority.NORMAL))
    return _named(high), _named(others)


def _named(targets: list[Target]) -> str:
    return ", ".join(f"{item.provider}/{item.model}" for item in targets) or "nowhere"


def _ready(conditions: list[Any]) -> str:
    found = condition(conditions, ConditionType.READY)
    if found is None or found.status == "Unknown":
        return "not known"
    return "[green]yes[/green]" if found.status == "True" else "[bold red]no[/bold red]"


def _issue(item: Issue, several: bool) -> RenderableType:
    kind = "pool" if item.kind.endswith("Pool") else "policy"
    where = f" in {item.namespace}" if several else ""
    style = "bold red" if item.broken else "yellow"
    said_by = f"{kind} {item.name}{where}, {item.condition}: "
    head = Text.assemble(said_by, (item.reason, style), f", {meaning(ConditionReason, item.reason)}")
    said = Text(f"  {item.message}")
    return Group(head, said, Text(f"  next: {item.next}"))


def as_data(found: Fleets) -> dict[str, Any]:
    """The same for programs."""
    return {
        "pools": [_pool_data(item) for item in found.pools],
        "policies": [_policy_data(item) for item in found.policies],
        "issues": [
            {
                "namespace": item.namespace,
                "kind": item.kind,
                "name": item.name,
                "condition": item.condition,
                "reason": item.reason,
                "meaning": meaning(ConditionReason, item.reason),
                "message": item.message,
                "next": item.next,
                "broken": item.broken,
            }
            for item in issues(found)
        ],
    }


def _pool_data(pool: RunningPool) -> dict[str, Any]:
    status = pool.status
    return {
        "namespace": pool.namespace,
        "name": pool.name,
        "replicas": {"desired": status.scaling.desired_replicas, "ready": status.ready_replicas},
        "slots": status.slots,
        "running": status.running,
        "queued": status.queued,
        "demand": status.scaling.demand,
        "size": {"reason": status.scaling.reason, "meaning": size_in_words(status.scaling.reason)},
        "overflow": status.overflow.model_dump(mode="json", by_alias=True),
        "conditions": [item.model_dump(mode="json", by_alias=True) for item in status.conditions],
    }


def _policy_data(policy: Policy) -> dict[str, Any]:
    high, others = targets(policy)
    return {
        "namespace": policy.namespace,
        "name": policy.name,
        "pools": policy.status.pools,
        "high": high,
        "others": others,
        "conditions": [item.model_dump(mode="json", by_alias=True) for item in policy.status.conditions],
    }
