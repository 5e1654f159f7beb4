"""`kubectl forebay budget [POLICY]`: what policies may cost, what is spent and left of it, and what to do next."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forebay.cli import console
from forebay.cli.console import FormatOption, OutputFormat
from forebay.cli.problem import Problem
from forebay.cli.running.budget_state import (
    BudgetState,
    budget_as_data,
    budget_states,
    dollars,
    in_sentences,
    next_step,
    reserved_for_high,
    share,
    when,
)
from forebay.cli.running.cluster_options import (
    ContextOption,
    EverywhereOption,
    KubeconfigOption,
    NamespaceOption,
    connect,
)
from forebay.cli.running.fleet_objects import Policy, policies

MONEY = ("amount", "spent", "in flight", "leased", "lost", "left", "for High")


def _policies(context: typer.Context, incomplete: str) -> list[str]:
    """Names of policies for a shell's completion; none where they cannot be asked for."""
    chosen = context.params
    try:
        cluster, where = connect(chosen.get("kubeconfig", ""), chosen.get("context", ""), chosen.get("namespace", ""))
        return [item.name for item in policies(cluster, where) if item.name.startswith(incomplete)]
    except Problem:
        return []


def budget(
    policy: Annotated[
        str, typer.Argument(metavar="[POLICY]", help="One policy; all of them by default.", autocompletion=_policies)
    ] = "",
    namespace: NamespaceOption = "",
    everywhere: EverywhereOption = False,
    output: FormatOption = OutputFormat.TABLE,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """What policies may cost, what is spent, held by gateways, lost and left of it, and what to do next."""
    cluster, where = connect(kubeconfig, context, namespace, everywhere)
    found = named(policies(cluster, where), policy, where)
    if output is OutputFormat.TABLE:
        show(console.out(), found, where, time.time())
    else:
        console.emit(as_data(found, time.time()), output)


def named(found: tuple[Policy, ...], name: str, where: str) -> tuple[Policy, ...]:
    """Those of this name; all where it is empty. Raises Problem where there is none."""
    chosen = tuple(item for item in found if name in ("", item.name))
    if name and not chosen:
        others = ", ".join(sorted({item.name for item in found})) or "none"
        raise Problem(f"{name} is no policy of {_scope(where)} (policies: {others})")
    return chosen


def show(to: Console, found: Sequence[Policy], where: str, now: float) -> None:
    """Print it for a person."""
    strange = [item.name for item in found if item.spec is None]
    for name in strange:
        words = f"the spec of policy {name} is not understood: update this program, or read its condition Ready"
        to.print(Text.assemble(("note", "yellow"), f": {words}"), soft_wrap=True)
    states = budget_states(found, now)
    several = len({item.namespace for item in found}) > 1
    if states:
        to.print(_table(states, several))
    elif len(strange) < max(1, len(found)):
        to.print(none_in_words([item.name for item in found if item.spec is not None], where), soft_wrap=True)
    for state in states:
        place = f" in {state.policy.namespace}" if several else ""
        to.print(Text.assemble("\n", (state.policy.name, "bold"), place))
        for line in in_sentences(state):
            to.print(Text(f"  {line}", _colour(state) if line.startswith(f"{state.reason}:") else ""), soft_wrap=True)


def none_in_words(names: Sequence[str], where: str) -> str:
    """That nothing caps what requests of these policies cost."""
    if not names:
        return f"{_scope(where)} has no policy: nothing of it goes to a provider, and nothing has a budget"
    free = f"policy {names[0]} has no budget" if len(names) == 1 else f"no policy of {_scope(where)} has a budget"
    return f"{free}: nothing bounds what requests cost at its providers; set spec.budget.amount to bound it"


def _table(states: Sequence[BudgetState], several: bool) -> Table:
    made = console.table(*(("namespace",) if several else ()), "policy", "state", *MONEY, "until", right=MONEY)
    for state in states:
        figures = state.figures
        spent = f"{dollars(figures.spent)} {share(figures.spent, figures.amount)}".strip() if figures else "-"
        held = (dollars(part) for part in (figures.in_flight, figures.leased, figures.lost)) if figures else "---"
        made.add_row(
            *((state.policy.namespace,) if several else ()),
            state.policy.name,
            Text(state.reason, _colour(state)),
            dollars(figures.amount if figures else state.budget.amount),
            spent,
            *held,
            dollars(figures.left, down=True) if figures else "-",
            dollars(reserved_for_high(state)) if state.budget.reserved_for_high_percent else "-",
            when(figures.period_end) if figures and figures.period_end else "-",
        )
    return made


def _colour(state: BudgetState) -> str:
    if state.judged is None:
        return ""
    if state.judged.status == "False":
        return "bold red"
    return "yellow" if next_step(state) else "green"


def _scope(where: str) -> str:
    return f"namespace {where}" if where else "this cluster"


def as_data(found: Sequence[Policy], now: float) -> dict[str, Any]:
    """The same for programs. Money that is not known is null."""
    return {"budgets": [budget_as_data(state) for state in budget_states(found, now)]}
