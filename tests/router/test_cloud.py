"""Which provider serves, with what words, how often, and what becomes of refusals: over real HTTP."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
import uvloop

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.terms import MaxTokensField
from forebay.simulator.http import Connection, Request
from testing.fleet import Pool
from tests.router.clouds import KEY, clouds, settle
from tests.router.provider import GOOD, Provider, Script, answer, in_turn, refusal, stream
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


# Refusals: whose fault they are.

REFUSALS: dict[str, Script] = {
    "billing_hard_limit_reached": answer(400, {"error": {"code": "billing_hard_limit_reached", "message": "x"}}),
    "a void key as 400": answer(400, {"error": {"message": "API key not valid. Please pass a valid API key."}}),
    "a void key as 403": refusal(403, "Forbidden"),
    "an empty wallet as 422": answer(422, {"detail": "insufficient balance"}),
    "a limit a minute as 413": answer(413, {"error": {"type": "tokens", "code": "rate_limit_exceeded"}}),
    "a filter's word": answer(400, {"error": {"code": "content_filter", "innererror": {}}}),
    "too long, in its own words": answer(400, {"error": {"message": "input length and max_tokens exceed 8192"}}),
    "an unknown parameter": answer(400, {"error": {"message": "x", "code": "unsupported_parameter"}}),
    "too long, no JSON": answer(413, b"<html>Request Entity Too Large</html>"),
    "451": refusal(451),
    "418": refusal(418),
}


@pytest.mark.parametrize("refuses", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_one_provider_refuses_another_one_is_asked(tmp_path: Path, refuses: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refuses) as c:
            assert decision(await c.ask()) == (200, "bravo/small", "CapabilityGap")
            assert (len(c.acme.asked), len(c.bravo.asked)) == (1, 1)
            assert c.idle()

    run(work)


@pytest.mark.parametrize("refuses", REFUSALS.values(), ids=REFUSALS.keys())
def test_different_requests_that_meet_it_make_it_the_providers_fault(tmp_path: Path, refuses: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refuses) as c:
            for number in range(9):
                assert decision(await c.ask(user=f"u-{number}"))[:2] == (200, "bravo/small")
            assert len(c.acme.asked) == 5
            assert (await c.metrics())['forebay_cloud_errors_total{code="BreakerOpen",provider="acme"}'] >= 4

    run(work)


def test_one_bad_request_is_no_fault_however_often_it_comes(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(400)) as c:
            for _ in range(12):
                assert decision(await c.ask())[:2] == (200, "bravo/small")
            assert len(c.acme.asked) == 12
            assert c.standing().standing.breaker.faults == 1

    run(work)


def test_an_answer_to_anybody_forgets_what_was_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, in_turn(*[refusal(400)] * 4, answer(), refusal(400))) as c:
            for number in range(12):
                await c.ask(user=f"u-{number}")
            assert len(c.acme.asked) == 10  # four, an answer, and five that open the breaker
            assert (await c.ask(user="u-1")).status_code == 200

    run(work)


def test_what_nobody_takes_comes_back_in_the_first_providers_words(tmp_path: Path) -> None:
    async def work() -> None:
        first = refusal(400, f"messages: too few. You sent {KEY}", x_request_id="r-1")
        async with clouds(tmp_path, first, refusal(422, "something else")) as c:
            written: list[AccessLogEntry] = []
            c.fleet.gateway.context.log.write = written.append  # type: ignore[method-assign]
            for _ in range(12):
                refused = await c.ask()
                assert decision(refused) == (400, "acme/big", "CapabilityGap")
                assert "retry-after" not in refused.headers
            assert refused.json()["error"]["message"] == "messages: too few. You sent [key]"
            assert refused.headers.get_list("x-request-id") == [refused.headers["x-forebay-request-id"]]
            assert written[-1].provider_request_id == "r-1"
            assert written[-1].status == 400
            assert len(c.acme.asked) == len(c.bravo.asked) == 12  # both breakers are as they were

    run(work)


@pytest.mark.parametrize(
    ("acme", "bravo", "told"),
    [
        (403, 400, 400),  # what is surely about the request, before what may be about the key
        (400, 403, 400),
        (403, 500, 403),
        (400, 429, 400),
        (404, 422, 422),
        (404, 405, 503),  # no such model there: nothing that a client could mend
        (401, 402, 503),
        (401, 413, 413),
    ],
)
def test_the_best_refusal_is_told(tmp_path: Path, acme: int, bravo: int, told: int) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(acme), refusal(bravo)) as c:
            assert (await c.ask()).status_code == told

    run(work)


def test_a_refusal_that_clients_cannot_parse_is_put_into_words_that_they_can(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(413, b"<html>" + KEY.encode() * 10_000), refusal(500)) as c:
            refused = await c.ask()
            assert refused.status_code == 413
            assert refused.json()["error"]["message"] == "the provider refused the request (413)"

    run(work)


def test_a_full_pool_has_not_refused_what_a_provider_did(tmp_path: Path) -> None:
    """The provider's wallet may be empty: the next slot would have served it."""

    async def work() -> None:
        pools = {"chat": Pool(slots=1)}
        async with clouds(tmp_path, refusal(400), refusal(400), pools=pools) as c:
            held = await fill(c.fleet, "chat", 1)
            late = await c.ask(x_forebay_timeout_seconds="0.5")
            assert late.status_code == 503
            assert "retry-after" in late.headers
            waiting = asyncio.create_task(c.ask())
            await c.fleet.until(lambda: c.fleet.gate.waiting.length("chat") == 1)
            await stop(held)
            assert decision(await waiting) == (200, "chat", "Queued")

    run(work)


def closing() -> Script:
    """One request a connection: closed without a byte on the second."""
    met: set[int] = set()

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        if id(connection) in met:
            connection.close()
            return
        met.add(id(connection))
        KEPT.append(connection)  # so that no other one gets its id
        await answer()(provider, request, connection)

    return play


KEPT: list[Connection] = []


def test_a_connection_that_was_used_before_and_closes_without_a_byte_is_no_fault(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, closing()) as c:
            for number in range(4):
                assert decision(await c.ask(user=f"u-{number}"))[:2] == (200, "acme/big")
                assert c.standing().standing.breaker.faults == 0
            assert len(c.acme.asked) == 7  # three were closed, and sent once more
            assert c.bravo.asked == []

    run(work)


@pytest.mark.parametrize("then", ["close", "half a head"])
def test_a_new_connection_that_closes_is_a_fault_and_the_request_is_not_sent_again(tmp_path: Path, then: str) -> None:
    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        if then == "half a head":
            connection._write(b"HTTP/1.1 200 O")
        connection.close()

    async def work() -> None:
        async with clouds(tmp_path, play) as c:
            assert decision(await c.ask())[1] == "bravo/small"
            assert len(c.acme.asked) == 1
            assert c.standing().standing.breaker.faults == 1

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


FAILURES: dict[str, Script] = {
    "500": refusal(500),
    "400": refusal(400),
    "401": refusal(401),
    "an error in a 200": answer(200, {"error": {"message": "x"}}),
}


def only_the_bad(fails: Script) -> Script:
    """Fails what one client sends, and answers all others."""

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        bad = json.loads(request.body)["user"].startswith("bad")
        await (fails if bad else answer())(provider, request, connection)

    return play


@pytest.mark.parametrize("fails", FAILURES.values(), ids=FAILURES.keys())
def test_requests_that_nobody_answers_shut_no_provider_that_answers_others(tmp_path: Path, fails: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, only_the_bad(fails), only_the_bad(fails)) as c:
            for number in range(40):
                await c.ask(user=f"bad-{number}")
                if number % 10 == 9:  # well within the two seconds
                    assert decision(await c.ask(user="good"))[1] == "acme/big"
            assert len(c.acme.asked) == 44

    run(work)


@pytest.mark.parametrize("fails", FAILURES.values(), ids=FAILURES.keys())
def test_a_provider_that_answers_nobody_for_two_seconds_is_shut_even_alone(tmp_path: Path, fails: Script) -> None:
    async def work() -> None:
        async with clouds(tmp_path, fails, fails) as c:
            for number in range(4):
                await c.ask(user=f"u-{number}")
            c.age()
            c.age("bravo")
            for number in range(4, 9):
                await c.ask(user=f"u-{number}")
            assert (len(c.acme.asked), len(c.bravo.asked)) == (5, 5)

    run(work)


def test_streams_that_all_break_off_shut_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, stream(*GOOD[:2], then="cut"), stream(*GOOD)) as c:
            for _ in range(5):
                assert not (await c.stream())[1]
            assert (await c.stream())[1]
            assert len(c.acme.asked) == 5

    run(work)


def test_the_first_content_of_one_answer_brings_a_provider_back_for_all(tmp_path: Path) -> None:
    async def work() -> None:
        failing = [refusal(500)] * 5
        async with clouds(tmp_path, in_turn(*failing, stream(*GOOD[:2], then="stall"), answer())) as c:
            for _ in range(5):
                await c.ask()
            standing = c.standing().standing
            standing.breaker = replace(standing.breaker, open_until=0.0)  # its time is over
            asking = asyncio.create_task(c.ask(stream=True))
            await c.fleet.until(lambda: standing.breaker.openings == 0)
            assert decision(await c.ask())[1] == "acme/big"
            await stop([asking])

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
