"""The answer in words, for terminal and page alike: one sentence or table each, so that both say the same."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from forebay.cli.profile.answer import ProfileAnswer
from forebay.cli.profile.asked_pool import AskedPool
from forebay.cli.profile.confidence import SURE, Span
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS, UNKNOWN
from forebay.cli.report import dollars, percent, short
from forebay.rules.cost import CLAIM_TOKENS, BasisName, Bill

BASES: Final = {
    BasisName.ELECTRICITY: "electricity only",
    BasisName.OWNED: "owned, amortised",
    BasisName.RENTED: "rented",
}
LITTLE_HOURS: Final = 24


def read(found: ProfileAnswer) -> str:
    """What was read, as one sentence."""
    log = found.log
    packed = f", packed with {log.packing}" if log.packing else ""
    return (
        f"{len(log):,} requests from {log.source}, read as {log.format.title}{packed}: {_period(found)}, "
        f"{short(found.traffic.all.total)} tokens"
    )


def _period(found: ProfileAnswer) -> str:
    hours = found.traffic.period.hours
    if not found.traffic.period.timed:
        return f"no times in it, taken for {hours / 24:g} days"
    return (
        f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
    )


def span(value: Span) -> str:
    """The bounds of a share."""
    return f"{100 * value.low:.1f} to {100 * value.high:.1f} %"


def money_span(value: Span) -> str:
    """The bounds of an amount."""
    return f"{dollars(value.low)} to {dollars(value.high)}"


def headline(found: ProfileAnswer) -> str:
    """The answer in one sentence."""
    best, cloud = found.local_first, found.all_cloud.value
    basis = BASES[found.question.basis]
    if not best.replicas:
        return (
            f"At this volume the cloud is cheaper: {dollars(cloud)} a month, and no replica of "
            f"{found.question.pool.name} pays for itself ({basis})."
        )
    saved = cloud - best.total
    return (
        f"{replicas(best.replicas)} of {found.question.pool.name} would serve {percent(found.shares.local.value)} of "
        f"the requests and save {dollars(saved)} of {dollars(cloud)} a month ({percent(saved / cloud)}; {basis})."
    )


def replicas(count: int) -> str:
    """So many, in words."""
    return "no replica" if not count else "1 replica" if count == 1 else f"{count} replicas"


def classes(found: ProfileAnswer) -> list[tuple[str, str, str, str, str]]:
    """Class, share of requests, bounds, share of tokens, whether the pool declares it."""
    rows, total = [], found.traffic.all
    for place, name in enumerate(CLASSES):
        tokens = found.traffic.by_class[place]
        if not tokens.requests:
            continue
        known = place < EMBEDDINGS
        share = found.shares.classes[place].value if known else tokens.requests / total.requests
        bounds = span(found.shares.classes[place]) if known else ""
        served = "yes" if serves(found, place) else "no"
        rows.append((str(name), percent(share), bounds, percent(tokens.total / max(1, total.total)), served))
    return rows


def serves(found: ProfileAnswer, place: int) -> bool:
    """Whether the pool declares a class."""
    capabilities = found.question.pool.capabilities
    if place == UNKNOWN:
        return "general" in capabilities
    return place < EMBEDDINGS and CLASSES[place] in capabilities


def ways(found: ProfileAnswer) -> list[tuple[str, str, str, str, str]]:
    """All-cloud, all-local, local-first: replicas, hardware, cloud, total."""
    cloud = Bill(0, 0.0, found.all_cloud.value, 0.0)
    return [
        _way("all cloud", cloud, money_span(found.all_cloud)),
        _way("all local: enough for the peak", found.all_local, ""),
        _way("local-first: the best size", found.local_first, money_span(found.total)),
    ]


def _way(name: str, bill: Bill, bounds: str) -> tuple[str, str, str, str, str]:
    total = f"{dollars(bill.total)}" + (f" ({bounds})" if bounds else "")
    return name, str(bill.replicas), dollars(bill.hardware), dollars(bill.cloud), total


def sizes(found: ProfileAnswer) -> list[tuple[str, str, str, str, str]]:
    """Replicas, share of the cloud's bill that stays, hardware, cloud, total."""
    return [
        (str(size.replicas), percent(size.local), dollars(size.hardware), dollars(size.cloud), dollars(size.total))
        for size in found.sizes
    ]


def yardsticks(found: ProfileAnswer) -> list[tuple[str, ...]]:
    """Model, then tokens a month from which local wins on each basis."""
    rows = [("this log's mix", *map(_tokens, found.break_evens.values()))]
    return rows + [(name, *map(_tokens, points.values())) for name, points in found.yardsticks.items()]


def _tokens(point: float | None) -> str:
    return "never" if point is None else short(point)


def claim(found: ProfileAnswer) -> str:
    """Where the claim of ten million tokens a month holds, and where not."""
    points = [point for row in found.yardsticks.values() for point in row.values() if point is not None]
    low = short(min(points)) if points else "nowhere"
    high = short(max(points)) if points else "nowhere"
    return (
        f"“Local wins above {short(CLAIM_TOKENS)} tokens a month” is true of electricity alone against a frontier "
        f"price. For this traffic and pool the point lies between {low} and {high}, by what the hardware counts as and "
        f"what it replaces."
    )


def replayed(found: ProfileAnswer) -> str:
    """What the replay of the busiest stretch says; empty where none was asked for."""
    seen = found.check
    if seen is None:
        return ""
    return (
        f"Replayed with {replicas(seen.replicas)}, the busiest {seen.requests:,} requests ({seen.seconds / 60:,.0f} "
        f"minutes): {percent(seen.replayed)} stay local, {percent(seen.reckoned)} as reckoned here; "
        f"{percent(seen.waited)} of these wait for a slot, and 95 % have their first token within "
        f"{seen.first_token:.1f} s."
    )


def notices(found: ProfileAnswer) -> list[str]:
    """What was guessed, left out, or cannot be known from this log."""
    log, played, said = found.log, found.traffic, []
    if log.malformed:
        named = "; ".join(f"line {number}: {why}" for number, why in log.first_malformed)
        more = "; …" if log.malformed > len(log.first_malformed) else ""
        said.append(f"Malformed lines that were left out: {log.malformed:,} ({named}{more})")
    if log.failed:
        said.append(f"Failed requests that were left out: {log.failed:,}")
    if not played.period.timed:
        said.append("The log has no times: arrivals are spread evenly at random, so real peaks are not seen.")
    elif log.timeless:
        said.append(f"{log.timeless:,} requests have no time and count as simultaneous with the one before.")
    if played.period.timed and played.period.hours < LITTLE_HOURS and found.question.days is None:
        said.append(f"The log covers {_period(found)}: a month is guessed from that, without nights and weekends.")
    if log.assumed:
        said.append(
            f"{log.assumed:,} requests do not say how many tokens were generated: the mean of their kind is taken, "
            f"or 512 at most."
        )
    if log.by_time:
        said.append(
            f"{log.by_time:,} answers of pools have no count of tokens: it is told by their time, at 25 ms each."
        )
    if log.spent:
        said.append(
            f"The log itself says that it cost {dollars(log.spent)}; at list prices it is "
            f"{dollars(found.all_cloud.value * played.months)}."
        )
    if log.texts > log.looked_at:
        said.append(
            f"The words of {log.looked_at:,} of {log.texts:,} requests were classified; each stands for those of its "
            f"kind that follow it."
        )
    unknown = played.by_class[UNKNOWN].requests
    if unknown:
        said.append(
            f"{unknown:,} requests have neither words nor a capability: what they ask for cannot be known. They count "
            f"as general; the bounds allow for none of them."
        )
    if played.too_long:
        said.append(
            f"{played.too_long:,} requests are longer than the pool's context of "
            f"{found.question.pool.context_tokens:,} tokens."
        )
    return said


def _gpus(pool: AskedPool) -> str:
    kind = f" {pool.gpu}" if pool.gpu else ""
    return f"{pool.gpus}{kind} GPU{'s' * (pool.gpus > 1)}"


def assumptions(found: ProfileAnswer) -> Sequence[tuple[str, str, str]]:
    """Name, value, how to change it."""
    question, pool, hardware = found.question, found.question.pool, found.question.hardware
    price = found.default_price
    requests = max(1, found.traffic.all.requests)
    counted = Counter[str]()
    for each, tokens in zip(found.priced, found.traffic.by_model, strict=True):
        counted[each.model] += tokens.requests
    priced = ", ".join(f"{name} ({percent(count / requests)})" for name, count in counted.most_common(5))
    other = "" if question.displaced else f"; models without a price count as {price.model}"
    return [
        ("displaced", f"{priced}; this mix costs {dollars(found.blended)} a million tokens",
         f"--displaced MODEL, --prices FILE{other}"),
        ("prices", f"{price.model}: {dollars(price.input)} in, {dollars(price.output)} out, a million tokens",
         f"{price.source or 'your table'}{', ' + price.as_of if price.as_of else ''}"),
        ("pool", f"{pool.name}: {', '.join(sorted(pool.capabilities))}; {pool.context_tokens:,} tokens of context",
         "--pool MANIFEST, --capabilities, --context"),
        ("a replica", f"{_gpus(pool)}, {pool.slots} requests at a time, {pool.usable} of them if not High; "
         f"{pool.token_seconds * 1000:.3g} ms a token when full, {pool.prefill:,.0f} prompt tokens a second",
         f"{'by the table of GPUs and models; ' if pool.gpu else '--gpu, --model or '}--slots, --token-ms, --prefill"),
        ("owned", f"{dollars(hardware.gpu_price)} a GPU with its share of the server, over {hardware.months:g} months; "
         f"{dollars(hardware.people_month)} a month for people", "--gpu-price, --months, --people"),
        ("electricity", f"{hardware.watts:g} W a GPU at the wall, all month, at ${hardware.kwh_price:g} a kWh",
         "--watts, --kwh-price"),
        ("rented", f"${hardware.gpu_hour_price:g} a GPU and hour, every hour of the month", "--gpu-hour-price"),
        ("full", "what finds no free slot leaves at once, at any priority; waiting would keep a little more", ""),
        ("another volume", "keeps the shape of the day; within a piece of time arrivals are those of many clients", ""),
        ("bounds", f"{percent(SURE)}: blocks of time drawn anew, and the classifier's errors on unseen sources",
         "docs/classifier.md has its table"),
    ]  # fmt: skip
