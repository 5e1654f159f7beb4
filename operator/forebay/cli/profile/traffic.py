"""A log's requests against one pool: which it could serve, which slot each would take, what each costs in the cloud."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from statistics import fmean
from typing import Final

from forebay.cli.prices import find
from forebay.cli.profile.hunt import NOWHERE, hunt
from forebay.cli.profile.pool import Pool
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS, GUESSED, UNKNOWN, Log
from forebay.cli.profile.sureness import Block
from forebay.resources.pool import Task
from forebay.resources.reasons import Capability
from forebay.rules.cost import MONTH_HOURS, Demand, Price
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.route import Local, route

FEWEST_BLOCKS: Final = 24
MOST_BLOCKS: Final = 168
LEAST_SECONDS: Final = 60.0
REQUESTS: Final = 30
STEPS: Final = 32


@dataclass(frozen=True, slots=True)
class Tokens:
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


@dataclass(slots=True)
class Traffic:
    """`hours` is the time that the log covers; `slot` is by request in order of time, as are `usd` and `kind`.

    `busy` is by block the mean number of slots in use, `peak` the highest, had the pool enough of them.
    """

    hours: float
    timed: bool
    order: Sequence[int]
    slot: "array[int]"
    usd: "array[float]"
    block: "array[int]"
    blocks: int
    carried: tuple[float, ...]
    servable_usd: float
    all: Tokens = Tokens()
    servable: Tokens = Tokens()
    too_long: int = 0
    priced: dict[str, Tokens] = field(default_factory=dict)  # by model whose price was taken
    by_class: list[Tokens] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    @property
    def loads(self) -> tuple[float, ...]:
        """Slots in use in equally long pieces of time, from the fullest, at most `STEPS` of them.

        Pieces hold `REQUESTS` requests on average, so that chance does not look like a peak.
        """
        pieces = max(1, min(len(self.busy), self.servable.requests // REQUESTS))
        wide = -(-len(self.busy) // pieces)
        means = sorted(_means(self.busy, wide), reverse=True)
        return tuple(_means(means, -(-len(means) // STEPS)))

    @property
    def months(self) -> float:
        """Months that the log covers."""
        return self.hours / MONTH_HOURS

    def demand(self) -> Demand:
        """A month of it."""
        months = self.months
        return Demand(self.all.total / months, sum(self.usd) / months, self.servable_usd / months,
                      self.loads, self.carried)  # fmt: skip

    def demand_at(self, price: Price) -> Demand:
        """The same had all of it gone to one model."""
        return Demand(self.all.total / self.months, self.all.usd(price) / self.months,
                      self.servable.usd(price) / self.months, self.loads, self.carried)  # fmt: skip


def declared(pool: Pool) -> tuple[bool, ...]:
    """By class: whether the router would send such a request to the pool. Without label and words it is `general`."""
    view = PoolView("pool", ("pool",), pool.capabilities, serving=1, free=1, free_high=1)

    def local(facts: RequestFacts) -> bool:
        return isinstance(route(facts, FleetView((view,))).destination, Local)

    asked = [RequestFacts(capability=capability) for capability in Capability]
    asked += [RequestFacts(task=Task.EMBED), RequestFacts()]  # EMBEDDINGS, UNKNOWN
    return tuple(map(local, asked))


def traffic(
    log: Log,
    pool: Pool,
    table: tuple[Price, ...],
    displaced: Price,
    every: bool,
    days: float | None,
    seed: int = 0,
    tick: Callable[[str], None] = lambda _: None,
) -> Traffic:
    """Play the log against the pool. `displaced` is the price of models that the table lacks, or of `every` one."""
    tick("sorting")
    at, order, timed = _times(log, days, seed)
    begin = at[order[0]]
    spanned = max(LEAST_SECONDS, at[order[-1]] - begin)
    hours = days * 24 if days else spanned / 3600
    count = min(MOST_BLOCKS, max(FEWEST_BLOCKS, round(hours)))
    width = spanned / count * (1 + 1e-9)
    tick("playing it against the pool")
    priced = [displaced if every else find(name, table) or displaced for name in log.models]
    rates = [
        (price.input / 1e6, price.output / 1e6, (price.input if price.cached is None else price.cached) / 1e6)
        for price in priced
    ]
    fits = declared(pool)
    usd, block = array("d"), array("H")
    holding: list[int] = []  # places of the requests that the pool could serve

    def arrivals() -> Iterator[tuple[float, float]]:
        for place, number in enumerate(order):
            prompt, output, cached = log.prompt[number], log.output[number], log.cached[number]
            read, written, known = rates[log.model[number]]
            usd.append((prompt - cached) * read + cached * known + output * written)
            block.append(int((at[number] - begin) / width))
            if fits[log.kind[number] & 7] and prompt + output <= pool.context_tokens:
                holding.append(place)
                yield at[number], pool.seconds(prompt, output)

    taken = hunt(arrivals())
    slot = array("I", [NOWHERE]) * len(order)
    by_slot = [0.0] * (max(taken, default=-1) + 1)
    for place, number in zip(holding, taken, strict=True):
        slot[place] = number
        by_slot[number] += usd[place]
    servable_usd = sum(by_slot)
    carried = _carried(by_slot, servable_usd)
    found = Traffic(hours, timed, order, slot, usd, block, count, carried, servable_usd)
    tick("adding up")
    _sums(found, log, pool, fits, priced, width)
    return found


def blocks(found: Traffic, log: Log, fits: Sequence[bool], slots: int) -> list[Block]:
    """The pieces of time, with a pool of so many slots."""
    made = [Block([0] * EMBEDDINGS, [0] * EMBEDDINGS) for _ in range(found.blocks)]
    for place, number in enumerate(found.order):
        kind, block, usd = log.kind[number], made[found.block[place]], found.usd[place]
        name = kind & 7
        if name < EMBEDDINGS:
            (block.guessed if kind & GUESSED else block.told)[name] += 1
        elif name == UNKNOWN:
            block.unknown += 1
        block.total += 1
        block.usd += usd
        if fits[name]:
            block.capable += 1
            if found.slot[place] < slots:
                block.served += 1
                block.kept += usd
    return [block for block in made if block.total]


def _times(log: Log, days: float | None, seed: int) -> tuple[Sequence[float], Sequence[int], bool]:
    """Arrivals and their order. A log without times is spread over its days (a month if none are given), at random."""
    if log.timeless == len(log):
        random = Random(seed)  # noqa: S311 - a simulation
        span = (days or MONTH_HOURS / 24) * 86_400
        return array("d", sorted(random.random() * span for _ in range(len(log)))), range(len(log)), False
    at = log.at
    sorted_already = all(before <= after for before, after in zip(at, islice(at, 1, None), strict=False))
    return at, range(len(log)) if sorted_already else array("I", sorted(range(len(log)), key=at.__getitem__)), True


def _means(values: Sequence[float], count: int) -> list[float]:
    """Of each so many values."""
    return [fmean(values[at : at + count]) for at in range(0, len(values), count)]


def _carried(by_slot: Sequence[float], whole: float) -> tuple[float, ...]:
    if not whole:
        return (0.0, 1.0)
    carried, total = [0.0], 0.0
    for usd in by_slot:
        total += usd
        carried.append(min(1.0, total / whole))
    carried[-1] = 1.0
    return tuple(carried)


def _sums(found: Traffic, log: Log, pool: Pool, fits: Sequence[bool], priced: Sequence[Price], width: float) -> None:
    """Tokens by class, by price, of what can be served; how busy the slots are."""
    classes = [[0, 0, 0, 0] for _ in CLASSES]
    models: dict[int, list[int]] = {}
    servable = [0, 0, 0, 0]
    seconds, peak = [0.0] * found.blocks, [0] * found.blocks
    for place, number in enumerate(found.order):
        kind = log.kind[number] & 7
        prompt, output, cached = log.prompt[number], log.output[number], log.cached[number]
        sums = [classes[kind], models.setdefault(log.model[number], [0, 0, 0, 0])]
        slot = found.slot[place]
        if slot != NOWHERE:
            sums.append(servable)
            block = found.block[place]
            seconds[block] += pool.seconds(prompt, output)
            if slot >= peak[block]:
                peak[block] = slot + 1
        elif fits[kind]:
            found.too_long += 1
        for row in sums:
            row[0] += 1
            row[1] += prompt
            row[2] += output
            row[3] += cached
    found.by_class = [Tokens(*row) for row in classes]
    found.all = Tokens(*(sum(column) for column in zip(*classes, strict=True)))
    found.servable = Tokens(*servable)
    found.busy = [total / width for total in seconds]
    found.peak = peak
    by_price: dict[str, list[int]] = {}
    for model, row in models.items():
        into = by_price.setdefault(priced[model].model, [0, 0, 0, 0])
        for column, value in enumerate(row):
            into[column] += value
    found.priced = {name: Tokens(*row) for name, row in by_price.items()}
