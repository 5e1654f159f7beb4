"""A pool whose spec says no context has the one that its engines list."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from testing.fleet import Pool, fleet

LONG = [{"role": "user", "content": "word and word again " * 400}]
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
@pytest.mark.parametrize(
    ("messages", "tokens"), [pytest.param(LONG, 5, id="long prompt"), pytest.param(HELLO, 5000, id="long answer")]
)
@pytest.mark.parametrize("cloud", [True, False])
def test_what_is_longer_leaves_as_a_gap_or_is_refused_as_one(
    tmp_path: Path, door: str, messages: Any, tokens: int, cloud: bool
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), fleet(tmp_path, {"chat": Pool(engine_context=1024)}, cloud=cloud) as f:
            base = "" if door == "gateway" else f.url(f.sidecars["chat-0"])
            answer = await f.ask(tokens, messages=messages, base=base)
            assert answer.headers["x-forebay-reason"] == "ContextLengthGap"
            if cloud:
                assert (answer.status_code, answer.headers["x-forebay-destination"]) == (200, "bravo/bravo-model")
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
            assert (await f.ask(5, messages=HELLO, base=base)).headers["x-forebay-destination"] == "chat"

    uvloop.run(story())


def test_without_a_gateway_a_sidecar_says_itself_that_it_is_too_long(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), fleet(tmp_path, {"chat": Pool(engine_context=1024)}) as f:
            side = f.side("chat-0")

            async def nobody(*_: Any) -> bool:
                return False

            side.slotless.gateways.forward = nobody  # type: ignore[method-assign]
            answer = await f.ask(5000, messages=HELLO, base=f.url(f.sidecars["chat-0"]))
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")

    uvloop.run(story())


def test_the_context_of_the_spec_wins(tmp_path: Path) -> None:
    async def story() -> None:
        pools = {"chat": Pool(engine_context=1024, context_tokens=8192)}
        async with asyncio.timeout(60), fleet(tmp_path, pools) as f:
            assert f.side("chat-0").context_tokens == 8192
            assert f.side("chat-0").engine.context == 1024

    uvloop.run(story())
