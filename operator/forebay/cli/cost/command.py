"""The command `cost`."""

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from forebay.cli import console, prices
from forebay.cli.console import FormatOption, OutputFormat
from forebay.cli.cost import from_prometheus, from_summary, phrases
from forebay.cli.cost.bill import By
from forebay.cli.cost.period import BilledPeriod
from forebay.cli.problem import Problem
from forebay.cli.running.cluster import ApiServerRefused, ClusterReader
from forebay.cli.running.cluster_options import (
    SYSTEM_NAMESPACE,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    SystemOption,
    connect,
)
from forebay.cli.running.fleet_objects import Fleets, RunningPool, fleets
from forebay.cli.running.summary_reader import of, read, why_not
from forebay.resources import names
from forebay.resources.summary import PriceRow, price_rows
from forebay.rules.cost import Price

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DAY: Final = "24h"


def cost(
    namespace: NamespaceOption = "",
    by: Annotated[By, typer.Option(help="What to split the bill by.")] = By.POOL,
    prometheus: Annotated[str, typer.Option(metavar="URL", help="Take history from this Prometheus.")] = "",
    since: Annotated[str, typer.Option(metavar="90m|24h|7d", help="How far back; with --prometheus.")] = "",
    model: Annotated[str, typer.Option(help="Cloud model to compare with; else the policy's.")] = "",
    price_table: Annotated[Path | None, typer.Option("--prices", help="Price table to use instead of ours.")] = None,
    gpu_hour_price: Annotated[
        float | None, typer.Option(help="US dollars a GPU hour, for pools without spec.gpuHourPrice.", min=0)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report to this file as well.")] = None,
    output: FormatOption = OutputFormat.TABLE,
    system_namespace: SystemOption = SYSTEM_NAMESPACE,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """What a running fleet cost, what all-cloud would have cost, and what one GPU more or less would have done."""
    if since and not prometheus:
        raise Problem("--since needs --prometheus: without it, the operator has counted since it began", 2)
    table = prices.prices(price_table)
    wanted = prices.asked(model, table) if model else None
    cluster, where = connect(kubeconfig, context, namespace)
    if prometheus:
        seconds = duration(since or DAY)
        period = _history(cluster, where, prometheus, seconds, gpu_hour_price, wanted, table)
    else:
        period = _counted(cluster, where, system_namespace, gpu_hour_price, wanted, table)
    if output is OutputFormat.TABLE:
        for part in phrases.screen(period, by):
            console.out().print(part, soft_wrap=True)
    else:
        console.emit(phrases.as_data(period, by), output)
    if html is not None:
        html.write_text(phrases.report(period), "utf-8")
        console.err().print(f"report: {html}")


def duration(text: str) -> float:
    """Seconds of `90m`, `24h`, `7d` or `2w`. Raises Problem."""
    found = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if found is None or not int(found[1]):
        raise Problem(f"--since {text} is not understood: write 90m, 24h, 7d or 2w", 2)
    return int(found[1]) * _SECONDS[found[2]]


def _counted(
    cluster: ClusterReader, namespace: str, system: str, gpu_hour_price: float | None, model: Price | None,
    table: tuple[Price, ...],
) -> BilledPeriod:  # fmt: skip
    try:
        found = of(read(cluster, system), namespace)
    except ApiServerRefused as refused:
        raise Problem(f"{why_not(refused, system)}; or take history with --prometheus URL") from None
    if not found:
        raise Problem(f"the operator looks after no fleet in namespace {namespace}: choose another with -n")
    fleet = found[0]
    policies = {pool.name: pool.policy for pool in fleet.pools}
    displaced = from_summary.displaced_models(policies, fleet.prices, table)
    return from_summary.period(fleet, gpu_hour_price, _or(model, displaced, policies))


def _history(
    cluster: ClusterReader, namespace: str, url: str, seconds: float, gpu_hour_price: float | None, model: Price | None,
    table: tuple[Price, ...],
) -> BilledPeriod:  # fmt: skip
    source = from_prometheus.Prometheus(url)
    found = fleets(cluster, namespace)
    policies = {pool.name: _policy(pool) for pool in found.pools}
    displaced = _or(model, from_summary.displaced_models(policies, _rows(found), table), policies)
    now = time.time()
    with console.progress(total=False) as bar:
        bar.add_task(f"asking {url}", total=None)
        return from_prometheus.period(
            source, found.pools, namespace, now - seconds, now, gpu_hour_price=gpu_hour_price, displaced=displaced
        )


def _rows(found: Fleets) -> Iterable[PriceRow]:
    return [row for item in found.policies if item.spec is not None for row in price_rows(item.name, item.spec)]


def _policy(pool: RunningPool) -> str:
    reference = pool.spec.cloud_fallback_policy_ref if pool.spec is not None else None
    return reference.name if reference is not None else names.DEFAULT_POLICY


def _or(model: Price | None, displaced: Mapping[str, Price], pools: Iterable[str]) -> Mapping[str, Price]:
    return displaced if model is None else dict.fromkeys(pools, model)
