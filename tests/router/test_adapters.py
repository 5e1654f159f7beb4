"""A name is served where an engine lists it, whatever the table promises."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import uvloop

from testing.fleet import Fleet, Pool, fleet
from tests.router.taps import tap
from tests.router.test_fleet import fill, stop

PAIR = Pool(slots=4, replicas=2, adapters=("poet", "clerk"))


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    uvloop.run(asyncio.wait_for(work(), 60))


async def load(f: Fleet, name: str, *adapters: str) -> None:
    """Give an engine these adapters alone, and wait until the gateway knows."""
    engine = f.engines[name]
    engine.adapters.loaded = {adapter: adapter for adapter in adapters}
    await f.until(lambda: any(r.name == name and r.names[1:] == adapters for r in f.gate.replicas.of("chat")))
    f.gate.replicas.pools["chat"].stale = True


def test_an_adapter_is_served_where_it_is_loaded(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": PAIR}, cloud=False) as f:
            await load(f, "chat-1", "clerk")
            first, second = tap(f.engines["chat-0"]), tap(f.engines["chat-1"])
            doors = [f.url(router) for router in (f.gateway, *f.sidecars.values())]
            for door in doors:
                for number in range(8):
                    body = {"model": "poet", "max_tokens": 2, "messages": [{"role": "user", "content": str(number)}]}
                    served = await f.http.post(door + "/v1/chat/completions", json=body)
                    assert (served.status_code, served.headers["x-forebay-destination"]) == (200, "chat")
            assert (len(first), len(second)) == (8 * len(doors), 0)
            await load(f, "chat-1", "poet", "clerk")
            for number in range(16):
                await f.ask(2, model="poet", messages=[{"role": "user", "content": str(number)}])
            assert second

    run(work)


def test_who_waits_for_an_adapter_waits_for_an_engine_that_has_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(PAIR, slots=1)}, cloud=False) as f:
            await load(f, "chat-1")
            held = await fill(f, "chat", 2)
            waiting = [asyncio.create_task(f.ask(2, model="poet")) for _ in range(3)]
            await f.until(lambda: f.gate.waiting.length("chat") == 3)
            await stop(held)
            assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 3

    run(work)


def test_an_adapter_that_no_engine_has_is_not_found(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": PAIR}, cloud=False) as f:
            for name in f.engines:
                await load(f, name, "clerk")
            refused = await f.ask(2, model="poet")
            assert (refused.status_code, refused.headers["x-forebay-reason"]) == (404, "ModelNotFound")
            listed = (await f.http.get(f.url(f.gateway) + "/v1/models")).json()["data"]
            assert [model["id"] for model in listed] == ["auto", "chat-model", "clerk"]
            assert (await f.ask(2, model="clerk")).status_code == 200
            assert (await f.ask(2)).status_code == 200

    run(work)
