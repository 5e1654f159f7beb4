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
from tests.router.taps import tap

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
        exchange = cast(Any, SimpleNamespace(on_lost=None))
        bodies.read(
            cast(Any, None), exchange, ANONYMOUS, lambda _: told.append("begin"), lambda _: told.append("refuse"),
            lambda: told.append("gone"),
        )  # fmt: skip
        await asyncio.sleep(0.01)
        assert told == ["gone"]

    uvloop.run(work())
