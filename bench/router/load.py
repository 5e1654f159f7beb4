"""The load generator: keep-alive connections that send one prepared request again and again.

    python -m bench.router.load '{"port": 8000, "connections": 32, "requests": 4000, ...}'

prints one JSON line. Open loop with `rate` (requests a second), else closed: each connection sends when it is answered.
"""

import asyncio
import gc
import json
import socket
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

PROMPT: Final = (
    "Summarise the incident below for the people on call: what broke, when, what the users saw, what was done. "
    "At 09:14 the queue in front of the second shard began to grow. Nobody was told, as the alert looked at the mean. "
)


@dataclass
class Plan:
    """What to send. `seconds` bounds a run that `requests` does not; `read` False: never read an answer."""

    port: int
    connections: int = 32
    requests: int = 0
    seconds: float = 600.0
    rate: float = 0.0
    chunks: int = 0  # 0: not streamed
    pace: int = 50  # milliseconds between chunks
    fill: int = 0  # bytes more in each chunk
    read: bool = True
    hold: float = 0.0  # a stream is not repeated; all are held so long
    ramp: float = 500.0  # connections a second
    path: str = "/v1/chat/completions"
    key: str = "sk-bench"


@dataclass
class Result:
    """What was seen. Times in seconds."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    events: int = 0
    first: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    problem: str = ""


def request(plan: Plan, number: int) -> bytes:
    """A chat completion of about 2 kB; sixty-four sessions take turns."""
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "system", "content": f"You are assistant {number % 64} of the operations team."},
            {"role": "user", "content": PROMPT * 8},
        ],
        "max_tokens": plan.chunks or 64,
        "temperature": 0.2,
    }
    if plan.chunks:
        body |= {"stream": True, "seed": plan.pace}
    if plan.fill:
        body["user"] = f"fill:{plan.fill}"
    text = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {plan.path} HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\nuser-agent: bench\r\nauthorization: Bearer {plan.key}\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load = load
        self.bytes = request(load.plan, number)
        self.transport: asyncio.Transport | None = None
        self.begun = 0.0
        self.waits = False
        self.head = b""
        self.left = 0  # bytes of a body with a length; -1: chunked
        self.tail = b""
        self.after = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if not self.load.plan.read:
            self.transport.pause_reading()  # type: ignore[union-attr]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waits and not self.load.over:
            self.load.failed(f"connection lost: {exc}")
        self.transport, self.waits = None, False

    def send(self) -> None:
        """One request."""
        assert self.transport is not None
        self.load.result.sent += 1
        self.begun, self.waits, self.head, self.tail = time.monotonic(), True, b"", b""
        self.transport.write(self.bytes)

    def data_received(self, data: bytes) -> None:
        result = self.load.result
        if self.after or not self.waits:
            return
        if not self.left:
            if not self.head:
                result.first.append(time.monotonic() - self.begun)
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.head[:end].lower(), self.head[end + 4 :]
            if not head.startswith(b"http/1.1 200"):
                self.load.failed(self.head[:300].decode("latin-1"))
            at = head.find(b"content-length:")
            self.left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
        if self.left > 0:
            self.left -= len(data)
            if self.left <= 0:
                self.left = 0
                self.finished()
            return
        at = data.find(b'"t":')
        while at >= 0:
            stop = data.find(b"}", at)
            if stop > 0:
                result.lags.append((time.monotonic_ns() - int(data[at + 4 : stop])) / 1e9)
            result.events += 1
            at = data.find(b'"t":', stop) if stop > 0 else -1
        self.tail = (self.tail + data)[-5:]
        if self.tail == b"0\r\n\r\n":
            self.left = 0
            self.finished()

    def finished(self) -> None:
        """An answer is complete."""
        self.waits = False
        self.load.finished(self)


class Load:
    """A run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.result = Result()
        self.over = False
        self.idle: list[Client] = []
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finished(self, client: Client) -> None:
        """Send the next one, or rest."""
        self.result.done += 1
        plan = self.plan
        if plan.requests and self.result.done >= plan.requests:
            self.stop()
        elif plan.rate or plan.hold or (plan.requests and self.result.sent >= plan.requests):
            self.idle.append(client)
        else:
            client.send()

    def failed(self, problem: str) -> None:
        """Count it."""
        self.result.failed += 1
        self.result.problem = self.result.problem or problem
        if self.result.failed > 50 and not self.plan.hold:
            self.stop()

    def stop(self) -> None:
        """Enough."""
        self.over = True
        if not self.end.done():
            self.end.set_result(None)

    async def run(self) -> None:
        """Connect, send, wait."""
        loop, plan = asyncio.get_running_loop(), self.plan
        clients: list[Client] = []
        begun = loop.time()
        for number in range(plan.connections):
            try:
                _, client = await loop.create_connection(lambda n=number: Client(self, n), sock=await self._socket())
            except OSError as problem:
                self.failed(str(problem))
                continue
            clients.append(client)
            if plan.hold:
                client.send()
                await asyncio.sleep(max(0.0, begun + number / plan.ramp - loop.time()))
        print("connected", flush=True)
        if plan.rate:
            self.idle = clients
            await self._at_rate()
        elif not plan.hold:
            for client in clients:
                client.send()
        try:
            async with asyncio.timeout(plan.hold or plan.seconds):
                await self.end
        except TimeoutError:
            pass
        self.over = True
        for client in clients:
            if client.transport is not None:
                client.transport.abort()

    async def _socket(self) -> socket.socket:
        """A client that reads nothing has a small window, so that what it does not take stays in the router."""
        made = socket.socket()
        made.setblocking(False)
        if not self.plan.read:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.plan.port))
        return made

    async def _at_rate(self) -> None:
        loop, plan = asyncio.get_running_loop(), self.plan
        begun, number = loop.time(), 0
        while number < plan.requests and not self.over:
            due = begun + number / plan.rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if self.idle:
                client = self.idle.pop(0)
                if client.transport is not None:
                    client.send()
            number += 1


def cut(values: list[float]) -> dict[str, float]:
    """Quantiles in milliseconds."""
    if len(values) < 2:
        return {}
    steps = statistics.quantiles(values, n=100)
    return {"p50": round(steps[49] * 1000, 3), "p99": round(steps[98] * 1000, 3)}


async def main(plan: Plan) -> dict[str, Any]:
    """Run and report."""
    load = Load(plan)
    begun = time.monotonic()
    await load.run()
    result = load.result
    return {
        "sent": result.sent, "done": result.done, "failed": result.failed, "problem": result.problem,
        "events": result.events, "seconds": round(time.monotonic() - begun, 3),
        "first_ms": cut(result.first), "lag_ms": cut(result.lags),
    }  # fmt: skip


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(uvloop.run(main(Plan(**json.loads(sys.argv[1]))))))
