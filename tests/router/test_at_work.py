"""Silence on the wire is judged by what the engine makes: it lives while its token counters rise, within a bound."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvloop

from forebay.resources.options import RouterTimeouts
from forebay.router import engine_monitor
from testing.fleet import Fleet, Pool, fleet
from tests.router.faulty import ROLE, TOKEN, _chunk, _head, _whole

pytestmark = pytest.mark.slow

TIMEOUTS = RouterTimeouts(connect=1.0, first_token=0.8, between_chunks=0.8, silence=4.0, total=12.0)
SILENCE = 2.2
"""Longer than the patience with an engine that makes nothing."""
FOR_EVER = 60.0
END = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WHOLE = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
)


@dataclass
class Quiet:
    """An engine that says nothing for a while. `counts`: its counters rise meanwhile; None: it has none.

    `said` comes before the silence of a stream.
    """

    counts: bool | None
    said: bytes
    seconds: float
    posts: int = 0
    port: int = 0
    _made: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await self._answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        writer.transport.abort()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /metrics"):
            self._made += bool(self.counts)
            text = b"" if self.counts is None else b"vllm:generation_tokens_total{} %d\n" % self._made
            writer.write(_whole(200, text))
        elif head.startswith(b"GET"):
            writer.write(_whole(200, b'{"object":"list","data":[]}'))
        else:
            await self._post(head, reader, writer)

    async def _post(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        self.posts += 1
        if b'"stream":true' not in body.replace(b" ", b""):
            await asyncio.sleep(self.seconds)
            writer.write(_whole(200, WHOLE))
            return
        writer.write(_head(200, b"text/event-stream", b"transfer-encoding: chunked\r\n"))
        if self.said:
            writer.write(_chunk(self.said))
        await writer.drain()
        await asyncio.sleep(self.seconds)
        writer.write(_chunk(TOKEN) + _chunk(END) + b"0\r\n\r\n")


@asynccontextmanager
async def behind(tmp: Path, engine: Quiet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """A fleet with this engine in front of its only replica."""
    monkeypatch.setattr(engine_monitor, "PROBE_SECONDS", 0.05)

    async def front(name: str, port: int) -> int:
        return await engine.start() if name.startswith("engine") else port

    async with fleet(tmp, {"chat": Pool(slots=4)}, cloud=False, timeouts=TIMEOUTS, front=front) as f:
        try:
            yield f
        finally:
            await engine.stop()


async def ask(f: Fleet, door: str, *, stream: bool) -> tuple[int, bytes, bool]:
    """Status, body, and whether it broke off."""
    router = f.gateway if door == "gateway" else f.sidecars["chat-0"]
    body = {"model": "chat-model", "messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 1}
    got, status = b"", 0
    try:
        async with f.http.stream("POST", f.url(router) + "/v1/chat/completions", json=body) as response:
            status = response.status_code
            async for piece in response.aiter_raw():
                got += piece
    except httpx.RemoteProtocolError:
        return status, got, True
    return status, got, False


PHASES = {"before the first token": ROLE, "not a byte": b"", "within the answer": ROLE + TOKEN}


@pytest.mark.parametrize("door", ["gateway", "service"])
@pytest.mark.parametrize("phase", [*PHASES, "whole"])
def test_an_engine_at_work_is_waited_for(
    door: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        engine = Quiet(counts=True, said=PHASES.get(phase, b""), seconds=SILENCE)
        async with behind(tmp_path, engine, monkeypatch) as f:
            status, body, broken = await ask(f, door, stream=phase != "whole")
            assert (status, broken, engine.posts) == (200, False, 1), body
            assert body == WHOLE if phase == "whole" else body.endswith(b"data: [DONE]\n\n")

    uvloop.run(work())


@pytest.mark.parametrize("counts", [False, None], ids=["its counters stand still", "it does not count"])
@pytest.mark.parametrize("door", ["gateway", "service"])
@pytest.mark.parametrize("phase", PHASES)
def test_an_engine_that_makes_nothing_is_not(
    door: str, phase: str, counts: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        engine = Quiet(counts=counts, said=PHASES[phase], seconds=FOR_EVER)
        async with behind(tmp_path, engine, monkeypatch) as f:
            began = asyncio.get_running_loop().time()
            status, body, broken = await ask(f, door, stream=True)
            assert asyncio.get_running_loop().time() - began < TIMEOUTS.silence
            within = phase == "within the answer"
            assert (status, broken) == ((200, True) if within else (503, False)), body
            assert b'"error"' in body

    uvloop.run(work())


@pytest.mark.parametrize("phase", PHASES)
def test_one_request_that_is_stuck_among_others_is_bounded(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        engine = Quiet(counts=True, said=PHASES[phase], seconds=FOR_EVER)
        async with behind(tmp_path, engine, monkeypatch) as f:
            began = asyncio.get_running_loop().time()
            status, body, broken = await ask(f, "gateway", stream=True)
            took = asyncio.get_running_loop().time() - began
            assert TIMEOUTS.silence - 0.5 < took < TIMEOUTS.total
            assert (status, broken) == ((200, True) if phase == "within the answer" else (503, False)), body

    uvloop.run(work())
