"""Drives the batch in real time and answers requests: a vLLM as its clients see it, or a cloud provider."""

import asyncio
import os
import random
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from forebay.simulator import api
from forebay.simulator.batch import Batch, Sequence
from forebay.simulator.http import Connection, Request, encode
from forebay.simulator.settings import Faults, Settings
from forebay.simulator.telemetry import Telemetry

INFERENCE = ("/v1/chat/completions", "/v1/completions", "/v1/responses")


@dataclass(slots=True, eq=False)
class Running:
    """One request with whoever waits for its tokens."""

    sequence: Sequence
    tokens: asyncio.Queue[int]
    last: float = 0.0


class Engine:
    """One engine process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = replace(settings.faults)
        self.batch = Batch(settings.limits, settings.times, self.faults.slow)
        self.telemetry = Telemetry(settings.models[0], settings.limits.kv_tokens, settings.max_model_len)
        self.created = int(time.time())
        self.in_flight = 0
        self._by_sequence: dict[Sequence, Running] = {}
        self._work = asyncio.Event()
        self._minute: deque[float] = deque()
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
            connection.reply(problem.status, encode(problem.document))

    async def _route(self, request: Request, connection: Connection) -> None:
        match request.method, request.path:
            case "POST", path if path in INFERENCE:
                await self._infer(request, connection)
            case "POST", "/v1/embeddings":
                self._embed(request, connection)
            case "POST", "/tokenize":
                count = api.prompt_tokens(self._document(request))
                tokens = list(range(count))
                connection.reply(
                    200, encode({"count": count, "max_model_len": self.settings.max_model_len, "tokens": tokens})
                )
            case "GET", "/v1/models":
                found = api.models(self.settings.models, self.created, self.settings.max_model_len)
                connection.reply(200, encode(found))
            case "GET", "/health":
                connection.reply(200, b"")
            case "GET", "/metrics":
                self._gauges()
                connection.reply(200, self.telemetry.render(), b"text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/version":
                connection.reply(200, b'{"version":"0.32.0"}')
            case "GET", "/load":
                connection.reply(200, encode({"server_load": self.in_flight}))
            case _, "/sim/faults":
                self._set_faults(request, connection)
            case _:
                connection.reply(404, b'{"detail":"Not Found"}')

    def _document(self, request: Request) -> dict[str, Any]:
        try:
            document = msgspec.json.decode(request.body)
        except msgspec.DecodeError as problem:
            raise api.ApiError(400, f"Invalid JSON: {problem}", "BadRequestError") from problem
        if not isinstance(document, dict):
            raise api.ApiError(400, "Input should be a valid dictionary", "BadRequestError")
        return document

    def _check(self, request: Request, document: dict[str, Any]) -> str:
        """Key, model, faults, limits; returns the model's name."""
        if self.settings.api_key:
            given = request.headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
            if given != self.settings.api_key:
                raise api.ApiError(401, "Incorrect API key provided.", "invalid_request_error")
        model = str(document.get("model") or self.settings.models[0])
        if model not in self.settings.models:
            names = ", ".join(self.settings.models)
            text = f"The model `{model}` does not exist. Valid aliases: {names}."
            raise api.ApiError(404, text, "NotFoundError", "model")
        if self.faults.error_5xx or self._rng.random() < self.faults.error_rate:
            raise api.ApiError(500, "Internal server error", "InternalServerError")
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
        model = self._check(request, document)
        if self._limited(connection):
            return
        prompt = api.prompt_tokens(document)
        api.check_length(prompt, document, self.settings.max_model_len)
        loop = asyncio.get_running_loop()
        room = self.settings.max_model_len - prompt
        blocks = api.prompt_blocks(document, prompt) if self.settings.prefix_caching else ()
        sequence = Sequence(prompt, api.output_tokens(document, room, self.settings.seed), loop.time(), blocks)
        running = Running(sequence, asyncio.Queue())
        if not self.batch.add(sequence):
            self.telemetry.rejected.labels(**self.telemetry.labels, reason="queue_requests").inc()
            raise api.ApiError(503, "The server is overloaded: the request queue is full.", "ServiceUnavailableError")
        self._by_sequence[sequence] = running
        self._work.set()
        self.in_flight += 1
        reason = "abort"
        try:
            reason = await self._answer(request.path, document, model, running, connection)
        finally:
            self.in_flight -= 1
            self.batch.remove(sequence)
            self._by_sequence.pop(sequence, None)
            self.telemetry.success.labels(**self.telemetry.labels, finished_reason=reason).inc()
            self.telemetry.whole.observe(loop.time() - sequence.arrived)

    async def _answer(
        self, path: str, document: dict[str, Any], model: str, running: Running, connection: Connection
    ) -> str:
        sequence = running.sequence
        limit = api.wanted(document)
        finish = "length" if limit is not None and sequence.output >= limit else "stop"
        identity = uuid.uuid4().hex[:16]
        if document.get("stream") is True and path != "/v1/responses":
            await self._stream(path, document, model, running, connection, identity, finish)
            return finish
        made = 0
        while made < sequence.output:
            made += await running.tokens.get()
        body = "".join(api.word(index, self.settings.seed) for index in range(made))
        created = int(time.time())
        match path:
            case "/v1/chat/completions":
                whole = api.chat(f"chatcmpl-{identity}", created, model, body, sequence.prompt, made, finish)
            case "/v1/completions":
                whole = api.text(f"cmpl-{identity}", created, model, body, sequence.prompt, made, finish)
            case _:
                whole = api.response(identity, created, model, body, sequence.prompt, made)
        connection.reply(200, encode(whole), more=b"vary: Origin\r\n")
        return finish

    async def _stream(
        self, path: str, document: dict[str, Any], model: str, running: Running, connection: Connection,
        identity: str, finish: str,
    ) -> None:  # fmt: skip
        chat, created, sequence = path == "/v1/chat/completions", int(time.time()), running.sequence
        name = f"chatcmpl-{identity}" if chat else f"cmpl-{identity}"
        kind = "chat.completion.chunk" if chat else "text_completion"
        made, first = 0, True
        while made < sequence.output:
            count = await running.tokens.get()
            events = []
            if first:
                connection.start_stream()
                if chat:
                    events.append(
                        encode(api.chat_chunk(name, created, model, {"role": "assistant", "content": ""}, None))
                    )
                first = False
            for _ in range(count):
                piece = api.word(made, self.settings.seed)
                made += 1
                end = finish if made == sequence.output else None
                chunk = (
                    api.chat_chunk(name, created, model, {"content": piece}, end)
                    if chat
                    else api.text_chunk(name, created, model, piece, end)
                )
                events.append(encode(chunk))
            connection.events(events)
            if self.faults.cut and made >= 3:
                connection.break_off()
                return
            if self.faults.stall and made >= 3:
                await asyncio.Event().wait()
        options = document.get("stream_options")
        tail = []
        if isinstance(options, dict) and options.get("include_usage"):
            tail.append(encode(api.usage_chunk(name, kind, created, model, sequence.prompt, made)))
        connection.events([*tail, b"[DONE]"], last=True)

    def _embed(self, request: Request, connection: Connection) -> None:
        document = self._document(request)
        model = self._check(request, document)
        if self._limited(connection):
            return
        items = document.get("input")
        texts = items if isinstance(items, list) else [items]
        count = api.prompt_tokens(document)
        vector = [0.01 * (i % 7 - 3) for i in range(8)]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(texts))]
        used = {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0, "prompt_tokens_details": None}
        whole = {"id": f"embd-{uuid.uuid4().hex[:16]}", "object": "list", "created": int(time.time()), "model": model,
                 "data": data, "usage": used}  # fmt: skip
        connection.reply(200, encode(whole))

    def _set_faults(self, request: Request, connection: Connection) -> None:
        if request.method == "POST":
            try:
                self.faults = msgspec.convert({**asdict(self.faults), **self._document(request)}, Faults)
            except msgspec.ValidationError as problem:
                raise api.ApiError(400, str(problem), "BadRequestError") from problem
            self.batch.slow = self.faults.slow
            self._work.set()
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
        self.telemetry.waiting_capacity.set(waiting)
        self.telemetry.kv_usage.set(min(1.0, self.batch.kv_used / self.settings.limits.kv_tokens))
        behind = self.batch.preemptions - self._preempted
        if behind:
            self.telemetry.preemptions.inc(behind)
            self._preempted = self.batch.preemptions

    _preempted = 0
