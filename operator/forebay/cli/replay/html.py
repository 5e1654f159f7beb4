"""The answer as a page (`cli/report`)."""

from forebay.cli.replay import phrases
from forebay.cli.replay.answer import ReplayAnswer
from forebay.cli.replay.series import series
from forebay.cli.report import (
    Assumptions,
    Axis,
    Curves,
    Figure,
    Figures,
    Heading,
    Notice,
    Paragraph,
    PlotCurve,
    ReportBlock,
    Table,
    page,
)

TITLE = "What this fleet would have done"
POINTS = 360


def html(found: ReplayAnswer) -> str:
    """The whole page."""
    blocks: list[ReportBlock] = [Paragraph(phrases.headline(found)), _figures(found)]
    blocks += [Notice(notice) for notice in phrases.notices(found)]
    for pool in found.pools:
        blocks += [Heading(f"Pool {pool.name}"), *_plots(found, pool.name)]
    blocks += [Table(phrases.POOLS, phrases.pools(found), note="Busy: the mean share of its slots in use.")]
    blocks += [Heading("What clients saw"), Table(phrases.SERVED, phrases.served(found))]
    blocks += [Table(phrases.TIMES, phrases.times(found), note=_TIMES)]
    if found.spent:
        blocks += [Heading("What left"), Table(phrases.SPENT, phrases.spent(found), left=3)]
    if found.refused:
        blocks += [Heading("What was refused"), Table(phrases.REFUSED, phrases.refused(found), left=3)]
    blocks += [Heading("What this rests on"), Assumptions(found.assumptions)]
    return page(TITLE, blocks, phrases.source(found))


_TIMES = "Of answers by replicas: how many waited for a slot, and how long; the time to the first token, and for each."


def _figures(found: ReplayAnswer) -> Figures:
    first = next((row.first_token for row in found.served if row.first_token), None)
    priority = next((str(row.priority) for row in found.served if row.first_token), "")
    figures = [
        Figure(phrases.share(found.local, found.requests), "of the requests stayed local"),
        Figure(phrases.share(found.left, found.requests), "went to the cloud", phrases.usd(found.cloud_cost)),
        Figure(f"{sum(pool.gpu_hours for pool in found.pools):,.1f}", "GPU-hours", phrases.usd(found.local_cost)),
    ]
    if first is not None:
        figures.append(Figure(phrases.seconds(first.p95), "to the first local token", f"p95 of {priority}"))
    return Figures(figures)


def _plots(found: ReplayAnswer, pool: str) -> list[ReportBlock]:
    drawn = series([minute for minute in found.minutes if minute.pool == pool], POINTS)
    hours = Axis("hours from the trace's begin")
    load = Curves(
        "Slots, and the requests that wanted one",
        hours,
        Axis("requests at a time", low=0),
        [
            PlotCurve("demand", drawn["peak"].points, "cloud", "dotted"),
            PlotCurve("running", drawn["running"].points, "local"),
            PlotCurve("slots", drawn["slots"].points, "other", "dashed"),
        ],
        note="Demand: running, queued, and at a provider for lack of a slot; of each stretch the busiest minute.",
    )
    plots: list[ReportBlock] = [load]
    if drawn["left"].most or drawn["refused"].most:
        curves = [PlotCurve("to the cloud", drawn["left"].points, "cloud")]
        if drawn["refused"].most:
            curves.append(PlotCurve("refused", drawn["refused"].points, "other", "dotted"))
        plots.append(Curves("What found no slot", hours, Axis("requests a minute", low=0), curves))
    return plots
