"""One JSON line per request on stdout, written by the router that answered it. No bodies, no keys.

A request only leaves its line here. A thread encodes and writes them a few times a second, so that a pipe that nobody
reads holds up no request: past MAX_LINES the newest lines are dropped, and counted.
"""

import asyncio
import os
import sys
import threading
import time
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from forebay.rules.facts import RequestFacts
from forebay.rules.route import DecisionInputs

FLUSH_SECONDS: Final = 0.25
LAST_SECONDS: Final = 2.0
"""How long the end of a router waits for its last lines to be written."""
MAX_LINES: Final = 10_000

_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What is known of one request when it is over. Fields that have nothing to say are left out."""

    time: Annotated[float, Meta(description="when the answer was complete, in Unix seconds")] = 0.0
    request_id: Annotated[str, Meta(description="as in `x-forebay-request-id`")]
    trace_id: Annotated[str, Meta(description="of the W3C `traceparent`, where the request had a valid one")] = ""
    client: Annotated[str, Meta(description="name of the client's key, or `anonymous`")] = "anonymous"
    method: Annotated[str, Meta(description="HTTP method")] = ""
    path: Annotated[str, Meta(description="without its query; at most 200 characters")] = ""
    model: Annotated[str, Meta(description="the client's word, at most 64 characters")] = ""
    priority: Annotated[str, Meta(description="what counted: at most what the client may ask for")] = ""
    capability: Annotated[str, Meta(description="what the request was classified as")] = ""
    destination: Annotated[str, Meta(description="pool, or provider/model, or `none`")] = ""
    reason: Annotated[str, Meta(description="why it went there; one word of the list of reasons")] = ""
    decision_inputs: Annotated[
        DecisionInputs | None,
        Meta(
            description="what a gateway's decision was made from: `free_slots` for it in the pools that can serve it, "
            "`report_age_seconds` of that knowledge, `queued` there"
        ),
    ] = None
    status: Annotated[int, Meta(description="HTTP status; 499 when the client left before there was one")] = 0
    stream: Annotated[bool, Meta(description="whether a stream was asked for")] = False
    prompt_tokens: Annotated[int, Meta(description="an estimate: a token is taken for four characters")] = 0
    input_tokens: Annotated[int, Meta(description="of a provider's answer, cached ones included")] = 0
    output_tokens: Annotated[int, Meta(description="of a provider's answer")] = 0
    cached_tokens: Annotated[int, Meta(description="input tokens that the provider had in its cache")] = 0
    usage: Annotated[str, Meta(description="`counted` by the provider, or `estimated` where it did not say")] = ""
    cost_usd: Annotated[str, Meta(description="of a provider's answer, at the policy's prices; decimal")] = ""
    provider_request_id: Annotated[str, Meta(description="what the provider knows it by")] = ""
    queue_ms: Annotated[int, Meta(description="wait for a slot")] = 0
    first_token_ms: Annotated[int, Meta(description="from the request's first byte to the first content byte")] = 0
    duration_ms: Annotated[int, Meta(description="from the request's first byte to the answer's last")] = 0
    tries: Annotated[int, Meta(description="replicas and providers that it was sent to")] = 0
    problem: Annotated[str, Meta(description="what went wrong on the way, at most 200 characters")] = ""

    def describe(self, facts: RequestFacts, stream: bool) -> None:
        """What the request says."""
        self.model, self.priority, self.capability = facts.model[:64], facts.priority, facts.capability
        self.stream, self.prompt_tokens = stream, facts.prompt_tokens


class AccessLog:
    """Collects lines. `out` is a file descriptor, stdout by default."""

    def __init__(self, enabled: bool = True, out: int | None = None) -> None:
        self.enabled = enabled
        self.dropped = 0
        self._out = out
        self._lines: list[Line] = []
        self._writer: threading.Thread | None = None

    def write(self, line: Line) -> None:
        """Remember a line, which nobody changes any more."""
        if not self.enabled:
            return
        if len(self._lines) >= MAX_LINES:
            self.dropped += 1
            return
        line.time = round(time.time(), 3)
        self._lines.append(line)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Have a thread write what is there, unless it is still busy with what was there before."""
        if self._lines and (self._writer is None or not self._writer.is_alive()):
            lines, self._lines = self._lines, []
            out = sys.stdout.fileno() if self._out is None else self._out
            self._writer = threading.Thread(target=_write, args=(out, lines), name="access-log", daemon=True)
            self._writer.start()

    def close(self) -> None:
        """Write the last lines, as long as somebody reads them."""
        for _ in range(2):  # what the thread has, then what came meanwhile
            self.flush()
            if self._writer is not None:
                self._writer.join(LAST_SECONDS)


def _write(out: int, lines: list[Line]) -> None:
    """In a thread: all bytes of all lines, however long the reader takes. Without a reader there is no log."""
    rest = memoryview(b"\n".join(map(_encode, lines)) + b"\n")
    try:
        while rest:
            rest = rest[os.write(out, rest) :]
    except OSError:
        return
