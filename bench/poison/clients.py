"""Two kinds of clients at fixed rates: many good ones, and one whose every request does harm."""

import asyncio
import json
import re
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

CHUNKS: Final = 8
GOOD: Final = tuple(f"good-{number}" for number in range(4))
POISON: Final = "poison"
PATIENCE_SECONDS: Final = 15.0
_STATUS = re.compile(rb"HTTP/1\.1 (\d+)")
_HEADER = re.compile(rb"\r\n(x-forebay-destination|x-forebay-reason): ([^\r]*)", re.I)


@dataclass
class Seen:
    """What became of the requests of one kind. Times in seconds."""

    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)  # of whole answers

    def count(self, start: str) -> int:
        """Requests whose end begins so."""
        return sum(count for end, count in self.ends.items() if end.startswith(start))

    def p95_ms(self) -> float | None:
        """Of whole answers, 95th percentile."""
        return round(statistics.quantiles(self.times, n=20)[18] * 1000, 1) if len(self.times) > 1 else None


def request(client: str, number: int, poison: str = "") -> bytes:
    """A request as bytes. Each has a text of its own; every other good one is streamed, and all poison."""
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "user", "content": f"question {number} of {client} " + f"poison:{poison}" * bool(poison)}
        ],
        "max_tokens": CHUNKS,
        "stream": bool(poison) or number // len(GOOD) % 2 == 0,
    }
    text = json.dumps(body, separators=(",", ":"))
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer sk-{client}\r\n"
        f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}"
    ).encode()


def end_of(answer: bytes) -> str:
    """How a request ended: local, cloud, refused with status and reason, or broken off."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = _STATUS.match(head)
    if not found:
        return "broken off before an answer"
    headers = {name.lower(): value.decode() for name, value in _HEADER.findall(head + b"\r\n")}
    if found[1] != b"200":
        return f"refused {found[1].decode()} {headers.get(b'x-forebay-reason', '')}"
    whole = (body.count(b" token") == CHUNKS and b"data: [DONE]" in body) or b'"an answer"' in body
    if not whole:
        return "error in the stream" if b'data: {"error"' in body else "broken off"
    return "cloud" if "/" in headers.get(b"x-forebay-destination", "") else "local"


class Clients:
    """Both kinds, against one gateway."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.good, self.bad = Seen(), Seen()
        self.loop = asyncio.get_running_loop()

    async def run(self, rate: float, poison: str, bad_rate: float, seconds: float) -> None:
        """Send for so long; then wait for the good ones' answers, and leave the others."""
        bad = asyncio.ensure_future(
            self._open_loop(bad_rate, seconds, lambda number: self._ask(self.bad, request(POISON, number, poison)))
        )
        await self._open_loop(
            rate, seconds, lambda number: self._ask(self.good, request(GOOD[number % len(GOOD)], number))
        )
        bad.cancel()
        await asyncio.gather(bad, return_exceptions=True)

    async def _open_loop(self, rate: float, seconds: float, ask: Callable[[int], Awaitable[None]]) -> None:
        begun, number = self.loop.time(), 0
        async with asyncio.TaskGroup() as tasks:
            while (now := self.loop.time()) < begun + seconds:
                while number < (now - begun) * rate:
                    tasks.create_task(_just(ask(number)))
                    number += 1
                await asyncio.sleep(0.01)

    async def _ask(self, seen: Seen, request: bytes) -> None:
        seen.sent += 1
        begun = self.loop.time()
        writer: asyncio.StreamWriter | None = None
        end = "no answer"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(request)
                end = end_of(await reader.read(-1))
        except TimeoutError:
            pass
        except OSError as problem:
            end = f"broken off: {type(problem).__name__}"
        except asyncio.CancelledError:
            end = "left at the end"
            raise
        finally:
            seen.ends[end] += 1
            if writer is not None:
                writer.transport.abort()
        if end in ("local", "cloud"):
            seen.times.append(self.loop.time() - begun)


async def _just(work: Awaitable[None]) -> None:
    await work
