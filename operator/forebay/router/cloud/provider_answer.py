"""One provider's answer on its way to the client: held until its first content byte, then passed on as it comes.

Until then the client has heard nothing, and another provider or the queue may still serve it (FailedError). After it, a
break ends with an honest error event and a closed connection.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, cast

import httpx
import msgspec

from forebay.router.cloud.provider import UpstreamProvider
from forebay.router.cloud.provider_errors import FailedError, Refusal
from forebay.router.cloud.provider_usage import tokens_of
from forebay.router.cloud.stream_events import Event, EventReader, MalformedEventError, StreamEventKind
from forebay.router.cloud.transport import AddressRefusedError
from forebay.router.cloud.verdict import ANSWER, Tell, judge, pause_seconds
from forebay.router.dialect.answers import MAX_ID
from forebay.router.dialect.content import HELD_BYTES
from forebay.router.dialect.error_shapes import body_of, broken_event
from forebay.router.http.client import REQUEST_TIMEOUT
from forebay.router.http.exchange import Exchange
from forebay.router.http.values import Headers
from forebay.rules.blame import digest_of
from forebay.rules.breaker import CallResult
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.endpoints import ENDPOINTS, ROOT
from forebay.rules.facts import CloudTarget
from forebay.rules.portability import asks_for_usage, client_asked_for_usage, outgoing
from forebay.rules.retry import patience
from forebay.rules.spending import TokenUsage, find_tier, find_usage, read_usage

PASSED_BACK: Final = ("openai-processing-ms",)
ERROR_BYTES: Final = 64 * 1024
WHOLE_BYTES: Final = 1024 * 1024
"""A whole answer that is longer is passed on before it has been read to its end."""
TAIL_BYTES: Final = 8 * 1024
AFTERWARDS_SECONDS: Final = 1.0
"""How long a provider may take to end a stream after its last event, so that its connection can be used again."""
Pieces = AsyncGenerator[bytes, None]


class ProviderAnswer:
    """Carries one answer."""

    def __init__(
        self,
        provider: UpstreamProvider,
        target: CloudTarget,
        parsed: ParsedRequest,
        exchange: Exchange,
        headers: Headers,
        *,
        trace: Headers,
    ) -> None:
        self.provider = provider
        self.target = target
        self.parsed = parsed
        self.exchange = exchange
        self.headers = headers
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
        self.filtered = False  # refused by a filter, which some bill
        self._connection = _Connection()
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
            async with timeout, self._response(url, body) as response:
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

    @contextlib.asynccontextmanager
    async def _response(self, url: str, body: bytes) -> AsyncGenerator[httpx.Response, None]:
        """Send it; once more on a new connection where one that had been used before closed without a word, or had been
        given up as idle: what a 408 then says, it says of no request."""
        client, headers, used = self.provider.client, self._headers(), self._connection
        request = client.build_request("POST", url, content=body, headers=headers, extensions={"trace": used.trace})
        try:
            response: httpx.Response | None = await client.send(request, stream=True)
            if response is not None and response.status_code == REQUEST_TIMEOUT and used.kept:
                await response.aclose()
                response = None
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if not used.before:
                raise
            response = None
        if response is None:
            await self.provider.transport.forget_idle()
            response = await client.send(client.build_request("POST", url, content=body, headers=headers), stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    @property
    def sent(self) -> bool:
        """Whether the provider may have had the request."""
        return self._connection.sent

    def _headers(self) -> dict[str, str]:
        accept = "text/event-stream" if self.parsed.stream else "application/json"
        headers = {"content-type": "application/json", "accept": accept}
        headers.update((name.decode(), value.decode("latin-1")) for name, value in self.trace)
        return {**headers, **self.provider.headers(self._loop.time())}

    async def _take(self, response: httpx.Response, patience: asyncio.Timeout, end: float) -> None:
        """Judge the head, then carry the body."""
        status = response.status_code
        verdict = judge(status)
        self.request_id = self._passed(response, "x-request-id")[:MAX_ID]
        self.status = status
        asks = verdict.outcome is CallResult.BACK_PRESSURE or "retry-after" in response.headers
        if verdict.outcome is None:
            pause = pause_seconds(response.headers, time.time()) if asks and verdict.tell < Tell.AS_IT_IS else 0.0
            refusal, request = await self._refusal(response, verdict.tell), response.request.content
            raise FailedError(f"Status{status}", None, pause, refusal, digest_of(self.parsed.client, request))
        if verdict is not ANSWER:
            pause = pause_seconds(response.headers, time.time()) if asks else 0.0
            raise FailedError(f"Status{status}", verdict.outcome, pause)
        self.outcome = verdict.outcome
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        if streams is not self.parsed.stream:
            raise FailedError("Malformed", CallResult.FAULT)  # nothing that this client could read
        async with _pieces(response) as pieces:
            await (self._stream if streams else self._whole)(pieces, response, patience, end)

    async def _refusal(self, response: httpx.Response, tell: Tell) -> Refusal:
        """What the provider said to it, in words that clients can parse."""
        body = b""
        async with _pieces(response) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > ERROR_BYTES:
                    break
        body = self.provider.hide(body)
        said = _decoded(body)
        if isinstance(said, dict):
            error = said.get("error")
            self.filtered = isinstance(error, dict) and error.get("code") == "content_filter"
        else:
            text = f"the provider refused the request ({self.status})"
            body = body_of(self.parsed.path, self.status, text, "provider_refused")
        return Refusal(self.status, tell, body, self.request_id)

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
            self.usage = self._used(_usage_at_the_end(bytes(held)))
        else:
            document = _decoded(bytes(held))
            if not isinstance(document, dict):
                raise FailedError("Malformed", CallResult.FAULT)
            self.usage = self._used(find_usage(document), find_tier(document))
            if document.get("error"):
                raise FailedError("ErrorInAnswer", CallResult.FAULT)
            self._begin(response, size)
            self.exchange.write(bytes(held))
        self.exchange.end()

    def _used(self, usage: Any, tier: str = "") -> TokenUsage | None:
        return read_usage(usage, tier, generates=ENDPOINTS[self.parsed.path].output_tokens)

    # A stream.

    async def _stream(self, pieces: Pieces, response: httpx.Response, patience: asyncio.Timeout, end: float) -> None:
        reader = EventReader()
        try:
            async for piece in pieces:
                for event in reader.feed(piece):
                    if self._relay(event, response):
                        await self._end_as_it_does(pieces)
                        return
                if reader.ended:
                    break
                if self.first:
                    await self._keep_pace(patience, end)
            for event in reader.close():
                if self._relay(event, response):
                    await self._end_as_it_does(pieces)
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

    async def _end_as_it_does(self, pieces: Pieces) -> None:
        """After the provider's own error: properly, where its answer ends so."""
        self.exchange.keep_alive = False
        (self.exchange.end if await _to_the_end(pieces) else self.exchange.abort)()

    # Parts of them.

    def _begin(self, response: httpx.Response, length: int | None) -> None:
        """The client hears of it: from here on there is no other way."""
        self.first = self._loop.time()
        self.provider.answering(self.first)
        kind = response.headers.get("content-type", "")
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
        told = bool(self.problem)  # in the provider's own words
        if not told:
            self.problem, self.outcome = word, outcome
        if self.exchange.ended:
            return
        if self.parsed.stream and not told:
            self.exchange.write(broken_event(self.parsed.path, f"the provider's answer broke off: {word}"))
        self.exchange.abort()


class _Connection:
    """What became of a request's connection: whether it was `sent` on one, whether that was `kept` from another
    request, and whether that is so `before` any byte of an answer has come."""

    def __init__(self) -> None:
        self.before = self.kept = False
        self.sent = False
        self._new = False

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """httpcore's word."""
        if event.startswith("connection.connect_"):
            self._new = True
        elif event == "http11.send_request_headers.started":
            self.before = self.kept = not self._new
            self.sent = True
        elif event == "http11.receive_response_headers.complete":
            self.before = False


def _pieces(response: httpx.Response) -> contextlib.aclosing[Pieces]:
    """The body as it comes; closed when it is no longer read."""
    return contextlib.aclosing(cast(Pieces, response.aiter_bytes()))


def _path_at_a_provider(path: str) -> str:
    """What follows the base URL."""
    return (ENDPOINTS[path].leaves_as or path).removeprefix(ROOT)


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _usage_at_the_end(tail: bytes) -> Any:
    """The usage of an answer too long to be kept: it stands near the end."""
    start = tail.find(b"{", tail.rfind(b'"usage"'))
    with contextlib.suppress(ValueError, RecursionError):
        return json.JSONDecoder().raw_decode(tail[start:].decode("utf-8", "replace"))[0]
    return None


async def _to_the_end(pieces: Pieces) -> bool:
    """Whether there was one, soon."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(AFTERWARDS_SECONDS):
            async for _ in pieces:
                pass
            return True
    return False
