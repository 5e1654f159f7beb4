"""What local is worth for one log and one pool: shares, bills, the best size, and where local begins to win."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from statistics import fmean
from typing import Final

from forebay.cli.prices import asked, find
from forebay.cli.profile.asked_pool import AskedPool, on_hardware
from forebay.cli.profile.check import Check, check
from forebay.cli.profile.confidence import Shares, Span, shares
from forebay.cli.profile.reading import Log
from forebay.cli.profile.traffic import Traffic, blocks, declared, traffic
from forebay.rules.capacity import TYPICAL_TOKENS
from forebay.rules.cost import (
    Basis,
    BasisName,
    Bill,
    Hardware,
    MonthlyDemand,
    Price,
    basis,
    bill,
    break_even,
    cheapest,
    for_the_peak,
)

POINTS: Final = 49
SAMPLE: Final = 50_000
ROWS: Final = 8
YARDSTICKS: Final = ("gpt-5.6", "claude-sonnet-5", "gpt-5.4-mini", "gpt-5.6-luna", "gpt-5-nano")
"""Models of the shipped table that break-evens are given for, dear to cheap; of another table its first five."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `displaced` is the model that local would replace; None: the one each request names."""

    pool: AskedPool
    hardware: Hardware
    basis: BasisName
    table: tuple[Price, ...]
    displaced: str | None = None
    days: float | None = None
    seed: int = 0
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One volume of the curve: tokens a month, and US dollars a month."""

    tokens: float
    cloud: float
    all_local: float  # sized for its peak
    local_first: Mapping[BasisName, Bill]


@dataclass(frozen=True, slots=True)
class ProfileAnswer:
    """Everything that terminal and page show. Money is US dollars a month; sizes are replicas."""

    question: Question
    log: Log
    traffic: Traffic
    shares: Shares
    demand: MonthlyDemand
    default_price: Price
    priced: Sequence[Price]  # by model of the log
    bases: Mapping[BasisName, Basis]
    all_cloud: Span
    all_local: Bill
    local_first: Bill
    total: Span  # of local_first
    sizes: tuple[Bill, ...]
    bests: Mapping[BasisName, Bill]
    break_evens: Mapping[BasisName, float | None]
    yardsticks: Mapping[str, Mapping[BasisName, float | None]]
    curve: tuple[Point, ...]
    check: Check | None = None

    @property
    def chosen(self) -> Basis:
        """The basis that the bills are on."""
        return self.bases[self.question.basis]

    @property
    def blended(self) -> float:
        """US dollars a million tokens: what the log's mix costs in the cloud."""
        return self.demand.cloud_usd / self.demand.tokens * 1e6 if self.demand.tokens else 0.0


def answer(log: Log, question: Question, say: Callable[[str], None] = lambda _: None) -> ProfileAnswer:
    """Play the log, and count; `say` is told what is being done. Raises Problem for a model without a price."""
    question = replace(question, pool=on_hardware(question.pool, *_held(log, question.pool)))
    pool, table = question.pool, question.table
    default = asked(question.displaced, table) if question.displaced else table[0]
    priced = [default if question.displaced else find(name, table) or default for name in log.models]
    played = traffic(log, pool, priced, question.days, question.seed, say)
    demand = played.demand()
    bases = {name: basis(name, question.hardware, pool.gpus) for name in BasisName}
    chosen = bases[question.basis]
    best = cheapest(chosen, demand, pool.usable)
    peak = for_the_peak(chosen, demand, pool.usable)
    # What could be served is shown for the recommended size, or for one replica where none pays for itself.
    shown = max(1, best.replicas)
    say("asking how sure that is")
    fits = declared(pool)
    sure = shares(blocks(played, log, fits, shown * pool.usable), fits[:-2], fits[-1], question.seed)
    months = played.months
    everything = sure.usd.scaled(1 / months)
    total = sure.left.scaled(1 / months, best.hardware) if best.replicas else everything
    return ProfileAnswer(
        question=question,
        log=log,
        traffic=played,
        shares=sure,
        demand=demand,
        default_price=default,
        priced=priced,
        bases=bases,
        all_cloud=everything,
        all_local=peak,
        local_first=best,
        total=total,
        sizes=_sizes(chosen, demand, pool.usable, best.replicas, peak.replicas),
        bests={name: cheapest(each, demand, pool.usable) for name, each in bases.items()},
        break_evens={name: break_even(each, demand, pool.usable) for name, each in bases.items()},
        yardsticks=_yardsticks(played, bases, pool.usable, table),
        curve=_curve(bases, chosen, demand, pool.usable),
        check=_check(log, played, pool, shown, say) if question.replay else None,
    )


def _check(log: Log, played: Traffic, pool: AskedPool, replicas: int, say: Callable[[str], None]) -> Check:
    return check(log, played, pool, replicas, lambda seconds: say(f"replaying the busiest stretch, {seconds:,.0f} s"))


def _held(log: Log, pool: AskedPool) -> tuple[int, float]:
    """Tokens that 90 % of the requests hold in an engine's cache at most, at their end; and on average, in between.

    Of those that fit the pool's context; a sample of a long log.
    """
    every = range(0, len(log), len(log) // SAMPLE + 1)
    ends = sorted(
        tokens for number in every if (tokens := log.prompt[number] + log.output[number]) <= pool.context_tokens
    )
    if not ends:
        return TYPICAL_TOKENS, TYPICAL_TOKENS
    outputs = fmean(log.output[number] for number in every)
    return max(1, ends[int(0.9 * (len(ends) - 1))]), max(1.0, fmean(ends) - outputs / 2)


def _sizes(chosen: Basis, demand: MonthlyDemand, slots: int, best: int, most: int) -> tuple[Bill, ...]:
    """None, one, ... as many as the peak needs; of many those around the best."""
    wanted = {0, 1, best, max(1, most)}
    for step in range(1, 9):
        for size in (best - step, best + step):
            if len(wanted) < ROWS and 0 <= size <= most:
                wanted.add(size)
    return tuple(bill(chosen, demand, slots, size) for size in sorted(wanted))


def _yardsticks(
    played: Traffic, bases: Mapping[BasisName, Basis], slots: int, table: tuple[Price, ...]
) -> dict[str, dict[BasisName, float | None]]:
    known = [price for name in YARDSTICKS for price in table if price.model == name] or list(table[:5])
    return {
        price.model: {name: break_even(each, played.demand_at(price), slots) for name, each in bases.items()}
        for price in known
    }


def _curve(bases: Mapping[BasisName, Basis], chosen: Basis, demand: MonthlyDemand, slots: int) -> tuple[Point, ...]:
    """From a million tokens a month to ten billion, and further if the log's own volume lies there."""
    if not demand.tokens:
        return ()
    own = log10(demand.tokens)
    low, high = min(6.0, floor(own)), max(10.0, ceil(own + 0.5))
    points = []
    for place in range(POINTS):
        tokens = 10 ** (low + (high - low) * place / (POINTS - 1))
        volume = tokens / demand.tokens
        full = for_the_peak(chosen, demand, slots, volume)
        points.append(
            Point(
                tokens,
                volume * demand.cloud_usd,
                full.total,
                {name: cheapest(each, demand, slots, volume) for name, each in bases.items()},
            )
        )
    return tuple(points)
