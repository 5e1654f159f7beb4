"""How far a played run is from the recorded one."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from bench.calibrate.play import Played, play
from bench.calibrate.runs import Run
from forebay.simulator.batch import ServiceTime


@dataclass(frozen=True, slots=True)
class Line:
    """Gauges over time, one value for each of the run's seconds."""

    running: list[int]
    waiting: list[int]


@dataclass(frozen=True, slots=True)
class Off:
    """Errors as shares. Of requests: median and p90 of the distance; of gauges: mean distance over their mean."""

    per_token: float
    per_token_p90: float
    first_token: float
    first_token_p90: float
    running: float
    waiting: float | None  # None: nobody ever waited
    end: float  # of the whole run, signed


def compare(run: Run, times: ServiceTime, requests: slice = slice(None)) -> tuple[Off, Line]:
    """Play a run and compare these of its requests, and its gauges."""
    played = play(run, times)
    pairs = list(zip(played, run.requests, strict=True))[requests]
    tokens = [abs(mine.per_token / real.per_token - 1) for mine, real in pairs if real.output > 1]
    firsts = [abs((mine.first - mine.queued) / (real.first - real.queued) - 1) for mine, real in pairs]
    line = _line(played, [second.at for second in run.seconds])
    off = Off(
        median(tokens),
        _p90(tokens),
        median(firsts),
        _p90(firsts),
        _distance(line.running, [second.running for second in run.seconds]) or 0.0,
        _distance(line.waiting, [second.waiting for second in run.seconds]),
        max(item.last for item in played) / max(item.last for item in run.requests) - 1,
    )
    return off, line


def _line(played: Sequence[Played], at: Sequence[float]) -> Line:
    queued, started, ended = (
        sorted(times) for times in zip(*((p.queued, p.started, p.last) for p in played), strict=True)
    )
    gone = [(bisect_right(queued, t), bisect_right(started, t), bisect_right(ended, t)) for t in at]
    return Line([begun - over for _, begun, over in gone], [came - begun for came, begun, _ in gone])


def _distance(mine: Sequence[int], real: Sequence[int]) -> float | None:
    usual = mean(real)
    return mean(abs(a - b) for a, b in zip(mine, real, strict=True)) / usual if usual >= 1 else None


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[int(0.9 * (len(values) - 1))]
