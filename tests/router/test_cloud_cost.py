"""What requests at providers cost: answers, answers that clients leave, and tries without any."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from forebay.resources.terms import OnDisconnect
from forebay.simulator.http import Connection, Request
from tests.router.clouds import clouds
from tests.router.provider import GOOD, Provider, Script, answer, refusal, stream
from tests.router.test_cloud import run
from tests.router.test_fleet import decision, stop


async def silent(provider: Provider, request: Request, connection: Connection) -> None:
    """Says nothing."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("streamed", "plays", "on_disconnect", "tokens"),
    [
        (True, stream(*GOOD[:3], then="stall"), OnDisconnect.STOPS, (2, 2)),
        (True, stream(*GOOD[:3], then="stall"), OnDisconnect.CONTINUES, (2, 50)),
        (True, stream(then="stall"), OnDisconnect.STOPS, (0, 0)),  # no answer, so nothing that it used
        (True, stream(then="stall"), OnDisconnect.CONTINUES, (0, 0)),
        (False, silent, OnDisconnect.STOPS, (0, 0)),
    ],
)
def test_what_a_client_that_leaves_has_cost_is_what_its_provider_goes_on_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], streamed: bool, plays: Script, on_disconnect: OnDisconnect,
    tokens: tuple[int, int],
) -> None:  # fmt: skip
    async def work() -> None:
        entry = {"on_disconnect": on_disconnect}
        async with clouds(tmp_path, plays, gateway={"access_log": True}, entry=entry) as c:
            asking = asyncio.create_task(c.ask(stream=streamed, tokens=50))
            await c.fleet.until(lambda: len(c.acme.asked) == 1)
            await asyncio.sleep(0.1)
            await stop([asking])
            await c.fleet.until(lambda: c.acme.gone == 1 and c.idle())

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    goes_on = not streamed or on_disconnect is OnDisconnect.CONTINUES
    made = 50 if goes_on else tokens[1]
    assert (line.get("input_tokens", 0), line.get("output_tokens", 0)) == tokens
    assert line["cost_usd"] == format((Decimal(2 * 4 + made * 20) / 1_000_000).normalize(), "f")


@pytest.mark.parametrize(
    ("plays", "cost"),
    [
        (refusal(401), None), (refusal(403), None), (refusal(404), None), (refusal(429), None), (refusal(503), None),
        (refusal(400), None), (refusal(500), None), (refusal(301), None),
        (answer(200, {"error": {"message": "no"}}), None),
        (refusal(408), "0.000008"), (refusal(502), "0.000008"), (refusal(504), "0.000008"),
        (answer(400, {"error": {"code": "content_filter", "message": "no"}}), "0.000008"),
        (answer(200, b"{"), "0.000008"),
        (answer(200, {"error": {"message": "no"}, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}), "0.000032"),
    ],
)  # fmt: skip
def test_tries_without_an_answer_cost_what_providers_bill_for_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], plays: Script, cost: str | None
) -> None:
    """The answer itself is of a model without prices."""

    async def work() -> None:
        async with clouds(tmp_path, plays, gateway={"access_log": True}) as c:
            assert decision(await c.ask())[1] == "bravo/small"

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert line.get("cost_usd") == cost
    assert (line["input_tokens"], line["usage"]) == (100, "counted")


def test_what_was_never_sent_costs_nothing_and_what_fails_twice_costs_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        priced = {"input_price": "10", "output_price": "10"}
        for first, second in ((refusal(502), refusal(504)), (refusal(502), answer())):
            async with clouds(
                tmp_path / str(id(first)), first, second, gateway={"access_log": True}, bravo_model=priced
            ) as c:
                await c.ask()
                c.retable(base_url="http://127.0.0.1:1/v1")
                await c.ask()

    run(work)
    lines = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    costs = [line.get("cost_usd") for line in lines if line.get("path") == "/v1/chat/completions"]
    assert costs == ["0.000028", "0.00002", "0.001078", "0.00107"]


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1400}, ("counted", 1000, 400, "0.012")),
        ({"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.5}, ("counted", 1000, 100, "0.5")),
        ({"prompt_tokens": "1000", "completion_tokens": "100"}, ("estimated", 2, 25, "0.000508")),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, ("estimated", 2, 27, "0.000548")),
        ({"prompt_tokens": "1", "cost": 0.25}, ("counted", 2, 20, "0.25")),
    ],
)
def test_usage_of_a_whole_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], usage: dict[str, Any], shown: tuple[str, int, int, str]
) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}], "usage": usage}

    async def work() -> None:
        async with clouds(tmp_path, answer(200, body), gateway={"access_log": True}) as c:
            await c.ask()

    run(work)
    line = json.loads(capfd.readouterr().out.splitlines()[-1])
    kind, given, made, cost = shown
    assert (line["usage"], line["input_tokens"]) == (kind, given)
    if kind == "counted":
        assert line["cost_usd"] == cost
        assert "0.25" in cost or line["output_tokens"] == made
    else:
        assert 0 < line["output_tokens"] < 100
