"""An engine that is healthy by every page and makes no token, and a replica that nothing is heard of any more."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from forebay.resources.report import ReplicaState
from forebay.router import engine_monitor as engines
from forebay.router.placement import replicas
from forebay.rules import progress
from testing.fleet import Fleet, Pool, fleet


def within(tmp_path: Path, act: Callable[[Fleet], Awaitable[None]], **more: object) -> None:
    async def run() -> None:
        async with asyncio.timeout(40), fleet(tmp_path, {"chat": Pool(slots=4, replicas=2)}, **more) as made:  # type: ignore[arg-type]
            await act(made)

    uvloop.run(run())


@pytest.mark.slow
def test_a_stuck_engine_gets_nothing_new_until_it_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "METRICS_SECONDS", 0.05)
    monkeypatch.setattr(engines, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(engines, "PROBE_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(progress, "STUCK_SECONDS", 1.5)  # a busy machine is not stuck

    async def act(made: Fleet) -> None:
        stuck, side = made.engines["chat-0"], made.side("chat-0")
        stuck.faults.dead_gpu = True
        asking = [asyncio.create_task(made.ask(tokens=20, messages=told(number))) for number in range(8)]
        await made.until(lambda: side.admission.state is ReplicaState.STARTING)
        report = side.report().engine
        assert report is not None
        assert report.stuck_seconds >= 1.5
        await made.until(lambda: [it.state for it in made.gate.replicas.of("chat")].count(ReplicaState.SERVING) == 1)
        answers = [await made.ask(tokens=5) for _ in range(6)]
        assert {answer.headers["x-forebay-destination"] for answer in answers} == {"chat"}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.sleep(0.5)
        assert side.admission.state is ReplicaState.STARTING, "idle is not well"
        stuck.faults.dead_gpu = False
        stuck._work.set()
        await made.until(lambda: side.admission.state is ReplicaState.SERVING)

    within(tmp_path, act)


def told(number: int) -> list[dict[str, str]]:
    """Of a session of its own, or all would have one home."""
    return [{"role": "user", "content": f"story {number}"}]


class Hole:
    """A wire that can be cut without a word: nothing comes through any more, and nobody is told."""

    def __init__(self) -> None:
        self.cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    async def front(self, name: str, port: int) -> int:
        if name != "sidecar chat-0":
            return port

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
            for source, target in ((reader, outer), (inner, writer)):
                task = asyncio.create_task(self._pump(source, target))
                self._tasks.add(task)

        self.server = await asyncio.start_server(join, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                if not self.cut:
                    target.write(data)
        except OSError:
            pass
        finally:
            target.close()

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.slow
def test_what_waits_at_a_replica_that_fell_silent_is_served_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 1.0)
    hole = Hole()

    async def act(made: Fleet) -> None:
        made.engines["chat-0"].faults.dead_gpu = True  # so that what is sent there waits for its first token
        asking = [asyncio.create_task(made.ask(tokens=20, messages=told(number))) for number in range(8)]
        await made.until(lambda: made.side("chat-0").admission.requests > 0)
        begun = asyncio.get_running_loop().time()
        hole.cut = True
        answers = await asyncio.gather(*asking)
        took = asyncio.get_running_loop().time() - begun
        assert {answer.status_code for answer in answers} == {200}
        assert took < 20, "not the patience for a first token, which is a minute"
        await hole.close()

    within(tmp_path, act, front=hole.front)
