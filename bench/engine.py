"""An engine's HTTP side with faults and a pace, and no model: what soak and overload run against.

Of a request, `max_tokens` is the number of chunks of a stream, and `user` ("fill:4096") makes each so many bytes
longer. An answer takes as long as its tokens, streamed or not. `faults` maps a fault to its share of the requests.
Where `poison` is set, a request that says "poison:FAULT" anywhere meets that fault. `GET /break/FAULT` makes it
everybody's from then on, and `GET /count` tells how many requests came.

    python -m bench.engine '{"port": 8000, "first_ms": 50, "pace_ms": 20, "faults": {"reset": 0.01}}'
"""

import asyncio
import json
import os
import random
import re
import sys
from typing import Any, Final

import uvloop

FAULTS: Final = ("reset", "500", "401", "429", "error200", "error-event", "cut", "stall", "silent", "kill")
"""`stall` leaves out the end of an answer, `silent` all of it; `kill` ends the process."""
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)
_TOKENS = re.compile(rb'"max_tokens"\s*:\s*(\d+)')
_POISON = re.compile(rb"poison:([0-9a-z-]+)")
_BREAK = re.compile(rb"GET /break/([0-9a-z-]+) ")
_FILL = re.compile(rb'"user"\s*:\s*"fill:(\d+)"')
MODELS: Final = b'{"object":"list","data":[{"id":"m","object":"model","created":1750000000,"owned_by":"bench"}]}'
METRICS: Final = b'vllm:num_requests_running{model_name="m"} 0.0\nvllm:num_requests_waiting{model_name="m"} 0.0\n'
ERROR: Final = b'{"error":{"message":"out of order","type":"InternalServerError","param":null,"code":500}}'
EVENT: Final = b"data: " + ERROR + b"\n\n"
STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
TICK_SECONDS: Final = 0.005


def whole(status: int, body: bytes, more: bytes = b"") -> bytes:
    """One answer."""
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
    return head % (status, len(body), more) + body


def answer(tokens: int) -> bytes:
    """A chat completion."""
    return (
        b'{"id":"c","object":"chat.completion","created":1750000000,"model":"m","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"an answer"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
        b'"completion_tokens":%d,"total_tokens":%d}}' % (tokens, tokens + 9)
    )


def chunk(filler: bytes) -> bytes:
    """One event of a stream, framed."""
    event = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1750000000,"model":"m","choices":[{"index":0,'
        b'"delta":{"content":" token%b"},"finish_reason":null}]}\n\n' % filler
    )
    return b"%x\r\n%b\r\n" % (len(event), event)


class Engine:
    """What all connections share."""

    def __init__(
        self,
        first_ms: float = 0.0,
        pace_ms: float = 5.0,
        faults: dict[str, float] | None = None,
        poison: bool = False,
    ) -> None:
        self.first, self.pace = first_ms / 1000, pace_ms / 1000
        self.faults = faults or {}
        self.poison = poison
        self.posts = 0
        self.draw = random.Random(1).random
        self.loop = asyncio.get_running_loop()

    def fault(self, data: bytes) -> str:
        """What goes wrong with this request, mostly nothing."""
        if self.poison and (found := _POISON.search(data)):
            return found[1].decode()
        drawn = self.draw()
        for name, share in self.faults.items():
            if drawn < share:
                return name
            drawn -= share
        return ""


class Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.transport: Any = None
        self.data = b""
        self.left = 0
        self.filler = b""
        self.fault = ""
        self.timer: asyncio.TimerHandle | None = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self.data = data = self.data + data if self.data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(data, 0, end)
        if len(data) < end + 4 + (int(length[1]) if length else 0):
            return
        self.data = b""
        if data.startswith(b"GET"):
            self.transport.write(whole(200, self._told(data)))
        else:
            self._infer(data)

    def _told(self, data: bytes) -> bytes:
        if broken := _BREAK.match(data):
            self.engine.faults = {broken[1].decode(): 1.0}
        if data.startswith(b"GET /count "):
            return b"%d" % self.engine.posts
        return METRICS if b"/metrics" in data[:30] else MODELS

    def _infer(self, data: bytes) -> None:
        engine = self.engine
        engine.posts += 1
        self.left, self.fault = _number(_TOKENS, data, 16), engine.fault(data)
        match self.fault:
            case "reset":
                self.transport.abort()
            case "500":
                self.transport.write(whole(500, ERROR))
            case "401":
                self.transport.write(whole(401, ERROR.replace(b"500", b"401")))
            case "silent":
                pass
            case "kill":
                os._exit(1)
            case "error-event":
                self.transport.write(STREAM + b"%x\r\n%b\r\n" % (len(EVENT), EVENT) + END)
            case "429":
                self.transport.write(whole(429, ERROR, b"retry-after: 1\r\n"))
            case "error200":
                self.transport.write(whole(200, ERROR))
            case _ if b'"stream":true' in data:
                self.filler = b"x" * _number(_FILL, data, 0)
                self.timer = engine.loop.call_later(engine.first, self._begin)
            case _:
                seconds = engine.first + self.left * engine.pace
                self.timer = engine.loop.call_later(seconds, self._whole)

    def _whole(self) -> None:
        if self.fault == "cut":
            self.transport.write(whole(200, answer(self.left))[:-40])
            self.transport.close()
        elif self.fault != "stall":
            self.transport.write(whole(200, answer(self.left)))

    def _begin(self) -> None:
        self.transport.write(STREAM)
        self._step()

    def _step(self) -> None:
        if not self.paused:
            self.left -= 1
            if self.left < 0:
                self.transport.write(END)
                return
            if self.fault and self.left == 1:
                if self.fault == "cut":
                    self.transport.close()
                return
            self.transport.write(chunk(self.filler))
        self.timer = self.engine.loop.call_later(max(TICK_SECONDS, self.engine.pace), self._step)


def _number(pattern: re.Pattern[bytes], data: bytes, otherwise: int) -> int:
    found = pattern.search(data)
    return int(found[1]) if found else otherwise


async def serve(port: int, **more: Any) -> None:
    """For ever."""
    engine = Engine(**more)
    await engine.loop.create_server(lambda: Connection(engine), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(**json.loads(sys.argv[1])))
