"""No engine sees one id twice at a time: vLLM before 0.13 refuses the second request, or breaks it off."""

import asyncio
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from forebay.router import ids_in_flight
from forebay.router.engine_request import engine_head
from forebay.router.http.values import Request
from forebay.router.ids_in_flight import IdsInFlight
from forebay.rules.endpoints import ENDPOINTS
from testing.fleet import Fleet, Pool, fleet
from tests.router.taps import lines, tap


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b""]), st.booleans(), st.booleans())))
def test_ids_of_what_runs_are_distinct_whatever_clients_send(steps: list[tuple[bytes, bool, bool]]) -> None:
    async def story() -> None:
        ids, running = IdsInFlight(), list[bytes]()
        for wanted, ends, whole in steps:
            running.append(ids.take(wanted))
            assert max(Counter(running).values()) == 1
            if ends:
                ids.over(running.pop(0), whole)

    asyncio.run(story())


def test_an_id_comes_free_with_the_answer_and_later_when_it_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_in_flight, "LINGERS_SECONDS", 0.01)

    async def story() -> None:
        ids = IdsInFlight()
        ids.over(ids.take(b"a"), True)
        assert ids.take(b"a") == b"a"
        ids.over(b"a", False)
        assert ids.take(b"a") != b"a"
        await asyncio.sleep(0.05)
        assert ids.take(b"a") == b"a"

    asyncio.run(story())


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
def test_calls_with_one_id_reach_the_engine_under_ids_of_their_own(tmp_path: Path, door: str) -> None:
    async def story() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=4)}, cloud=False) as f:
            seen = tap(f.engines["chat-0"])
            router = f.gateway if door == "gateway" else f.sidecars["chat-0"]
            told = lines(router)
            answers = await asyncio.gather(*(_ask(f, door) for _ in range(4)))
            ids = [request.headers[b"x-request-id"] for request in seen]
            assert len(set(ids)) == 4
            assert b"agent-1" in ids
            assert [answer.status_code for answer in answers] == [200] * 4
            for name in ("x-request-id", "x-forebay-request-id"):
                assert [answer.headers[name] for answer in answers] == ["agent-1"] * 4
            assert [line["request_id"] for line in told()] == ["agent-1"] * 4
            await _ask(f, door)
            assert seen[-1].headers[b"x-request-id"] == b"agent-1", "free again"

    uvloop.run(story())


async def _ask(f: Fleet, door: str) -> httpx.Response:
    base = f.url(f.gateway if door == "gateway" else f.sidecars["chat-0"])
    return await f.ask(20, base=base, x_request_id="agent-1")


@pytest.mark.parametrize("said", [None, b"application/x-www-form-urlencoded", b"text/plain", b"Application/JSON; a=b"])
@pytest.mark.parametrize("path", [path for path, row in ENDPOINTS.items() if not row.form])
def test_a_body_that_was_read_as_json_is_called_so(path: str, said: bytes | None) -> None:
    """Engines refuse what is called anything else; providers get it under that name as well."""
    given = [] if said is None else [(b"content-type", said)]
    head = engine_head(Request("POST", path, "", [(b"host", b"x"), *given], b"{}"), b"id-1", 2).lower()
    assert head.count(b"content-type:") == 1
    assert re.search(rb"content-type: application/json(; a=b)?\r\n", head)


@pytest.mark.parametrize("path", [path for path, row in ENDPOINTS.items() if row.form])
def test_a_form_keeps_the_name_that_says_where_its_parts_end(path: str) -> None:
    given = [(b"content-type", b"multipart/form-data; boundary=Ab")]
    head = engine_head(Request("POST", path, "", given, b""), b"id-1", 0)
    assert b"content-type: multipart/form-data; boundary=Ab\r\n" in head
