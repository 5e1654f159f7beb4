"""Bodies that take long to read, at both doors."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from forebay.router.client_keys import ANONYMOUS
from forebay.router.large_bodies import LargeBodies
from testing.fleet import Pool, fleet
from tests.router.taps import lines, tap

pytestmark = pytest.mark.slow
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n"


def chat(size: int, **more: Any) -> bytes:
    """A short question beside something long."""
    asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "x": "a" * size}
    return json.dumps(asked | more).encode()


async def ask(port: int, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.format(len(body)).encode() + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
@pytest.mark.parametrize("model", ["auto", "chat-model"])
@pytest.mark.parametrize("size", [33_000, 3_000_000])
def test_a_large_body_arrives_whole(tmp_path: Path, door: str, model: str, size: int) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=16)}, cloud=False) as f:
            seen, router = tap(f.engines["chat-0"]), f.gateway if door == "gateway" else f.sidecars["chat-0"]
            status, _ = await ask(router.request.port, chat(size, model=model))
            assert status == 200
            assert [len(json.loads(request.body)["x"]) for request in seen] == [size]

    uvloop.run(work())


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
def test_a_large_body_is_refused_as_a_small_one_is(tmp_path: Path, door: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=16)}, cloud=False) as f:
            router = f.gateway if door == "gateway" else f.sidecars["chat-0"]
            for body, says in (
                (chat(40_000)[:-1], b"not valid JSON"),
                (chat(40_000, n="x" * 9, max_tokens=-1), b"max_"),
            ):
                status, answer = await ask(router.request.port, body)
                assert status == 400
                assert says in answer

    uvloop.run(work())


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
def test_a_client_that_leaves_while_it_is_read_reaches_no_engine(tmp_path: Path, door: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=16)}, cloud=False) as f:
            seen, router = tap(f.engines["chat-0"]), f.gateway if door == "gateway" else f.sidecars["chat-0"]
            bodies = [ask(router.request.port, chat(2_000_000)) for _ in range(8)]
            tasks = [asyncio.create_task(body) for body in bodies]
            reader, writer = await asyncio.open_connection("127.0.0.1", router.request.port)
            body = chat(15_000_000)
            writer.write(HEAD.format(len(body)).encode() + body)
            await writer.drain()
            writer.transport.abort()
            assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 8
            assert len(seen) == 8
            del reader

    uvloop.run(work())


def test_a_client_that_leaves_before_the_first_step_is_told_of_all_the_same() -> None:
    async def work() -> None:
        told: list[str] = []

        def spawn(work: Any) -> Any:
            task = asyncio.ensure_future(work)
            task.cancel()
            return task

        bodies = LargeBodies(cast(Any, SimpleNamespace(spawn=spawn)))
        exchange = cast(Any, SimpleNamespace(on_lost=None, ended=True))
        request = cast(Any, SimpleNamespace(target="/v1/chat/completions"))
        bodies.read(
            request, exchange, ANONYMOUS, lambda _: told.append("begin"), lambda _: told.append("refuse"),
            lambda: told.append("gone"),
        )  # fmt: skip
        await asyncio.sleep(0.01)
        assert (told, bodies.reading) == (["gone"], 0)

    uvloop.run(work())


@pytest.mark.parametrize("end", ["begins", "is refused", "is left", "meets a bug"])
def test_a_body_that_is_read_counts_as_a_request_until_that_is_over(tmp_path: Path, end: str) -> None:
    """For its client's limit and for a drain; and there is one line of it, whatever becomes of it."""

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=16)}, cloud=False) as f:
            gate, log = f.gate, lines(f.gateway)
            body = chat(40_000, **({"max_tokens": -1} if end == "is refused" else {}))
            head = HEAD.format(len(body)).replace("host: x", "host: x\r\nauthorization: Bearer sk-one").encode()
            if end == "meets a bug":
                read = gate._bodies._parsed

                async def meets_a_bug(*given: Any) -> Any:
                    await read(*given)
                    raise ZeroDivisionError

                gate._bodies._parsed = meets_a_bug  # type: ignore[method-assign]
                asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            async with gate._bodies._turn:
                reader, writer = await asyncio.open_connection("127.0.0.1", f.gateway.request.port)
                writer.write(head + body)
                await f.until(lambda: gate._bodies.reading == 1)
                assert (gate.in_flight, gate.context.clients.in_flight) == (1, {"one": 1})
                refused = await f.ask(key="sk-one")
                assert (refused.status_code, refused.headers["x-forebay-reason"]) == (429, "ClientLimit")
                assert refused.headers["retry-after"]
                large = await f.ask(key="sk-one", messages=[{"role": "user", "content": "a" * 40_000}])
                assert large.headers["x-forebay-reason"] == "ClientLimit"
                if end == "is left":
                    writer.transport.abort()
                    await f.until(lambda: gate._bodies.reading == 0)
            answer = b"HTTP/1.1 499" if end == "is left" else await asyncio.wait_for(reader.read(), 30)
            writer.close()
            wanted = {"begins": 200, "is refused": 400, "is left": 499, "meets a bug": 500}[end]
            assert int(answer.split()[1]) == wanted
            await f.until(lambda: gate.in_flight == 0)
            assert (gate.context.clients.in_flight, gate._bodies.reading) == ({}, 0)
            assert [line["status"] for line in log()] == [429, 429, wanted]

    uvloop.run(work())


def test_a_replica_that_drains_waits_for_a_body_that_is_read(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=16)}, cloud=False) as f:
            side = f.side("chat-0")
            async with side._bodies._turn:
                asked = asyncio.create_task(ask(f.sidecars["chat-0"].request.port, chat(40_000)))
                await f.until(lambda: side._bodies.reading == 1)
                drained = asyncio.create_task(side.drained())
                await asyncio.sleep(0.3)
                assert not drained.done()
            status, _ = await asked
            assert status in (200, 429, 503), "served elsewhere, or refused: answered in any case"
            await asyncio.wait_for(drained, 5)

    uvloop.run(work())
