"""What hardware has to give for the simulated engine to come nearest to a recorded run: four numbers, on logarithms.

A run says little of what it never did: where memory is always full, nobody can tell what a request costs from what its
cache costs. So the table of hardware (rules/hardware) is where every fit begins, and pulls it where the run is silent.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, log

from bench.calibrate.play import play
from bench.calibrate.runs import Run
from forebay.rules.hardware import MEASURED, HardwareShares
from forebay.simulator.batch import ServiceTime

ROUNDS = 20
NUDGE = 0.03
FIRST_TOKEN_WEIGHT = 0.3
"""First tokens follow from everything before them, and vary a hundredfold: they count, but less."""
LEAST_FIRST_TOKEN = 0.05
PULL = 1.0
"""A number off the table by a third weighs like all requests of a run off by two percent."""
FAR = 0.2
"""A request that is further off counts by its distance, not its square."""


def times_of(run: Run, shares: HardwareShares) -> ServiceTime:
    """Service times of a run's engine, if its hardware gave so much."""
    return ServiceTime.of(replace(run.known, shares=shares))


def fitted(run: Run, requests: slice = slice(None), progress: Callable[[], None] = lambda: None) -> HardwareShares:
    """The shares with which these requests of a run come out best."""
    begin = _numbers(MEASURED)
    at, damping = list(begin), 0.01

    def off(there: Sequence[float]) -> list[float]:
        far = _residuals(run, times_of(run, _shares(there)), requests)
        return [*far, *(PULL * (a - b) for a, b in zip(there, begin, strict=True))]

    here = off(at)
    for _ in range(ROUNDS):
        progress()
        columns = []
        for i in range(len(at)):
            nudged = off([value + NUDGE * (i == j) for j, value in enumerate(at)])
            columns.append([(a - b) / NUDGE for a, b in zip(nudged, here, strict=True)])
        step = _step(columns, here, damping)
        trial = [value + max(-0.7, min(0.7, change)) for value, change in zip(at, step, strict=True)]
        there = off(trial)
        if _loss(there) < _loss(here):
            close = _loss(there) > 0.999 * _loss(here)
            at, here, damping = trial, there, damping / 4
            if close:
                break
        else:
            damping *= 8
    return _shares(at)


def _residuals(run: Run, times: ServiceTime, requests: slice) -> list[float]:
    """How far every request is off, as logarithms of ratios."""
    found = []
    for mine, real in zip(play(run, times)[requests], run.requests[requests], strict=True):
        if real.output > 1:
            found.append(log(mine.per_token / real.per_token))
        waits = (mine.first - mine.queued, real.first - real.queued)
        found.append(FIRST_TOKEN_WEIGHT * log((waits[0] + LEAST_FIRST_TOKEN) / (waits[1] + LEAST_FIRST_TOKEN)))
    return found


def _numbers(shares: HardwareShares) -> tuple[float, ...]:
    return tuple(map(log, (shares.bandwidth, shares.compute, shares.step, shares.request)))


def _shares(numbers: Sequence[float]) -> HardwareShares:
    return HardwareShares(*map(exp, numbers), layer=MEASURED.layer)


def _loss(off: Sequence[float]) -> float:
    """Huber's."""
    return sum(r * r if abs(r) < FAR else FAR * (2 * abs(r) - FAR) for r in off)


def _step(columns: Sequence[Sequence[float]], off: Sequence[float], damping: float) -> list[float]:
    """A damped least-squares step with Huber's weights."""
    weights = [1.0 if abs(r) < FAR else FAR / abs(r) for r in off]
    size = len(columns)
    normal = [
        [sum(w * a * b for w, a, b in zip(weights, columns[i], columns[j], strict=True)) for j in range(size)]
        + [-sum(w * a * r for w, a, r in zip(weights, columns[i], off, strict=True))]
        for i in range(size)
    ]
    for i in range(size):
        normal[i][i] *= 1 + damping
    for i in range(size):
        for j in range(size):
            if j != i:
                factor = normal[j][i] / normal[i][i]
                normal[j] = [a - factor * b for a, b in zip(normal[j], normal[i], strict=True)]
    return [normal[i][size] / normal[i][i] for i in range(size)]
