"""A real vLLM in a pool: it comes up, serves, overflows when full, scales to two and back; no stream is aborted."""

import time
from collections.abc import Iterator

import httpx
import pytest

from e2e.cluster import kind
from e2e.demo.setup import KEYS
from e2e.scenarios import own, real
from e2e.scenarios.helpers import until
from e2e.scenarios.streams import flowing, none_failed, summary
from testing.real_engine import NEWEST, find, missing

pytestmark = [
    pytest.mark.skipif(own.EXTENT != "engine", reason="part of make e2e-engine"),
    pytest.mark.skipif(find(NEWEST) is None, reason=missing(NEWEST)),
    pytest.mark.skipif(kind.usable(), reason="kind's nodes do not see the folder of the engine"),
]
TOKENS = 300
ABOVE = 2 * real.SLOTS
"""Streams at once: one replica runs half of them."""


@pytest.fixture(scope="module")
def door() -> Iterator[str]:
    with real.fleet() as (door, seconds):
        print(f"\nvLLM {NEWEST} served {seconds:.0f} s after its pool was made")
        yield door


def test_it_answers_through_gateway_and_sidecar(door: str) -> None:
    body = {"model": real.POOL, "max_tokens": 16, "messages": [{"role": "user", "content": "Licensed under"}]}
    for path in ("/v1/chat/completions", "/v1/completions"):
        ask = body if "chat" in path else {"model": real.POOL, "max_tokens": 16, "prompt": "Licensed under"}
        answer = httpx.post(f"{door}{path}", json=ask, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-forebay-destination"] == real.POOL
        assert 1 <= answer.json()["usage"]["completion_tokens"] <= 16


def test_it_overflows_when_full_and_asks_for_a_second(door: str) -> None:
    more = {"priority": "High", "key": KEYS["interactive"], "model": real.POOL}
    begun = time.monotonic()
    with flowing(door, ABOVE, TOKENS, **more) as streams:
        until(lambda: len(real.pods()) == 2, "a second pod", 120)
        print(f"\nfull: a second replica was asked for after {time.monotonic() - begun:.0f} s")
        time.sleep(10)
    print(f"full: {summary(streams.answers)}")
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers} == {real.POOL, "acme/acme-large"}


def test_two_serve(door: str) -> None:
    """So many streams as one replica does not run, and two do."""
    more = {"priority": "High", "key": KEYS["interactive"], "model": real.POOL}
    begun = time.monotonic()
    with flowing(door, ABOVE - 1, TOKENS, **more) as streams:
        until(lambda: len(real.ready()) == 2, "a second ready replica", real.START_SECONDS)
        print(f"\ntwo: the second served after {time.monotonic() - begun:.0f} s more")
        time.sleep(10)
        grown = time.monotonic()
        time.sleep(20)
    print(f"two: {summary(streams.answers)}")
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers if answer.begun > grown} == {real.POOL}


def test_it_shrinks_without_an_aborted_stream(door: str) -> None:
    until(lambda: len(real.ready()) == 2, "two ready replicas", real.START_SECONDS)
    with flowing(door, 2, TOKENS, model=real.POOL) as streams:
        until(lambda: any("deletionTimestamp" in pod["metadata"] for pod in real.pods()), "a draining pod", 300)
        begun = time.monotonic()
        until(lambda: len(real.pods()) == 1, "the drained pod gone", 240)
        print(f"\ndrain: gone {time.monotonic() - begun:.0f} s after its deletion was seen")
        time.sleep(3)
    print(f"drain: {summary(streams.answers)}")
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers} == {real.POOL}


def test_capacity_is_learnt_of_an_engine_of_which_nothing_is_said(door: str) -> None:
    """With the chart's defaults: a guess before the engine speaks, then its cache, then its curve."""
    pool = real.LEARNING
    with real.learning():
        until(lambda: bool(real.capacity_of(pool)), "a capacity", 60)
        before = real.capacity_of(pool)
        print(f"\nbefore: {before}\n{real.explained(pool)}")
        until(lambda: len(real.ready(pool)) == 1, "a ready replica", real.START_SECONDS)
        until(lambda: real.capacity_of(pool).get("kvTokens", 0) > 0, "the size of the cache", 60)
        print(f"engine: {real.capacity_of(pool)}")
        end = time.monotonic() + 900
        while "curve" not in real.capacity_of(pool) and time.monotonic() < end:
            for at_once in (1, 3, 8):  # loads between which a curve can be seen
                with flowing(door, at_once, TOKENS, model=pool) as streams:
                    time.sleep(25)
                none_failed(streams.answers)
        after = real.capacity_of(pool)
        print(f"after: {after}\n{real.explained(pool)}")
    assert (before["slots"], before["bound"], before["unknown"]) == (32, "Unknown", "NoEngine")
    assert after["curve"] and after["bound"] in ("Latency", "Memory", "MaxNumSeqs") and not after["unknown"]
