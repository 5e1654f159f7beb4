"""What a month of inference costs on own GPUs, in the cloud, or local-first: US dollars, a month being 730 hours.

Own hardware is counted on one of three bases, which differ by a factor of ten and more; so a break-even without its
basis means nothing. Replicas are paid for whether they are full or not; the cloud is paid by the token.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor
from typing import Final

MONTH_HOURS: Final = 730
MOST_REPLICAS: Final = 4096
CLAIM_TOKENS: Final = 10_000_000
"""Tokens a month above which "local wins", as the claim goes that this module puts to the test."""


class BasisName(StrEnum):
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
class Demand:
    """A month of traffic at the displaced price.

    `carried[m]` is the share of `servable_usd` that a pool's first m slots would have taken (from 0 at m = 0 up to 1).
    """

    tokens: float
    cloud_usd: float  # all of it
    servable_usd: float  # the part that the pool's model could have served
    carried: tuple[float, ...] = (0.0, 1.0)

    def taken(self, slots: float) -> float:
        """Share of the servable part that so many slots take; between whole slots a straight line."""
        below = min(floor(slots), len(self.carried) - 1)
        above = min(below + 1, len(self.carried) - 1)
        return self.carried[below] + (self.carried[above] - self.carried[below]) * (slots - below)


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


def bill(basis: Basis, demand: Demand, slots: int, replicas: int, volume: float = 1.0) -> Bill:
    """The month at `volume` times the demand, with so many replicas of `slots` slots each.

    Demand is scaled without changing its shape: peaks grow with it. A larger fleet of many users is steadier than
    that, so large volumes are judged with caution.
    """
    kept = demand.servable_usd * demand.taken(replicas * slots / volume)
    share = kept / demand.cloud_usd if demand.cloud_usd else 0.0
    return Bill(replicas, basis.of(replicas), volume * (demand.cloud_usd - kept), share)


def most_replicas(demand: Demand, slots: int, volume: float = 1.0) -> int:
    """Enough that nothing which the pool can serve leaves."""
    return min(MOST_REPLICAS, ceil((len(demand.carried) - 1) * volume / slots - 1e-9))


def cheapest(basis: Basis, demand: Demand, slots: int, volume: float = 1.0) -> Bill:
    """Local-first at its best: the size with the lowest total. None at all where no replica pays for itself.

    Each further replica takes less than the one before, so past the best size the total only grows.
    """
    best = bill(basis, demand, slots, 0, volume)
    least = bill(basis, demand, slots, 1, volume)
    for replicas in range(2, most_replicas(demand, slots, volume) + 1):
        following = bill(basis, demand, slots, replicas, volume)
        if following.total > least.total:
            break
        least = following
    return least if least.total < best.total else best


def break_even(basis: Basis, demand: Demand, slots: int) -> float | None:
    """Tokens a month from which local-first is cheaper than the cloud alone; None: at no volume.

    What a replica saves grows with the volume, up to what its slots can take when they are never free.
    """
    high = 1.0
    while not cheapest(basis, demand, slots, high).replicas:
        high *= 2
        if high * len(demand.carried) / slots > MOST_REPLICAS:
            return None
    low = high / 2
    while cheapest(basis, demand, slots, low).replicas:
        low, high = low / 2, low
        if low < 1e-12:
            return 0.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        if cheapest(basis, demand, slots, middle).replicas:
            high = middle
        else:
            low = middle
    return high * demand.tokens
