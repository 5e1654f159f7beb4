"""An engine's HTTP side without an engine: answers at once; streams get their chunks at a steady pace.

Of a request, `max_tokens` is the number of chunks, `seed` the milliseconds between them, and `user` (`"fill:4096"`)
makes each so many bytes longer: fields that every router lets through. Each chunk says when it was written (`"t"`,
nanoseconds of the monotonic clock), so that a reader on the same machine knows how long it was under way.

    python -m bench.router.upstream PORT
"""

import asyncio
import gc
import re
import sys
import time
from collections import defaultdict
from typing import Final

import uvloop

WHOLE: Final = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Thirty words of an answer, more or less, as an engine gives them when '
    b'it is asked for little and has nothing else to do than to answer at once."},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":512,"completion_tokens":30,"total_tokens":542}}'
)
METRICS: Final = (
    b'vllm:cache_config_info{block_size="16",num_gpu_blocks="400000",kv_cache_size_tokens="6400000"} 1.0\n'
    b'vllm:num_requests_running{model_name="m"} 0.0\nvllm:num_requests_waiting{model_name="m"} 0.0\n'
    b'vllm:kv_cache_usage_perc{model_name="m"} 0.1\n'
)
OTHERS: Final = {
    b"/v1/models": b'{"object":"list","data":[{"id":"m","object":"model","created":1750000000,"owned_by":"bench"}]}',
    b"/get_model_info": b'{"model_path":"m","is_generation":true}',
    b"/get_server_info": b'{"model_path":"m","dp_size":1}',
    b"/server_info": b'{"model_path":"m","dp_size":1}',
    b"/version": b'{"version":"0.32.0"}',
    b"/metrics": METRICS,
}
_TOKENS = re.compile(rb'"max_tokens"\s*:\s*(\d+)')
_PACE = re.compile(rb'"seed"\s*:\s*(\d+)')
_FILL = re.compile(rb'"user"\s*:\s*"fill:(\d+)"')
TICK_MS: Final = 5
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)
HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
STREAM: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
END: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def chunk(filler: bytes = b"") -> bytes:
    """One event as vLLM writes it, framed."""
    event = (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1750000000,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":" token%b"},"logprobs":null,"finish_reason":null}],"t":%d}\n\n'
        % (filler, time.monotonic_ns())
    )
    return b"%x\r\n%b\r\n" % (len(event), event)


class Connection(asyncio.Protocol):
    """Reads requests. A chunk that is due while the other side does not read is skipped."""

    wheel: "Wheel"

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.data = b""
        self.left = 0
        self.pace = 0  # ticks
        self.filler = b""
        self.paused = False
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

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
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(data) < whole:
            return
        self.data = b""
        path = data[: data.find(b" HTTP/")].split(b" ")[1].partition(b"?")[0]
        if b'"stream":true' in data or b'"stream": true' in data:
            self.left = _number(_TOKENS, data, 16)
            self.pace = max(1, _number(_PACE, data, 50) // TICK_MS)
            self.filler = b"x" * _number(_FILL, data, 0)
            self.transport.write(STREAM + chunk(self.filler))
            self.wheel.later(self)
        elif path.startswith(b"/v1/chat"):
            self.transport.write(HEAD % (b"application/json", len(WHOLE), WHOLE))
        else:
            body = OTHERS.get(path, b"{}")
            kind = b"text/plain; version=0.0.4" if path == b"/metrics" else b"application/json"
            self.transport.write(HEAD % (kind, len(body), body))

    def step(self) -> None:
        """The next chunk, or the end."""
        if self.gone:
            return
        if not self.paused:
            self.left -= 1
            if self.left <= 0:
                self.transport.write(END)
                return
            self.transport.write(chunk(self.filler))
        self.wheel.later(self)


class Wheel:
    """Who gets a chunk at which tick."""

    def __init__(self) -> None:
        self.now = 0
        self.due: dict[int, list[Connection]] = defaultdict(list)

    def later(self, connection: Connection) -> None:
        """At its own pace."""
        self.due[self.now + connection.pace].append(connection)

    async def run(self) -> None:
        """For ever. A tick that comes late is not made up for at once."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            at = max(at + TICK_MS / 1000, loop.time())
            await asyncio.sleep(at - loop.time())
            self.now += 1
            for connection in self.due.pop(self.now, ()):
                connection.step()


def _number(pattern: re.Pattern[bytes], data: bytes, otherwise: int) -> int:
    found = pattern.search(data)
    return int(found[1]) if found else otherwise


async def serve(port: int) -> None:
    """For ever."""
    Connection.wheel = Wheel()
    await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await Connection.wheel.run()


if __name__ == "__main__":
    gc.freeze()
    uvloop.run(serve(int(sys.argv[1])))
