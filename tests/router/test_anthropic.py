"""Anthropic's own client, as applications and coding agents use it, at the gateway and at a pool's own Service."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anthropic
import pytest
import uvloop
from anthropic import beta_async_tool

from testing.fleet import PLAIN, Pool, fleet

pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]
ASKED: dict[str, Any] = {"model": "chat-model", "max_tokens": 20, "messages": HELLO}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
WEATHER: Any = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}
Work = Callable[[anthropic.AsyncAnthropic], Coroutine[Any, Any, None]]


def client(door: str, **settings: Any) -> anthropic.AsyncAnthropic:
    """One that does not try again by itself."""
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=PLAIN)
    return anthropic.AsyncAnthropic(
        **{"base_url": door, "api_key": "sk-vip", "max_retries": 0, "timeout": 20.0, "http_client": http, **settings}
    )


def at_both_doors(tmp: Path, work: Work, **settings: Any) -> None:
    async def everything() -> None:
        async with fleet(tmp, {"chat": Pool(slots=8)}, cloud=False) as f:
            for door in (f.url(f.gateway), f.url(f.sidecars["chat-0"])):
                async with client(door, **settings) as asking:
                    await work(asking)

    uvloop.run(asyncio.wait_for(everything(), 60))


def test_a_stream_adds_up_to_the_whole_message(tmp_path: Path) -> None:
    async def work(asking: anthropic.AsyncAnthropic) -> None:
        whole = await asking.messages.create(**ASKED, system="Be brief.")
        async with asking.messages.stream(**ASKED, system="Be brief.") as stream:
            text = "".join([piece async for piece in stream.text_stream])
            message = await stream.get_final_message()
        assert text == message.content[0].text == whole.content[0].text != ""  # type: ignore[union-attr]
        assert (message.stop_reason, message.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
        counted = await asking.messages.count_tokens(model="chat-model", messages=HELLO, system="Be brief.")
        assert counted.input_tokens == whole.usage.input_tokens

    at_both_doors(tmp_path, work)


def test_a_key_may_come_as_a_bearer_token(tmp_path: Path) -> None:
    async def work(asking: anthropic.AsyncAnthropic) -> None:
        assert (await asking.messages.create(**ASKED)).type == "message"

    at_both_doors(tmp_path, work, api_key=None, auth_token="sk-vip")


def test_an_agents_loop_with_tools_comes_to_its_end(tmp_path: Path) -> None:
    """The client's own loop: it asks, runs what is asked for, tells the result, until the model has its say."""
    called: list[dict[str, Any]] = []

    @beta_async_tool
    async def weather(city: str, days: int) -> str:
        """The weather of a city."""
        called.append({"city": city, "days": days})
        return "sunny"

    async def work(asking: anthropic.AsyncAnthropic) -> None:
        called.clear()
        for stream in (False, True):
            runner: Any = asking.beta.messages.tool_runner(**ASKED, tools=[weather], max_iterations=5, stream=stream)
            last = await runner.until_done()
            assert (last.stop_reason, last.content[0].type) == ("end_turn", "text") or last.stop_reason == "max_tokens"
        assert called == [{"city": "river", "days": 7}] * 2

    at_both_doors(tmp_path, work)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError),
        ({"max_tokens": -1}, anthropic.BadRequestError),
        ({"messages": "hello"}, anthropic.BadRequestError),
    ],
    ids=["no such model", "a bad limit", "no list of messages"],
)
def test_a_refusal_is_the_clients_own_exception(tmp_path: Path, fields: Any, error: type[Exception]) -> None:
    async def work(asking: anthropic.AsyncAnthropic) -> None:
        for _ in range(2):
            with pytest.raises(error) as refusal:
                await asking.messages.create(**{**ASKED, **fields})
            body: Any = refusal.value.body  # type: ignore[attr-defined]
            assert body["error"]["message"]

    at_both_doors(tmp_path, work)


def test_a_full_fleet_is_a_rate_limit_with_a_time(tmp_path: Path) -> None:
    async def everything() -> None:
        pool = Pool(slots=1, max_wait_seconds=1)
        async with fleet(tmp_path, {"chat": pool}, cloud=False) as f, client(f.url(f.gateway)) as asking:
            more: Any = {**ASKED, "max_tokens": 9000, "extra_body": {"min_tokens": 9000, "ignore_eos": True}}
            async with asking.messages.stream(**more) as stream:
                await anext(aiter(stream))
                with pytest.raises(anthropic.APIStatusError) as refusal:
                    await asking.messages.create(**ASKED)
            assert refusal.value.status_code in (429, 529)
            assert int(refusal.value.response.headers["retry-after"]) >= 1

    uvloop.run(asyncio.wait_for(everything(), 60))
