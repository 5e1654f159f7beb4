"""Streams from a provider: usage asked for and counted, and every way in which one can break."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from forebay.resources.terms import Task
from testing.fleet import Pool
from tests.router.clouds import Clouds, clouds
from tests.router.provider import (
    DONE,
    ERROR,
    GOOD,
    LAST,
    ROLE,
    USAGE,
    USAGE_CHUNK,
    Script,
    answer,
    chunk,
    refusal,
    stream,
)
from tests.router.test_cloud import run
from tests.router.test_fleet import decision, fill, stop

BREAKS: dict[str, Any] = {
    "cut": ((), "cut"),
    "an end within the chunked coding": ((), "half"),
    "no chunk": ((), "chunk"),
    "a clean end too early": ((), "end"),
    "malformed JSON": ((b'{"choices": [{"delta"',), "stall"),
    "not even JSON": ((b"<html>",), "stall"),
    "no text": ((b'{"x": "\x8f"}',), "stall"),
    "an error event": ((ERROR,), "stall"),
    "a stall": ((), "stall"),
}


def breaking(before: tuple[bytes, ...], name: str) -> Script:
    events, then = BREAKS[name]
    return stream(*before, *events, then=then)


def events(text: bytes) -> list[bytes]:
    return [line[6:] for line in text.split(b"\n") if line.startswith(b"data: ")]


async def finished(c: Clouds) -> None:
    await c.fleet.until(c.idle)


def test_no_stream_where_one_was_asked_for_is_no_answer(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), stream(*GOOD)) as c:
            assert decision(await c.ask(stream=True))[:2] == (200, "bravo/small")

    run(work)


SHORT = {"first_token_seconds": 2, "between_chunks_seconds": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("before", [(), (ROLE,)], ids=["at once", "after the role"])
def test_before_the_first_content_byte_the_next_provider_serves(
    tmp_path: Path, name: str, before: tuple[bytes, ...]
) -> None:
    async def work() -> None:
        async with clouds(tmp_path, breaking(before, name), stream(*GOOD), entry=SHORT) as c:
            served = await c.ask(stream=True)
            assert decision(served) == (200, "bravo/small", "CapabilityGap")
            assert events(served.content) == [ROLE, chunk("Hello"), chunk(" there"), LAST, DONE]
            assert c.standing().standing.breaker.faults == 1
            await finished(c)

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKS)
def test_after_it_the_client_is_told_and_the_connection_closed(tmp_path: Path, name: str) -> None:
    async def work() -> None:
        async with clouds(tmp_path, breaking((ROLE, chunk("Hello")), name), stream(*GOOD), entry=SHORT) as c:
            got, clean = await c.stream()
            assert not clean
            assert events(got)[:2] == [ROLE, chunk("Hello")]
            assert len(events(got)) == 3
            assert "message" in json.loads(events(got)[2])["error"]
            assert DONE not in got
            assert c.bravo.asked == []
            await finished(c)
            assert c.standing().standing.breaker.faults == 1

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["cut", "half", "stall"])
def test_a_whole_answer_that_breaks_is_never_half_an_answer(tmp_path: Path, then: str) -> None:
    async def play(provider: Any, request: Any, connection: Any) -> None:
        body = json.dumps({"choices": [{"message": {"content": "x" * 10_000}}]}).encode()
        connection._write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        connection._write(body[:5000])
        if then == "stall":
            await asyncio.Event().wait()
        await asyncio.sleep(0.02)
        (connection.break_off if then == "cut" else connection.close)()

    async def work() -> None:
        async with clouds(tmp_path, play, entry={"total_seconds": 1}) as c:
            served = await c.ask()
            if then == "stall":  # the time for the whole is over: it says nothing about the provider
                assert c.standing().standing.breaker.faults == 0
            assert decision(served)[:2] == (200, "bravo/small")

    run(work)


def test_a_break_before_the_first_byte_may_end_in_the_queue(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"chat": Pool(slots=1)}
        async with clouds(tmp_path, stream(ROLE, then="cut"), stream(then="cut"), pools=pools) as c:
            held = await fill(c.fleet, "chat", 1)
            waiting = asyncio.create_task(c.ask(stream=True))
            await c.fleet.until(lambda: c.fleet.gate.waiting.length("chat") == 1)
            await stop(held)
            assert decision(await waiting) == (200, "chat", "Queued")

    run(work)


@pytest.mark.slow
def test_a_slow_client_is_not_the_providers_stall(tmp_path: Path) -> None:
    big = [chunk("x" * 50_000) for _ in range(80)]

    async def work() -> None:
        entry = {"first_token_seconds": 5, "between_chunks_seconds": 1}
        async with clouds(tmp_path, stream(ROLE, *big, LAST, DONE), entry=entry) as c:
            body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
            raw = json.dumps(body).encode()
            port = c.fleet.gateway.request.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % len(raw) + raw)
            await reader.readuntil(b"\r\n")
            await asyncio.sleep(2.5)  # longer than the provider may be silent
            rest = await reader.read(-1)
            writer.close()
            assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert len(rest) > 80 * 50_000

    run(work)


# The other APIs.

CREATED = b'{"type":"response.created","response":{"id":"resp_1","usage":null}}'
DELTA = b'{"type":"response.output_text.delta","delta":"Hi"}'
COMPLETED = (
    b'{"type":"response.completed","response":{"id":"resp_1","usage":'
    b'{"input_tokens":100,"input_tokens_details":{"cached_tokens":60},"output_tokens":7}}}'
)


@pytest.mark.parametrize(
    ("path", "body", "model", "script", "sent"),
    [
        (
            "/v1/responses",
            {"input": "hello", "stream": True, "max_output_tokens": 300},
            {},
            stream(CREATED, DELTA, COMPLETED),
            {"model": "big", "input": "hello", "stream": True, "max_output_tokens": 300, "store": False},
        ),
        (
            "/v1/completions",
            {"prompt": "hello", "max_tokens": 300},
            {},
            answer(),
            {"model": "big", "prompt": "hello", "max_tokens": 300},
        ),
        (
            "/v1/embeddings",
            {"input": "hello", "encoding_format": "base64"},
            {"task": Task.EMBED},
            answer(),
            {"model": "big", "input": "hello", "encoding_format": "base64"},
        ),
    ],
    ids=["responses", "completions", "embeddings"],
)
def test_every_api_has_its_own_words(
    tmp_path: Path, path: str, body: dict[str, Any], model: dict[str, Any], script: Script, sent: dict[str, Any]
) -> None:
    async def work() -> None:
        async with clouds(tmp_path, script, model=model) as c:
            before = await c.metrics()
            served = await c.fleet.http.post(c.fleet.url(c.fleet.gateway) + path, json={"model": "auto", **body})
            assert decision(served)[:2] == (200, "acme/big")
            assert c.acme.documents == [sent]
            assert c.acme.asked[0].path == path
            if body.get("stream"):
                assert events(served.content) == [CREATED, DELTA, COMPLETED]
            await finished(c)
            assert tokens(await c.metrics(), "input") - tokens(before, "input") == 100

    run(work)


def test_a_response_that_fails_before_its_first_word_is_anothers(tmp_path: Path) -> None:
    failed = b'{"type":"response.failed","response":{"error":{"code":"server_error","message":"no"}}}'

    async def work() -> None:
        async with clouds(tmp_path, stream(CREATED, failed), stream(CREATED, DELTA, COMPLETED)) as c:
            url = c.fleet.url(c.fleet.gateway) + "/v1/responses"
            served = await c.fleet.http.post(url, json={"input": "hi", "stream": True})
            assert decision(served)[:2] == (200, "bravo/small")

    run(work)


# Usage.


def tokens(metrics: dict[str, float], kind: str) -> float:
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("gen_ai_client_token_usage_sum") and f'token_type="{kind}"' in name and '"acme"' in name
    )


def costs(metrics: dict[str, float], source: str) -> float:
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("forebay_cloud_cost_dollars_total") and f'source="{source}"' in name
    )


PRICE = "0.000324"  # 40 fresh input tokens at 4, 60 cached ones at 0.4, 7 of output at 20 dollars a million


@pytest.mark.parametrize(
    ("more", "script", "expected"),
    [
        ({"stream": True}, stream(*GOOD), [ROLE, chunk("Hello"), chunk(" there"), LAST, DONE]),
        ({"stream": True, "stream_options": {"include_usage": False}}, stream(*GOOD), [*GOOD[:4], DONE]),
        ({"stream": True, "stream_options": {"include_usage": True}}, stream(*GOOD), GOOD),
        (
            {"stream": True},
            stream(ROLE, chunk("Hi", usage=USAGE), LAST, DONE),
            [ROLE, chunk("Hi", usage=USAGE), LAST, DONE],
        ),
        ({}, answer(), None),
    ],
    ids=["not asked for", "declined", "asked for", "beside the content", "not streamed"],
)
def test_usage_is_counted_whether_the_client_asks_or_not(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: dict[str, Any],
    script: Script,
    expected: list[bytes] | None,
) -> None:
    async def work() -> None:
        async with clouds(tmp_path, script, gateway={"access_log": True}) as c:
            before = await c.metrics()
            served = await c.ask(**more)
            assert served.status_code == 200
            if expected is not None:
                assert events(served.content) == expected
                assert c.acme.documents[0]["stream_options"]["include_usage"] is True
            await finished(c)
            after = await c.metrics()
            assert tokens(after, "input") - tokens(before, "input") == 100
            assert tokens(after, "output") - tokens(before, "output") == 7
            assert costs(after, "counted") - costs(before, "counted") == pytest.approx(float(PRICE))

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    shown = {name: line.get(name) for name in ("input_tokens", "output_tokens", "cached_tokens", "usage", "cost_usd")}
    assert shown == {
        "input_tokens": 100,
        "output_tokens": 7,
        "cached_tokens": 60,
        "usage": "counted",
        "cost_usd": PRICE,
    }


def test_usage_that_is_not_told_is_estimated_and_said_to_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = stream(ROLE, chunk("a"), chunk("b"), chunk("c"), then="cut")

    async def work() -> None:
        async with clouds(tmp_path, broken, gateway={"access_log": True}) as c:
            before = await c.metrics()
            await c.stream()
            await finished(c)
            after = await c.metrics()
            assert tokens(after, "output") == tokens(before, "output")  # those are providers' counts only
            assert costs(after, "estimated") - costs(before, "estimated") == pytest.approx((2 * 4 + 3 * 20) / 1e6)

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (line["usage"], line["input_tokens"], line["output_tokens"]) == ("estimated", 2, 3)
    assert line["cost_usd"] == "0.000068"
    assert line["problem"] == "Cut"


def test_a_client_that_leaves_has_still_cost_something(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(*GOOD[:3], then="stall"), gateway={"access_log": True}) as c:
            asking = asyncio.create_task(c.ask(stream=True))
            await c.fleet.until(lambda: len(c.acme.asked) == 1)
            await asyncio.sleep(0.1)
            await stop([asking])
            await c.fleet.until(lambda: c.acme.gone == 1 and c.idle())

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (line["usage"], line["output_tokens"], line["cost_usd"]) == ("estimated", 2, "0.000048")


def test_a_model_without_a_price_costs_nothing_that_is_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(500), gateway={"access_log": True}) as c:
            assert decision(await c.ask())[1] == "bravo/small"

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert line["input_tokens"] == 100
    assert "cost_usd" not in line


def test_the_usage_chunk_of_an_unasked_client_is_no_content(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(USAGE_CHUNK, DONE)) as c:
            served = await c.ask(stream=True)
            assert events(served.content) == [DONE]  # an empty answer is an answer

    run(work)
