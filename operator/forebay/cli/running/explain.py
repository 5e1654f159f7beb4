"""`kubectl forebay explain POOL|REQUEST-ID`: why this size, why this spill, which decision when, and what it saw."""

import time
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from forebay.cli import console
from forebay.cli.console import FormatOption, OutputFormat
from forebay.cli.glossary import meaning
from forebay.cli.problem import Problem
from forebay.cli.running.advice import issues
from forebay.cli.running.budget_state import BudgetState, budget_as_data, budget_states, in_sentences
from forebay.cli.running.cluster import ApiServerRefused, ClusterReader
from forebay.cli.running.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, connect
from forebay.cli.running.fleet_objects import Fleets, KubeEvent, RunningPool, events_about, fleets, policies
from forebay.cli.running.fleet_objects import pool as read_pool
from forebay.cli.running.request_trace import TAIL_LINES, Search, in_words, search
from forebay.cli.running.timeline import (
    TimelineEntry,
    engines_in_words,
    now_in_words,
    timeline,
    why_this_size,
    why_this_spill,
)
from forebay.resources import names
from forebay.resources.reasons import NO_MONEY, ConditionReason, Reason

MOST_LINES: Final = 40
"""Of what happened, on a terminal."""


def _pools(context: typer.Context, incomplete: str) -> list[str]:
    """Names of pools for a shell's completion; none where they cannot be asked for."""
    chosen = context.params
    try:
        cluster, where = connect(chosen.get("kubeconfig", ""), chosen.get("context", ""), chosen.get("namespace", ""))
        return [pool.name for pool in fleets(cluster, where).pools if pool.name.startswith(incomplete)]
    except Problem:
        return []


def explain(
    what: Annotated[
        str,
        typer.Argument(metavar="POOL|REQUEST-ID", help="A pool, or the x-forebay-request-id.", autocompletion=_pools),
    ],
    namespace: NamespaceOption = "",
    output: FormatOption = OutputFormat.TABLE,
    tail: Annotated[int, typer.Option(help="Lines of each router's log to look through.", min=1)] = TAIL_LINES,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Why a pool has its size and spills, or where one request went: which decision, when, and what it saw."""
    cluster, where = connect(kubeconfig, context, namespace)
    pool = read_pool(cluster, where, what) if _may_be_a_pool(what) else None
    if pool is not None:
        events = _events(cluster, where, what)
        money = _budgets(cluster, where, policy_of_pool(pool))
        if output is OutputFormat.TABLE:
            show_pool(console.out(), pool, events, money)
        else:
            console.emit(pool_as_data(pool, events, money), output)
        return
    found = _request(cluster, where, what, tail)
    unpaid = found.line is not None and found.line.reason in NO_MONEY
    money = _budgets(cluster, where) if unpaid else ()
    if output is OutputFormat.TABLE:
        show_request(console.out(), found, money)
    else:
        console.emit(request_as_data(found, money), output)


def policy_of_pool(pool: RunningPool) -> str:
    """The name of the policy that decides about its requests."""
    reference = pool.spec.cloud_fallback_policy_ref if pool.spec is not None else None
    return reference.name if reference is not None else names.DEFAULT_POLICY


def _budgets(cluster: ClusterReader, namespace: str, policy: str = "") -> tuple[BudgetState, ...]:
    """Budgets as they stand now, of one policy or of all; whoever may not see policies gets none."""
    try:
        found = policies(cluster, namespace)
    except ApiServerRefused as refused:
        if refused.code != 403:
            raise
        console.err().print(f"note: {refused}; until then nothing is said of budgets", soft_wrap=True)
        return ()
    return budget_states([item for item in found if policy in ("", item.name)], time.time())


def _events(cluster: ClusterReader, namespace: str, name: str) -> tuple[KubeEvent, ...]:
    """The Events of a pool; whoever may not see them gets the decisions alone."""
    try:
        return events_about(cluster, namespace, about=name)
    except ApiServerRefused as refused:
        if refused.code != 403:
            raise
        console.err().print(f"note: {refused}; until then the story is the status's last ten decisions", soft_wrap=True)
        return ()


def _may_be_a_pool(what: str) -> bool:
    return len(what) <= 63 and all(sign.isalnum() or sign == "-" for sign in what) and what == what.lower()


def _request(cluster: ClusterReader, namespace: str, what: str, tail: int) -> Search:
    with console.progress(total=False) as bar:
        bar.add_task(f"looking for {what} in the routers' logs", total=None)
        found = search(cluster, namespace, what, tail)
    if found.line is None:
        raise Problem(_nowhere(fleets(cluster, namespace), namespace, what, found))
    return found


def _nowhere(there: Fleets, namespace: str, what: str, found: Search) -> str:
    pools = ", ".join(pool.name for pool in there.pools) or "none"
    logs = f"the last {found.lines} lines of {found.routers} routers' logs do not have a request of that id"
    if not found.routers:
        logs = "no router has a log to look for a request in"
    return f"{what} is no pool of namespace {namespace} (pools: {pools}), and {logs}: it may be older, or elsewhere"


def show_pool(
    to: Console, pool: RunningPool, events: tuple[KubeEvent, ...], money: tuple[BudgetState, ...] = ()
) -> None:
    """Print a pool's story for a person."""
    to.print(Text.assemble((pool.name, "bold"), f" in {pool.namespace}: {now_in_words(pool)}"))
    if words := engines_in_words(pool):
        to.print(Text(f"  {words}"), soft_wrap=True)
    _section(to, "why this size", why_this_size(pool))
    _section(to, "why this spill", why_this_spill(pool, events) or ["nothing has left for the cloud"])
    for state in money:
        _section(to, f"what policy {state.policy.name} may spend", in_sentences(state))
    to.print("\n[bold]what happened[/bold], oldest first (UTC)")
    story = timeline(pool.status.scaling.decisions, events)
    if len(story) > MOST_LINES:
        to.print(f"  {len(story) - MOST_LINES} earlier ones are left out; -o json has them all")
    for item in story[-MOST_LINES:]:
        _line(to, item)
    wrong = issues(Fleets(pools=(pool,)))
    if wrong:
        _section(
            to,
            "what to do next",
            [
                line
                for item in wrong
                for line in (
                    f"{item.condition}, {item.reason}: {meaning(ConditionReason, item.reason)}",
                    f"  {item.message}",
                    f"  next: {item.next}",
                )
            ],
        )


def _section(to: Console, title: str, lines: list[str]) -> None:
    to.print(f"\n[bold]{title}[/bold]")
    for line in lines:
        to.print(Text(f"  {line}"), soft_wrap=True)


def _line(to: Console, item: TimelineEntry) -> None:
    style = "yellow" if item.warning else "cyan"
    count = f" ({item.count} times)" if item.count > 1 else ""
    head = Text.assemble(f"  {item.time[:10]} {item.time[11:19]}  ", (item.word, style), f"{count}: {item.meaning}")
    to.print(head, soft_wrap=True)
    to.print(Text(f"      {item.what}"), soft_wrap=True)


def show_request(to: Console, found: Search, money: tuple[BudgetState, ...] = ()) -> None:
    """Print one request's story for a person."""
    assert found.line is not None
    to.print(Text.assemble((found.line.request_id, "bold"), f", written down by {found.router}"))
    for line in in_words(found.line):
        to.print(Text(f"  {line}"), soft_wrap=True)
    for state in money:
        _section(to, f"what policy {state.policy.name} may spend now", in_sentences(state))


def pool_as_data(
    pool: RunningPool, events: tuple[KubeEvent, ...], money: tuple[BudgetState, ...] = ()
) -> dict[str, Any]:
    """A pool's story for programs."""
    scaling = pool.status.scaling
    return {
        "namespace": pool.namespace,
        "name": pool.name,
        "now": now_in_words(pool),
        "engines": engines_in_words(pool),
        "size": {"reason": scaling.reason, "words": why_this_size(pool)},
        "spill": why_this_spill(pool, events),
        "budgets": [budget_as_data(state) for state in money],
        "decisions": [item.model_dump(mode="json", by_alias=True) for item in scaling.decisions],
        "happened": [
            {"time": item.time, "word": item.word, "meaning": item.meaning, "what": item.what, "count": item.count}
            for item in timeline(scaling.decisions, events)
        ],
        "next": [
            {"reason": item.reason, "message": item.message, "next": item.next}
            for item in issues(Fleets(pools=(pool,)))
        ],
    }


def request_as_data(found: Search, money: tuple[BudgetState, ...] = ()) -> dict[str, Any]:
    """One request's story for programs."""
    assert found.line is not None
    return {
        "router": found.router,
        "line": msgspec.to_builtins(found.line),
        "meaning": meaning(Reason, found.line.reason),
        "words": in_words(found.line),
        "budgets": [budget_as_data(state) for state in money],
    }
