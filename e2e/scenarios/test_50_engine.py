"""A real vLLM in a pool: it comes up, serves, overflows when full, scales to two and back; no stream is aborted."""

import time
from collections.abc import Callable, Iterator

import pytest

from e2e.cluster import kind
from e2e.scenarios import own, real
from e2e.scenarios.helpers import until
from e2e.scenarios.real_story import STORY, TOKENS
from e2e.scenarios.streams import flowing, none_failed
from testing.real_engine import NEWEST, find, missing

pytestmark = [
    pytest.mark.skipif(own.EXTENT != "engine", reason="part of make e2e-engine"),
    pytest.mark.skipif(find(NEWEST) is None, reason=missing(NEWEST)),
    pytest.mark.skipif(kind.usable(), reason="kind's nodes do not see the folder of the engine"),
]


@pytest.fixture(scope="module")
def door() -> Iterator[str]:
    with real.fleet() as (door, seconds):
        print(f"\nvLLM {NEWEST} served {seconds:.0f} s after its pool was made")
        yield door


@pytest.mark.parametrize("step", STORY, ids=[step.__name__ for step in STORY])
def test_it_answers_overflows_grows_and_shrinks(door: str, step: Callable[[str], str]) -> None:
    print(f"\n{step.__name__}: {step(door)}")


def test_capacity_is_learnt_of_an_engine_of_which_nothing_is_said(door: str) -> None:
    """With the chart's defaults: a guess before the engine speaks, then its cache, then its curve."""
    pool = real.LEARNING
    with real.learning():
        until(lambda: bool(real.capacity_of(pool)), "a capacity", 60)
        before = real.explained(pool)
        print(f"\nbefore: {before}")
        until(lambda: len(real.ready(pool)) == 1, "a ready replica", real.START_SECONDS)
        until(lambda: real.capacity_of(pool).get("kvTokens", 0) > 0, "the size of the cache", 60)
        print(f"engine: {real.capacity_of(pool)}")
        end = time.monotonic() + 900
        while "curve" not in real.capacity_of(pool) and time.monotonic() < end:
            for at_once in (1, 3, 8):  # loads between which a curve can be seen
                with flowing(door, at_once, TOKENS, model=pool) as streams:
                    time.sleep(90)
                none_failed(streams.answers)
        after = real.capacity_of(pool)
        print(f"after: {after}\n{real.explained(pool)}")
    assert "(NoEngine): a replica runs 32 requests" in before
    assert after["curve"] and after["bound"] in ("Latency", "Memory", "MaxNumSeqs") and not after["unknown"]
