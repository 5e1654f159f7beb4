"""The answer on a terminal, and as data."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from forebay.cli.console import table
from forebay.cli.profile import phrases
from forebay.cli.profile.answer import ProfileAnswer
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS
from forebay.cli.report import percent, short
from forebay.rules.cost import Bill


def show(found: ProfileAnswer, console: Console) -> None:
    """Sentences and tables."""
    console.print(phrases.read(found))
    for notice in phrases.notices(found):
        console.print(f"! {notice}", style="yellow", markup=False, soft_wrap=not console.is_terminal)
    console.print()
    console.print(phrases.headline(found), style="bold", markup=False)
    console.print()
    _table(console, ("capability", "requests", "from, to", "tokens", "served"), phrases.classes(found))
    local = found.shares.local
    console.print(f"\nlocal share {percent(local.value)} ({phrases.span(local)})\n", markup=False)
    if replayed := phrases.replayed(found):
        console.print(f"{replayed}\n", markup=False)
    money = ("replicas", "hardware", "cloud", "total a month")
    _table(console, (f"way ({phrases.BASES[found.question.basis]})", *money), phrases.ways(found))
    console.print()
    _table(console, ("replicas", "kept", "hardware", "cloud", "total a month"), phrases.sizes(found), left=0)
    console.print()
    titles = ("local wins from … tokens a month", *(phrases.BASES[name] for name in found.bases))
    _table(console, titles, phrases.yardsticks(found))
    console.print(f"\nthis log: {short(found.demand.tokens)} tokens a month", markup=False)
    console.print(phrases.claim(found), markup=False, soft_wrap=not console.is_terminal)


def _table(console: Console, titles: tuple[str, ...], rows: list[Any], left: int = 1) -> None:
    made = table(*titles, right=titles[left:])
    for row in rows:
        made.add_row(*row)
    console.print(made)


def data(found: ProfileAnswer) -> dict[str, Any]:
    """Plain data for `-o json` and `-o yaml`. Shares are 0..1, money US dollars a month."""
    log, played = found.log, found.traffic
    return {
        "log": {
            "source": log.source, "format": log.format.name, "packing": log.packing, "requests": len(log),
            "malformed": log.malformed, "failed": log.failed,
            "hours": round(played.period.hours, 4), "timed": played.period.timed,
            "promptTokens": played.all.prompt, "outputTokens": played.all.output, "cachedTokens": played.all.cached,
            "outputsAssumed": log.assumed, "textsClassified": log.looked_at, "texts": log.texts, "spentUsd": log.spent,
            "firstMalformed": [{"line": number, "why": why} for number, why in log.first_malformed],
        },
        "capabilities": {
            str(name): {"requests": played.by_class[place].requests, "tokens": played.by_class[place].total,
                        **(asdict(found.shares.classes[place]) if place < EMBEDDINGS else {})}
            for place, name in enumerate(CLASSES) if played.by_class[place].requests
        },
        "localShare": asdict(found.shares.local),
        "replay": None if found.check is None else asdict(found.check),
        "basis": str(found.question.basis),
        "tokensPerMonth": round(found.demand.tokens),
        "allCloud": asdict(found.all_cloud),
        "allLocal": _bill(found.all_local),
        "localFirst": {**_bill(found.local_first), "low": found.total.low, "high": found.total.high},
        "sizes": [_bill(size) for size in found.sizes],
        "best": {str(name): _bill(best) for name, best in found.bests.items()},
        "breakEvenTokens": {str(name): point for name, point in found.break_evens.items()},
        "breakEvenTokensAgainst": {
            model: {str(name): point for name, point in points.items()} for model, points in found.yardsticks.items()
        },
        "assumptions": {name: value for name, value, _ in phrases.assumptions(found)},
        "notices": phrases.notices(found),
    }  # fmt: skip


def _bill(bill: Bill) -> dict[str, float]:
    return {**asdict(bill), "total": bill.total}
