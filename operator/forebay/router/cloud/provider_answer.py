"""One provider's answer on its way to the client: held until its first content byte, then passed on as it comes.

Until then the client has heard nothing, and another provider or the queue may still serve it (FailedError). After it, a
break ends with an honest error event and a closed connection.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import httpx
import msgspec

from forebay.router.cloud.provider import UpstreamProvider
from forebay.router.cloud.provider_errors import FailedError
from forebay.router.cloud.provider_usage import tokens_of
from forebay.router.cloud.stream_events import Event, EventReader, MalformedEventError, StreamEventKind
from forebay.router.cloud.transport import AddressRefusedError
from forebay.router.cloud.verdict import judge, pause_seconds
from forebay.router.dialect.answers import MAX_ID
from forebay.router.dialect.content import HELD_BYTES
from forebay.router.dialect.error_shapes import body_of, broken_event
from forebay.router.http.exchange import Exchange
from forebay.router.http.values import Headers
from forebay.rules.breaker import CallResult
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import ENDPOINTS, ROOT
from forebay.rules.facts import CloudTarget
from forebay.rules.portability import asks_for_usage, client_asked_for_usage, outgoing
from forebay.rules.retry import patience
from forebay.rules.spending import TokenUsage, read_usage

PASSED_BACK: Final = ("openai-processing-ms",)
ERROR_BYTES: Final = 64 * 1024
WHOLE_BYTES: Final = 1024 * 1024
"""A whole answer that is longer is passed on before it has been read to its end."""
TAIL_BYTES: Final = 8 * 1024
AFTERWARDS_SECONDS: Final = 1.0
"""How long a provider may take to end a stream after its last event, so that its connection can be used again."""
Pieces = AsyncGenerator[bytes, None]
ANOTHER_WAY: Final = re.compile(
    rb"context_length_exceeded|maximum context length|context window|prompt is too long|unsupported_parameter"
    rb"|unsupported_value"
)
"""Refusals of a 400 that are about this model rather than about the request."""


class ProviderAnswer:
    """Carries one answer. `final`: there is no other way, so that the provider's own refusal is the best answer."""

    def __init__(
        self,
        provider: UpstreamProvider,
        target: CloudTarget,
        parsed: ParsedRequest,
        exchange: Exchange,
        headers: Headers,
        *,
        final: bool,
        trace: Headers,
    ) -> None:
        self.provider = provider
        self.target = target
        self.parsed = parsed
        self.exchange = exchange
        self.headers = headers
        self.final = final
        self.trace = trace
        self.status = 0
        self.first = 0.0  # loop time of the first content byte
        self.usage: TokenUsage | None = None
        self.output = 0  # tokens, estimated
        self.request_id = ""  # the provider's own
        self.outcome: CallResult | None = None
        self.problem = ""
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        asked = asks_for_usage(parsed.path, parsed.document, target.model)
        self._hides_usage = asked and not client_asked_for_usage(parsed.document)

    async def fetch(self, end: float) -> None:
        """Send the request and carry the answer, until `end` (loop time). Raises FailedError before its first byte."""
        entry = self.provider.entry
        now = self._loop.time()
        wait = patience(entry.first_token_seconds, self.parsed.facts, self.parsed.stream, end - now)
        until = end if wait == end - now else now + wait
        url = self.provider.url(_path_at_a_provider(self.parsed.path))
        body = msgspec.json.encode(outgoing(self.parsed.path, self.parsed.document, self.target.model))
        timeout = asyncio.timeout_at(until)
        try:
            async with (
                timeout,
                self.provider.client.stream("POST", url, content=body, headers=self._sent()) as response,
            ):
                await self._take(response, timeout, end)
        except TimeoutError:
            if (timeout.when() or end) >= end:
                self._broken("Deadline", None)
            else:
                self._broken("Stalled" if self.first else "NoFirstToken", CallResult.FAULT)
        except MalformedEventError:
            self._broken("Malformed", CallResult.FAULT)
        except (AddressRefusedError, httpx.InvalidURL):  # `look` says why
            self._broken("AddressRefused", None)
        except httpx.PoolTimeout:
            self._broken("NoConnection", None)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self._broken("ConnectFailed", CallResult.FAULT)
        except httpx.HTTPError:  # never its text: it may repeat what was sent
            self._broken("Cut", CallResult.FAULT)

    def _sent(self) -> dict[str, str]:
        accept = "text/event-stream" if self.parsed.stream else "application/json"
        headers = {"content-type": "application/json", "accept": accept}
        headers.update((name.decode(), value.decode("latin-1")) for name, value in self.trace)
        return {**headers, **self.provider.headers(self._loop.time())}

    async def _take(self, response: httpx.Response, patience: asyncio.Timeout, end: float) -> None:
        """Judge the head, then carry the body."""
        status = response.status_code
        verdict = judge(status)
        if not verdict.passed_on:
            asks = verdict.outcome is CallResult.BACK_PRESSURE or "retry-after" in response.headers
            pause = pause_seconds(response.headers, time.time()) if asks else 0.0
            raise FailedError(f"Status{status}", verdict.outcome, pause)
        self.status, self.outcome = status, verdict.outcome
        self.request_id = self._passed(response, "x-request-id")[:MAX_ID]
        if status >= 400:
            await self._refusal(response)
            return
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        if streams is not self.parsed.stream:
            raise FailedError("Malformed", CallResult.FAULT)  # nothing that this client could read
        async with _pieces(response) as pieces:
            await (self._stream if streams else self._whole)(pieces, response, patience, end)

    # A refusal.

    async def _refusal(self, response: httpx.Response) -> None:
        """The client's own mistake, in the provider's words."""
        body = b""
        async with _pieces(response) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > ERROR_BYTES:
                    break
        if not self.final and ANOTHER_WAY.search(body):
            raise FailedError("NotTaken", CallResult.SUCCESS)
        body = self.provider.hide(body)
        if not isinstance(_decoded(body), dict):
            text = f"the provider refused the request ({self.status})"
            body = body_of(self.parsed.path, self.status, text, "provider_refused")
        self._begin(response, len(body))
        self.first = 0.0  # nothing was generated
        self.exchange.write(body)
        self.exchange.end()

    # A whole answer.

    async def _whole(self, pieces: Pieces, response: httpx.Response, patience: asyncio.Timeout, end: float) -> None:
        held, size = self._held, 0
        async for piece in pieces:
            size += len(piece)
            self.output = tokens_of(size)
            held += piece
            if self.first:
                self.exchange.write(piece)
                del held[:-TAIL_BYTES]
                await self._keep_pace(patience, end)
            elif size > WHOLE_BYTES:
                self._begin(response, None)
                self.exchange.write(bytes(held))
        if self.first:
            self.usage = _usage_at_the_end(bytes(held))
        else:
            document = _decoded(bytes(held))
            if not isinstance(document, dict):
                raise FailedError("Malformed", CallResult.FAULT)
            if document.get("error"):
                raise FailedError("ErrorInAnswer", CallResult.FAULT)
            self.usage = read_usage(document.get("usage"))
            self._begin(response, size)
            self.exchange.write(bytes(held))
        self.exchange.end()

    # A stream.

    async def _stream(self, pieces: Pieces, response: httpx.Response, patience: asyncio.Timeout, end: float) -> None:
        reader = EventReader()
        try:
            async for piece in pieces:
                for event in reader.feed(piece):
                    if self._relay(event, response):
                        return
                if reader.ended:
                    break
                if self.first:
                    await self._keep_pace(patience, end)
            for event in reader.close():
                if self._relay(event, response):
                    return
        finally:
            self.usage, self.output = reader.usage, reader.content_events
        if not reader.complete:
            self._broken("Cut", CallResult.FAULT)
            return
        if not self.first:
            raise FailedError("NoContent", CallResult.FAULT)
        self.exchange.end()
        await _to_the_end(pieces)

    def _relay(self, event: Event, response: httpx.Response) -> bool:
        """Pass on an event, or hold it. True when it was the provider's own error, and so the end."""
        if event.kind is StreamEventKind.ERROR:
            if not self.first:
                raise FailedError("ErrorInStream", CallResult.FAULT)
            self.exchange.write(self.provider.hide(event.raw))
            self.exchange.abort()
            self.problem, self.outcome = "ErrorInStream", CallResult.FAULT
            return True
        if event.kind is StreamEventKind.USAGE and self._hides_usage:
            return False
        if self.first:
            self.exchange.write(event.raw)
            return False
        self._held += event.raw
        if event.kind in (StreamEventKind.CONTENT, StreamEventKind.END) or len(self._held) > HELD_BYTES:
            self._begin(response, None)
            self.exchange.write(bytes(self._held))
            self._held.clear()
        return False

    # Parts of them.

    def _begin(self, response: httpx.Response, length: int | None) -> None:
        """The client hears of it: from here on there is no other way."""
        self.first = self._loop.time()
        kind = response.headers.get("content-type", "application/json") if response.status_code < 400 else ""
        passed = [(name, self._passed(response, name)) for name in PASSED_BACK if name in response.headers]
        encoded = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in [("content-type", kind or "application/json"), *passed]
        ]
        self.exchange.start(response.status_code, [*encoded, *self.headers], length)
        self.exchange.release_body()

    def _passed(self, response: httpx.Response, name: str) -> str:
        """One of its headers, in which it may have repeated a secret."""
        return self.provider.hide(response.headers.get(name, "").encode("utf-8", "replace")).decode("utf-8", "replace")

    async def _keep_pace(self, patience: asyncio.Timeout, end: float) -> None:
        """Wait for a slow client at its own cost; then the provider has its time for the next piece."""
        if not self.exchange.writable:
            patience.reschedule(end)
            await self.exchange.drain()
        patience.reschedule(min(self._loop.time() + self.provider.entry.between_chunks_seconds, end))

    def _broken(self, word: str, outcome: CallResult | None) -> None:
        """It broke off: elsewhere, if the client has heard nothing; else it is told."""
        if not self.exchange.started:
            raise FailedError(word, outcome)
        self.problem, self.outcome = word, outcome
        if self.exchange.ended:
            return
        if self.parsed.stream:
            self.exchange.write(broken_event(self.parsed.path, f"the provider's answer broke off: {word}"))
        self.exchange.abort()


def _pieces(response: httpx.Response) -> contextlib.aclosing[Pieces]:
    """The body as it comes; closed when it is no longer read."""
    return contextlib.aclosing(cast(Pieces, response.aiter_bytes()))


def _path_at_a_provider(path: str) -> str:
    """What follows the base URL."""
    return (ENDPOINTS[path].leaves_as or path).removeprefix(ROOT)


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _usage_at_the_end(tail: bytes) -> TokenUsage | None:
    """The usage of an answer too long to be kept: it stands near the end."""
    start = tail.find(b"{", tail.rfind(b'"usage"'))
    with contextlib.suppress(ValueError, RecursionError):
        return read_usage(json.JSONDecoder().raw_decode(tail[start:].decode("utf-8", "replace"))[0])
    return None


async def _to_the_end(pieces: Pieces) -> None:
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(AFTERWARDS_SECONDS):
            async for _ in pieces:
                pass
