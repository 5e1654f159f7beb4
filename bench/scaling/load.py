"""What arrives: two weeks of requests of a known character, from a seed; or recorded ones, from a folder."""

import random
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import fmean, pstdev

DAY, STEP = 86_400.0, 600.0
HIGH, NORMAL, LOW = 0, 1, 2
SHARES = (0.1, 0.8, 0.1)  # of the priorities

# A 70B model on two 80 GB GPUs at about eight running requests, to the order: 60 ms a token, 3,000 prompt tokens/s.
TOKEN_SECONDS, PREFILL_TOKENS_PER_SECOND = 0.06, 3000.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a request, lognormal: medians and 95th percentiles, as measured on the trace that is named."""

    source: str
    prompt: tuple[float, float]
    output: tuple[float, float]
    longest: int = 32_000

    def draw(self, rng: random.Random) -> tuple[int, int]:
        """Prompt and output of one request."""
        return self._one(rng, self.prompt), self._one(rng, self.output)

    def _one(self, rng: random.Random, fit: tuple[float, float]) -> int:
        median, high = fit
        return max(1, min(self.longest, round(median * exp(rng.gauss(0.0, log(high / median) / 1.645)))))


CONVERSATION = Lengths("Azure 2023, conversation", (1020, 4083), (129, 451))
CODE = Lengths("Azure 2023, code", (1469, 7302), (13, 90))
LONG = Lengths("Mooncake, conversation, without the third that is cached", (4380, 25_070), (350, 698))
REASONING = Lengths("ServeGen, deepseek-r1", (180, 1600), (900, 4200))


@dataclass(frozen=True, slots=True)
class Character:
    """The shape of a trace. `hours` and `days` weigh the rate; `noise` is the spread of its logarithm between steps."""

    name: str
    about: str
    demand: float  # mean concurrent requests
    lengths: Lengths
    gap_cv: float  # of the time between two requests, within a step
    hours: Sequence[float] = (1.0,)
    days: Sequence[float] = (1.0,)
    drift: float = 0.1  # from day to day
    noise: float = 0.1  # from step to step
    jumps: float = 1.0  # a day: clients that come for half an hour to two hours, and double the rate or more


OFFICE = (
    0.25, 0.2, 0.18, 0.18, 0.2, 0.3, 0.5, 0.9, 1.5, 1.9, 2.0, 1.9,
    1.5, 1.7, 1.9, 1.9, 1.8, 1.5, 1.0, 0.8, 0.7, 0.6, 0.45, 0.35,
)  # fmt: skip
EVENING = (
    0.84, 0.71, 0.73, 0.68, 0.71, 0.66, 0.68, 0.85, 1.02, 1.05, 1.13, 1.09,
    1.06, 1.07, 1.06, 1.05, 1.09, 1.08, 1.01, 1.23, 1.46, 1.4, 1.27, 1.06,
)  # fmt: skip
WEEK = (1.3, 1.35, 1.3, 1.3, 1.15, 0.3, 0.3)
CHARACTERS = (
    Character(
        "office", "one company's chat: working hours, working days", 16, CONVERSATION, 1.2, hours=OFFICE, days=WEEK
    ),
    Character(
        "service",
        "a public service: evenings, every day, long prompts",
        18,
        LONG,
        2.0,
        hours=EVENING,
        noise=0.15,
        drift=0.15,
    ),
    Character(
        "worldwide",
        "an API without nights: daily drift, steps of 30 % between ten minutes",
        18,
        CONVERSATION,
        2.0,
        noise=0.25,
        drift=0.25,
        jumps=3.0,
    ),
    Character(
        "agents",
        "code and agents: requests in bursts, gap CV 13",
        6,
        CODE,
        8.0,
        hours=OFFICE,
        days=WEEK,
        noise=0.3,
        jumps=4.0,
    ),
    Character(
        "reasoning",
        "long answers: half a minute to minutes each",
        20,
        REASONING,
        1.3,
        hours=EVENING,
        noise=0.2,
        drift=0.2,
        jumps=2.0,
    ),
)


@dataclass(slots=True)
class Load:
    """Requests in the order of their arrival; column by column, so that weeks of them fit. Seconds and tokens."""

    name: str
    about: str
    at: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    prompt: "array[int]" = field(default_factory=lambda: array("l"))
    output: "array[int]" = field(default_factory=lambda: array("l"))
    priority: bytearray = field(default_factory=bytearray)

    def add(self, at: float, prompt: int, output: int, priority: int) -> None:
        """One more request."""
        self.at.append(at)
        self.seconds.append(prompt / PREFILL_TOKENS_PER_SECOND + output * TOKEN_SECONDS)
        self.prompt.append(prompt)
        self.output.append(output)
        self.priority.append(priority)

    def part(self, begin: float, end: float, name: str = "") -> "Load":
        """The requests between two times, counted from the first of the two."""
        low, high = bisect_left(self.at, begin), bisect_left(self.at, end)
        return Load(
            name or self.name,
            self.about,
            array("d", [time - begin for time in self.at[low:high]]),
            self.seconds[low:high],
            self.prompt[low:high],
            self.output[low:high],
            self.priority[low:high],
        )

    @property
    def span(self) -> float:
        """Seconds from the begin to the last request."""
        return self.at[-1] if self.at else 0.0

    @property
    def service_seconds(self) -> float:
        """Mean of one request."""
        return sum(self.seconds) / max(len(self.seconds), 1)

    def demand(self, step: float = 60.0) -> list[float]:
        """Mean concurrent requests in each step, if there were slots for all."""
        found = [0.0] * (int(self.span // step) + 1)
        for at, seconds in zip(self.at, self.seconds, strict=True):
            first, last = int(at // step), min(int((at + seconds) // step), len(found) - 1)
            for index in range(first, last + 1):
                found[index] += max(0.0, min(at + seconds, (index + 1) * step) - max(at, index * step))
        return [work / step for work in found]

    def first(self, capacity: int) -> int:
        """Replicas to begin with: for the demand of the first hour at 90 %."""
        hour = self.part(0.0, min(3600.0, self.span))
        return max(1, round(sum(hour.seconds) / 3600.0 / (0.9 * capacity)))

    def character(self) -> dict[str, float]:
        """What kind of trace it is."""
        gaps = [after - before for before, after in zip(self.at, self.at[1:], strict=False)]
        demand = self.demand()
        return {
            "requests": len(self.at),
            "days": round(self.span / DAY, 2),
            "gap_cv": round(pstdev(gaps) / fmean(gaps), 2),
            "mean_demand": round(fmean(demand), 2),
            "peak_demand_minute": round(max(demand), 1),
            "service_seconds": round(self.service_seconds, 2),
        }


def generated(kind: Character, days: int, seed: int) -> Load:
    """A trace of this character; the same for the same seed."""
    rng = random.Random(f"{kind.name} {seed}")
    rates = list(_rates(kind, days, rng))
    probe = [kind.lengths.draw(rng) for _ in range(20_000)]
    service = fmean(prompt / PREFILL_TOKENS_PER_SECOND + output * TOKEN_SECONDS for prompt, output in probe)
    scale = kind.demand / service / fmean(rates)
    load = Load(kind.name, kind.about)
    for at in arrivals([rate * scale for rate in rates], kind.gap_cv, rng):
        load.add(at, *kind.lengths.draw(rng), priority_of(rng))
    return load


def priority_of(rng: random.Random) -> int:
    """High, Normal or Low by their shares."""
    draw = rng.random()
    return HIGH if draw < SHARES[0] else NORMAL if draw < SHARES[0] + SHARES[1] else LOW


def arrivals(rates: Iterable[float], cv: float, rng: random.Random) -> Iterator[float]:
    """Times of a renewal process with gamma gaps of this coefficient of variation, at these rates step by step.

    The gaps are drawn at a rate of one and stretched by the rate of the time, so that a burst goes on across steps.
    """
    shape = 1.0 / (cv * cv)
    left = rng.gammavariate(shape, 1.0 / shape)
    for index, rate in enumerate(rates):
        if rate <= 0:
            continue
        at = 0.0
        while at + left / rate < STEP:
            at += left / rate
            yield index * STEP + at
            left = rng.gammavariate(shape, 1.0 / shape)
        left -= (STEP - at) * rate


def _rates(kind: Character, days: int, rng: random.Random) -> Iterator[float]:
    """Relative rate of each step of ten minutes."""
    steps = int(DAY // STEP)
    wander, jump, until = 0.0, 1.0, -1
    for day in range(days):
        today = kind.days[day % len(kind.days)] * exp(rng.gauss(0.0, kind.drift))
        for step in range(steps):
            hour = step * len(kind.hours) / steps
            low, share = int(hour), hour - int(hour)
            shape = kind.hours[low] * (1 - share) + kind.hours[(low + 1) % len(kind.hours)] * share
            wander = 0.8 * wander + sqrt(1 - 0.64) * rng.gauss(0.0, kind.noise)
            if day * steps + step >= until:
                jump = 1.0
                if rng.random() < kind.jumps / steps:
                    jump, until = rng.uniform(1.8, 3.0), day * steps + step + rng.randint(3, 12)
            yield today * shape * jump * exp(wander)
