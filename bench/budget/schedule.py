"""What comes and what breaks: requests in bursts, and events that fall on gateways and operator. Drawn from a seed."""

from dataclasses import dataclass
from enum import Enum
from random import Random


class Trouble(Enum):
    """What may happen to a fleet."""

    KILL = "container killed"
    LOSE = "pod lost"
    GHOST = "pod lost, its process lives on"
    DRAIN = "pod ends in order"
    CUT_OFF = "gateway cut off from the operator for a minute"
    OPERATOR = "operator away for two minutes"
    FORGET = "operator restarted"


AWAY_SECONDS = {Trouble.CUT_OFF: 60.0, Trouble.OPERATOR: 120.0}
"""How long what comes back is away."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: when (seconds), at which gateway (a share), its worst case and its cost (dollars), how long it
    runs."""

    at: float
    where: float
    worst: float
    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """A period: its amount in dollars, requests by time, and troubles by time, each with a share for which gateway."""

    amount: float
    seconds: float
    gateways: int
    asks: tuple[Ask, ...]
    troubles: tuple[tuple[float, Trouble, float], ...]


@dataclass(frozen=True, slots=True)
class Weather:
    """How a schedule is drawn: troubles for each gateway in a period; whether the operator is among them."""

    name: str
    troubles: float
    kinds: tuple[Trouble, ...]


CALM = Weather("calm", 0.0, ())
USUAL = Weather("usual", 1.0, (Trouble.KILL, Trouble.DRAIN, Trouble.DRAIN, Trouble.LOSE, Trouble.FORGET))
HELL = Weather("hell", 6.0, tuple(Trouble))
WEATHERS = (CALM, USUAL, HELL)


def drawn(seed: int, weather: Weather, amount: float = 20.0, seconds: float = 900.0, gateways: int = 4) -> Schedule:
    """Requests cost about 1.5 times the amount, in bursts; an answer costs a tenth to all of its worst case."""
    rng = Random(seed)
    asks: list[Ask] = []
    mean = 0.04
    rate = 1.5 * amount / mean / seconds
    at = 0.0
    busy = True
    until = rng.expovariate(1 / 60)
    while at < seconds:
        at += rng.expovariate(rate * (1.6 if busy else 0.4))
        if at > until:
            busy, until = not busy, at + rng.expovariate(1 / 60)
        worst = min(0.4, rng.lognormvariate(-2.6, 0.6))
        part = rng.betavariate(2, 2) * 0.9 + 0.1
        asks.append(Ask(at, rng.random(), worst, worst * part, min(60.0, rng.expovariate(1 / 8))))
    count = round(weather.troubles * gateways)
    troubles = tuple(
        sorted(
            ((rng.uniform(10, seconds), rng.choice(weather.kinds), rng.random()) for _ in range(count)),
            key=lambda item: item[0],
        )
        if weather.kinds
        else ()
    )
    return Schedule(amount, seconds, gateways, tuple(ask for ask in asks if ask.at < seconds), troubles)
