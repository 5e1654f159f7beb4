"""The answer as a page (`cli/report`)."""

from forebay.cli.replay import words
from forebay.cli.replay.answer import Answer
from forebay.cli.replay.lines import lines
from forebay.cli.report import (
    Assumptions,
    Axis,
    Block,
    Curve,
    Curves,
    Figure,
    Figures,
    Heading,
    Notice,
    Table,
    Text,
    page,
)

TITLE = "What this fleet would have done"
POINTS = 360


def html(found: Answer) -> str:
    """The whole page."""
    blocks: list[Block] = [Text(words.headline(found)), _figures(found)]
    blocks += [Notice(notice) for notice in words.notices(found)]
    for pool in found.pools:
        blocks += [Heading(f"Pool {pool.name}"), *_plots(found, pool.name)]
    blocks += [Table(words.POOLS, words.pools(found), note="Busy: the mean share of its slots in use.")]
    blocks += [Heading("What clients saw"), Table(words.SERVED, words.served(found))]
    blocks += [Table(words.TIMES, words.times(found), note=_TIMES)]
    if found.spent:
        blocks += [Heading("What left"), Table(words.SPENT, words.spent(found), left=3)]
    if found.refused:
        blocks += [Heading("What was refused"), Table(words.REFUSED, words.refused(found), left=3)]
    blocks += [Heading("What this rests on"), Assumptions(found.assumptions)]
    return page(TITLE, blocks, words.source(found))


_TIMES = "Of answers by replicas: how many waited for a slot, and how long; the time to the first token, and for each."


def _figures(found: Answer) -> Figures:
    first = next((row.first_token for row in found.served if row.first_token), None)
    priority = next((str(row.priority) for row in found.served if row.first_token), "")
    figures = [
        Figure(words.share(found.local, found.requests), "of the requests stayed local"),
        Figure(words.share(found.left, found.requests), "went to the cloud", words.usd(found.cloud_cost)),
        Figure(f"{sum(pool.gpu_hours for pool in found.pools):,.1f}", "GPU-hours", words.usd(found.local_cost)),
    ]
    if first is not None:
        figures.append(Figure(words.seconds(first.p95), "to the first local token", f"p95 of {priority}"))
    return Figures(figures)


def _plots(found: Answer, pool: str) -> list[Block]:
    drawn = lines([minute for minute in found.minutes if minute.pool == pool], POINTS)
    hours = Axis("hours from the trace's begin")
    load = Curves(
        "Slots, and the requests that wanted one",
        hours,
        Axis("requests at a time", low=0),
        [
            Curve("demand", drawn["peak"].points, "cloud", "dotted"),
            Curve("running", drawn["running"].points, "local"),
            Curve("slots", drawn["slots"].points, "other", "dashed"),
        ],
        note="Demand: running, queued, and at a provider for lack of a slot; of each stretch the busiest minute.",
    )
    plots: list[Block] = [load]
    if drawn["left"].most or drawn["refused"].most:
        curves = [Curve("to the cloud", drawn["left"].points, "cloud")]
        if drawn["refused"].most:
            curves.append(Curve("refused", drawn["refused"].points, "other", "dotted"))
        plots.append(Curves("What found no slot", hours, Axis("requests a minute", low=0), curves))
    return plots
