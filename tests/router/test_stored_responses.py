"""A response that an engine stores is read, forgotten and cancelled at the replica that has it, through any door."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from forebay.rules.endpoints import RESPONSE_ID, stored_response
from testing.fleet import Pool, fleet
from tests.router.taps import tap

ASKED = {"model": "chat-model", "input": "x", "max_output_tokens": 2}


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize(
    ("method", "path", "response"),
    [
        ("GET", "/v1/responses/resp_1", "resp_1"),
        ("DELETE", "/v1/responses/resp_a-B_9", "resp_a-B_9"),
        ("POST", "/v1/responses/resp_1/cancel", "resp_1"),
        ("POST", "/v1/responses/resp_1", ""),
        ("GET", "/v1/responses/resp_1/cancel", ""),
        ("GET", "/v1/responses/resp_1/", ""),
        ("GET", "/v1/responses/", ""),
        ("GET", "/v1/responses", ""),
        ("GET", "/v1/responses/../models", ""),
        ("GET", "/v1/responses/resp_%31", ""),
        ("GET", "/v1/responses/resp_1%20HTTP", ""),
        ("GET", f"/v1/responses/resp_{'x' * 129}", ""),
        ("GET", "/v1/chat/completions/resp_1", ""),
    ],
)
def test_which_requests_are_about_a_stored_response(method: str, path: str, response: str) -> None:
    assert stored_response(method, path) == response


def test_every_door_leads_to_the_replica_that_has_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=3)}, cloud=False) as f:
            url = "/v1/responses"
            made = (await f.http.post(f.url(f.gateway) + url, json=ASKED)).json()
            path = f"{url}/{made['id']}"
            keeper = next(name for name in f.sidecars if f.side(name)._stored)
            seen = tap(f.engines[keeper])
            doors = [f.url(router) for router in (f.gateway, *f.sidecars.values())]
            for door in doors:
                read = await f.http.get(door + path, headers={"x-api-key": "sk-vip"})
                assert (read.status_code, read.json()) == (200, made)
                assert read.headers["x-forebay-destination"] == "chat"
                cancelled = await f.http.post(f"{door}{path}/cancel")
                assert (cancelled.status_code, "synchronous" in cancelled.text) == (400, True)
            assert all(f.side(name).admission.running == 0 for name in f.sidecars)
            assert not any(b"x-api-key" in request.headers for request in seen)
            assert (await f.http.delete(doors[-1] + path)).json()["deleted"] is True
            assert not f.side(keeper)._stored
            for door in doors:
                gone = await f.http.get(door + path)
                assert (gone.status_code, gone.json()["error"]["code"]) == (404, "StateNotFound")
                assert gone.headers["x-forebay-reason"] == "StateNotFound"

    run(work)


def test_a_replica_that_does_not_answer_is_no_404(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=2)}, cloud=False) as f:
            made = (await f.http.post(f.url(f.gateway) + "/v1/responses", json=ASKED)).json()
            keeper = next(name for name in f.sidecars if f.side(name)._stored)
            f.side(keeper).engine.address = ("127.0.0.1", 1)
            for router in (f.gateway, *f.sidecars.values()):
                failed = await f.http.get(f"{f.url(router)}/v1/responses/{made['id']}")
                assert (failed.status_code, failed.headers["x-forebay-reason"]) == (503, "ReplicaFailed")
                assert "retry-after" in failed.headers

    run(work)


@pytest.mark.parametrize(
    "previous", ["resp_1 HTTP/1.1\r\nx: y\r\n\r\nGET /v1/report", "resp_é", "resp_\u4e00", "/../x"]
)
def test_an_id_that_is_none_never_becomes_part_of_a_head(tmp_path: Path, previous: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            answer = await f.http.post(
                f.url(f.gateway) + "/v1/responses", json={**ASKED, "previous_response_id": previous}
            )
            assert answer.status_code == 404
            assert not RESPONSE_ID.fullmatch(previous), "what is asked of sidecars holds nothing else"

    run(work)
