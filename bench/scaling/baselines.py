"""Other people's scalers, by their documentation, with their own defaults.

Each is shown the demand that forebay sees, with what overflows: a scaler that looks at pods alone would see less, and
do worse. `load` is the share of a replica's slots that it aims at.
"""

from collections import deque
from math import ceil
from typing import Final

from forebay.replay.scaler import ScalerView

_SAFE: Final = 1e-9


class Recent:
    """What was seen within so many seconds."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.items: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """One more value."""
        self.items.append((now, value))
        while self.items[0][0] <= now - self.window:
            self.items.popleft()

    def mean(self) -> float:
        """Of the values."""
        return sum(value for _, value in self.items) / len(self.items)

    def most(self) -> float:
        """Of the values."""
        return max(value for _, value in self.items)


def demand(seen: ScalerView) -> float:
    """Concurrent requests that want the pool, as forebay counts them."""
    return seen.running + seen.queued + max(seen.overflowing, seen.lost_per_second * seen.service_seconds)


def slots(seen: ScalerView) -> int:
    """Slots of one replica; every bench knows them."""
    assert seen.capacity is not None
    return seen.capacity


class Static:
    """Always so many replicas."""

    period = 60.0

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def decide(self, seen: ScalerView) -> int:
        """The number."""
        return self.replicas


class Hpa:
    """HorizontalPodAutoscaler v2 on requests in flight: every 15 s, tolerance 10 %, the most of the last 5 minutes.

    Up by 100 % or 4 pods in 15 s, whichever is more; down at once to what the window allows.
    """

    period = 15.0

    def __init__(self, load: float = 0.8, down_window: float = 300.0) -> None:
        self.load = load
        self.recent = Recent(down_window)

    def metric(self, seen: ScalerView) -> float:
        """Replicas that the metric asks for."""
        return demand(seen) / (self.load * slots(seen))

    def decide(self, seen: ScalerView) -> int:
        """`ceil(metric / target)` within tolerance, policies and stabilization."""
        raw = self.metric(seen)
        held = abs(raw / max(seen.size, 1) - 1.0) <= 0.1
        wanted = seen.size if held else max(1, ceil(raw - _SAFE))
        wanted = min(wanted, max(2 * seen.size, seen.size + 4))
        self.recent.add(seen.now, wanted)
        return wanted if wanted > seen.size else min(seen.size, int(self.recent.most()))


class Keda(Hpa):
    """KEDA on waiting requests, 5 a replica, as in vLLM's production stack: an HPA whose metric is the queue.

    What overflows would wait, so it counts as waiting. Without any waiting the HPA goes down to the minimum.
    """

    def __init__(self, waiting: float = 5.0, down_window: float = 300.0) -> None:
        super().__init__(1.0, down_window)
        self.waiting = waiting

    def metric(self, seen: ScalerView) -> float:
        """An HPA compares the sum with what the present replicas may have waiting."""
        return (seen.queued + max(seen.overflowing, seen.lost_per_second * seen.service_seconds)) / self.waiting


class Kpa:
    """Knative's autoscaler: concurrency over 60 s at 70 %; panic over 6 s from twice what is ready; down by half."""

    period = 6.0

    def __init__(self, load: float = 0.7, stable_window: float = 60.0, panic_threshold: float = 2.0) -> None:
        self.load, self.panic_threshold, self.stable_window = load, panic_threshold, stable_window
        self.stable = Recent(stable_window)
        self.panicked: float | None = None
        self.most = 0

    def decide(self, seen: ScalerView) -> int:
        """Stable unless in panic, in which the size never falls."""
        now, target = demand(seen), self.load * slots(seen)
        self.stable.add(seen.now, now)
        ready = max(seen.ready, 1)
        stable = min(max(ceil(self.stable.mean() / target - _SAFE), seen.size // 2, 1), 1000 * ready)
        panic = max(ceil(now / target - _SAFE), 1)
        if panic / ready >= self.panic_threshold:
            self.panicked = seen.now
        elif self.panicked is not None and seen.now - self.panicked >= self.stable_window:
            self.panicked, self.most = None, 0
        if self.panicked is None:
            return stable
        self.most = max(self.most, stable, panic, seen.size)
        return self.most


class RayServe:
    """Ray Serve: mean ongoing requests of 30 s by a target, once that has held: 30 s upwards, 600 s downwards.

    Its default target is 2 of at most 5 ongoing requests, so 40 % of the slots.
    """

    period = 10.0

    def __init__(self, load: float = 0.4, upscale_delay: float = 30.0, downscale_delay: float = 600.0) -> None:
        self.load, self.upscale_delay, self.downscale_delay = load, upscale_delay, downscale_delay
        self.ongoing = Recent(30.0)
        self.counter = 0

    def decide(self, seen: ScalerView) -> int:
        """Counts looks in one direction; one in the other begins anew."""
        self.ongoing.add(seen.now, demand(seen))
        wanted = max(ceil(self.ongoing.mean() / (self.load * slots(seen)) - _SAFE), 1)
        if wanted > seen.size:
            self.counter = max(self.counter, 0) + 1
            if self.counter > self.upscale_delay / self.period:
                self.counter = 0
                return wanted
        elif wanted < seen.size:
            self.counter = min(self.counter, 0) - 1
            if -self.counter > self.downscale_delay / self.period:
                self.counter = 0
                return wanted
        else:
            self.counter = 0
        return seen.size


class SkyServe:
    """SkyServe: requests a second of the last minute by a target, every 20 s; up after 300 s, down after 1,200 s."""

    period = 20.0

    def __init__(self, load: float = 0.8, upscale_delay: float = 300.0, downscale_delay: float = 1200.0) -> None:
        self.load, self.upscale_delay, self.downscale_delay = load, upscale_delay, downscale_delay
        self.rate = Recent(60.0)
        self.up = self.down = 0

    def decide(self, seen: ScalerView) -> int:
        """The target in requests a second is what the slots serve, times the load."""
        self.rate.add(seen.now, seen.arrivals_per_second)
        each = self.load * slots(seen) / seen.service_seconds
        wanted = max(ceil(self.rate.mean() / each - _SAFE), 1)
        self.up = self.up + 1 if wanted > seen.size else 0
        self.down = self.down + 1 if wanted < seen.size else 0
        if self.up >= self.upscale_delay / self.period or self.down >= self.downscale_delay / self.period:
            self.up = self.down = 0
            return wanted
        return seen.size
