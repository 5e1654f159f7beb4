"""The only way out to a provider: an OpenAI-compatible API over httpx. The cold path: clear rather than quick.

Keys are read from mounted files, sent to their own provider only, and appear nowhere else.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from forebay.resources.table import PolicyEntry, ProviderEntry
from forebay.router import metrics
from forebay.router.http.message import Headers, Request, error_body
from forebay.router.http.server import Exchange
from forebay.router.request import Ask
from forebay.rules.facts import CloudTarget
from forebay.rules.portability import asks_for_usage, client_asked_for_usage, outgoing

if TYPE_CHECKING:
    import httpx

PASSED_BACK: Final = frozenset({"content-type", "retry-after", "x-request-id", "openai-processing-ms"})
FAIL_OVER: Final = frozenset({401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the next provider is tried; a 400 or 422 is the client's own and is passed on."""
DONE: Final = b"data: [DONE]"


class CloudError(Exception):
    """This provider did not take the request, and the client has heard nothing."""


class Provider:
    """One provider of one policy: its connections, its limits, its key."""

    def __init__(self, policy: str, entry: ProviderEntry, folder: Path | None) -> None:
        import httpx  # noqa: PLC0415 - the cold path, and a third of a sidecar's memory

        self.entry = entry
        self.key_file = (folder / policy / entry.name / "key") if folder and entry.has_key else None
        self.running = 0
        self.closed_until = 0.0
        self._minute: deque[float] = deque()
        self.client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=entry.max_concurrent_requests + 4, max_keepalive_connections=20),
            timeout=httpx.Timeout(
                connect=entry.connect_seconds,
                read=max(entry.first_token_seconds, entry.between_chunks_seconds),
                write=30.0,
                pool=1.0,
            ),
        )

    def key(self) -> str | None:
        """The API key as it is mounted now; a rotated one is picked up with the next request."""
        if self.key_file is None:
            return None
        try:
            return self.key_file.read_text().strip() or None
        except OSError:
            return None

    @property
    def key_missing(self) -> bool:
        """Whether a key is wanted and absent."""
        return self.entry.has_key and self.key() is None

    def take(self) -> bool:
        """A place within the limits; give it back with `done`."""
        now = time.monotonic()
        while self._minute and now - self._minute[0] >= 60:
            self._minute.popleft()
        limit = self.entry.requests_per_minute
        if now < self.closed_until or self.running >= self.entry.max_concurrent_requests or self.key_missing:
            return False
        if limit is not None and len(self._minute) >= limit:
            return False
        if limit is not None:
            self._minute.append(now)
        self.running += 1
        return True

    def done(self) -> None:
        """The answer is over."""
        self.running -= 1

    def close_for(self, seconds: float) -> None:
        """It asked to be left alone for a while."""
        self.closed_until = max(self.closed_until, time.monotonic() + min(seconds, 300.0))


class Cloud:
    """All providers of the table."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder and folder != Path() else None
        self._providers: dict[tuple[str, str], Provider] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, policies: tuple[PolicyEntry, ...]) -> None:
        """Take over the table's providers; unchanged ones keep their connections."""
        wanted = {(policy.name, entry.name): entry for policy in policies for entry in policy.providers}
        for key, provider in list(self._providers.items()):
            if wanted.get(key) != provider.entry:
                del self._providers[key]
                task = asyncio.get_running_loop().create_task(_close_later(provider))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        for key, entry in wanted.items():
            if key not in self._providers:
                self._providers[key] = Provider(key[0], entry, self.folder)

    def missing_keys(self) -> tuple[str, ...]:
        """policy/provider of every key that is wanted and absent."""
        return tuple(sorted(f"{policy}/{name}" for (policy, name), p in self._providers.items() if p.key_missing))

    def provider(self, target: CloudTarget) -> Provider:
        """The provider of a target."""
        return self._providers[target.policy, target.provider]

    async def send(
        self, target: CloudTarget, ask: Ask, request: Request, exchange: Exchange, headers: Headers
    ) -> tuple[int, float]:
        """Serve a request by a provider. Returns its status and the loop time of the first byte.

        Raises CloudError while the client has heard nothing. A cut stream ends with an error event.
        """
        import httpx  # noqa: PLC0415

        provider = self._providers.get((target.policy, target.provider))
        if provider is None or not provider.take():
            raise CloudError(f"{target} is limited or has no key")
        gauge = metrics.OVERFLOW_RUNNING.labels(target.provider)
        gauge.inc()
        try:
            async with asyncio.timeout(provider.entry.total_seconds):
                return await self._exchange(provider, target, ask, request, exchange, headers)
        except (httpx.HTTPError, TimeoutError) as problem:
            metrics.CLOUD_ERRORS.labels(target.provider, type(problem).__name__).inc()
            if not exchange.started:
                raise CloudError(f"{target}: {type(problem).__name__}") from problem
            if ask.stream:
                message = f"the provider's answer broke off: {type(problem).__name__}"
                exchange.write(b"data: " + error_body(502, message, "upstream_error") + b"\n\n")
            exchange.abort()
            return 502, asyncio.get_running_loop().time()
        finally:
            gauge.dec()
            provider.done()

    async def _exchange(
        self, provider: Provider, target: CloudTarget, ask: Ask, request: Request, exchange: Exchange, headers: Headers
    ) -> tuple[int, float]:
        document = outgoing(ask.path, ask.document, target.model)
        usage_added = asks_for_usage(ask.path, ask.document, target.model) and not client_asked_for_usage(ask.document)
        url = provider.entry.base_url.rstrip("/") + request.target.removeprefix("/v1")
        sent = {"content-type": "application/json", "accept": request.header(b"accept") or "*/*"}
        if (key := provider.key()) is not None:
            sent["authorization"] = f"Bearer {key}"
        body = msgspec.json.encode(document)
        async with provider.client.stream("POST", url, content=body, headers=sent) as response:
            if response.status_code in FAIL_OVER or 300 <= response.status_code < 400:
                self._refused(provider, target, response)
            passed: Headers = [
                (name.encode(), value.encode()) for name, value in response.headers.items() if name in PASSED_BACK
            ]
            pieces = response.aiter_raw() if "content-encoding" not in response.headers else response.aiter_bytes()
            if "text/event-stream" in response.headers.get("content-type", ""):
                pieces = events_without_usage(pieces, target, drop=usage_added)
            else:
                pieces = _counted(pieces, target)
            first = 0.0
            async for piece in pieces:
                if not first:  # the head waits for the first byte: until then another provider may answer
                    first = asyncio.get_running_loop().time()
                    exchange.start(response.status_code, [*passed, *headers], None)
                exchange.write(piece)
                await exchange.drain()
            if not first:
                exchange.start(response.status_code, [*passed, *headers], None)
            exchange.end()
            return response.status_code, first or asyncio.get_running_loop().time()

    def _refused(self, provider: Provider, target: CloudTarget, response: "httpx.Response") -> None:
        metrics.CLOUD_ERRORS.labels(target.provider, str(response.status_code)).inc()
        if response.status_code in (429, 503):
            provider.close_for(_retry_after(response.headers.get("retry-after")))
        raise CloudError(f"{target} answered {response.status_code}")

    async def close(self) -> None:
        """End all connections."""
        for provider in self._providers.values():
            await provider.client.aclose()


async def events_without_usage(
    pieces: AsyncIterator[bytes], target: CloudTarget, *, drop: bool
) -> AsyncIterator[bytes]:
    """Server-sent events as they come; the usage chunk is counted, and left out when the client did not ask for it.

    Raises httpx.RemoteProtocolError when the stream ends without its last event.
    """
    import httpx  # noqa: PLC0415

    rest, finished = b"", False
    async for piece in pieces:
        *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        kept = []
        for event in events:
            finished = finished or event.startswith(DONE) or b'"response.completed"' in event
            if b'"usage"' in event and _count(event[5:].strip(), target) and drop and _only_usage(event):
                continue
            kept.append(event + b"\n\n")
        if kept:
            yield b"".join(kept)
    if rest.strip():
        yield rest
        finished = finished or rest.startswith(DONE)
    if not finished:
        raise httpx.RemoteProtocolError("the stream ended early")


async def _counted(pieces: AsyncIterator[bytes], target: CloudTarget) -> AsyncIterator[bytes]:
    """A plain answer as it comes; its usage is counted at the end."""
    kept: list[bytes] = []
    async for piece in pieces:
        if len(kept) < 256:
            kept.append(piece)
        yield piece
    _count(b"".join(kept), target)


def _count(text: bytes, target: CloudTarget) -> bool:
    """Count the usage of an answer or a chunk; False when there is none."""
    try:
        usage = msgspec.json.decode(text).get("usage")
    except (msgspec.DecodeError, AttributeError):
        return False
    if not isinstance(usage, dict):
        return False
    for kind, names in (
        ("input", ("prompt_tokens", "input_tokens")),
        ("output", ("completion_tokens", "output_tokens")),
    ):
        count = next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)
        metrics.CLOUD_TOKENS.labels(target.provider, target.model.name, kind).inc(max(0, count))
    return True


def _only_usage(event: bytes) -> bool:
    try:
        return not msgspec.json.decode(event[5:].strip()).get("choices")
    except (msgspec.DecodeError, AttributeError):
        return False


def _retry_after(value: str | None) -> float:
    try:
        return max(1.0, float(value or 1))
    except ValueError:
        return 5.0


async def _close_later(provider: Provider) -> None:
    """Its running answers end first, within their own bound."""
    end = time.monotonic() + provider.entry.total_seconds
    while provider.running and time.monotonic() < end:
        await asyncio.sleep(0.5)
    await provider.client.aclose()
