"""One pool, request by request: slots, a queue, a cloud, and replicas that take their time to start.

Much simpler than `forebay.replay`, so that weeks of requests cost seconds: a request takes as long as its tokens do at
a usual load, replicas are one heap of ends, and a start always takes the same time. `docs/scaling.md` says how far the
two are apart.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from bench.scaling.load import HIGH, LOW, NORMAL, Load
from forebay.replay.scaler import Scaler, ScalerView

LOST_WINDOW_SECONDS: Final = 30.0  # as the operator counts
HOUR: Final = 3600.0
LATE_SECONDS: Final = 2.0  # a first token after so long waiting is late


@dataclass(frozen=True, slots=True)
class Setup:
    """The pool. Slots of one replica, replicas, seconds."""

    slots: int = 10
    reserved: int = 1  # slots of a replica that only High may use
    minimum: int = 1
    maximum: int = 16
    cold_start: float = 300.0
    max_wait: float = 30.0
    cloud: bool = True

    @property
    def capacity(self) -> int:
        """Slots of one replica that Normal may use."""
        return self.slots - self.reserved


@dataclass(slots=True)
class Purse:
    """A budget of one play: US dollars, at these for a million tokens. `short`: a request no longer fitted."""

    amount: float
    prompt: float
    output: float
    spent: float = 0.0
    short: bool = False

    def pay(self, prompt: int, output: int) -> bool:
        """Whether there is money for a request; if so, it is spent."""
        cost = (prompt * self.prompt + output * self.output) / 1e6
        self.short = self.short or self.spent + cost > self.amount
        self.spent += 0.0 if self.short else cost
        return not self.short


@dataclass(slots=True)
class Outcome:
    """What became of the load. Counts by priority (High, Normal, Low)."""

    seconds: float = 0.0
    replica_seconds: float = 0.0
    requests: list[int] = field(default_factory=lambda: [0, 0, 0])
    overflowed: list[int] = field(default_factory=lambda: [0, 0, 0])
    refused: list[int] = field(default_factory=lambda: [0, 0, 0])
    late: list[int] = field(default_factory=lambda: [0, 0, 0])
    overflow_prompt: list[int] = field(default_factory=lambda: [0, 0, 0])
    overflow_output: list[int] = field(default_factory=lambda: [0, 0, 0])
    ups: int = 0
    downs: int = 0
    turns: int = 0  # changes in the other direction than the one before
    undone: int = 0  # of those, within an hour
    sizes: list[tuple[float, int]] = field(default_factory=list)  # when the size changed, and to what

    @property
    def overflow_share(self) -> float:
        """Of all requests, those that left."""
        return sum(self.overflowed) / max(sum(self.requests), 1)


class Pool:
    """The state of one play."""

    def __init__(self, load: Load, setup: Setup, purse: Purse | None = None) -> None:
        self.load, self.setup, self.purse = load, setup, purse
        self.outcome = Outcome(seconds=load.span)
        self.ends: list[float] = []  # of what runs
        self.away: list[float] = []  # ends of what runs at the cloud
        self.waiting: deque[tuple[float, int]] = deque()  # deadline, request
        self.lost: deque[float] = deque()
        self.ready = 0
        self.next = 0

    def until(self, now: float) -> None:
        """Play what comes before `now`."""
        at, seconds, priority = self.load.at, self.load.seconds, self.load.priority
        stop = bisect_left(at, now, self.next)
        ends, all_slots, normal_slots = self.ends, self.ready * self.setup.slots, self.ready * self.setup.capacity
        index = self.next
        while index < stop:
            time = at[index]
            if self.waiting:
                self._serve_waiting(time)
            else:
                while ends and ends[0] <= time:
                    heappop(ends)
            if len(ends) < (all_slots if priority[index] == HIGH else normal_slots):
                heappush(ends, time + seconds[index])
            else:
                self._full(time, index)
            index += 1
        self.next = stop
        if self.waiting:
            self._serve_waiting(now)
        while ends and ends[0] <= now:
            heappop(ends)

    def _full(self, time: float, index: int) -> None:
        """No slot: what may leaves, the rest waits."""
        priority = self.load.priority[index]
        if self.setup.cloud and priority != LOW and self._paid(index):
            self._leave(time, index)
            return
        if priority == HIGH:
            self.waiting.appendleft((time + self.setup.max_wait, index))
        else:
            self.waiting.append((time + self.setup.max_wait, index))

    def _paid(self, index: int) -> bool:
        return self.purse is None or self.purse.pay(self.load.prompt[index], self.load.output[index])

    def _leave(self, time: float, index: int) -> None:
        priority, outcome = self.load.priority[index], self.outcome
        outcome.overflowed[priority] += 1
        outcome.overflow_prompt[priority] += self.load.prompt[index]
        outcome.overflow_output[priority] += self.load.output[index]
        heappush(self.away, time + self.load.seconds[index])
        self.lost.append(time)

    def _serve_waiting(self, now: float) -> None:
        """Give slots that came free before `now` to who waits, first come first served; refuse who waited too long."""
        ends, slots = self.ends, self.ready * self.setup.capacity
        clock = 0.0
        while self.waiting:
            while len(ends) >= slots and ends and ends[0] <= now:
                clock = heappop(ends)
            deadline, index = self.waiting[0]
            begun = deadline - self.setup.max_wait
            if len(ends) < slots and max(clock, begun) <= deadline:
                self.waiting.popleft()
                start = max(clock, begun)
                self.outcome.late[self.load.priority[index]] += start - begun > LATE_SECONDS
                heappush(ends, start + self.load.seconds[index])
            elif deadline <= now:
                self.waiting.popleft()
                self.outcome.refused[self.load.priority[index]] += 1
                self.lost.append(deadline)
            else:
                return
        while ends and ends[0] <= now:
            heappop(ends)


def play(load: Load, setup: Setup, scaler: Scaler, first: int = 1, purse: Purse | None = None) -> Outcome:
    """Play a load on a pool that begins with `first` replicas serving; what leaves is paid from `purse`, if any."""
    pool, outcome = Pool(load, setup, purse), Outcome()
    outcome = pool.outcome
    pool.ready = size = max(setup.minimum, min(setup.maximum, first))
    outcome.sizes.append((0.0, size))
    starting: list[float] = []  # when they serve
    ending: list[float] = []  # when they are gone
    now, direction, before = 0.0, 0, 0
    service = load.service_seconds
    while now < load.span:
        arrived = (pool.next - before) / scaler.period
        before = pool.next
        lost = _rate(pool.lost, now)
        while pool.away and pool.away[0] <= now:
            heappop(pool.away)
        wanted = scaler.decide(
            ScalerView(
                now=now, pool=load.name, size=size, ready=pool.ready, starting=len(starting), ending=len(ending),
                running=len(pool.ends), queued=len(pool.waiting), overflowing=len(pool.away), lost_per_second=lost,
                service_seconds=service, capacity=setup.capacity, arrivals_per_second=arrived,
                cold_start_seconds=setup.cold_start, last_request=now,
            )
        )  # fmt: skip
        wanted = max(setup.minimum, min(setup.maximum, wanted))
        if wanted != size:
            turned = 1 if wanted > size else -1
            outcome.ups, outcome.downs = outcome.ups + (turned > 0), outcome.downs + (turned < 0)
            outcome.turns += direction == -turned
            outcome.undone += direction == -turned and now - outcome.sizes[-1][0] <= HOUR
            direction = turned
            for _ in range(wanted - size):
                starting.append(now + setup.cold_start)
            for _ in range(size - wanted):
                if starting:
                    starting.pop()
                else:
                    pool.ready -= 1
                    ending.append(now + service)
            size = wanted
            outcome.sizes.append((now, size))
        then = min(now + scaler.period, load.span)
        outcome.replica_seconds += (pool.ready + len(starting) + len(ending)) * (then - now)
        while starting and starting[0] <= then:
            pool.until(starting.pop(0))
            pool.ready += 1
        pool.until(then)
        ending = [end for end in ending if end > then]
        now = then
    for priority in (HIGH, NORMAL, LOW):
        outcome.requests[priority] = load.priority.count(priority)
    return outcome


def _rate(lost: deque[float], now: float) -> float:
    while lost and lost[0] < now - LOST_WINDOW_SECONDS:
        lost.popleft()
    return len(lost) / LOST_WINDOW_SECONDS
