"""The demo's clients: OpenAI requests with streams, so many in flight at a time, each one's outcome recorded."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import aiohttp

from e2e.demo.checks import Answer
from e2e.demo.phases import Ask, Kind, Phase, asks

REQUEST_SECONDS = 180
WORD = "river "


class Load:
    """Sends requests to the fleet's door. `answers` grows; `in_flight` counts by kind; `phase` is the current name."""

    def __init__(self, door: str, keys: dict[str, str], seed: int = 7) -> None:
        self.door = door
        self.keys = keys
        self.rng = random.Random(seed)
        self.answers: list[Answer] = []
        self.in_flight: Counter[str] = Counter()
        self.phase = "start"
        self.started = time.monotonic()

    async def ramp(self, phases: tuple[Phase, ...], on_phase: Callable[[Phase], Awaitable[None]]) -> None:
        """Keep each phase's number of requests in flight for its time, then let the last ones end."""
        sources: dict[Kind, Iterator[Ask]] = {kind: asks(kind, self.rng) for kind in ("chat", "sort")}
        running: set[asyncio.Task[None]] = set()
        async with self._session() as session:
            for phase in phases:
                self.phase = phase.name
                await on_phase(phase)
                end = time.monotonic() + phase.seconds
                while time.monotonic() < end:
                    for kind, target in (("chat", phase.chat), ("sort", phase.sort)):
                        room = min(target - self.in_flight[kind], 4)
                        for _ in range(room):
                            self._start(session, next(sources[kind]), running)
                    await asyncio.sleep(0.2)
            await self._finish(running)

    async def replay(self, rows: list[Ask]) -> None:
        """Send a trace's requests at their times."""
        running: set[asyncio.Task[None]] = set()
        self.phase = "trace"
        async with self._session() as session:
            for ask in rows:
                await asyncio.sleep(max(0.0, self.started + ask.at - time.monotonic()))
                self._start(session, ask, running)
            await self._finish(running)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )

    def _start(self, session: aiohttp.ClientSession, ask: Ask, running: set[asyncio.Task[None]]) -> None:
        self.in_flight[ask.kind] += 1
        task = asyncio.create_task(self._one(session, ask))
        running.add(task)
        task.add_done_callback(running.discard)

    async def _finish(self, running: set[asyncio.Task[None]]) -> None:
        if running:
            await asyncio.wait(running, timeout=REQUEST_SECONDS)

    async def _one(self, session: aiohttp.ClientSession, ask: Ask) -> None:
        begun, phase = time.monotonic(), self.phase
        try:
            answer = await self._exchange(session, ask, begun, phase)
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = self._failed(ask, begun, phase, error)
        finally:
            self.in_flight[ask.kind] -= 1
        self.answers.append(answer)
        if answer.status != 200:
            await asyncio.sleep(0.5)

    async def _exchange(self, session: aiohttp.ClientSession, ask: Ask, begun: float, phase: str) -> Answer:
        url = f"{self.door}/v1/chat/completions"
        async with session.post(url, json=body(ask), headers=self._headers(ask)) as response:
            first, done, error = 0.0, response.status != 200, ""
            if response.status == 200:
                async for line in response.content:
                    first = first or time.monotonic()
                    done = done or line.startswith(b"data: [DONE]")
                    if line.startswith(b'data: {"error"'):
                        error = line.decode()[:200]
            else:
                error = (await response.text())[:200]
            now, headers = time.monotonic(), response.headers
            return Answer(
                at=now - self.started,
                phase=phase,
                kind=ask.kind,
                who=ask.who,
                asked=ask.priority,
                status=response.status,
                destination=headers.get("x-forebay-destination", ""),
                reason=headers.get("x-forebay-reason", ""),
                queue_ms=int(float(headers.get("x-forebay-queue-ms", "0") or 0)),
                first_token_ms=int((first - begun) * 1000) if first else 0,
                duration_ms=int((now - begun) * 1000),
                retry_after="retry-after" in headers,
                cut=not done,
                error=error,
            )

    def _failed(self, ask: Ask, begun: float, phase: str, error: Exception) -> Answer:
        now = time.monotonic()
        return Answer(
            at=now - self.started,
            phase=phase,
            kind=ask.kind,
            who=ask.who,
            asked=ask.priority,
            status=0,
            duration_ms=int((now - begun) * 1000),
            cut=True,
            error=f"{type(error).__name__}: {error}"[:200],
        )

    def _headers(self, ask: Ask) -> dict[str, str]:
        headers = {"x-forebay-priority": ask.priority}
        if ask.kind == "sort":
            headers["x-forebay-task-type"] = "extract"
        key = self.keys.get(ask.who, "sk-unknown")
        return {**headers, "authorization": f"Bearer {key}"}


def body(ask: Ask) -> dict[str, object]:
    """An OpenAI chat request of about the asked lengths (four characters a token)."""
    text = (WORD * (ask.prompt_tokens * 4 // len(WORD) + 1))[: ask.prompt_tokens * 4]
    return {
        "model": "auto",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": ask.max_tokens,
        "stream": True,
    }
