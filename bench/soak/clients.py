"""Clients of every kind, in a closed loop: each sends its next request when the last one is over."""

import asyncio
import json
import random
import re
from collections import Counter
from typing import Any, Final

KINDS: Final = {
    "plain": 0.70,
    "stream": 0.20,
    "leaves before the first byte": 0.04,
    "leaves within": 0.04,
    "slow": 0.02,
}
CHUNKS: Final = {"stream": 5, "leaves within": 20, "slow": 12}
FILL: Final = 16 * 1024
PROMPTS: Final = 64
STUCK_SECONDS: Final = 45.0
READ_SECONDS: Final = 0.02
_STATUS = re.compile(rb"HTTP/1\.1 (\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.I)


def request(kind: str, number: int) -> bytes:
    """A request as bytes."""
    body: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": f"conversation {number} " + "and what came before " * 40}],
        "max_tokens": CHUNKS.get(kind, 4),
    }
    if kind in CHUNKS:
        body["stream"] = True
    if kind == "slow":
        body["user"] = f"fill:{FILL}"
    text = json.dumps(body, separators=(",", ":")).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ncontent-length: "
    return head.encode() + b"%d\r\n\r\n" % len(text) + text


class Soak:
    """A number of clients, and what became of their requests by kind of end."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.rng = random.Random(7)
        self.ends: Counter[str] = Counter()
        self.sent = 0
        self.wanted = 0
        self.loop = asyncio.get_running_loop()
        self.requests = {kind: [request(kind, number) for number in range(PROMPTS)] for kind in KINDS}
        self.clients = [Client(self) for _ in range(clients)]
        self.idle: set[Client] = set()

    async def run(self, count: int, end: float, look: Any) -> bool:
        """Send `count` requests more; `look` is called every second. False when loop time `end` came first."""
        self.wanted = self.sent + count
        for client in self.clients:
            client.go()
        while len(self.idle) < len(self.clients) and self.loop.time() < end:
            await asyncio.sleep(1.0)
            look()
            for client in self.clients:
                client.watch()
        whole = self.sent >= self.wanted
        self.wanted = 0
        while len(self.idle) < len(self.clients):
            await asyncio.sleep(0.1)
            for client in self.clients:
                client.watch()
        return whole

    def close(self) -> None:
        """Hang up."""
        for client in self.clients:
            client.hang_up()


class Client(asyncio.Protocol):
    """One client; its connection is kept as long as it may be."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.transport: asyncio.Transport | None = None
        self.kind = ""  # of the request under way
        self.data = bytearray()
        self.begun = 0.0
        self.total = 0  # bytes of a whole answer, head included; 0: not known yet, -1: chunked

    def go(self) -> None:
        """Send the next request, if there is one to be sent."""
        soak = self.soak
        if soak.sent >= soak.wanted:
            soak.idle.add(self)
            return
        soak.idle.discard(self)
        if self.transport is None:
            soak.loop.create_task(self._connect())
            return
        soak.sent += 1
        self.kind = soak.rng.choices(list(KINDS), list(KINDS.values()))[0]
        self.data.clear()
        self.begun, self.total = soak.loop.time(), 0
        self.transport.write(soak.rng.choice(soak.requests[self.kind]))
        if self.kind == "leaves before the first byte":
            soak.loop.call_later(soak.rng.random() * 0.005, self._leave, soak.sent)

    def watch(self) -> None:
        """Nobody waits for ever."""
        if self.kind and self.soak.loop.time() - self.begun > STUCK_SECONDS:
            self._over("stuck: " + self.kind)

    def hang_up(self) -> None:
        """End the connection."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    async def _connect(self) -> None:
        try:
            await self.soak.loop.create_connection(lambda: self, "127.0.0.1", self.soak.port)
        except OSError as problem:
            self.soak.ends[f"no connection: {type(problem).__name__}"] += 1
            await asyncio.sleep(0.5)
        self.soak.loop.call_soon(self.go)

    def _leave(self, number: int) -> None:
        if self.kind == "leaves before the first byte":
            self._over("left before the first byte", keep=False)

    def _over(self, end: str, keep: bool = False) -> None:
        self.kind = ""
        self.soak.ends[end] += 1
        if not keep:
            self.hang_up()
        self.soak.loop.call_soon(self.go)

    # asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is None:
            return  # hung up here
        self.transport = None
        if not self.kind:
            return
        if not self.data:
            self._over("closed without an answer")
        elif b'data: {"error"' in self.data:
            self._over("broke off, and said so" if b"[DONE]" not in self.data else "WRONG: [DONE] after an error")
        else:
            self._over("WRONG: silent cut" if self.total < 0 else "broke off before its announced length")

    def data_received(self, data: bytes) -> None:
        if not self.kind:
            return
        self.data += data
        if not self.total and not self._head():
            return
        if self.kind == "leaves within" and self.total < 0 and self.data.count(b" token") >= 2:
            self._over("left within")
        elif (self.total < 0 and self.data.endswith(b"0\r\n\r\n")) or (self.total > 0 and len(self.data) >= self.total):
            self._complete()
        elif self.kind == "slow" and self.transport is not None:
            self.transport.pause_reading()
            self.soak.loop.call_later(READ_SECONDS, self._read_on, self.transport)

    def _read_on(self, transport: asyncio.Transport) -> None:
        if self.transport is transport:
            transport.resume_reading()

    def _head(self) -> bool:
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self.data, 0, end)
        self.total = end + 4 + int(length[1]) if length else -1
        return True

    def _complete(self) -> None:
        found = _STATUS.match(self.data)
        status = int(found[1]) if found else 0
        if status == 200:
            wanted = CHUNKS.get(self.kind, 0)
            good = self.data.count(b" token") == wanted if wanted else b'"an answer"' in self.data
            good = good and (b"data: [DONE]\n\n" in self.data) == bool(wanted)
            self._over("answered" if good else "WRONG: not the answer that was sent", keep=good)
        elif status in (429, 503):
            told = b"\r\nretry-after: " in self.data and b'{"error":' in self.data
            self._over(f"refused: {status}" if told else f"WRONG: {status} without Retry-After or error", keep=told)
        else:
            self._over(f"WRONG: status {status}")
