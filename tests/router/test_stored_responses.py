"""A response that an engine stores is read, forgotten and cancelled at the replica that has it, through any door."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from forebay.router.stored_responses import AT_ONCE, SEARCH_AT_ONCE, SEARCHES
from forebay.rules.endpoints import RESPONSE_ID, stored_response
from testing.fleet import Pool, fleet
from tests.router.compiled import patches_a_method
from tests.router.taps import lines, tap

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


def test_the_first_request_of_all_may_be_about_one(tmp_path: Path) -> None:
    """Before any was placed: what a gateway knows of its replicas is counted anew when it places a request."""

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            made = (await f.http.post(f.url(f.sidecars["chat-0"]) + "/v1/responses", json=ASKED)).json()
            f.gate.replicas.pools["chat"].by_name.clear()
            assert (await f.http.get(f"{f.url(f.gateway)}/v1/responses/{made['id']}")).json() == made

    run(work)


def test_a_question_about_one_is_under_its_clients_limit(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}, cloud=False) as f:
            log = lines(f.gateway)
            url, key = f.url(f.gateway) + "/v1/responses/resp_1", {"x-api-key": "sk-one"}
            async with AsyncExitStack() as others:
                for _ in range(AT_ONCE):
                    await others.enter_async_context(f.gate.keepers._asking)
                first = asyncio.create_task(f.http.get(url, headers=key))
                await f.until(lambda: f.gate.in_flight == 1)
                for second in (await f.ask(key="sk-one"), await f.http.get(url, headers=key)):
                    assert (second.status_code, second.headers["x-forebay-reason"]) == (429, "ClientLimit")
            assert (await first).status_code == 404
            await f.until(lambda: f.gate.in_flight == 0)
            assert f.gate.context.clients.in_flight == {}
            assert [line["status"] for line in log()] == [429, 429, 404]

    run(work)


def test_a_client_that_leaves_before_the_first_step_is_written_down(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            for router in (f.gateway, f.sidecars["chat-0"]):
                log, role = lines(router), router.role
                spawn = role.context.spawn

                def cancelled(work: Coroutine[Any, Any, Any], spawn: Any = spawn) -> Any:
                    task = spawn(work)
                    task.cancel()
                    return task

                role.context.spawn = cancelled  # type: ignore[method-assign]
                with pytest.raises(httpx.HTTPError):
                    await f.http.get(f.url(router) + "/v1/responses/resp_1")
                await f.until(lambda log=log: len(log()) == 1)
                assert log()[0]["status"] == 499
                role.context.spawn = spawn  # type: ignore[method-assign]
            assert (f.gate.in_flight, f.side("chat-0").without_slot) == (0, 0)

    run(work)


@patches_a_method
def test_however_many_ask_so_many_replicas_are_asked_at_a_time(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            pool = f.gate.replicas.pools["chat"]
            [one] = pool.all.values()
            pool.all = {("127.0.0.1", number): one for number in range(100)}
            running, most, asked = 0, 0, 0

            async def fetch(*_: object) -> tuple[int, bytes]:
                nonlocal running, most, asked
                running, asked = running + 1, asked + 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1
                return 404, b""

            f.gate.context.upstream.fetch = fetch  # type: ignore[method-assign,assignment]
            assert await f.gate.keepers.find("resp_1") is None
            assert (asked, most) == (100, SEARCH_AT_ONCE), "all are asked, not all at once"
            most = 0
            await asyncio.gather(*(f.gate.keepers.find(f"resp_{number}") for number in range(20)))
            assert most == AT_ONCE
            f.gate.keepers.searches = SEARCHES
            refused = await f.http.get(f.url(f.gateway) + "/v1/responses/resp_1")
            assert refused.status_code == 503 and refused.headers["retry-after"]

    run(work)


@patches_a_method
def test_the_first_that_has_it_ends_the_search(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            pool = f.gate.replicas.pools["chat"]
            [one] = pool.all.values()
            pool.all = {("127.0.0.1", number): one for number in range(100)}
            asked = 0

            async def fetch(*_: object) -> tuple[int, bytes]:
                nonlocal asked
                asked += 1
                if asked == 3:
                    return 200, b"{}"
                await asyncio.sleep(60)
                return 404, b""

            f.gate.context.upstream.fetch = fetch  # type: ignore[method-assign,assignment]
            assert await asyncio.wait_for(f.gate.keepers.find("resp_1"), 5) is one
            await f.until(lambda: f.gate.keepers._asking._value == AT_ONCE)
            assert asked <= SEARCH_AT_ONCE

    run(work)
