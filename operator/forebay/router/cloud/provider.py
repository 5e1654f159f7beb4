"""One provider of one policy: its connections, its secrets, and what it may be sent now."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx

from forebay import __version__
from forebay.resources import names
from forebay.resources.table import ProviderEntry
from forebay.router.cloud import tls_files
from forebay.router.cloud.keys import LOOK_SECONDS, Key
from forebay.router.cloud.provider_errors import FailedError
from forebay.router.cloud.transport import CheckedTransport
from forebay.rules import breaker
from forebay.rules.addresses import Network
from forebay.rules.allowance import Allowance, Reservation
from forebay.rules.blame import NONE_REFUSED, Refusals, refused
from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, answering, given_up, lets_through

for _talkative in ("httpx", "httpcore"):  # they would write down headers, in which a provider may repeat the key
    logging.getLogger(_talkative).setLevel(logging.WARNING)

LIMITS: Final = BreakerLimits(faults=5, open_seconds=5.0, most_seconds=60.0, row_seconds=2.0, probes=4)
BROKEN_LIMITS: Final = replace(LIMITS, row_seconds=0.0)
"""Of answers that break off: every one had begun well."""
SPARE_CONNECTIONS: Final = 4
KEPT_CONNECTIONS: Final = 20


@dataclass(slots=True)
class Standing:
    """What outlives a change of the policy: limits in use, and what the provider asked for."""

    allowance: Allowance = field(default_factory=Allowance)
    breaker: Breaker = field(default_factory=Breaker)
    refusals: Refusals = NONE_REFUSED


class UpstreamProvider:
    """One provider. Its files are in `folder`, `proxies` are the chart's. Times are of the event loop, in seconds."""

    def __init__(
        self,
        entry: ProviderEntry,
        folder: Path,
        allowed: tuple[Network, ...],
        tls: ssl.SSLContext,
        proxies: Mapping[str, str],
        standing: Standing | None = None,
    ) -> None:
        reach = entry.reached
        self.entry = entry
        self.key = Key(folder / names.KEY_FILE if entry.has_key else None)
        self.standing = standing or Standing()
        self.running = 0  # with these connections
        self.problem = ""  # why nothing can be sent to it
        self._folder = folder
        self._secrets = tuple(
            (item.name, Key(folder / names.header_file(item.name), words=True))
            for item in reach.headers
            if item.value is None
        )
        self._fixed = {item.name: item.value for item in reach.headers if item.value is not None}
        self._query = f"?{urlencode(reach.query)}" if reach.query else ""
        self._proxy_problem = _proxy_problem(reach.proxy, proxies)
        self._tls_problem = ""
        self._digest = b""  # of the certificates that are in use
        self._looked = float("-inf")
        self._reading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(
            max_connections=entry.max_concurrent_requests + SPARE_CONNECTIONS,
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=entry.idle_seconds,
        )
        self._has_files = tls_files.wanted(reach)
        self.transport = CheckedTransport(
            allowed, limits, None if self._has_files else tls, proxies.get(reach.proxy, ""), tls
        )
        self.client = httpx.AsyncClient(
            transport=self.transport,
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": f"forebay/{__version__}", "accept-encoding": "identity"},
            timeout=httpx.Timeout(connect=entry.connect_seconds, read=None, write=30.0, pool=1.0),
        )

    # What is sent.

    def url(self, path: str) -> str:
        """Where a request goes; `path` is below the base URL."""
        return f"{self.entry.base_url.rstrip('/')}{path}{self._query}"

    def headers(self, now: float) -> dict[str, str]:
        """Its key and the headers of its own."""
        reach, found = self.entry.reached, dict(self._fixed)
        for name, secret in self._secrets:
            if (value := secret.value(now)) is not None:
                found[name] = value
        if (key := self.key.value(now)) is not None:
            found[reach.key_header] = f"{reach.key_prefix} {key}" if reach.key_prefix else key
        return found

    def hide(self, text: bytes) -> bytes:
        """The text without its secrets, which it may have repeated."""
        for secret in (self.key, *(secret for _, secret in self._secrets)):
            text = secret.hide(text)
        return text

    # Whether something can be sent.

    def lacks(self, now: float) -> str:
        """What of its set-up is missing or wrong, in a sentence; empty: nothing. The key has a word of its own."""
        missing = next((name for name, secret in self._secrets if secret.missing(now)), "")
        if missing:
            return f"its header {missing} has no value: fill the Secret key that its valueSecretRef names"
        return self._proxy_problem or self._tls_problem

    async def ready(self) -> None:
        """Wait until its certificates have been read once."""
        if self._has_files and not self._digest:
            await self._read_files()

    def begin(self, tokens: int, now: float) -> Reservation:
        """A place within its limits, for so many tokens; give it back with `over`. Raises FailedError."""
        standing = self.standing
        if self._has_files and now - self._looked >= LOOK_SECONDS and not self._reading.locked():
            self._start(self._read_files())
        if self.key.missing(now):
            raise FailedError("KeyMissing", None)
        if self.lacks(now):
            raise FailedError("Misconfigured", None)
        if not lets_through(standing.breaker, now, LIMITS):
            raise FailedError("Paused" if now < standing.breaker.paused_until else "BreakerOpen", None)
        if (limit := standing.allowance.lack(self.entry, tokens, now)) is not None:
            raise FailedError(f"Limit{limit[0].upper()}{limit[1:]}", None)
        standing.breaker = breaker.begun(standing.breaker, now)
        self.running += 1
        return standing.allowance.take(tokens, now)

    def answering(self, now: float) -> None:
        """The first of an answer has come."""
        self.standing.breaker = answering(self.standing.breaker, now)
        self.standing.refusals = NONE_REFUSED

    def refused(self, request: bytes, pause: float) -> CallResult | None:
        """It refused this request; what that says of it."""
        self.standing.refusals, fault = refused(self.standing.refusals, request)
        if fault:
            return CallResult.FAULT
        return CallResult.BACK_PRESSURE if pause else None

    def over(
        self, place: Reservation, used: int | None, outcome: CallResult | None, pause: float, now: float, *, begun: bool
    ) -> None:
        """A try has ended. `used`: tokens, None where nobody knows; `outcome`: None where it says nothing; `begun`: the
        answer had."""
        self.running -= 1
        standing = self.standing
        standing.allowance.give_back(place, used)
        if outcome is None:
            standing.breaker = given_up(standing.breaker)
        else:
            standing.breaker = after(standing.breaker, outcome, now, BROKEN_LIMITS if begun else LIMITS, pause)

    def shown(self, now: float) -> None:
        """Another provider has answered what this one failed."""
        self.standing.breaker = breaker.shown(self.standing.breaker, now, LIMITS)

    async def look(self) -> None:
        """Find out whether its set-up is whole, and its address one that may be connected to."""
        if self._has_files:
            await self._read_files()
        self.problem = self.lacks(asyncio.get_running_loop().time())
        if self.problem:
            return
        try:
            await self.transport.check(httpx.URL(self.entry.base_url))
        except httpx.InvalidURL as invalid:
            self.problem = f"baseURL is no URL: {invalid}"
        except httpx.ConnectError as failed:
            self.problem = str(failed)

    async def _read_files(self) -> None:
        """Take over the certificates that are mounted now, if they are others. At most once a second, in a thread."""
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now - self._looked < LOOK_SECONDS:
                return
            found = await asyncio.to_thread(tls_files.load, self._folder, self.entry.reached, self._digest)
            self._looked = now
            if found is None:
                return
            self._digest, self._tls_problem = found.digest, found.problem
            if (old := self.transport.use(found.context)) is not None:
                self._start(self._retire(old))

    async def _retire(self, old: httpx.AsyncHTTPTransport) -> None:
        """End connections that no new request uses, once their last answer must be over."""
        try:
            await asyncio.sleep(self.entry.total_seconds)
        finally:
            await old.aclose()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close_later(self) -> None:
        """Its running answers end first, within their own bound."""
        end = asyncio.get_running_loop().time() + self.entry.total_seconds
        while self.running and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.5)
        await self.close()

    async def close(self) -> None:
        """End all its connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.aclose()


def _proxy_problem(name: str, proxies: Mapping[str, str]) -> str:
    if not name or name in proxies:
        return ""
    another = f"name one of {', '.join(sorted(proxies))}" if proxies else "remove proxy"
    return f"its proxy {name} is not in the chart's cloud.proxies: add it there, or {another}"
