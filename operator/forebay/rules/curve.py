"""How long a token takes in one engine, learnt from what it did: base + per_request * n + per_fill * KV fill, seconds.

Each look at an engine gives one window: mean requests that made tokens, mean KV fill, mean time per token. Windows are
kept as bins of (n, fill), each with a time that no single window moves far: a busy month takes no more room than a busy
minute, and hours at one load do not make an engine forget what it did at another. The curve is fitted to the bins with
Huber's weights (iteratively reweighted least squares) and terms that cannot be negative; n and fill go together in most
pools, and the fit needs only their sum to be right along the line that the pool itself moves on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, inf, log, log2
from statistics import median
from typing import Final

BINS: Final = 48
BINS_PER_OCTAVE: Final = 3
FILL_BINS: Final = 4
MEMORY_WINDOWS: Final = 1000
"""A bin forgets what is older than so many of its own windows."""
WINDOWS_TO_TRUST: Final = 60
BINS_TO_TRUST: Final = 3
SPAN_TO_TRUST: Final = 3.0
"""The largest n in the bins must be so many times the smallest one, or there is no slope to see."""
REACH: Final = 4.0
"""A curve says nothing of more than so many times the largest n that it has seen."""
DEFAULT_SECONDS: Final = 0.050
"""Target for the time per token where the pool has none: twice as fast as people read."""
DEFAULT_TIMES_ALONE: Final = 2.0
"""Or so many times what a token takes in an engine with one request, where that is more."""
_HUBER: Final = 1.345
_ROUNDS: Final = 12
_LEAST_SPREAD: Final = 0.01
_FIRST_STEP: Final = 0.5  # of the logarithm of a bin's time
_STEPS_SHRINK: Final = 0.7
_CHOICES: Final = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
_GAIN: Final = 1e-7  # more terms have to explain so much more of the whole
_ALIKE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Window:
    """What an engine did between two looks: mean requests that made tokens, mean KV fill (0..1), seconds per token."""

    running: float
    fill: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Windows alike: their mean load, and the middle of their times. `windows` stops at MEMORY_WINDOWS."""

    running: float
    fill: float
    seconds: float
    windows: int

    @property
    def place(self) -> tuple[int, int]:
        """Which bin it is."""
        return _place(self.running, self.fill)

    def with_(self, window: Window) -> "Bin":
        """The bin with one more window, which moves the time by a step at most: so it ends at the median, and finds
        back when its very first window was a wild one (Robbins and Monro; the steps' sum has no end)."""
        windows = min(self.windows + 1, MEMORY_WINDOWS)
        share, step = 1 / windows, _FIRST_STEP * windows**-_STEPS_SHRINK
        off = log(window.seconds / self.seconds)
        return Bin(
            self.running + share * (window.running - self.running),
            self.fill + share * (window.fill - self.fill),
            self.seconds * exp(max(-step, min(step, off))),
            windows,
        )


Bins = tuple[Bin, ...]


def seen(bins: Bins, window: Window) -> Bins:
    """The bins with one more window. Past BINS of them, the one that knows least goes."""
    place = _place(window.running, window.fill)
    mine = next((item for item in bins if item.place == place), None)
    if mine is not None:
        return tuple(item.with_(window) if item is mine else item for item in bins)
    new = Bin(window.running, window.fill, window.seconds, 1)
    kept = sorted(bins, key=lambda item: item.windows, reverse=True)[: BINS - 1]
    return tuple(sorted((*kept, new), key=lambda item: item.place))


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds per token: base + per_request * n + per_fill * fill. `most` is the largest n it was learnt from."""

    base: float
    per_request: float
    per_fill: float
    fill_per_request: float  # KV fill that each request of this pool brings
    most: float
    windows: int
    error: float  # median relative distance of the bins from the curve

    def seconds(self, running: float, fill: float | None = None) -> float:
        """Time per token with so many requests, at this pool's own fill unless said otherwise."""
        filled = min(1.0, self.fill_per_request * running) if fill is None else fill
        return self.base + self.per_request * running + self.per_fill * filled

    def target(self, wished: float | None) -> float:
        """The pool's target in seconds per token, or the default."""
        return wished if wished is not None else max(DEFAULT_SECONDS, DEFAULT_TIMES_ALONE * self.seconds(1))

    def most_within(self, wished: float | None) -> int | None:
        """The largest n whose time per token meets the target; None beyond what the curve can tell."""
        left, each = self.target(wished) - self.base, self.per_request + self.per_fill * self.fill_per_request
        most = left / each if each else inf
        if self.fill_per_request * most > 1:  # the cache is full, and fills no further
            most = (left - self.per_fill) / self.per_request if self.per_request else inf
        return max(1, floor(most + 1e-9)) if most <= REACH * self.most else None


def fit(bins: Bins) -> Curve | None:
    """The curve of these bins; None while they are too few, or too much alike, for a slope."""
    if not _enough(bins):
        return None
    weights = [min(item.windows, 50) / item.seconds**2 for item in bins]
    huber = [1.0] * len(bins)
    found = (0.0, 0.0, 0.0)
    for _ in range(_ROUNDS):
        before, found = found, _least_squares(bins, [w * h for w, h in zip(weights, huber, strict=True)])
        if all(abs(new - old) <= 1e-4 * abs(new) for new, old in zip(found, before, strict=True)):
            break
        off = [_distance(item, found) for item in bins]
        scale = max(1.4826 * median(map(abs, off)), _LEAST_SPREAD)
        huber = [1.0 if abs(r) <= _HUBER * scale else _HUBER * scale / abs(r) for r in off]
    total = sum(item.windows * item.running for item in bins)
    return Curve(
        *found,
        fill_per_request=sum(item.windows * item.fill for item in bins) / total,
        most=max(item.running for item in bins),
        windows=sum(item.windows for item in bins),
        error=median(abs(_distance(item, found)) for item in bins),
    )


def latency_bound(bins: Bins, curve: Curve | None, wished: float | None) -> int | None:
    """Requests that keep the target for the time per token (seconds; None: the default); None where nobody can tell.

    Without a curve: an engine that is too slow at the one load it has runs as many as would surely meet the target.
    """
    if curve is not None:
        return curve.most_within(wished)
    windows = sum(item.windows for item in bins)
    if wished is None or windows < WINDOWS_TO_TRUST:
        return None
    running = sum(item.windows * item.running for item in bins) / windows
    seconds = sum(item.windows * item.seconds for item in bins) / windows
    return max(1, floor(running * wished / seconds)) if seconds > wished else None


def _enough(bins: Bins) -> bool:
    if len({item.place[0] for item in bins}) < BINS_TO_TRUST:
        return False
    running = [item.running for item in bins]
    return sum(item.windows for item in bins) >= WINDOWS_TO_TRUST and max(running) >= SPAN_TO_TRUST * min(running)


def _place(running: float, fill: float) -> tuple[int, int]:
    return floor(BINS_PER_OCTAVE * log2(max(running, 0.5))), min(FILL_BINS - 1, floor(FILL_BINS * fill))


def _distance(item: Bin, found: Sequence[float]) -> float:
    """Relative."""
    base, per_request, per_fill = found
    return (base + per_request * item.running + per_fill * item.fill) / item.seconds - 1


def _least_squares(bins: Bins, weights: Sequence[float]) -> tuple[float, float, float]:
    """The best of all choices of terms in which none is negative: small enough a problem to try them all."""
    widest = max(item.running for item in bins)
    rows = [(1.0, item.running / widest, item.fill, item.seconds) for item in bins]
    moments = [
        [sum(w * row[i] * row[j] for w, row in zip(weights, rows, strict=True)) for j in range(4)] for i in range(4)
    ]
    best, least = (0.0, 0.0, 0.0), moments[3][3]
    for used in _CHOICES:
        found = _solved([[*(moments[i][j] for j in used), moments[i][3]] for i in used])
        if found is None or min(found) < 0:
            continue
        loss = moments[3][3] - sum(value * moments[i][3] for i, value in zip(used, found, strict=True))
        if loss < least - _GAIN * moments[3][3]:
            terms = dict(zip(used, found, strict=True))
            best, least = (terms.get(0, 0.0), terms.get(1, 0.0) / widest, terms.get(2, 0.0)), loss
    return best


def _solved(normal: list[list[float]]) -> list[float] | None:
    """The normal equations' solution (Gauss and Jordan); None where the terms cannot be told apart."""
    size = len(normal)
    smallest = _ALIKE * max(normal[i][i] for i in range(size))
    for i in range(size):
        if normal[i][i] <= smallest:
            return None
        for j in range(size):
            if j != i:
                factor = normal[j][i] / normal[i][i]
                normal[j] = [a - factor * b for a, b in zip(normal[j], normal[i], strict=True)]
    return [normal[i][size] / normal[i][i] for i in range(size)]
