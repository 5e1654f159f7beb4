"""Which provider serves, with what words, how often, and what becomes of refusals: over real HTTP."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
import uvloop

from forebay.resources.terms import MaxTokensField
from testing.fleet import Pool
from tests.router.clouds import KEY, clouds, settle
from tests.router.provider import GOOD, Script, answer, in_turn, refusal, stream
from tests.router.test_fleet import decision, fill, stop

Work = Callable[[], Coroutine[Any, Any, None]]


def run(work: Work) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


FAILS: dict[str, Script] = {
    **{f"status {status}": refusal(status) for status in (401, 402, 403, 404, 405, 408, 409, 425, 500, 502, 504, 520)},
    **{f"back-pressure {status}": refusal(status) for status in (429, 503, 529)},
    "a redirect": refusal(302, location="http://127.0.0.1:1/elsewhere"),
    "no JSON": answer(200, b"<html>welcome</html>"),
    "JSON, but no answer": answer(200, b"[1, 2]"),
    "a stream that nobody asked for": stream(*GOOD),
    "a document without end in depth": answer(200, b'{"a":' * 100_000),
    "half a document": answer(200, b'{"choices": ['),
    "nothing": answer(200, b""),
    "an error in a 200": answer(200, {"error": {"message": "overloaded"}}),
}


@pytest.mark.parametrize("fails", FAILS.values(), ids=FAILS.keys())
def test_the_next_provider_serves_when_one_does_not(tmp_path: Path, fails: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, fails) as c:
            served = await c.ask()
            assert decision(served) == (200, "bravo/small", "CapabilityGap")
            assert served.json()["model"] == "big-1"  # what answered says so itself
            assert (len(c.acme.asked), len(c.bravo.asked)) == (1, 1)
            assert c.idle()

    run(work)


def test_the_first_one_serves_as_long_as_it_does(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            for _ in range(3):
                assert decision(await c.ask()) == (200, "acme/big", "CapabilityGap")
            assert c.bravo.asked == []

    run(work)


def test_nobody_listens_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), entry={"base_url": "http://127.0.0.1:1/v1"}) as c:
            assert decision(await c.ask())[1] == "bravo/small"

    run(work)


def test_after_the_last_provider_comes_the_queue(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(500), refusal(429), pools={"chat": Pool(slots=1)}) as c:
            held = await fill(c.fleet, "chat", 1)
            waiting = asyncio.create_task(c.ask())
            await c.fleet.until(lambda: c.fleet.gate.waiting.length("chat") == 1)
            assert (len(c.acme.asked), len(c.bravo.asked)) == (1, 1)
            await stop(held)
            assert decision(await waiting) == (200, "chat", "Queued")

    run(work)


def test_what_is_sent_and_what_is_not(tmp_path: Path) -> None:
    async def work() -> None:
        model = {"max_tokens_field": MaxTokensField.MAX_COMPLETION_TOKENS, "drop_fields": ("temperature",)}
        async with clouds(tmp_path, answer(), model=model) as c:
            await c.ask(
                tokens=300,
                key="sk-vip",
                temperature=0.5,
                top_p=0.9,
                top_k=-1,
                metadata={"task_type": "chat"},
                service_tier="flex",
                user="u-1",
                x_forebay_session="s-1",
                x_forebay_priority="High",
                x_custom_header="secret of the house",
            )
            assert c.acme.documents == [
                {
                    "model": "big",
                    "messages": [{"role": "user", "content": "hello there"}],
                    "max_completion_tokens": 300,
                    "stream": False,
                    "top_p": 0.9,
                    "user": "u-1",
                }
            ]
            headers = c.acme.asked[0].headers
            assert headers[b"authorization"] == f"Bearer {KEY}".encode()  # the provider's, not the client's
            assert sorted(headers) == [
                b"accept", b"accept-encoding", b"authorization", b"connection", b"content-length", b"content-type",
                b"host", b"user-agent",
            ]  # fmt: skip

    run(work)


def test_what_no_provider_takes_is_not_sent_and_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            refused = await c.ask(guided_json={"type": "object"})
            assert decision(refused) == (404, "none", "NotPortable")
            assert "guided_json" in refused.json()["error"]["message"]
            assert c.acme.asked == c.bravo.asked == []

    run(work)


def test_at_a_gap_with_every_provider_down_the_client_is_told_to_come_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(500), refusal(429)) as c:
            refused = await c.ask()
            assert decision(refused) == (503, "none", "CloudUnavailable")
            assert 1 <= int(refused.headers["retry-after"]) <= 60

    run(work)


# What leaves.


def test_a_conversation_that_another_backend_began_goes_on_at_a_provider(tmp_path: Path) -> None:
    given = "chatcmpl-tool-0123456789abcdef0123456789abcdef"
    call = {"id": given, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning": "hm", "tool_calls": []},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": given, "content": "1"},
    ]

    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            assert decision(await c.ask(messages=messages))[:2] == (200, "acme/big")
            said = c.acme.documents[0]["messages"]
            assert [sorted(message) for message in said[1:]] == [
                ["content", "role"], ["content", "role", "tool_calls"], ["content", "role", "tool_call_id"],
            ]  # fmt: skip
            assert said[2]["tool_calls"][0]["id"] == said[3]["tool_call_id"] != given

    run(work)


@pytest.mark.parametrize(
    "more",
    [
        {"logit_bias": {"50256": -100}},
        {"tools": [{"type": "mcp", "server_url": "http://mcp.tools.svc/sse", "authorization": "secret"}]},
        {"messages": [{"role": "user", "content": "hi", "mood": "sad"}]},
    ],
)
def test_what_only_this_fleet_understands_never_leaves(tmp_path: Path, more: dict[str, Any]) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            refused = await c.ask(**more)
            assert decision(refused) == (404, "none", "NotPortable")
            assert next(iter(more)) in refused.text
            assert c.acme.asked == c.bravo.asked == []

    run(work)


# Retry-After, limits, breaker.


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503, 403, 500])
def test_a_provider_that_said_retry_after_is_not_asked_again_before(tmp_path: Path, form: str, status: int) -> None:
    async def work() -> None:
        word = "120" if form == "seconds" else formatdate(time() + 120, usegmt=True)
        async with clouds(tmp_path, refusal(status, retry_after=word)) as c:
            for _ in range(4):
                assert decision(await c.ask())[1] == "bravo/small"
            c.retable(first_token_seconds=61)  # a new table is no reason to forget it
            assert decision(await c.ask())[1] == "bravo/small"
            assert len(c.acme.asked) == 1
            assert 100 < c.standing().standing.breaker.paused_until - asyncio.get_running_loop().time() <= 120

    run(work)


@pytest.mark.slow
def test_it_is_asked_again_afterwards(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, in_turn(refusal(429, retry_after="1"), answer())) as c:
            assert decision(await c.ask())[1] == "bravo/small"
            async with asyncio.timeout(20):
                while decision(await c.ask())[1] != "acme/big":
                    assert len(c.acme.asked) == 1
                    await asyncio.sleep(0.1)

    run(work)


def test_faults_in_a_row_open_the_breaker_and_back_pressure_does_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(500)) as c:
            for _ in range(9):
                assert decision(await c.ask())[1] == "bravo/small"
            assert len(c.acme.asked) == 5
            assert (await c.metrics())['forebay_cloud_errors_total{code="BreakerOpen",provider="acme"}'] >= 4

    run(work)


def test_no_more_requests_in_flight_than_its_limit(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(*GOOD[:2], then="stall"), entry={"max_concurrent_requests": 2}) as c:
            held = [asyncio.create_task(c.ask(stream=True)) for _ in range(2)]
            await c.fleet.until(lambda: len(c.acme.asked) == 2)
            assert decision(await c.ask())[1] == "bravo/small"
            await stop(held)
            await c.fleet.until(c.idle)

    run(work)


@pytest.mark.parametrize(
    ("limit", "tokens", "word"),
    [
        ({"requests_per_minute": 2}, 10, "LimitRequestsPerMinute"),
        ({"tokens_per_minute": 250}, 200, "LimitTokensPerMinute"),
    ],
)
def test_no_more_a_minute_than_its_limit(tmp_path: Path, limit: dict[str, int], tokens: int, word: str) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), entry=limit) as c:  # each answer says that it used 107 tokens
            served = [decision(await c.ask(tokens=tokens))[1] for _ in range(3)]
            c.retable(**limit, connect_seconds=3)
            served.append(decision(await c.ask(tokens=tokens))[1])
            first = 2 if "requests_per_minute" in limit else 1
            assert served == ["acme/big"] * first + ["bravo/small"] * (4 - first)
            assert (await c.metrics())[f'forebay_cloud_errors_total{{code="{word}",provider="acme"}}'] >= 4 - first

    run(work)


# Deadlines, and clients that leave.


def test_nothing_is_sent_past_the_deadline_and_the_clients_haste_is_no_fault(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(then="stall")) as c:
            late = await c.ask(stream=True, x_forebay_timeout_seconds="0.3")
            assert decision(late) == (503, "none", "DeadlineExceeded")
            assert c.bravo.asked == []
            await c.fleet.until(lambda: c.acme.gone == 1)
            assert c.standing().standing.breaker.faults == 0
            assert c.idle()

    run(work)


def test_a_client_that_leaves_closes_the_providers_connection(tmp_path: Path) -> None:
    async def work() -> None:
        for playing in (stream(then="stall"), stream(*GOOD[:2], then="stall")):
            async with clouds(tmp_path / str(id(playing)), playing) as c:
                asking = asyncio.create_task(c.ask(stream=True))
                await c.fleet.until(lambda c=c: len(c.acme.asked) == 1)  # type: ignore[misc]
                await settle()
                await stop([asking])
                await c.fleet.until(lambda c=c: c.acme.gone == 1 and c.idle())  # type: ignore[misc]
                assert c.standing().standing.breaker.faults == 0
                assert c.bravo.asked == []

    run(work)


def test_a_waiting_half_open_probe_that_is_given_up_lets_the_next_one_through(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, in_turn(*[refusal(500)] * 5, stream(then="stall"), answer())) as c:
            for _ in range(5):
                await c.ask()
            breaker = c.standing().standing
            breaker.breaker = type(breaker.breaker)(faults=5, openings=1, open_until=0.0)  # its time is over
            asking = asyncio.create_task(c.ask(stream=True))
            await c.fleet.until(lambda: len(c.acme.asked) == 6)
            await stop([asking])
            await c.fleet.until(c.idle)
            assert decision(await c.ask())[1] == "acme/big"

    run(work)


def test_connections_are_used_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, in_turn(stream(*GOOD), answer(), stream(*GOOD), answer())) as c:
            for streamed in (True, False, True, False):
                assert (await c.ask(stream=streamed)).status_code == 200
            pool = c.standing().transport._inner._pool
            assert len(pool.connections) == 1

    run(work)


def test_a_long_whole_answer_is_passed_on_as_it_comes_and_still_counted(tmp_path: Path) -> None:
    async def work() -> None:
        body = {"data": [{"embedding": [0.125] * 400_000}], "usage": {"prompt_tokens": 9}, "model": "big-1"}
        async with clouds(tmp_path, answer(200, body)) as c:
            served = await c.ask()
            assert json.loads(served.text) == body
            metrics = await c.metrics()
            assert any(name.startswith("gen_ai_client_token_usage_sum") for name in metrics)

    run(work)
