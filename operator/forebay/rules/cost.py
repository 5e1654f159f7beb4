"""What a month of inference costs on own GPUs, in the cloud, or local-first: US dollars, a month being 730 hours.

Own hardware is counted on one of three bases, which differ by a factor of ten and more; so a break-even without its
basis means nothing. Replicas are paid for whether they are full or not; the cloud is paid by the token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from typing import Final

from forebay.word_enum import WordEnum

MONTH_HOURS: Final = 730
MOST_REPLICAS: Final = 4096
MOST_DOUBLINGS: Final = 40
RARELY: Final = 0.001
CLAIM_TOKENS: Final = 10_000_000
"""Tokens a month above which "local wins", as the claim goes that this module puts to the test."""


class BasisName(WordEnum):
    """How own hardware is counted."""

    ELECTRICITY = "electricity"  # paid for long ago: only what it draws
    OWNED = "owned"  # its price over its months, what it draws, and people
    RENTED = "rented"  # by the hour, power included


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one GPU costs, its share of the server included. Prices in US dollars. People are counted once a fleet."""

    gpu_price: float = 15_000.0
    months: float = 36.0
    watts: float = 600.0  # at the wall, mean of a month, cooling included
    kwh_price: float = 0.15
    people_month: float = 500.0
    gpu_hour_price: float = 2.0


@dataclass(frozen=True, slots=True)
class Basis:
    """US dollars a month: for each replica, and once for the fleet if there is a replica at all."""

    name: BasisName
    replica: float
    fleet: float = 0.0

    def of(self, replicas: int) -> float:
        """What so many replicas cost a month."""
        return self.fleet + replicas * self.replica if replicas else 0.0


def basis(name: BasisName, hardware: Hardware, gpus: int = 1) -> Basis:
    """The price of a replica with so many GPUs."""
    power = hardware.watts / 1000 * MONTH_HOURS * hardware.kwh_price
    if name is BasisName.ELECTRICITY:
        return Basis(name, gpus * power)
    if name is BasisName.RENTED:
        return Basis(name, gpus * hardware.gpu_hour_price * MONTH_HOURS)
    return Basis(name, gpus * (hardware.gpu_price / hardware.months + power), hardware.people_month)


@dataclass(frozen=True, slots=True)
class Price:
    """A model's list price, US dollars a million tokens, as of a date, from a source."""

    provider: str
    model: str
    input: float
    output: float
    cached: float | None = None
    context_tokens: int | None = None
    as_of: str = ""
    source: str = ""

    def of(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """US dollars. `input_tokens` includes those that the provider has in its cache."""
        cached = self.input if self.cached is None else self.cached
        fresh = input_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class MonthlyDemand:
    """A month of traffic at the displaced price.

    `loads` is what the pool's model could serve, as slots in use on average, in equally long pieces of time; empty:
    capacity is not in question. `carried[m]` is the share of it that the first m slots were seen to take (0 to 1);
    empty: not seen.
    """

    tokens: float
    cloud_usd: float  # all of it
    servable_usd: float  # the part that the pool's model could have served
    loads: tuple[float, ...] = ()
    carried: tuple[float, ...] = ()

    @property
    def slot_usd(self) -> float:
        """What a slot that is never free saves in a month; infinite where capacity is not in question."""
        mean = sum(self.loads) / len(self.loads) if self.loads else 0.0
        return self.servable_usd / mean if mean else inf


@dataclass(frozen=True, slots=True)
class Bill:
    """US dollars a month at one size of the pool; `local` is the share of all cloud money that stays at home."""

    replicas: int
    hardware: float
    cloud: float
    local: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.hardware + self.cloud


def bills(basis: Basis, demand: MonthlyDemand, slots: int, volume: float = 1.0) -> Iterator[Bill]:
    """The month at `volume` times the demand: without a replica, with one of so many slots, with two, and so on."""
    for replicas, taken in enumerate(taken_by(demand, slots, volume)):
        kept = demand.servable_usd * taken
        share = kept / demand.cloud_usd if demand.cloud_usd else 0.0
        yield Bill(replicas, basis.of(replicas), volume * (demand.cloud_usd - kept), share)


def taken_by(demand: MonthlyDemand, slots: int, volume: float = 1.0) -> Iterator[float]:
    """Share of what is servable that 0, 1, 2, ... replicas take.

    At the log's own volume that is what was seen. At others each piece of time has `volume` times its load, arrivals
    within it are those of many independent clients, and what finds no slot leaves: Erlang's loss formula.
    """
    if volume == 1.0 and demand.carried:
        for replicas in range(MOST_REPLICAS):
            yield demand.carried[min(replicas * slots, len(demand.carried) - 1)]
        return
    loads = [volume * load for load in demand.loads if load > 0]
    blocked, whole = [1.0] * len(loads), sum(loads)
    yield 0.0
    for replicas in range(1, MOST_REPLICAS):
        for place, load in enumerate(loads):
            lost = blocked[place]
            for slot in range((replicas - 1) * slots + 1, replicas * slots + 1):
                lost = load * lost / (slot + load * lost)
            blocked[place] = lost
        lost_load = sum(load * lost for load, lost in zip(loads, blocked, strict=True))
        yield 1 - lost_load / whole if whole else 1.0


def bill(basis: Basis, demand: MonthlyDemand, slots: int, replicas: int, volume: float = 1.0) -> Bill:
    """The month with so many replicas."""
    return next(islice(bills(basis, demand, slots, volume), replicas, None))


def for_the_peak(basis: Basis, demand: MonthlyDemand, slots: int, volume: float = 1.0) -> Bill:
    """The month with so many replicas that all but `RARELY` of what they could serve finds a slot; one at least."""
    everything = demand.servable_usd / demand.cloud_usd if demand.cloud_usd else 0.0
    found = bill(basis, demand, slots, 1, volume)
    for found in islice(bills(basis, demand, slots, volume), 1, None):
        if found.local >= everything * (1 - RARELY):
            break
    return found


def cheapest(basis: Basis, demand: MonthlyDemand, slots: int, volume: float = 1.0) -> Bill:
    """Local-first at its best: the size with the lowest total. None at all where no replica pays for itself.

    Each further replica takes less than the one before, so past the best size the total only grows.
    """
    several = bills(basis, demand, slots, volume)
    none, least = next(several), next(several)
    for following in several:
        if following.total >= least.total:
            break
        least = following
    return least if least.total < none.total else none


def break_even(basis: Basis, demand: MonthlyDemand, slots: int) -> float | None:
    """Tokens a month from which local-first is cheaper than the cloud alone; None: at no volume.

    What a replica saves grows with the volume, up to what its slots save when they are never free.
    """
    if not demand.tokens or not demand.servable_usd or slots * demand.slot_usd <= basis.replica * (1 + 1e-9):
        return None
    shape = replace(demand, carried=())
    # Were every slot there at once, this volume would pay for one replica; no smaller one can.
    low = high = max(1e-12, basis.replica / demand.servable_usd)
    for _ in range(MOST_DOUBLINGS):
        if cheapest(basis, shape, slots, high).replicas:
            break
        low, high = high, high * 2
    else:
        return None
    for _ in range(40):
        middle = (low * high) ** 0.5
        if cheapest(basis, shape, slots, middle).replicas:
            high = middle
        else:
            low = middle
    return high * demand.tokens
