"""The answer as a page (`cli/report`)."""

from forebay.cli.profile import phrases
from forebay.cli.profile.answer import ProfileAnswer
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS
from forebay.cli.report import (
    Assumptions,
    Axis,
    Bar,
    Bars,
    Curves,
    Figure,
    Figures,
    Heading,
    Mark,
    Notice,
    Paragraph,
    PlotCurve,
    ReportBlock,
    Table,
    dollars,
    page,
    percent,
    short,
)
from forebay.rules.cost import CLAIM_TOKENS, BasisName

TITLE = "What local is worth"
_TONES = {BasisName.ELECTRICITY: "local", BasisName.OWNED: "third", BasisName.RENTED: "fourth"}
_STROKES = {BasisName.ELECTRICITY: "", BasisName.OWNED: "dashed", BasisName.RENTED: "dotted"}


def html(found: ProfileAnswer) -> str:
    """The whole page."""
    blocks: list[ReportBlock] = [Paragraph(phrases.headline(found)), _figures(found)]
    blocks += [Notice(notice) for notice in phrases.notices(found)]
    blocks += [Heading("What is asked for, and what the pool could serve"), *_classes(found)]
    blocks += [Heading("What a month costs"), *_costs(found)]
    blocks += [Heading("Where local begins to win"), *_break_even(found)]
    blocks += [Heading("What this rests on"), Assumptions(phrases.assumptions(found))]
    return page(TITLE, blocks, phrases.read(found))


def _figures(found: ProfileAnswer) -> Figures:
    best, cloud = found.local_first, found.all_cloud
    price = "no replica pays for itself" if not best.replicas else f"{phrases.money_span(found.total)}"
    return Figures(
        [
            Figure(percent(found.shares.local.value), "of the requests stay local", phrases.span(found.shares.local)),
            Figure(phrases.replicas(best.replicas), "the best size", phrases.BASES[found.question.basis]),
            Figure(dollars(best.total), "a month, local-first", price),
            Figure(dollars(cloud.value), "a month, all cloud", phrases.money_span(cloud)),
        ]
    )


def _classes(found: ProfileAnswer) -> list[ReportBlock]:
    total = max(1, found.traffic.all.requests)
    bars = []
    for place, name in enumerate(CLASSES):
        requests = found.traffic.by_class[place].requests
        if not requests:
            continue
        span = found.shares.classes[place] if place < EMBEDDINGS else None
        tone = "local" if phrases.serves(found, place) else "cloud"
        low, high = (span.low, span.high) if span else (None, None)
        bars.append(Bar(str(name), requests / total, low, high, tone=tone))
    local = found.shares.local
    bars.append(Bar("served by the pool", local.value, local.low, local.high, tone="third"))
    played = found.traffic
    hours = [place * played.period.hours / len(played.busy) for place in range(len(played.busy))]
    slots = found.question.pool.usable * max(1, found.local_first.replicas)
    size = f"{max(1, found.local_first.replicas)} × {found.question.pool.usable} slots"
    load = Curves(
        "Slots that the requests would hold, had the pool enough of them",
        Axis("hours from the log's begin"),
        Axis("slots", low=0),
        [
            PlotCurve("most at a time", list(zip(hours, played.peak, strict=True)), "cloud", "dotted"),
            PlotCurve("mean", list(zip(hours, played.busy, strict=True)), "local"),
            PlotCurve(size, [(hours[0], slots), (hours[-1], slots)], "other", "dashed"),
        ],
        note="What rises above the line goes to the cloud. " + ("" if played.period.timed else "The log has no times."),
    )
    shares = Bars(
        "Share of requests",
        bars,
        Axis(say=percent, low=0.0, high=1.0),
        note="Blue-green: the pool declares it; orange: it does not. Lines: where the truth lies, nine times in ten.",
    )
    replayed = phrases.replayed(found)
    return [shares, load, Paragraph(replayed)] if replayed else [shares, load]


def _costs(found: ProfileAnswer) -> list[ReportBlock]:
    names = ("", "replicas", "hardware", "cloud", "total a month")
    ways = Table(names, phrases.ways(found), strong=2,
                 note=f"US dollars a month; {phrases.BASES[found.question.basis]}. "
                 "What the pool cannot serve is paid to the cloud in every row.")  # fmt: skip
    strong = next((place for place, size in enumerate(found.sizes) if size == found.local_first), None)
    sizes = Table(
        ("replicas", "kept at home", "hardware", "cloud", "total a month"),
        phrases.sizes(found),
        left=0,
        strong=strong,
        note="Kept at home: share of the all-cloud bill. The best size leaves rare peaks to the cloud.",
    )
    return [ways, sizes]


def _break_even(found: ProfileAnswer) -> list[ReportBlock]:
    curve = found.curve
    if not curve:
        return [Paragraph("The log has no tokens.")]
    chosen = found.question.basis
    cloud = PlotCurve("all cloud", [(point.tokens, point.cloud) for point in curve], "cloud")
    full = PlotCurve(f"all local, sized for the peak ({phrases.BASES[chosen]})",
                 [(point.tokens, point.all_local) for point in curve], "other", "dotted")  # fmt: skip
    lines = [
        PlotCurve(f"local-first: {phrases.BASES[name]}",
              [(point.tokens, point.local_first[name].total) for point in curve], _TONES[name], _STROKES[name])
        for name in found.bases
    ]  # fmt: skip
    marks = []
    per_token = found.demand.cloud_usd / found.demand.tokens
    for name, point in found.break_evens.items():
        if point is not None and curve[0].tokens <= point <= curve[-1].tokens:
            says = f"{phrases.BASES[name]}: local wins from {short(point)} tokens a month"
            marks.append(Mark(point, point * per_token, says))
    if curve[0].tokens <= found.demand.tokens <= curve[-1].tokens:
        says = f"this log: {short(found.demand.tokens)} tokens a month, {dollars(found.demand.cloud_usd)} in the cloud"
        marks.append(Mark(found.demand.tokens, found.demand.cloud_usd, says))
    money = Curves(
        "A month's bill by its tokens",
        Axis("tokens a month", logarithmic=True, say=short),
        Axis("US dollars a month", logarithmic=True, say=dollars),
        [cloud, full, *lines],
        marks,
        [(CLAIM_TOKENS, "the claim: 10M")],
    )
    bars = [
        Bar(f"{model}, {phrases.BASES[name]}", point, says=short(point), tone=_TONES[name])
        for model, points in found.yardsticks.items()
        for name, point in points.items()
        if point is not None
    ]
    titles = ("local wins from … tokens a month, instead of", *(phrases.BASES[name] for name in found.bases))
    table = Table(titles, phrases.yardsticks(found), note=phrases.claim(found))
    dots = Bars("Where local begins to win, by what it replaces and what it counts as", bars,
                Axis(logarithmic=True, say=short), [(CLAIM_TOKENS, "10M")])  # fmt: skip
    return [money, table, dots]
