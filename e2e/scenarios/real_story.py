"""What a pool of a real vLLM goes through, step by step: it answers, overflows when full, grows to two, and shrinks."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import httpx

from e2e.demo.setup import KEYS
from e2e.scenarios import real
from e2e.scenarios.helpers import until
from e2e.scenarios.streams import Stream, flowing, none_failed, summary

TOKENS: Final = 300
ABOVE: Final = 2 * real.SLOTS
"""Streams at once: one replica runs half of them."""
HIGH: Final = {"priority": "High", "key": KEYS["interactive"], "model": real.POOL}
PROVIDER: Final = "acme/acme-large"


def answers(door: str) -> str:
    """A chat and a completion come back through gateway and sidecar."""
    body = {"model": real.POOL, "max_tokens": 16, "messages": [{"role": "user", "content": "Licensed under"}]}
    tokens = 0
    for path in ("/v1/chat/completions", "/v1/completions"):
        ask = body if "chat" in path else {"model": real.POOL, "max_tokens": 16, "prompt": "Licensed under"}
        answer = httpx.post(f"{door}{path}", json=ask, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-forebay-destination"] == real.POOL
        tokens += answer.json()["usage"]["completion_tokens"]
    assert 2 <= tokens <= 32
    return f"a chat and a completion, {tokens} tokens"


def overflows(door: str) -> str:
    """More than its slots at once: the rest leave, and a second replica is asked for."""
    begun = time.monotonic()
    with flowing(door, ABOVE, TOKENS, **HIGH) as streams:
        until(lambda: len(real.pods()) == 2, "a second pod", 120)
        asked = time.monotonic() - begun
        time.sleep(10)
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers} == {real.POOL, PROVIDER}
    return f"a second replica was asked for after {asked:.0f} s; {summary(streams.answers)}"


def grows(door: str) -> str:
    """So many streams as one replica does not run and two do: once two serve, none leaves."""
    begun = time.monotonic()
    with flowing(door, ABOVE - 1, TOKENS, **HIGH) as streams:
        until(lambda: len(real.ready()) == 2, "a second ready replica", real.START_SECONDS)
        took = time.monotonic() - begun
        time.sleep(10)
        grown = time.monotonic()
        time.sleep(20)
    none_failed(streams.answers)
    _stayed(answer for answer in streams.answers if answer.begun > grown)
    return f"the second served after {took:.0f} s more; {summary(streams.answers)}"


def shrinks(door: str) -> str:
    """Fewer streams than one replica runs: the other drains, and no stream is aborted."""
    until(lambda: len(real.ready()) == 2, "two ready replicas", real.START_SECONDS)
    with flowing(door, 2, TOKENS, model=real.POOL) as streams:
        until(lambda: any("deletionTimestamp" in pod["metadata"] for pod in real.pods()), "a draining pod", 300)
        begun = time.monotonic()
        until(lambda: len(real.pods()) == 1, "the drained pod gone", 240)
        took = time.monotonic() - begun
        time.sleep(3)
    none_failed(streams.answers)
    _stayed(streams.answers)
    return f"the drained one was gone {took:.0f} s after its deletion was seen; {summary(streams.answers)}"


def _stayed(answers: Iterable[Stream]) -> None:
    away = Counter((answer.destination, answer.reason) for answer in answers if answer.destination != real.POOL)
    assert not away, f"some have left: {dict(away)}"


STORY: Final[tuple[Callable[[str], str], ...]] = (answers, overflows, grows, shrinks)
"""In this order. Each takes the fleet's URL, and returns its figures or raises AssertionError."""
