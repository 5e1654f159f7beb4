"""Drives the batch in real time and answers requests: a vLLM as its clients see it, or a cloud provider."""

import asyncio
import os
import random
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import msgspec

from forebay.resources.terms import Task
from forebay.rules import endpoints
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.form import FormReader
from forebay.simulator import api, checks, ranking
from forebay.simulator.batch import Batch, Sequence
from forebay.simulator.http import Connection, Request, encode, event
from forebay.simulator.lora import ROUTES, Adapters
from forebay.simulator.messages import Messages, error
from forebay.simulator.responses import Responses
from forebay.simulator.script import WORDS, Script, write
from forebay.simulator.settings import Faults, Settings
from forebay.simulator.shapes import DONE, ChatShape, Shape, TextShape
from forebay.simulator.telemetry import Telemetry
from forebay.simulator.transcription import Transcription

SHAPES: Final[dict[str, Callable[[dict[str, Any], str, Script, int, str], Shape]]] = {
    endpoints.CHAT: ChatShape,
    endpoints.COMPLETIONS: TextShape,
    endpoints.RESPONSES: Responses,
    endpoints.MESSAGES: Messages,
    endpoints.TRANSCRIPTIONS: Transcription,
    endpoints.TRANSLATIONS: Transcription,
}
RANKS: Final = frozenset(path for path, row in endpoints.ENDPOINTS.items() if row.task is Task.SCORE)
POSTED: Final = frozenset({*SHAPES, *RANKS, endpoints.EMBEDDINGS, endpoints.COUNT_TOKENS, endpoints.TOKENIZE,
                           endpoints.DETOKENIZE})  # fmt: skip
READ: Final = frozenset({endpoints.MODELS, "/health", "/metrics", "/version", "/load"})
BUSY: Final = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)
CORE_DEAD: Final = "EngineCore encountered an issue. See stack trace (above) for the root cause."
CORE_SECONDS: Final = 0.3
"""From the death of the core to the end of the process."""
GIVEN_UP, DEAD = -1, -2
"""In place of a number of tokens: the engine aborts what runs, or its core is dead."""
STORED: Final = 10_000


@dataclass(slots=True, eq=False)
class RunningRequest:
    """One request with whoever waits for its tokens."""

    sequence: Sequence
    tokens: asyncio.Queue[int]
    last: float = 0.0


class SimulatedEngine:
    """One engine process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = replace(settings.faults)
        self.adapters = Adapters(settings)
        self.batch = Batch(settings.limits, settings.times, self.faults.slow)
        self.telemetry = Telemetry(settings.models[0], settings.limits.kv_tokens, settings.max_model_len)
        self.created = int(time.time())
        self.in_flight = 0
        self._by_sequence: dict[Sequence, RunningRequest] = {}
        self._work = asyncio.Event()
        self._minute: deque[float] = deque()
        self._stored: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._rng = random.Random(settings.seed)  # noqa: S311

    async def run(self) -> None:
        """Step for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            step = self.batch.begin(loop.time())
            self._gauges()
            if step.seconds is None or self.faults.dead_gpu:
                self._work.clear()
                if (not self.batch.running and not self.batch.waiting) or self.faults.dead_gpu:
                    await self._work.wait()
                else:
                    await asyncio.sleep(0.01)
                due = loop.time()
                continue
            for sequence in step.begun:
                self.telemetry.prompt.inc(sequence.prompt)
                self.telemetry.prefix_queries.inc(sequence.prompt)
                self.telemetry.prefix_hits.inc(sequence.cached)
                self.telemetry.queued.observe(loop.time() - sequence.arrived)
            due = max(due + step.seconds, loop.time() - 0.05)  # a late timer is caught up, a long stop is not
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.batch.finish(step)
            self._hand_out(step.made, loop.time())

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        try:
            await self._route(request, connection)
        except api.ApiError as problem:
            anthropic = request.path.startswith(endpoints.MESSAGES) and not problem.malformed
            connection.reply(problem.status, encode(error(problem.document) if anthropic else problem.document))

    def abort(self, how: int = GIVEN_UP) -> None:
        """All that runs ends now, as at SIGTERM, or as when EngineCore dies."""
        for running in self._by_sequence.values():
            running.tokens.put_nowait(how)

    async def _route(self, request: Request, connection: Connection) -> None:
        method, path = request.method, request.path
        if path in READ or (path in POSTED and self._serves(endpoints.ENDPOINTS[path])):
            if method != ("POST" if path in POSTED else "GET"):
                connection.reply(405, b'{"detail":"Method Not Allowed"}')
            elif path in SHAPES:
                await self._infer(request, connection)
            elif path in POSTED:
                self._answer(request, connection)
            else:
                self._tell(path, connection)
        elif self.adapters.has(path):
            await self._change_adapters(request, connection)
        elif response := endpoints.stored_response(method, path):
            self._stored_response(method, response, connection)
        elif path == "/sim/faults":
            self._set_faults(request, connection)
        else:
            connection.reply(404, b'{"detail":"Not Found"}')

    async def _change_adapters(self, request: Request, connection: Connection) -> None:
        """Load or unload one."""
        if request.method != "POST":
            connection.reply(405, b'{"detail":"Method Not Allowed"}')
            return
        checks.content_type(request.headers)
        document = self._document(request)
        if self.faults.slow_adapters and request.path == ROUTES.load:
            await asyncio.sleep(self.faults.slow_adapters)
        connection.reply(200, self.adapters.change(request.path, document, missing=self.faults.no_adapters), b"")

    def _serves(self, row: endpoints.Endpoint) -> bool:
        """Whether the engine has a path at all: one that embeds has none that generates, and the reverse."""
        return bool(self.settings.tasks & {row.task, *row.also})

    def _tell(self, path: str, connection: Connection) -> None:
        settings = self.settings
        match path:
            case endpoints.MODELS:
                listed = api.models(settings.models, self.created, settings.max_model_len, self.adapters.loaded)
                connection.reply(200, encode(listed))
            case "/health":
                connection.reply(200, b"", b"")
            case "/metrics":
                connection.reply(200, self.telemetry.render(), b"text/plain; version=0.0.4; charset=utf-8")
            case "/version":
                connection.reply(200, encode({"version": self.settings.version}))
            case _:
                connection.reply(200, encode({"server_load": self.in_flight}))

    def _answer(self, request: Request, connection: Connection) -> None:
        """What is there at once."""
        match request.path:
            case endpoints.EMBEDDINGS:
                self._embed(request, connection)
            case path if path in RANKS:
                self._rank(request, connection)
            case _:
                self._tokens(request, connection)

    def _document(self, request: Request) -> dict[str, Any]:
        if request.path in endpoints.ENDPOINTS and endpoints.ENDPOINTS[request.path].form:
            return self._form(request)
        if self.settings.role == "engine" and request.path in POSTED:
            checks.content_type(request.headers)
        try:
            document = msgspec.json.decode(request.body)
        except msgspec.DecodeError as problem:
            raise checks.no_json(str(problem)) from problem
        if not isinstance(document, dict):
            raise checks.no_object(document)
        return document

    def _form(self, request: Request) -> dict[str, Any]:
        try:
            form = FormReader(request.headers.get(b"content-type", b""), request.body)
            form.read()
        except BadRequestError as problem:
            raise api.ApiError(400, str(problem), "BadRequestError") from problem
        return form.fields

    def _check(self, request: Request, document: dict[str, Any]) -> str:
        """Key, model, faults, limits; returns the model's name."""
        if self.settings.api_key:
            given = request.headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
            if given != self.settings.api_key:
                raise api.ApiError(401, "Incorrect API key provided.", "invalid_request_error")
        model = self._model(document)
        if self.faults.error_5xx or self._rng.random() < self.faults.error_rate:
            raise api.ApiError(500, "Internal server error", "InternalServerError")
        return model

    def _model(self, document: dict[str, Any]) -> str:
        models = self.settings.models
        model = str(document.get("model") or models[0])
        if model not in (*models, *self.adapters.loaded):
            pools = Task.EMBED in self.settings.tasks and self.settings.role == "engine"
            more, param = ("", None) if pools else (f" Valid aliases: {', '.join(models)}.", "model")
            raise api.ApiError(404, f"The model `{model}` does not exist.{more}", "NotFoundError", param)
        return model

    def _limited(self, connection: Connection) -> bool:
        now, limit = time.monotonic(), self.settings.limit_rpm
        while self._minute and now - self._minute[0] > 60:
            self._minute.popleft()
        too_many = self.settings.limit_concurrent is not None and self.in_flight >= self.settings.limit_concurrent
        if self.faults.reject_429 or too_many or (limit is not None and len(self._minute) >= limit):
            document = {"error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": 429}}
            connection.reply(429, encode(document), more=b"retry-after: 2\r\n")
            return True
        self._minute.append(now)
        return False

    async def _infer(self, request: Request, connection: Connection) -> None:
        document = self._document(request)
        if self.settings.role == "engine":
            checks.shape(request.path, document)
        model = self._check(request, document)
        if self._limited(connection):
            return
        previous = document.get("previous_response_id")
        if previous is not None and previous not in self._stored:
            raise checks.no_response(previous)
        prompt = api.prompt_tokens(document)
        if self.settings.role == "engine":
            checks.sense(request.path, document, prompt, self.settings)
        if self.batch.full:
            self._refuse(document, connection)
            return
        room = self.settings.max_model_len - prompt
        blocks = api.prompt_blocks(document, prompt) if self.settings.prefix_caching else ()
        script = write(document, room, self.settings.seed, api.prompts(document))
        loop = asyncio.get_running_loop()
        adapter = model if model in self.adapters.loaded else ""
        sequence = Sequence(prompt, script.length, loop.time(), blocks, adapter=adapter)
        running = RunningRequest(sequence, asyncio.Queue())
        self.batch.add(sequence)
        self._by_sequence[sequence] = running
        self._work.set()
        self.in_flight += 1
        identity = request.headers.get(b"x-request-id", b"").decode("latin-1") or uuid.uuid4().hex[:16]
        shape = SHAPES[request.path](document, model, script, prompt, identity)
        try:
            if isinstance(shape, Responses) and self.settings.keeps_responses and document.get("store") is not False:
                self._store(shape.identity, shape.whole(script.length))
            if document.get("stream") is True:
                await self._stream(shape, running, connection)
            else:
                await self._whole(shape, running, connection)
            if shape.script.finish != "abort":
                reason = "length" if script.finish == "length" else "stop"
                self.telemetry.ended(reason, sequence, loop.time())
        finally:
            self.in_flight -= 1
            self.batch.remove(sequence)
            self._by_sequence.pop(sequence, None)
            self._work.set()

    def _refuse(self, document: dict[str, Any], connection: Connection) -> None:
        """Too many are in flight: 503, which a stream may find behind its head."""
        self.telemetry.reject()
        busy = api.ApiError(503, BUSY, "Service Unavailable")
        if not (document.get("stream") is True and self.faults.full_in_200):
            raise busy
        connection.start_stream()
        connection.events([event(encode(busy.document)), DONE], last=True)

    def _store(self, response: str, document: dict[str, Any]) -> None:
        self._stored[response] = document
        if len(self._stored) > STORED:
            self._stored.popitem(last=False)

    async def _whole(self, shape: Shape, running: RunningRequest, connection: Connection) -> None:
        made = 0
        while made < running.sequence.output:
            count = await running.tokens.get()
            if count == DEAD:
                raise api.ApiError(500, CORE_DEAD, "InternalServerError")
            if count == GIVEN_UP:
                shape.abort(made)
                break
            made += count
        connection.reply(200, encode(shape.whole(made)))

    async def _stream(self, shape: Shape, running: RunningRequest, connection: Connection) -> None:
        made = 0
        while made < running.sequence.output:
            count = await running.tokens.get()
            events = []
            if not made:
                connection.start_stream()
                if count > 0:
                    events += shape.begin()
            if count == DEAD:
                failed = api.ApiError(500, CORE_DEAD, "InternalServerError").document
                connection.events([event(encode(failed)), DONE], last=True)
                return
            if count == GIVEN_UP:
                connection.events(shape.abort(made), last=True)
                return
            for index in range(made, made + count):
                events += shape.token(index)
            made += count
            connection.events(events)
            if self.faults.cut and made >= 3:
                connection.break_off()
                return
            if self.faults.stall and made >= 3:
                await asyncio.Event().wait()
        connection.events(shape.end(), last=True)

    def _tokens(self, request: Request, connection: Connection) -> None:
        """Count a text, or a list of tokens as a text."""
        document = self._document(request)
        self._model(document)
        count = api.prompt_tokens(document)
        match request.path:
            case endpoints.COUNT_TOKENS:
                found: dict[str, Any] = {
                    "input_tokens": count,
                    "context_management": {"original_input_tokens": count},
                }
            case endpoints.TOKENIZE:
                longest = self.settings.max_model_len
                found = {"count": count, "max_model_len": longest, "tokens": list(range(count)), "token_strs": None}
            case _:
                tokens = document.get("tokens") or []
                found = {"prompt": "".join(WORDS[token % len(WORDS)] for token in tokens)}
        connection.reply(200, encode(found))

    def _stored_response(self, method: str, response: str, connection: Connection) -> None:
        """Tell it, forget it (which vLLM cannot), or say that it is over already."""
        document = self._stored.get(response)
        if document is None:
            raise checks.no_response(response)
        if method == "POST":
            raise api.ApiError(400, "Cannot cancel a synchronous response.", "invalid_request_error")
        if method == "DELETE":
            del self._stored[response]
            document = {"id": response, "object": "response", "deleted": True}
        connection.reply(200, encode(document))

    def _embed(self, request: Request, connection: Connection) -> None:
        document = self._document(request)
        if self.settings.role == "engine":
            checks.shape(request.path, document)
        model = self._check(request, document)
        if self.settings.role == "engine":
            checks.length(api.prompt_tokens(document), document, self.settings.max_model_len)
        if self._limited(connection):
            return
        found = api.embeddings(uuid.uuid4().hex[:16], int(time.time()), model, document)
        connection.reply(200, encode(found))

    def _rank(self, request: Request, connection: Connection) -> None:
        document = self._document(request)
        model = self._check(request, document)
        if self._limited(connection):
            return
        ranked = ranking.rerank if "query" in document else ranking.score
        connection.reply(200, encode(ranked(uuid.uuid4().hex[:16], int(time.time()), model, document)))

    def _set_faults(self, request: Request, connection: Connection) -> None:
        if request.method == "POST":
            try:
                self.faults = msgspec.convert({**asdict(self.faults), **self._document(request)}, Faults)
            except msgspec.ValidationError as problem:
                raise api.ApiError(400, str(problem), "BadRequestError") from problem
            self.batch.slow = self.faults.slow
            self._work.set()
            if self.faults.core_dies:
                self.abort(DEAD)
                asyncio.get_running_loop().call_later(CORE_SECONDS, os._exit, 1)
            if self.faults.die:
                os._exit(1)
        connection.reply(200, encode(asdict(self.faults)))

    def _hand_out(self, made: list[Sequence], now: float) -> None:
        for sequence in made:
            running = self._by_sequence.get(sequence)
            if running is None:
                continue
            running.tokens.put_nowait(1)
            self.telemetry.generated.inc()
            if running.last:
                self.telemetry.between.observe(now - running.last)
            else:
                self.telemetry.first_token.observe(now - sequence.arrived)
            running.last = now
            if sequence.done and sequence.output > 1:
                self.telemetry.per_token.observe((now - sequence.started) / sequence.output)

    def _gauges(self) -> None:
        waiting = len(self.batch.waiting)
        self.telemetry.running.set(len(self.batch.running))
        self.telemetry.waiting.set(waiting)
        deferred = min(waiting, self.batch.deferred)
        self.telemetry.waiting_capacity.set(waiting - deferred)
        self.telemetry.waiting_deferred.set(deferred)
        self.telemetry.kv_usage.set(min(1.0, self.batch.kv_used / self.settings.limits.kv_tokens))
        behind = self.batch.preemptions - self._preempted
        if behind:
            self.telemetry.preemptions.inc(behind)
            self._preempted = self.batch.preemptions

    _preempted = 0
