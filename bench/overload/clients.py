"""Requests at a fixed rate, whatever becomes of the earlier ones: an open loop, a connection for each at a time."""

import asyncio
import json
import random
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

CHUNKS: Final = 10
HEADERS: Final = {"High": "x-forebay-priority: High\r\nauthorization: Bearer sk-vip\r\n", "Normal": "",
                  "Low": "x-forebay-priority: Low\r\n"}  # fmt: skip
_STATUS = re.compile(rb"HTTP/1\.1 (\d+)")
_HEADER = re.compile(rb"\r\n(x-forebay-destination|x-forebay-reason|retry-after|content-length): ([^\r]*)", re.I)


@dataclass
class Seen:
    """What became of the requests of one priority. Times in seconds."""

    sent: int = 0
    first: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: int) -> float | None:
        """Of the first-token times, in milliseconds."""
        if len(self.first) < 2:
            return None
        return round(statistics.quantiles(self.first, n=100)[percent - 1] * 1000, 1)


class Load:
    """One phase: `rate` requests a second of a mix of priorities, for some seconds."""

    def __init__(self, port: int, mix: dict[str, float], seed: int) -> None:
        self.port = port
        self.mix = mix
        self.rng = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.idle: list[Client] = []
        self.clients: list[Client] = []

    async def run(self, rate: float, seconds: float, look: Any) -> None:
        """Send, then wait for the last answers; `look` gets the share that is done, now and then."""
        begun, number = self.loop.time(), 0
        while (now := self.loop.time()) < begun + seconds:
            while number < (now - begun) * rate:
                number += 1
                self._send()
            look((now - begun) / seconds)
            await asyncio.sleep(0.005)
        while any(client.priority for client in self.clients) and self.loop.time() < begun + seconds + 60:
            await asyncio.sleep(0.05)
        for client in self.clients:
            if client.priority:
                self.seen[client.priority].wrong["no answer"] += 1
            client.hang_up()

    def _send(self) -> None:
        priority = self.rng.choices(list(self.mix), list(self.mix.values()))[0]
        self.seen[priority].sent += 1
        if self.idle:
            self.idle.pop().send(priority)
        else:
            client = Client(self)
            self.clients.append(client)
            self.loop.create_task(client.open(priority))


class Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: asyncio.Transport | None = None
        self.priority = ""
        self.data = bytearray()
        self.begun = self.first = 0.0

    async def open(self, priority: str) -> None:
        """Connect, then send."""
        self.priority, self.begun = priority, self.load.loop.time()
        try:
            await self.load.loop.create_connection(lambda: self, "127.0.0.1", self.load.port)
        except OSError as problem:
            self._over(wrong=f"no connection: {type(problem).__name__}")
            return
        self.send(priority)

    def send(self, priority: str) -> None:
        """A streamed request of this priority."""
        if self.transport is None:
            self.load.loop.create_task(self.open(priority))
            return
        self.priority, self.begun, self.first = priority, self.load.loop.time(), 0.0
        self.data.clear()
        body: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": f"question {self.load.rng.random()}"}],
            "max_tokens": CHUNKS,
            "stream": True,
        }
        text = json.dumps(body, separators=(",", ":"))
        self.transport.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: overload\r\n{HEADERS[priority]}"
            f"content-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()
        )

    def hang_up(self) -> None:
        """End the connection."""
        self.priority = ""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.priority:
            self._over(wrong="the connection broke off")

    def data_received(self, data: bytes) -> None:
        if not self.priority:
            return
        self.data += data
        if not self.first and b" token" in self.data:
            self.first = self.load.loop.time() - self.begun
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        headers = {name.lower(): value.decode() for name, value in _HEADER.findall(bytes(self.data[: end + 2]))}
        length = headers.get(b"content-length")
        whole = len(self.data) >= end + 4 + int(length) if length else self.data.endswith(b"0\r\n\r\n")
        if whole:
            found = _STATUS.match(self.data)
            self._judge(int(found[1]) if found else 0, headers, bytes(self.data[end + 4 :]))

    def _judge(self, status: int, headers: dict[bytes, str], body: bytes) -> None:
        seen = self.load.seen[self.priority]
        reason = headers.get(b"x-forebay-reason", "")
        if status == 200:
            seen.first.append(self.first)
            good = body.count(b" token") == CHUNKS and b"data: [DONE]" in body
            where = "provider" if "/" in headers.get(b"x-forebay-destination", "") else "local"
            self._over(end=f"{where}, {reason}", wrong="" if good else "half an answer")
        elif status in (429, 503):
            good = headers.get(b"retry-after", "").isdigit() and _is_error(body)
            self._over(end=f"{status}, {reason}", wrong="" if good else f"{status} without Retry-After or error")
        else:
            self._over(wrong=f"status {status}")

    def _over(self, end: str = "", wrong: str = "") -> None:
        seen = self.load.seen[self.priority]
        if end:
            seen.ends[end] += 1
        if wrong:
            seen.wrong[wrong] += 1
        self.priority = ""
        self.load.idle.append(self)


def _is_error(body: bytes) -> bool:
    try:
        found = json.loads(body)["error"]
        return bool(found["message"]) and bool(found["type"])
    except (ValueError, KeyError, TypeError):
        return False
