"""Whose fault it is that a provider gives no answer, and what its client hears: over real HTTP."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from forebay.resources.access_log import AccessLogEntry
from forebay.simulator.http import Connection, Request
from testing.fleet import Pool
from tests.router.clouds import KEY, clouds
from tests.router.provider import GOOD, Provider, Script, answer, in_turn, refusal, stream
from tests.router.test_cloud import run
from tests.router.test_fleet import decision, fill, stop

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


def closing(*, says: bool = False) -> Script:
    """One request a connection: closed on the second, without a byte or with a 408, as of one that was idle."""
    met: set[int] = set()

    async def play(provider: Provider, request: Request, connection: Connection) -> None:
        if id(connection) in met:
            if says:
                connection.reply(408, b"<html>idle</html>", more=b"connection: close\r\n")
            connection.close()
            return
        met.add(id(connection))
        KEPT.append(connection)  # so that no other one gets its id
        await answer()(provider, request, connection)

    return play


KEPT: list[Connection] = []


@pytest.mark.parametrize("says", [False, True], ids=["silent", "408"])
def test_a_connection_that_was_used_before_and_closes_unread_is_no_fault(tmp_path: Path, says: bool) -> None:
    async def work() -> None:
        async with clouds(tmp_path, closing(says=says)) as c:
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


# Faults.

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
