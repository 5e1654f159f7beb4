"""The engine as its sidecar sees it: does it answer, what do its gauges say, what capacity follows."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from msgspec.json import encode as json_encode

from forebay import engines
from forebay.resources.report import EngineReport
from forebay.resources.table import PoolEntry
from forebay.router.exposition import lengths, summed
from forebay.router.http.client import Address, ConnectionPool, UpstreamError
from forebay.router.http.message import request_head
from forebay.rules.dialect import form
from forebay.rules.endpoints import PROBES
from forebay.rules.progress import Progress

PROBE_SECONDS: Final = 1.0
STARTING_PROBE_SECONDS: Final = 0.25
METRICS_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0
METRICS_BYTES: Final = 4 * 1024 * 1024
FAILURES_UNTIL_DOWN: Final = 3
PROBE_ANSWER_SECONDS: Final = 10.0
NAMES_CHARACTERS: Final = 16 * 1024
"""Of all names together: every slot report carries them."""


class EngineMonitor:
    """Polls one engine. `up` follows what it answers, `stuck` its token counters; `text` is its last metrics."""

    def __init__(
        self,
        address: Address,
        pool: ConnectionPool,
        on_change: Callable[[], None],
        working: Callable[[], bool] = lambda: False,
    ) -> None:
        self.address = address
        self.pool = pool
        self.on_change = on_change
        self.working = working  # whether requests run in it
        self.dialect = engines.of(engines.DEFAULT)  # until the routing table says what it is
        self.probe: SmallestRequest | None = None  # the smallest request it can serve
        self.names: tuple[str, ...] = ()  # of models and adapters that it lists
        self.up = False
        self.stuck = False
        self._progress = Progress()
        self.answered = False
        self.kv_tokens: int | None = None
        self._totals: dict[str, float] = {}
        self.text = ""  # its last metrics
        self._read_at = 0.0
        self._read_unix = 0.0
        self._failures = 0

    async def watch(self) -> None:
        """Poll for ever."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            await self._probe()
            if self.up and loop.time() >= due:
                due = loop.time() + METRICS_SECONDS
                await self._look_for_progress(await self._metrics())
            await asyncio.sleep(PROBE_SECONDS if self.up else STARTING_PROBE_SECONDS)

    def report(self) -> EngineReport | None:
        """The gauges with their age."""
        if not self._read_at:
            return None
        names, found = self.dialect.metrics, self._totals
        between = next((name for name in names.between_tokens if f"{name}_count" in found), "")
        return EngineReport(
            age_seconds=round(asyncio.get_running_loop().time() - self._read_at, 1),
            running=int(found.get(names.running, 0)),
            waiting=int(found.get(names.waiting, 0)),
            kv_usage=found.get(names.kv_usage, 0.0),
            kv_tokens=self.kv_tokens,
            preemptions_total=int(found.get(names.preemptions, 0)),
            prompt_tokens_total=int(found.get(names.prompt_tokens, 0)),
            generation_tokens_total=int(found.get(names.generation_tokens, 0)),
            read_at=self._read_unix,
            tokens_total=int(found.get(f"{between}_count", 0)),
            token_seconds_total=round(found.get(f"{between}_sum", 0.0), 6),
            prompts=lengths(self.text, names.prompts),
            answers=lengths(self.text, names.answers),
            stuck_seconds=round(self._progress.standing(asyncio.get_running_loop().time()), 1),
        )

    async def _probe(self) -> None:
        status, body = await self._get(self.dialect.ready_path)
        self._failures = 0 if status == 200 else self._failures + 1
        up = status == 200 or (self.up and self._failures < FAILURES_UNTIL_DOWN)
        self.answered = self.answered or up
        names = listed(body) if status == 200 else self.names
        if up != self.up or names != self.names:
            self.up, self.names = up, names
            self.on_change()

    async def _look_for_progress(self, fresh: bool) -> None:
        """Whether it counts on, by `fresh` metrics. One that is taken for stuck, and idle, is given something to do."""
        if self.stuck and self.probe is not None and not self.working():
            await self._send("POST", self.probe.path, self.probe.body, PROBE_ANSWER_SECONDS, self.probe.kind)
            fresh = await self._metrics()
        made = (self.dialect.metrics.generation_tokens, self.dialect.metrics.prompt_tokens)
        counts = [self._totals[name] for name in made if name in self._totals]
        now = asyncio.get_running_loop().time()
        self._progress = self._progress.look(sum(counts) if counts and fresh else None, self.working(), now)
        if self.stuck != (stuck := self._progress.stuck(now)):
            self.stuck = stuck
            self.on_change()

    async def _metrics(self) -> bool:
        """Read them. False when they could not be read: what is known is of before."""
        status, body = await self._get(self.dialect.metrics_path)
        if status != 200:
            return False
        self.take(body.decode(errors="replace"))
        return True

    def take(self, text: str) -> None:
        """Read the engine's metrics."""
        self.text = text
        names = self.dialect.metrics
        self._totals = summed(text, names.family)  # one series per data-parallel rank: summed
        ranks = text.count(f"\n{names.kv_usage}{{")
        if ranks > 1:  # a share, unlike all the others
            self._totals[names.kv_usage] /= ranks
        self._read_at, self._read_unix = asyncio.get_running_loop().time(), round(time.time(), 3)
        tokens = self.dialect.cache_tokens(text)
        if tokens != self.kv_tokens:
            self.kv_tokens = tokens
            self.on_change()

    async def _get(self, target: str) -> tuple[int, bytes]:
        return await self._send("GET", target, b"", ANSWER_SECONDS)

    async def _send(
        self, method: str, target: str, body: bytes, seconds: float, kind: bytes = b""
    ) -> tuple[int, bytes]:
        headers = [(b"host", b"engine"), (b"accept", b"*/*")]
        if body:
            headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        head = request_head(method, target, headers)
        try:
            return await self.pool.fetch(self.address, head + body, seconds, METRICS_BYTES)
        except UpstreamError:
            return 0, b""


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model] = []


_decode = Decoder(_Models).decode


def listed(body: bytes) -> tuple[str, ...]:
    """The names in an answer to GET /v1/models; none where it is no such list, or too long to be told on."""
    try:
        names = tuple(model.id for model in _decode(body).data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return names if sum(map(len, names)) <= NAMES_CHARACTERS else ()


class SmallestRequest(Struct, frozen=True):
    """What makes an engine compute, and no more."""

    path: str
    kind: bytes  # Content-Type
    body: bytes


def smallest(entry: PoolEntry) -> SmallestRequest | None:
    """The cheapest request that makes the pool's engine compute; None while its name is unknown."""
    if not entry.served_names:
        return None
    endpoint = PROBES[entry.task]
    fields = {"model": entry.served_names[0], **(endpoint.probe or {})}
    if endpoint.form:
        return SmallestRequest(endpoint.path, *form.write(fields))
    return SmallestRequest(endpoint.path, b"application/json", json_encode(fields))
