"""The bill in words: tables and sentences for a terminal, data for programs, blocks for the HTML report."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from forebay.cli import console
from forebay.cli.cost.bill import BillRow, By, WhatIf, bill_rows, one_less, one_more, total
from forebay.cli.cost.period import BilledPeriod
from forebay.cli.report import Assumptions, Bar, Bars, Figure, Figures, Heading, Notice, ReportBlock, Table, page
from forebay.cli.report.axis import Axis
from forebay.cli.report.axis import dollars as on_axis

UNKNOWN: Final = "?"
_COLUMNS: Final = ("local", "cloud", "tokens in", "tokens out", "gpus", "cloud $", "all-cloud $", "saved $")


def title(period: BilledPeriod, by: By) -> str:
    """What was looked at, and who counted it."""
    begin, end = (datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M") for time in (period.begin, period.end))
    return f"{period.namespace}, {begin} to {end} UTC ({span(period.hours)}), by {by}; counted by {period.source}"


def screen(period: BilledPeriod, by: By) -> list[RenderableType]:
    """For a terminal."""
    made = console.table(by, *_COLUMNS, right=_COLUMNS)
    bill = bill_rows(period, by)
    for line in bill:
        made.add_row(line.name, *_cells(line))
    made.add_row("total", *_cells(total(bill)), style="bold")
    parts: list[RenderableType] = [Text(title(period, by)), "", made]
    if ifs := what_ifs(period):
        parts += ["", "[bold]one replica more or less[/bold]", *(Text(f"  {in_words(item)}") for item in ifs)]
    return [*parts, "", *(Text(f"{name}: {value}") for name, value, _ in assumptions(period))]


def _cells(line: BillRow) -> list[str]:
    return [
        f"{line.local_requests:,.0f}", f"{line.cloud_requests:,.0f}", short(line.input_tokens),
        short(line.output_tokens), dollars(line.hardware), dollars(line.cloud), dollars(line.all_cloud),
        dollars(line.saved),
    ]  # fmt: skip


def what_ifs(period: BilledPeriod) -> list[WhatIf]:
    """For every pool that was seen over time."""
    seen = [pool for pool in period.pools if pool.moments]
    return [item for pool in seen for item in (one_more(period, pool), one_less(period, pool))]


def in_words(item: WhatIf) -> str:
    """One sentence."""
    size = "more" if item.replicas > 0 else "less"
    gpus = f"{item.gpus} GPU{'s' * (item.gpus != 1)}"
    what = f"{item.share:.0%} of what overflowed would have stayed" if item.replicas > 0 else (
        f"{item.share:.0%} of what ran would have left"
    )  # fmt: skip
    if item.net is None:
        verdict = "without prices nobody can say what that is worth"
    else:
        verdict = f"{dollars(abs(item.net))} {'dearer' if item.net > 0 else 'cheaper'}"
    money = f"GPUs {signed(item.hardware)}, cloud {signed(item.cloud)}"
    return f"{item.pool}, one {size} ({gpus}) over {span(item.hours)}: {what}; {money}: {verdict}"


def assumptions(period: BilledPeriod) -> list[tuple[str, str, str]]:
    """What the figures rest on: name, value, how to change it."""
    models = sorted({(price.model, price.input, price.output, price.source) for price in period.displaced.values()})
    named = "; ".join(f"{model} at ${read:g} / ${made:g} a million tokens in / out ({source})"
                      for model, read, made, source in models)  # fmt: skip
    prices = sorted({f"${pool.gpu_hour_price:g}" if pool.gpu_hour_price is not None else "unknown"
                     for pool in period.pools if pool.gpus})  # fmt: skip
    return [
        ("displaced model", named or "none with a price", "the policy's first secondary one with a price; --model"),
        ("price of a GPU hour", ", ".join(prices) or "no pool has a GPU", "spec.gpuHourPrice; --gpu-hour-price"),
        ("shares", "GPUs, idle ones too, and generated tokens by service time; prompts by the routers' estimate", ""),
        ("one more or less", "by means of a minute or longer, so bursts within one are understated", ""),
    ]


def as_data(period: BilledPeriod, by: By) -> dict[str, Any]:
    """For programs."""
    bill = bill_rows(period, by)
    return {
        "namespace": period.namespace,
        "begin": period.begin,
        "end": period.end,
        "source": period.source,
        "by": str(by),
        "lines": [_data(line) for line in bill],
        "total": _data(total(bill)),
        "replicaMoreOrLess": [{**asdict(item), "net": item.net} for item in what_ifs(period)],
        "assumptions": {name: value for name, value, _ in assumptions(period)},
    }


def _data(line: BillRow) -> dict[str, Any]:
    return {**asdict(line), "total": line.total, "saved": line.saved}


def report(period: BilledPeriod) -> str:
    """One self-contained HTML page."""
    whole = total(bill_rows(period, By.POOL))
    paid = f"GPUs {dollars(whole.hardware)}, cloud {dollars(whole.cloud)}"
    blocks: list[ReportBlock] = [
        Figures([
            Figure(dollars(whole.total), "what it cost", paid),
            Figure(dollars(whole.all_cloud), "all in the cloud", "the same requests without a GPU"),
            Figure(signed(whole.saved), "saved", "negative: the cloud alone would have been cheaper"),
            Figure(_share(whole), "of the requests served locally"),
        ])
    ]  # fmt: skip
    if whole.saved is None:
        blocks.append(Notice("Some figures cannot be said: a pool names no price of a GPU hour, or no model a price."))
    for by in By:
        blocks += _section(period, by)
    if ifs := what_ifs(period):
        blocks += [Heading("One replica more or less"), _what_if_table(ifs)]
    blocks += [Heading("What this rests on"), Assumptions(assumptions(period))]
    begin, end = (datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M") for time in (period.begin, period.end))
    lead = f"Fleet {period.namespace}, {begin} to {end} UTC ({span(period.hours)}), counted by {period.source}."
    return page("What the fleet cost", blocks, lead)


def _section(period: BilledPeriod, by: By) -> Iterable[ReportBlock]:
    bill = bill_rows(period, by)
    yield Heading(f"By {by}")
    yield Table((str(by), *_COLUMNS), [[line.name, *_cells(line)] for line in (*bill, total(bill))], strong=len(bill))
    if by is By.POOL:
        bars = [bar for line in bill for bar in _bars(line)]
        yield Bars("Cost beside all-cloud, US dollars", bars, Axis(say=on_axis))


def _bars(line: BillRow) -> Iterable[Bar]:
    if line.total is not None:
        yield Bar(f"{line.name}, as it was", line.total)
    if line.all_cloud is not None:
        yield Bar(f"{line.name}, all-cloud", line.all_cloud, tone="cloud")


def _what_if_table(ifs: Sequence[WhatIf]) -> Table:
    rows = [
        [item.pool, "one more" if item.replicas > 0 else "one less", f"{item.share:.0%}", signed(item.hardware),
         signed(item.cloud), signed(item.net)]
        for item in ifs
    ]  # fmt: skip
    note = "One more: the share of what overflowed that would have stayed. One less: the share of what ran that leaves."
    return Table(("pool", "replica", "share", "GPUs $", "cloud $", "together $"), rows, left=2, note=note)


def _share(line: BillRow) -> str:
    requests = line.local_requests + line.cloud_requests
    return f"{line.local_requests / requests:.0%}" if requests else UNKNOWN


def span(hours: float) -> str:
    """A length of time: minutes below two hours, days above two days."""
    if hours < 2:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def dollars(value: float | None) -> str:
    """Four decimals below a dollar, two below a thousand, none above."""
    if value is None:
        return UNKNOWN
    decimals = 4 if 0 < abs(value) < 1 else 2 if abs(value) < 1000 else 0
    return f"{'-' * (value < 0)}${abs(value):,.{decimals}f}"


def signed(value: float | None) -> str:
    """With its sign."""
    return dollars(value) if value is None or value <= 0 else f"+{dollars(value)}"


def short(value: float) -> str:
    """12.3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{letter}"
    return f"{value:.0f}"
