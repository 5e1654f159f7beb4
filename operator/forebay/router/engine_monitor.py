"""The engine as its sidecar sees it: does it answer, what do its gauges say, what capacity follows."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from msgspec.json import encode as json_encode

from forebay import engines
from forebay.resources.report import EngineReport
from forebay.resources.table import PoolEntry
from forebay.router.dialect.content import is_error
from forebay.router.exposition import lengths, summed
from forebay.router.http.call import Address, UpstreamError
from forebay.router.http.client import ConnectionPool
from forebay.router.http.message import request_head
from forebay.rules.dialect import form
from forebay.rules.endpoints import ENDPOINTS, PROBES
from forebay.rules.engine_health import AGAIN_SECONDS, ASK_SECONDS, GONE, EngineHealth, allowance, vital
from forebay.rules.engine_health import ANSWER_SECONDS as LEAST_ANSWER_SECONDS
from forebay.rules.progress import Progress

PROBE_SECONDS: Final = 1.0
STARTING_PROBE_SECONDS: Final = 0.25
METRICS_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0
METRICS_BYTES: Final = 4 * 1024 * 1024
FAILURES_UNTIL_DOWN: Final = 3
PROBE_ANSWER_SECONDS: Final = 10.0
ASKED: Final = b"forebay-probe-"
"""So the ids of requests begin that a sidecar makes itself: engines log them."""
MOST_CONTEXT: Final = 100_000_000
NAMES_CHARACTERS: Final = 16 * 1024
"""Of all names together: every slot report carries them."""


class EngineMonitor:
    """Polls one engine. `up` follows what it answers, `stuck` its token counters, `health` what it does with a request
    of the monitor's own after it failed somebody's; `text` is its last metrics, none once it is down
    or has not shown them for a while."""

    def __init__(
        self,
        address: Address,
        pool: ConnectionPool,
        on_change: Callable[[], None],
        working: Callable[[], bool] = lambda: False,
        ahead: Callable[[], int] = lambda: 0,
    ) -> None:
        self.address = address
        self.pool = pool
        self.on_change = on_change
        self.working = working  # whether requests run in it
        self.ahead = ahead  # prompt tokens that wait there for their first token
        self.dialect = engines.of(engines.DEFAULT)  # until the routing table says what it is
        self.entry: PoolEntry | None = None  # what the routing table says that it serves
        self.listed = EngineListing()
        self.health = EngineHealth()
        self._doubted = asyncio.Event()
        self._doubted_path = ""
        self.up = False
        self.stuck = False
        self.patience = float("inf")  # seconds of the shortest wait that its counters decide
        self._progress = Progress()
        self.answered = False
        self.version: str | None = None  # that it last said; empty: it says none; None: it was not asked yet
        self._asked_version = False  # since it last did not answer
        self.kv_tokens: int | None = None
        self._totals: dict[str, float] = {}
        self.text = ""  # its last metrics
        self._read_at = 0.0
        self._read_unix = 0.0
        self._failures = 0
        self._unread = 0  # looks at its metrics that failed, in a row
        self._id = secrets.token_hex(4).encode()
        self._asked = 0

    async def watch(self) -> None:
        """Poll for ever."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            await self.probe()
            if self.up and loop.time() >= due:
                due = loop.time() + self._every
                if not self._asked_version:
                    await self._ask_version()
                await self._look_for_progress(await self._metrics())
            await asyncio.sleep(PROBE_SECONDS if self.up else STARTING_PROBE_SECONDS)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of models and adapters that it lists."""
        return self.listed.names

    @property
    def context(self) -> int | None:
        """Tokens of the longest request that it takes, as it lists that."""
        return self.listed.context

    @property
    def well(self) -> bool:
        """Whether requests may be sent there."""
        return self.up and not self.stuck and not self.health.failing

    def doubt(self, path: str) -> None:
        """It failed a request of this path, or keeps it waiting: ask it."""
        self._doubted_path = path
        self._doubted.set()

    async def ask(self) -> None:
        """Ask it whenever it is in doubt, for ever: at most once a second, and twice before it counts as failing."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            before = self.health
            status, moved = await self._vital_signs()
            self.health = before.after(vital(status, moved))
            if before.failing != self.health.failing:
                self.on_change()
                if self.health.failing and status in (0, GONE):
                    self.pool.give_up(self.address)  # what waits there for its first byte is tried elsewhere
            if self.health.in_doubt:
                self._doubted.set()
            await asyncio.sleep(AGAIN_SECONDS if self.health.in_doubt and not self.health.failing else ASK_SECONDS)

    async def _vital_signs(self) -> tuple[int, bool]:
        """The status of its answer to the smallest request, 0 for none, and whether it made tokens meanwhile."""
        probe = smallest(self.entry, self._doubted_path)
        if probe is None:
            return (await self._get(self.dialect.ready_path))[0], False
        made = self._made()  # when last read
        loop, seconds = asyncio.get_running_loop(), allowance(LEAST_ANSWER_SECONDS, self.ahead())
        late = loop.time() + 0.9 * seconds
        status, answer = await self._send("POST", probe.path, probe.body, seconds, probe.kind)
        if status == 0 and loop.time() < late:
            return GONE, False
        status = 500 if status == 200 and is_error(answer) else status
        usual = smallest(self.entry)
        if status >= 400 and usual is not None and usual.path != probe.path:  # it may never have served this path
            other, _ = await self._send("POST", usual.path, usual.body, seconds, usual.kind)
            status = 200 if other == 200 else status
        return status, status == 0 and await self._metrics() and made is not None and self._made() != made

    def _made(self) -> float | None:
        """Tokens read and written since it began, where it counts them."""
        names = self.dialect.metrics
        counts = [self._totals[n] for n in (names.generation_tokens, names.prompt_tokens) if n in self._totals]
        return sum(counts) if counts else None

    def at_work(self, now: float) -> bool:
        """Whether it makes tokens at this loop time: then what is silent on the wire may well be under way."""
        return self.up and self.working() and self._progress.moving(now, self._every)

    @property
    def _every(self) -> float:
        return min(METRICS_SECONDS, max(PROBE_SECONDS, self.patience / 3))

    def report(self) -> EngineReport | None:
        """The gauges with their age."""
        if not self._read_at:
            return None
        names, found = self.dialect.metrics, self._totals
        between = next((name for name in names.between_tokens if f"{name}_count" in found), "")
        generated = found.get(names.generation_tokens, 0.0)
        firsts = found.get(f"{names.first_tokens}_count")
        later = found.get(f"{between}_count", 0.0) if firsts is None else max(0.0, generated - firsts)
        return EngineReport(
            age_seconds=round(asyncio.get_running_loop().time() - self._read_at, 1),
            running=int(found.get(names.running, 0)),
            waiting=int(found.get(names.waiting, 0)),
            kv_usage=found.get(names.kv_usage, 0.0),
            kv_tokens=self.kv_tokens,
            preemptions_total=int(found.get(names.preemptions, 0)),
            prompt_tokens_total=int(found.get(names.prompt_tokens, 0)),
            generation_tokens_total=int(generated),
            read_at=self._read_unix,
            tokens_total=int(later),
            token_seconds_total=round(found.get(f"{between}_sum", 0.0), 6),
            prompts=lengths(self.text, names.prompts),
            answers=lengths(self.text, names.answers),
            stuck_seconds=round(self._progress.standing(asyncio.get_running_loop().time()), 1),
        )

    async def probe(self) -> None:
        """Ask whether it serves, and what."""
        status, body = await self._get(self.dialect.ready_path)
        self._failures = 0 if status == 200 else self._failures + 1
        if status != 200:
            self._asked_version = False  # what answers next may be another
        up = status == 200 or (self.up and self._failures < FAILURES_UNTIL_DOWN)
        self.answered = self.answered or up
        found = listed(body) if status == 200 else self.listed
        if up and not self.up:
            await self._ask_version()
        elif self.up and not up:
            self._forget()
        if (up, found) != (self.up, self.listed):
            self.up, self.listed = up, found
            self.on_change()

    def _forget(self) -> None:
        """It is down: what it counted ended with it, and stood still for no fault of its GPU."""
        self._progress, self.stuck = Progress(), False
        self._forget_metrics()

    def _forget_metrics(self) -> None:
        """What was read is true no more, and nothing has taken its place."""
        self.text, self._totals, self._read_at = "", {}, 0.0

    async def _ask_version(self) -> None:
        status, body = await self._get(self.dialect.version_path)
        self._asked_version = 0 < status < 500  # else it may say it yet
        if self._asked_version:
            self.version = version_in(body) if status == 200 else ""

    async def _look_for_progress(self, fresh: bool) -> None:
        """Whether it counts on, by `fresh` metrics. One that is taken for stuck, and idle, is given something to do."""
        if self.stuck and not self.working() and (probe := smallest(self.entry)) is not None:
            await self._send("POST", probe.path, probe.body, PROBE_ANSWER_SECONDS, probe.kind)
            fresh = await self._metrics()
        now = asyncio.get_running_loop().time()
        if fresh:
            self._progress = self._progress.look(self._made(), self.working(), now)
        else:
            self._progress = self._progress.unread(now)
        if self.stuck != (stuck := self._progress.stuck(now)):
            self.stuck = stuck
            self.on_change()

    async def _metrics(self) -> bool:
        """Read them. False when they could not be read: what is known is of before."""
        status, body = await self._get(self.dialect.metrics_path)
        if status != 200:
            self._unread += 1
            if self._unread == FAILURES_UNTIL_DOWN:
                self._forget_metrics()
            return False
        self._unread = 0
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

    async def tell(self, target: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Post it a JSON document. Status 0 stands for no answer."""
        return await self._send("POST", target, body, seconds, b"application/json")

    async def _send(
        self, method: str, target: str, body: bytes, seconds: float, kind: bytes = b""
    ) -> tuple[int, bytes]:
        headers = [(b"host", b"engine"), (b"accept", b"*/*")]
        if body:
            self._asked += 1  # ids differ: engines before 0.12 break over one that comes twice
            headers += [
                (b"content-type", kind),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", b"%b%b-%d" % (ASKED, self._id, self._asked)),
            ]
        head = request_head(method, target, headers)
        try:
            return await self.pool.fetch(self.address, head + body, seconds, METRICS_BYTES)
        except UpstreamError:
            return 0, b""


class EngineListing(NamedTuple):
    """What an engine says that it serves."""

    names: tuple[str, ...] = ()
    context: int | None = None
    adapters: tuple[tuple[str, str], ...] = ()
    """Name and source of each LoRA adapter among them."""


class _Model(Struct):
    id: str
    max_model_len: Any = None
    parent: Any = None
    root: Any = None


class _Models(Struct):
    data: list[_Model] = []


_decode = Decoder(_Models).decode


def listed(body: bytes) -> EngineListing:
    """The names in an answer to GET /v1/models, the longest context there, and which of them are adapters. No names
    where it is no such list, or too long to be told on; no context where none is said, as of adapters."""
    try:
        models = _decode(body).data
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return EngineListing()
    names = tuple(model.id for model in models)
    contexts = [said for model in models if type(said := model.max_model_len) is int and 0 < said <= MOST_CONTEXT]
    adapters = tuple((model.id, str(model.root or "")) for model in models if model.parent)
    return EngineListing(
        names if sum(map(len, names)) <= NAMES_CHARACTERS else (), max(contexts, default=None), adapters
    )


class _Version(Struct):
    version: str = ""


_decode_version = Decoder(_Version).decode
_VERSION: Final = re.compile(r"[\w.+!-]{1,64}", re.ASCII)


def version_in(body: bytes) -> str:
    """The version in an answer of the engine; empty where there is none."""
    try:
        said = _decode_version(body).version
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return said if _VERSION.fullmatch(said) else ""


class SmallestRequest(Struct, frozen=True):
    """What makes an engine compute, and no more."""

    path: str
    kind: bytes  # Content-Type
    body: bytes


def smallest(entry: PoolEntry | None, path: str = "") -> SmallestRequest | None:
    """The cheapest request that makes the pool's engine compute, of this path where there is one; None while the
    engine's name is unknown."""
    if entry is None or not entry.served_names:
        return None
    row = ENDPOINTS.get(path)
    endpoint = row if row is not None and row.probe is not None else PROBES[entry.task]
    fields = {"model": entry.served_names[0], **(endpoint.probe or {})}
    if endpoint.form:
        return SmallestRequest(endpoint.path, *form.write(fields))
    return SmallestRequest(endpoint.path, b"application/json", json_encode(fields))
