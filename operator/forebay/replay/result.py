"""What became of a trace: every request's fate, every minute's fleet, and what it all cost."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from math import nan
from typing import NamedTuple

from forebay.replay.scaler import ScalerView
from forebay.replay.trace import TraceRequest
from forebay.resources.reasons import Priority, Reason
from forebay.resources.table import ModelEntry
from forebay.rules.spending import TokenUsage, price

_PRIORITIES = tuple(Priority)
_REASONS = tuple(Reason)
_PRIORITY = {word: number for number, word in enumerate(_PRIORITIES)}
_REASON = {word: number for number, word in enumerate(_REASONS)}


class Fate(NamedTuple):
    """One request and what became of it. Seconds; `first_token` and `seconds` count from `at`, and are nan where no
    answer came. `pool` is where demand counted it; `destination` that pool, provider/model, or "none".
    """

    at: float
    prompt: int
    output: int
    priority: Priority
    pool: str
    destination: str
    reason: Reason
    status: int
    waited: float
    first_token: float
    seconds: float

    @property
    def local(self) -> bool:
        """Whether a replica answered it."""
        return self.status == 200 and "/" not in self.destination

    @property
    def left(self) -> bool:
        """Whether a provider answered it."""
        return self.status == 200 and "/" in self.destination

    @property
    def per_token(self) -> float:
        """Seconds for each token after the first; nan where there is none."""
        return (self.seconds - self.first_token) / (self.output - 1) if self.output > 1 else nan


class Fates:
    """All fates in the order of arrival, in columns: weeks of them fit into memory."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._at, self._waited, self._first, self._seconds = (array("d") for _ in range(4))
        self._prompt, self._output = array("l"), array("l")
        self._priority, self._reason = array("b"), array("b")
        self._pool, self._destination, self._status = array("h"), array("h"), array("h")

    def begin(self, request: TraceRequest) -> int:
        """A request came; its number."""
        self._at.append(request.at)
        self._prompt.append(request.prompt)
        self._output.append(request.output)
        self._priority.append(_PRIORITY[request.priority])
        for column in (self._waited, self._first, self._seconds):
            column.append(nan)
        for numbers in (self._reason, self._pool, self._destination):
            numbers.append(-1)
        self._status.append(0)
        return len(self._at) - 1

    def end(
        self, number: int, *, pool: str, destination: str, reason: Reason, status: int,
        waited: float, first_token: float = nan, seconds: float = nan,
    ) -> None:  # fmt: skip
        """It is over; each request ends once."""
        assert not self._status[number], f"request {number} has a fate already"
        self._pool[number], self._destination[number] = self._number(pool), self._number(destination)
        self._reason[number], self._status[number] = _REASON[reason], status
        self._waited[number], self._first[number], self._seconds[number] = waited, first_token, seconds

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, number: int) -> Fate:
        return Fate(
            self._at[number],
            self._prompt[number],
            self._output[number],
            _PRIORITIES[self._priority[number]],
            self._names[self._pool[number]],
            self._names[self._destination[number]],
            _REASONS[self._reason[number]],
            self._status[number],
            self._waited[number],
            self._first[number],
            self._seconds[number],
        )

    def __iter__(self) -> Iterator[Fate]:
        return (self[number] for number in range(len(self)))


@dataclass(slots=True)
class PlayedMinute:
    """One pool in one minute. Replicas, running, queued and overflowing are means; the others counts."""

    pool: str
    minute: int
    looks: int = 0
    wanted: float = 0.0
    ready: float = 0.0
    starting: float = 0.0
    ending: float = 0.0
    running: float = 0.0
    queued: float = 0.0
    overflowing: float = 0.0
    slots: float = 0.0
    arrivals: int = 0
    overflowed: int = 0
    refused: int = 0

    def add(self, seen: ScalerView, slots: int) -> None:
        """One more look."""
        self.looks += 1
        share = 1 / self.looks
        self.wanted += (seen.size - self.wanted) * share
        self.ready += (seen.ready - self.ready) * share
        self.starting += (seen.starting - self.starting) * share
        self.ending += (seen.ending - self.ending) * share
        self.running += (seen.running - self.running) * share
        self.queued += (seen.queued - self.queued) * share
        self.overflowing += (seen.overflowing - self.overflowing) * share
        self.slots += (slots - self.slots) * share


@dataclass(frozen=True, slots=True)
class Change:
    """The size that was asked for changed."""

    at: float
    pool: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What left for one provider's model, for one reason and priority. `cost` in US dollars, None without a price."""

    pool: str
    destination: str
    reason: Reason
    priority: Priority
    requests: int
    usage: TokenUsage
    cost: Decimal | None


@dataclass(slots=True)
class ReplayResult:
    """All that became of a trace. `seconds` is from its begin to the end of its last request."""

    seconds: float = 0.0
    fates: Fates = field(default_factory=Fates)
    minutes: list[PlayedMinute] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)  # of one replica, by pool
    first_sizes: dict[str, int] = field(default_factory=dict)
    gpu_seconds: dict[str, float] = field(default_factory=dict)  # by pool
    gpu_hour_prices: dict[str, Decimal | None] = field(default_factory=dict)
    spent: list[Spent] = field(default_factory=list)

    @property
    def local_cost(self) -> Decimal | None:
        """US dollars for the GPUs, serving or not; None where a pool has no price."""
        total = Decimal(0)
        for pool, seconds in self.gpu_seconds.items():
            hour = self.gpu_hour_prices.get(pool)
            if hour is None:
                return None
            total += hour * Decimal(seconds) / 3600
        return total

    @property
    def cloud_cost(self) -> Decimal | None:
        """US dollars for all that left; None where a model has no price."""
        costs = [item.cost for item in self.spent]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))

    def reversals(self, pool: str) -> int:
        """How often the size turned round: up after down, or down after up."""
        ways = [change.after > change.before for change in self.changes if change.pool == pool]
        return sum(before is not after for before, after in pairwise(ways))


def spending(fates: Fates, models: Mapping[str, ModelEntry]) -> list[Spent]:
    """What left, with what it cost: tokens times prices, exact."""
    sums: dict[tuple[str, str, Reason, Priority], TokenUsage] = {}
    counts: Counter[tuple[str, str, Reason, Priority]] = Counter()
    for fate in fates:
        if fate.left:
            key = (fate.pool, fate.destination, fate.reason, fate.priority)
            before = sums.get(key, TokenUsage())
            sums[key] = TokenUsage(before.input + fate.prompt, before.output + fate.output)
            counts[key] += 1
    return [Spent(*key, counts[key], usage, price(usage, models[key[1]])) for key, usage in sorted(sums.items())]
