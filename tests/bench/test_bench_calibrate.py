"""The calibration finds again what a run was made with, and says how far off it is elsewhere."""

import random
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.calibrate.fit import fitted, times_of
from bench.calibrate.measure import compare
from bench.calibrate.play import play
from bench.calibrate.report import picture
from bench.calibrate.runs import Recorded, Run, Second
from forebay.rules.hardware import MEASURED, engine
from forebay.simulator.batch import ServiceTime

TRUE = replace(MEASURED, bandwidth=0.95, compute=0.7)


def made_run(engines: int = 1, seed: int = 2) -> Run:
    """A run of a simulated engine whose hardware gives more than the table says: quiet at first, then overloaded."""
    known = engine("rtx-4090", "Llama-3.1-8B")
    assert known is not None
    rng, at, asked = random.Random(seed), 0.0, []
    for number in range(90):
        at += rng.expovariate(0.4 if number < 30 else 4.0)
        asked.append(Recorded(rng.randint(50, 3000), rng.randint(20, 300), at, 0.0, 0.0))
    bare = Run("made", "rtx4090", "m", engines, 64, 2048, known.kv_tokens, known, tuple(asked), ())
    outcomes = play(bare, times_of(bare, TRUE))
    requests = tuple(
        replace(request, first=played.first, last=played.last) for request, played in zip(asked, outcomes, strict=True)
    )
    seconds = tuple(
        Second(
            float(t),
            sum(played.started <= t < played.last for played in outcomes),
            sum(played.queued <= t < played.started for played in outcomes),
        )
        for t in range(int(max(played.last for played in outcomes)))
    )
    return replace(bare, requests=requests, seconds=seconds)


@pytest.mark.slow
def test_a_fit_finds_what_the_run_was_made_with() -> None:
    run = made_run()
    found = fitted(run)
    assert found.bandwidth == pytest.approx(TRUE.bandwidth, rel=0.08)
    assert found.compute == pytest.approx(TRUE.compute, rel=0.08)
    off, _ = compare(run, times_of(run, found))
    assert off.per_token < 0.01
    assert off.running < 0.02


def test_the_same_times_are_off_by_nothing_and_others_are() -> None:
    run = made_run()
    same, line = compare(run, times_of(run, TRUE))
    assert (same.per_token, same.first_token, same.running, same.end) == (0, 0, 0, 0)
    assert line.running == [second.running for second in run.seconds]
    assert compare(run, times_of(run, MEASURED))[0].per_token > 0.1


def test_ranks_that_step_together_share_the_requests() -> None:
    alone, both = made_run(), made_run(engines=2)
    assert max(item.last for item in both.requests) < max(item.last for item in alone.requests)
    assert all(item.queued < item.first <= item.last for item in both.requests)


def test_the_picture_is_one() -> None:
    run = made_run()
    off, line = compare(run, times_of(run, TRUE))
    drawn = ElementTree.fromstring(picture([(run, line, off)]))
    assert len([path for path in drawn.findall("{*}path") if "l" in path.get("class", "").split()]) == 7


def test_the_default_engine_is_the_recorded_one() -> None:
    """LLMServingSim's run of vLLM 0.19 with Llama-3.1-8B on an RTX 4090: with its 41,408 tokens of cache full and 33
    requests running, a token took 24.6 ms in the quickest quarter of the seconds without prompts."""
    times = ServiceTime()
    assert times.step(33, 41_408, 0) == pytest.approx(0.0246, rel=0.06)
    known = engine("rtx-4090", "meta-llama/Llama-3.1-8B")
    assert known is not None
    assert ServiceTime.of(known).base == pytest.approx(known.base_seconds)
