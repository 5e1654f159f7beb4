"""Long streams as clients have them: so many at a time, beside whatever a scenario does, each one's end recorded."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

END_SECONDS = 300
"""Longest wait, after a scenario, for its streams to end."""
RETRIES = 2
"""What OpenAI's client does by itself when a connection breaks before an answer."""


@dataclass(slots=True)
class Stream:
    """One request as its client saw it; times in seconds of time.monotonic()."""

    begun: float
    status: int = 0
    destination: str = ""
    reason: str = ""
    first: float = 0.0
    ended: float = 0.0
    tokens: int = 0
    finished: bool = False  # a finish_reason came
    done: bool = False  # [DONE] came
    told: str = ""  # the error event, or the refusal's text
    broken: str = ""  # how the connection ended, where that was not well
    retries: int = 0

    @property
    def whole(self) -> bool:
        """All of the answer."""
        return self.status == 200 and self.finished and self.done and not self.told and not self.broken

    @property
    def silent(self) -> bool:
        """What looks like a good end and is none: the worst there is."""
        return self.status == 200 and not self.whole and not self.told and not self.broken

    @property
    def kind(self) -> str:
        """One word for the summary."""
        if self.whole:
            return "whole"
        if self.silent:
            return "silently cut"
        if not self.first:
            return f"refused {self.status}" if self.status else "no answer"
        return "cut, with an error event" if self.told else "cut, connection closed"


@dataclass
class Streams:
    """Keeps `at_once` streams of `tokens` tokens open until stopped. `answers` grows as they end."""

    door: str
    at_once: int
    tokens: int
    priority: str = "Normal"
    key: str = ""
    model: str = "long-7b"
    answers: list[Stream] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """In a thread of its own."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Begin no more; those that run go on to their end."""
        self._stop.set()

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # each on its own connection: any gateway
        patience = aiohttp.ClientTimeout(total=END_SECONDS, sock_connect=5, sock_read=90)  # 5 s are OpenAI's, too
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as web:
            number = 0
            while not self._stop.is_set():
                while len(running) < self.at_once:
                    number += 1
                    task = asyncio.create_task(self._one(web, number))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
            if running:
                await asyncio.wait(running, timeout=END_SECONDS)

    async def _one(self, web: aiohttp.ClientSession, number: int) -> None:
        stream = Stream(time.monotonic())
        for attempt in range(RETRIES + 1):
            stream.retries, stream.broken = attempt, ""
            try:
                await self._exchange(web, number, stream)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                stream.broken = f"{type(error).__name__}: {error}"[:200]
            if not stream.broken or stream.status:
                break
            await asyncio.sleep(0.5 * 2**attempt)  # as OpenAI's client waits
        stream.ended = time.monotonic()
        self.answers.append(stream)
        if stream.status != 200:
            await asyncio.sleep(0.5)

    async def _exchange(self, web: aiohttp.ClientSession, number: int, stream: Stream) -> None:
        body = {
            "model": self.model, "max_tokens": self.tokens, "stream": True,
            "messages": [{"role": "user", "content": f"tell story number {number}, at length"}],
        }  # fmt: skip
        headers = {"x-forebay-priority": self.priority} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        async with web.post(f"{self.door}/v1/chat/completions", json=body, headers=headers) as response:
            stream.status = response.status
            stream.destination = response.headers.get("x-forebay-destination", "")
            stream.reason = response.headers.get("x-forebay-reason", "")
            if response.status != 200:
                stream.told = (await response.text())[:300]
                return
            async for line in response.content:
                if line.startswith(b"data: "):
                    _take(stream, line[6:].strip())


def _take(stream: Stream, event: bytes) -> None:
    if event == b"[DONE]":
        stream.done = True
        return
    document: dict[str, Any] = json.loads(event)
    if "error" in document:
        stream.told = event.decode()[:300]
        return
    for choice in document.get("choices", ()):
        if choice.get("delta", {}).get("content"):
            stream.first = stream.first or time.monotonic()
            stream.tokens += 1
        stream.finished = stream.finished or choice.get("finish_reason") is not None


@contextmanager
def flowing(door: str, at_once: int, tokens: int, **more: str) -> Iterator[Streams]:
    """Streams beside the block; when it ends, all of theirs are waited for. `answers` is complete afterwards."""
    streams = Streams(door, at_once, tokens, **more)  # type: ignore[arg-type]
    thread = threading.Thread(target=streams.run, daemon=True)
    thread.start()
    try:
        yield streams
    finally:
        streams.stop()
        thread.join(END_SECONDS + 10)
    assert not thread.is_alive(), "streams did not end"


def summary(answers: list[Stream]) -> str:
    """How they ended, in one line."""
    kinds = Counter(answer.kind for answer in answers)
    where = Counter(answer.destination for answer in answers if answer.status == 200)
    longest = max((answer.ended - answer.begun for answer in answers), default=0.0)
    slowest = max((answer.first - answer.begun for answer in answers if answer.first), default=0.0)
    again = sum(answer.retries > 0 for answer in answers)
    return (
        f"{len(answers)} streams: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}; "
        f"served by {', '.join(f'{name} {n}' for name, n in where.most_common())}; longest {longest:.0f} s, "
        f"first token after {slowest:.1f} s at most, {again} sent again by the client"
    )


def never_silent(answers: list[Stream]) -> None:
    """What must hold whatever breaks."""
    assert answers
    silent = [answer for answer in answers if answer.silent]
    assert not silent, silent[:3]


def none_failed(answers: list[Stream]) -> None:
    """Nobody noticed."""
    bad = [answer for answer in answers if not answer.whole]
    assert answers and not bad, [(answer.kind, answer.told, answer.broken) for answer in bad[:3]]


def none_refused(answers: list[Stream]) -> None:
    """Nothing failed before its first content byte, as clients that try again see it."""
    bad = [answer for answer in answers if not answer.first]
    assert answers and not bad, [(answer.kind, answer.told, answer.broken) for answer in bad[:3]]
