"""A real vLLM in a pool: it comes up with forebay's own manifest, as a user without rights, and answers."""

from collections.abc import Iterator

import httpx
import pytest

from e2e.cluster import kind
from e2e.scenarios import own, real
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


def test_it_answers_through_gateway_and_sidecar(door: str) -> None:
    body = {"model": real.POOL, "max_tokens": 16, "messages": [{"role": "user", "content": "Licensed under"}]}
    for path in ("/v1/chat/completions", "/v1/completions"):
        ask = body if "chat" in path else {"model": real.POOL, "max_tokens": 16, "prompt": "Licensed under"}
        answer = httpx.post(f"{door}{path}", json=ask, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-forebay-destination"] == real.POOL
        assert 1 <= answer.json()["usage"]["completion_tokens"] <= 16
