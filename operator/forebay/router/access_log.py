"""One JSON line per finished request on stdout, written off the request path. No bodies, no keys."""

import asyncio
import sys
import time
from typing import Final

import msgspec

from forebay.rules.facts import RequestFacts

FLUSH_SECONDS: Final = 0.25
MAX_LINES: Final = 10_000


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of one request when it is over."""

    request_id: str
    trace_id: str = ""
    client: str = "anonymous"
    method: str = ""
    path: str = ""
    model: str = ""
    priority: str = ""
    capability: str = ""
    destination: str = ""
    reason: str = ""
    status: int = 0
    stream: bool = False
    prompt_tokens: int = 0  # estimate
    input_tokens: int = 0  # of a provider, as it counted them; `usage` says whether it did
    output_tokens: int = 0
    cached_tokens: int = 0
    usage: str = ""  # counted, or estimated where the provider did not say
    cost_usd: str = ""  # decimal
    provider_request_id: str = ""  # what the provider knows it by
    queue_ms: int = 0
    first_token_ms: int = 0
    duration_ms: int = 0
    tries: int = 0
    problem: str = ""
    time: float = 0.0

    def describe(self, facts: RequestFacts, stream: bool) -> None:
        """What the request says."""
        self.model, self.priority, self.capability = facts.model[:64], facts.priority, facts.capability
        self.stream, self.prompt_tokens = stream, facts.prompt_tokens


class AccessLog:
    """Collects lines and writes them a few times a second. Lines past the bound are counted and dropped."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.dropped = 0
        self._lines: list[Line] = []
        self._encode = msgspec.json.Encoder().encode

    def write(self, line: Line) -> None:
        """Remember a line."""
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
        """Write what is there."""
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.write(b"\n".join(map(self._encode, lines)).decode() + "\n")
            sys.stdout.flush()
