"""One JSON line per request on stdout, written by the router that answered it. No bodies, no keys.

A request only leaves its line here. A thread encodes and writes them a few times a second, so that a pipe that nobody
reads holds up no request: past MAX_LINES the newest lines are dropped, and counted.
"""

import asyncio
import os
import sys
import threading
import time
from typing import Final

import msgspec

from forebay.resources.access_log import AccessLogEntry
from forebay.rules.facts import RequestFacts

FLUSH_SECONDS: Final = 0.25
LAST_SECONDS: Final = 2.0
"""How long the end of a router waits for its last lines to be written."""
MAX_LINES: Final = 10_000

_encode = msgspec.json.Encoder().encode


def describe(record: AccessLogEntry, facts: RequestFacts, stream: bool) -> None:
    """Enter what the request says."""
    record.model, record.priority, record.capability = facts.model[:64], facts.priority, facts.capability
    record.stream, record.prompt_tokens = stream, facts.prompt_tokens


class AccessLog:
    """Collects lines. `out` is a file descriptor, stdout by default."""

    def __init__(self, enabled: bool = True, out: int | None = None) -> None:
        self.enabled = enabled
        self.dropped = 0
        self._out = out
        self._lines: list[AccessLogEntry] = []
        self._writer: threading.Thread | None = None

    def write(self, record: AccessLogEntry) -> None:
        """Remember a line, which nobody changes any more."""
        if not self.enabled:
            return
        if len(self._lines) >= MAX_LINES:
            self.dropped += 1
            return
        record.time = round(time.time(), 3)
        self._lines.append(record)

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


def _write(out: int, lines: list[AccessLogEntry]) -> None:
    """In a thread: all bytes of all lines, however long the reader takes. Without a reader there is no log."""
    rest = memoryview(b"\n".join(map(_encode, lines)) + b"\n")
    try:
        while rest:
            rest = rest[os.write(out, rest) :]
    except OSError:
        return
