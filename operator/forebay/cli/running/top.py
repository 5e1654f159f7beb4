"""`kubectl forebay top`: how full each pool is, what waits, what leaves and why, and what it costs, now."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forebay.cli import console
from forebay.cli.console import FormatOption, OutputFormat
from forebay.cli.glossary import meaning
from forebay.cli.running import status
from forebay.cli.running.cluster import ApiServerRefused, ClusterReader
from forebay.cli.running.cluster_options import (
    SYSTEM_NAMESPACE,
    ContextOption,
    EverywhereOption,
    KubeconfigOption,
    NamespaceOption,
    SystemOption,
    connect,
)
from forebay.cli.running.fleet_objects import fleets
from forebay.cli.running.summary_reader import of, read, why_not
from forebay.resources.reasons import Reason, ScaleReason
from forebay.resources.summary import FleetSummary, Minute, PoolSummary, Summary

BARS: Final = "▁▂▃▄▅▆▇█"
METER_CELLS: Final = 10
SPARK_MINUTES: Final = 20
RATE_SECONDS: Final = 60.0
"""Rates are means of so long, once it has been looked at."""


def top(
    namespace: NamespaceOption = "",
    everywhere: EverywhereOption = False,
    once: Annotated[bool, typer.Option("--once", help="One look, as a pipe gets it.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=60)] = 2.0,
    output: FormatOption = OutputFormat.TABLE,
    system_namespace: SystemOption = SYSTEM_NAMESPACE,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Slots, running, queued, overflow by reason and money of each pool, live."""
    cluster, where = connect(kubeconfig, context, namespace, everywhere)
    try:
        first = read(cluster, system_namespace)
    except ApiServerRefused as refused:
        if refused.code not in (403, 404, 503) or output is not OutputFormat.TABLE:
            raise
        console.err().print(f"[yellow]note[/yellow]: {why_not(refused, system_namespace)}; this is the status instead")
        status.show(console.out(), fleets(cluster, where), where)
        return
    if output is not OutputFormat.TABLE:
        console.emit([msgspec.to_builtins(fleet) for fleet in of(first, where)], output)
    elif once or not sys.stdout.isatty():
        console.out().print(screen(View(first, None, where)))
    else:
        _live(cluster, system_namespace, View(first, None, where), every)


@dataclass(frozen=True, slots=True)
class View:
    """Two looks, from which the rates follow; `trouble` is why there is no newer one."""

    now: Summary
    before: Summary | None
    namespace: str
    trouble: str = ""


def _live(cluster: ClusterReader, system_namespace: str, view: View, every: float) -> None:
    """Until the user has seen enough."""
    looks = deque([view.now])
    try:
        with Live(screen(view), console=console.out(), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                try:
                    looks.append(read(cluster, system_namespace))
                    while len(looks) > 2 and looks[-1].time - looks[1].time >= RATE_SECONDS:
                        looks.popleft()
                    view = View(looks[-1], looks[0], view.namespace)
                except ApiServerRefused as refused:
                    view = View(view.now, view.before, view.namespace, why_not(refused, system_namespace))
                live.update(screen(view), refresh=True)
    except KeyboardInterrupt:
        return


def screen(view: View) -> RenderableType:
    """Everything that is shown, of any number of fleets."""
    found = of(view.now, view.namespace)
    if not found:
        scope = f"namespace {view.namespace}" if view.namespace else "this cluster"
        return Text(f"{scope} has no pool and no policy that the operator looks after")
    before = {fleet.namespace: fleet for fleet in of(view.before, view.namespace)} if view.before else {}
    parts: list[RenderableType] = [_head(view, found)]
    for fleet in found:
        parts += ["", *_fleet(fleet, before.get(fleet.namespace), len(found) > 1)]
    return Group(*parts)


def _head(view: View, found: Iterable[FleetSummary]) -> Text:
    at = datetime.fromtimestamp(view.now.time, UTC).strftime("%H:%M:%S UTC")
    since = datetime.fromtimestamp(min(fleet.since for fleet in found), UTC).strftime("%Y-%m-%d %H:%M")
    made = Text.assemble(("forebay", "bold"), f"  {at}, totals since {since}, operator {view.now.version}")
    return made.append(f"  {view.trouble}", "bold red") if view.trouble else made


def _fleet(fleet: FleetSummary, before: FleetSummary | None, several: bool) -> Iterable[RenderableType]:
    if several:
        yield Text(fleet.namespace, "bold underline")
    yield _pools(fleet.pools)
    if reasons := overflow_by_reason(fleet):
        yield ""
        yield _overflow(fleet, before, reasons)
    yield ""
    yield from _money(fleet, before)


def _pools(pools: Iterable[PoolSummary]) -> Table:
    numbers = ("replicas", "queued", "in cloud", "demand")
    made = console.table("pool", "replicas", "slots", "queued", "in cloud", "demand", f"last {SPARK_MINUTES} min",
                         "why this size", right=numbers)  # fmt: skip
    for pool in pools:
        made.add_row(
            pool.name,
            f"{pool.ready}/{pool.desired}",
            meter(pool.running, pool.slots),
            Text(str(pool.queued), "yellow" if pool.queued else ""),
            Text(str(pool.overflowing), "yellow" if pool.overflowing else ""),
            f"{pool.demand:.1f}",
            Text(spark(pool.minutes), "cyan"),
            Text(meaning(ScaleReason, pool.size_reason)),
        )
    return made


def meter(running: int, slots: int) -> Text:
    """A bar of the slots in use, with the figures."""
    full = round(METER_CELLS * min(running / slots, 1.0)) if slots else 0
    style = "red" if slots and running >= slots else "green"
    return Text.assemble(("█" * full, style), ("·" * (METER_CELLS - full), "dim"), f" {running}/{slots}")


def spark(minutes: Iterable[Minute]) -> str:
    """How full the pool was in each of the last minutes: of its slots, what ran and waited."""
    return "".join(_block(minute) for minute in [*minutes][-SPARK_MINUTES:])


def _block(minute: Minute) -> str:
    if not minute.slots:
        return BARS[-1] if minute.queued or minute.overflowing else BARS[0]
    load = (minute.running + minute.queued) / minute.slots
    return BARS[min(int(load * (len(BARS) - 1) + 0.5), len(BARS) - 1)]


def overflow_by_reason(fleet: FleetSummary) -> Counter[str]:
    """Requests that left for lack of a slot, of all pools together."""
    total: Counter[str] = Counter()
    for pool in fleet.pools:
        total.update(pool.overflow_by_reason)
    return total


def _overflow(fleet: FleetSummary, before: FleetSummary | None, reasons: Counter[str]) -> Table:
    known: Counter[str] = overflow_by_reason(before) if before else Counter()
    minutes = (fleet.time - before.time) / 60 if before else 0.0
    made = console.table("overflow", "requests", "a minute", "because", right=("requests", "a minute"))
    for reason, count in reasons.most_common():
        rate = f"{(count - known[reason]) / minutes:.1f}" if minutes > 0 else "-"
        made.add_row(Text(reason, "yellow"), str(count), rate, Text(meaning(Reason, reason)))
    return made


def cloud_dollars(fleet: FleetSummary) -> Decimal:
    """What providers' answers have cost."""
    return sum((Decimal(row.dollars) for row in fleet.usage), Decimal(0))


def local_dollars_an_hour(fleet: FleetSummary) -> Decimal | None:
    """What the GPUs cost that pods hold now; None where a pool with GPUs names no price."""
    total = Decimal(0)
    for pool in fleet.pools:
        gpus = pool.gpus * (pool.ready + pool.starting + pool.ending)
        if gpus and pool.gpu_hour_price is None:
            return None
        total += gpus * Decimal(pool.gpu_hour_price or 0)
    return total


def _money(fleet: FleetSummary, before: FleetSummary | None) -> Iterable[Text]:
    gpus = sum(pool.gpus * (pool.ready + pool.starting + pool.ending) for pool in fleet.pools)
    hourly = local_dollars_an_hour(fleet)
    price = f"${hourly:.2f} an hour" if hourly is not None else "no price (spec.gpuHourPrice)"
    yield Text.assemble(("money ", "bold"), f" local: {gpus} GPU{'s' * (gpus != 1)}, {price}")
    spent = cloud_dollars(fleet)
    hours = (fleet.time - before.time) / 3600 if before else 0.0
    rate = f", ${(spent - cloud_dollars(before)) / Decimal(hours):.2f} an hour now" if before and hours > 0 else ""
    yield Text(f"       cloud: ${spent:.4f} since the operator began{rate}")
