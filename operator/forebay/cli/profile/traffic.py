"""A log's requests against one pool: which it could serve, which slot each would take, what each costs in the cloud.

Columns are by the number of the request in the log, as in `reading.Log`.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from statistics import fmean
from typing import Final

from forebay.cli.profile.asked_pool import AskedPool
from forebay.cli.profile.confidence import TimeBlock
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS, GUESSED, UNKNOWN, Log
from forebay.cli.profile.slot_assignment import NOWHERE, assign_slots
from forebay.resources.reasons import Capability
from forebay.resources.terms import Task
from forebay.rules.cost import MONTH_HOURS, MonthlyDemand, Price
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.route import Local, route

FEWEST_BLOCKS: Final = 24
MOST_BLOCKS: Final = 168
LEAST_SECONDS: Final = 60.0
REQUESTS: Final = 30
STEPS: Final = 32


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Sums of a kind of requests."""

    requests: int = 0
    prompt: int = 0
    output: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        """Read and written."""
        return self.prompt + self.output

    def usd(self, price: Price) -> float:
        """What they cost at one price."""
        return price.of(self.prompt, self.output, self.cached)


@dataclass(frozen=True, slots=True)
class LogPeriod:
    """When the requests came: `at` by request (seconds), `order` of arrival, in `blocks` equal pieces.

    `hours` is the time that the log stands for; `timed` whether the times are the log's own.
    """

    at: Sequence[float]
    order: Sequence[int]
    hours: float
    timed: bool
    begin: float
    width: float  # of a block, in seconds
    blocks: int

    def block(self, number: int) -> int:
        """In which piece a request came."""
        return int((self.at[number] - self.begin) / self.width)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What playing the log came to.

    `slot` is by request, NOWHERE where the pool cannot serve it. `busy` is by block the mean number of slots in use and
    `peak` the highest, had the pool enough of them. `carried[m]` is the share of `servable_usd` that m slots take.
    """

    period: LogPeriod
    usd: "array[float]"
    slot: "array[int]"
    by_class: tuple[TokenCounts, ...]
    by_model: tuple[TokenCounts, ...]
    all: TokenCounts
    servable: TokenCounts
    too_long: int
    servable_usd: float
    carried: tuple[float, ...]
    busy: tuple[float, ...]
    peak: tuple[int, ...]

    @property
    def months(self) -> float:
        """Months that the log covers."""
        return self.period.hours / MONTH_HOURS

    @property
    def loads(self) -> tuple[float, ...]:
        """Slots in use in equally long pieces of time, from the fullest, at most `STEPS` of them.

        Pieces hold `REQUESTS` requests on average, so that chance does not look like a peak.
        """
        pieces = max(1, min(len(self.busy), self.servable.requests // REQUESTS))
        means = sorted(_means(self.busy, -(-len(self.busy) // pieces)), reverse=True)
        return tuple(_means(means, -(-len(means) // STEPS)))

    def demand(self) -> MonthlyDemand:
        """A month of it."""
        return self._month(sum(self.usd), self.servable_usd)

    def demand_at(self, price: Price) -> MonthlyDemand:
        """The same had all of it gone to one model."""
        return self._month(self.all.usd(price), self.servable.usd(price))

    def _month(self, usd: float, servable: float) -> MonthlyDemand:
        months = self.months
        return MonthlyDemand(self.all.total / months, usd / months, servable / months, self.loads, self.carried)


def declared(pool: AskedPool) -> tuple[bool, ...]:
    """By class: whether the router would send such a request to the pool. Without label and words it is `general`."""
    view = PoolView("pool", ("pool",), pool.capabilities, serving=1, free=1, free_high=1)

    def local(facts: RequestFacts) -> bool:
        return isinstance(route(facts, FleetView((view,))).destination, Local)

    asked = [RequestFacts(capability=capability) for capability in Capability]
    asked += [RequestFacts(task=Task.EMBED), RequestFacts()]  # EMBEDDINGS, UNKNOWN
    return tuple(map(local, asked))


def traffic(
    log: Log, pool: AskedPool, priced: Sequence[Price], days: float | None, seed: int, say: Callable[[str], None]
) -> Traffic:
    """Play the log against the pool. `priced` is the price of each model of the log, `days` what it covers if known."""
    say("sorting")
    period = _period(log, days, seed)
    say("playing it against the pool")
    usd = _usd(log, priced)
    fits, too_long = _fits(log, pool)
    prompt = fmean(log.prompt[number] for number in range(len(log)) if fits[number]) if any(fits) else 0.0
    slot = _slots(log, pool, period, fits, prompt)
    say("adding up")
    carried, servable_usd = _carried(usd, slot)
    busy, peak = _in_use(log, pool, period, slot, prompt)
    by_class, by_model, servable = _sums(log, slot)
    everything = _total(by_class)
    return Traffic(period, usd, slot, by_class, by_model, everything, servable, too_long, servable_usd, carried, busy,
                   peak)  # fmt: skip


def blocks(found: Traffic, log: Log, fits: Sequence[bool], slots: int) -> list[TimeBlock]:
    """The pieces of time, with a pool of so many slots."""
    made = [TimeBlock([0] * EMBEDDINGS, [0] * EMBEDDINGS) for _ in range(found.period.blocks)]
    for number, kind in enumerate(log.kind):
        block, name, usd = made[found.period.block(number)], kind & 7, found.usd[number]
        if name < EMBEDDINGS:
            (block.guessed if kind & GUESSED else block.told)[name] += 1
        elif name == UNKNOWN:
            block.unknown += 1
        block.total += 1
        block.usd += usd
        if fits[name]:
            block.capable += 1
            if found.slot[number] < slots:
                block.served += 1
                block.kept += usd
    return [block for block in made if block.total]


def _period(log: Log, days: float | None, seed: int) -> LogPeriod:
    """A log without times is spread over its days (a month if none are given), at random."""
    count, timed = len(log), log.timeless < len(log)
    at: Sequence[float] = log.at
    order: Sequence[int] = range(count)
    if not timed:
        random = Random(seed)  # noqa: S311 - a simulation
        span = (days or MONTH_HOURS / 24) * 86_400
        at = array("d", sorted(random.random() * span for _ in range(count)))
    elif any(before > after for before, after in zip(at, islice(at, 1, None), strict=False)):
        order = array("I", sorted(range(count), key=at.__getitem__))
    begin = at[order[0]]
    spanned = max(LEAST_SECONDS, at[order[-1]] - begin) if timed else span
    hours = days * 24 if days else spanned / 3600
    pieces = min(MOST_BLOCKS, max(FEWEST_BLOCKS, round(spanned / 3600)))
    return LogPeriod(at, order, hours, timed, begin, spanned / pieces * (1 + 1e-9), pieces)


def _usd(log: Log, priced: Sequence[Price]) -> "array[float]":
    """What each request costs in the cloud, in US dollars."""
    rates = [(price.of(1, 0), price.of(0, 1), price.of(1, 0, 1)) for price in priced]
    usd = array("d")
    for model, prompt, output, cached in zip(log.model, log.prompt, log.output, log.cached, strict=True):
        read, written, known = rates[model]
        usd.append((prompt - cached) * read + cached * known + output * written)
    return usd


def _fits(log: Log, pool: AskedPool) -> tuple[bytearray, int]:
    """Which requests the pool could serve; and how many have the right capability, but are too long."""
    classes, fits, too_long = declared(pool), bytearray(len(log)), 0
    for number, (kind, prompt, output) in enumerate(zip(log.kind, log.prompt, log.output, strict=True)):
        if classes[kind & 7]:
            fits[number] = prompt + output <= pool.context_tokens
            too_long += not fits[number]
    return fits, too_long


def _slots(log: Log, pool: AskedPool, period: LogPeriod, fits: bytearray, mean_prompt: float) -> "array[int]":
    """The slot that each request takes."""
    held = array("I", (number for number in period.order if fits[number]))
    arrivals = ((period.at[number], pool.seconds(log.prompt[number], log.output[number])) for number in held)
    slot = array("I", [NOWHERE]) * len(log)
    for number, taken in zip(held, assign_slots(arrivals, lambda slot: pool.held_up(slot, mean_prompt)), strict=True):
        slot[number] = taken
    return slot


def _carried(usd: "array[float]", slot: "array[int]") -> tuple[tuple[float, ...], float]:
    """The share of the servable money that the first 0, 1, 2, ... slots take; and that money."""
    by_slot: list[float] = []
    for money, taken in zip(usd, slot, strict=True):
        if taken != NOWHERE:
            if taken >= len(by_slot):
                by_slot.extend([0.0] * (taken + 1 - len(by_slot)))
            by_slot[taken] += money
    whole = sum(by_slot)
    if not whole:
        return (), 0.0
    carried, total = [0.0], 0.0
    for money in by_slot:
        total += money
        carried.append(min(1.0, total / whole))
    carried[-1] = 1.0
    return tuple(carried), whole


def _in_use(
    log: Log, pool: AskedPool, period: LogPeriod, slot: "array[int]", mean_prompt: float
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Slots in use by block, had the pool enough of them: mean, and the highest."""
    seconds, peak = [0.0] * period.blocks, [0] * period.blocks
    for number, taken in enumerate(slot):
        if taken != NOWHERE:
            block = period.block(number)
            seconds[block] += pool.seconds(log.prompt[number], log.output[number]) + pool.held_up(taken, mean_prompt)
            if taken >= peak[block]:
                peak[block] = taken + 1
    return tuple(total / period.width for total in seconds), tuple(peak)


def _sums(log: Log, slot: "array[int]") -> tuple[tuple[TokenCounts, ...], tuple[TokenCounts, ...], TokenCounts]:
    """Tokens by class, by model, and of what the pool can serve."""
    classes = [[0, 0, 0, 0] for _ in CLASSES]
    models = [[0, 0, 0, 0] for _ in log.models]
    servable = [0, 0, 0, 0]
    columns = zip(log.kind, log.model, slot, log.prompt, log.output, log.cached, strict=True)
    for kind, model, taken, prompt, output, cached in columns:
        for row in (
            (classes[kind & 7], models[model]) if taken == NOWHERE else (classes[kind & 7], models[model], servable)
        ):
            row[0] += 1
            row[1] += prompt
            row[2] += output
            row[3] += cached
    return (
        tuple(TokenCounts(*row) for row in classes),
        tuple(TokenCounts(*row) for row in models),
        TokenCounts(*servable),
    )


def _total(parts: Sequence[TokenCounts]) -> TokenCounts:
    return TokenCounts(
        sum(part.requests for part in parts),
        sum(part.prompt for part in parts),
        sum(part.output for part in parts),
        sum(part.cached for part in parts),
    )


def _means(values: Sequence[float], count: int) -> list[float]:
    """Of each so many values."""
    return [fmean(values[at : at + count]) for at in range(0, len(values), count)]
