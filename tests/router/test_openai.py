"""Everything OpenAI's own client sends and reads, at the gateway and at a pool's own Service."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import openai
import pytest
import uvloop

from forebay.resources.terms import Modality, Task
from testing.fleet import Pool, fleet
from tests.router.sdk import Sdk, everywhere, sdk
from tests.router.taps import tap
from tests.router.test_fleet import stop

pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]
CHAT = {"model": "chat-model", "messages": HELLO}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": WEATHER}]
PICTURE = [{"role": "user", "content": [
    {"type": "text", "text": "what is this"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]}]  # fmt: skip


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(work())


def at_every_door(tmp: Path, work: Callable[[Sdk], Coroutine[Any, Any, None]], **pools: Pool) -> None:
    """Do something with both forms of the client at both doors."""

    async def everything() -> None:
        async with fleet(tmp, {"chat": Pool(slots=8), **pools}, cloud=False) as f:
            async for client in everywhere(f):
                await work(client)

    run(everything)


# What is served.


def test_chat_completions(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        answer = await ask("chat.completions.create", **CHAT, max_tokens=7, extra_body={"min_tokens": 7})
        assert (answer.object, answer.model, answer.usage.completion_tokens) == ("chat.completion", "chat-model", 7)
        chunks = await ask("chat.completions.create", **CHAT, max_tokens=7, extra_body={"min_tokens": 7}, stream=True)
        assert "".join(c.choices[0].delta.content for c in chunks) == answer.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == "length"
        options = {"include_usage": True}
        chunks = await ask("chat.completions.create", **CHAT, stream=True, stream_options=options)
        assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens) == ([], 10)

    at_every_door(tmp_path, work)


def test_completions(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        fields = {"model": "chat-model", "prompt": "once upon a time", "max_tokens": 5, "logprobs": 1}
        answer = await ask("completions.create", **fields, extra_body={"min_tokens": 5})
        assert len(answer.choices[0].logprobs.tokens) == 5
        chunks = await ask("completions.create", **fields, extra_body={"min_tokens": 5}, stream=True)
        assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text
        several = await ask("completions.create", model="chat-model", prompt=["a", "b"], n=2, max_tokens=3)
        assert [choice.index for choice in several.choices] == [0, 1, 2, 3]

    at_every_door(tmp_path, work)


def test_responses(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        answer = await ask("responses.create", model="chat-model", input="hello", instructions="be short")
        assert (answer.status, answer.output_text[:6]) == ("completed", " the r")
        events = await ask("responses.create", model="chat-model", input="hello", max_output_tokens=9, stream=True)
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == events[-1].response.output_text != ""
        again = await ask("responses.create", model="chat-model", input="and then", previous_response_id=answer.id)
        assert again.previous_response_id == answer.id
        made = await ask(
            "responses.create", model="chat-model", input="x", tools=[{"type": "function", "strict": True, **WEATHER}]
        )
        assert (made.output[0].type, json.loads(made.output[0].arguments)["city"]) == ("function_call", "river")

    at_every_door(tmp_path, work)


def test_embeddings(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        packed = await ask("embeddings.create", model="embed-model", input=["one", "two"])
        plain = await ask("embeddings.create", model="embed-model", input=["one", "two"], encoding_format="float")
        assert len(packed.data) == len(plain.data) == 2
        assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
        short = await ask("embeddings.create", model="embed-model", input=[1, 2, 3], dimensions=4)
        assert [len(one.embedding) for one in short.data] == [4]

    at_every_door(tmp_path, work, embed=Pool(task=Task.EMBED))


def test_tools(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        answer = await ask("chat.completions.create", **CHAT, tools=TOOLS)
        call = answer.choices[0].message.tool_calls[0]
        assert (answer.choices[0].finish_reason, call.function.name) == ("tool_calls", "weather")
        assert json.loads(call.function.arguments) == {"city": "river", "days": 7}
        chunks = await ask("chat.completions.create", **CHAT, tools=TOOLS, tool_choice="required", stream=True)
        deltas = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
        assert (deltas[0].function.name, chunks[-1].choices[0].finish_reason) == ("weather", "tool_calls")
        assert "".join(d.function.arguments for d in deltas) == call.function.arguments
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        turns = [*HELLO, answer.choices[0].message.model_dump(exclude_none=True), result]
        told = await ask("chat.completions.create", model="chat-model", messages=turns, tools=TOOLS)
        assert told.choices[0].message.tool_calls is None and told.choices[0].message.content

    at_every_door(tmp_path, work)


def test_a_json_schema_logprobs_and_several_choices(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": SCHEMA}}
        answer = await ask("chat.completions.create", **CHAT, response_format=form)
        assert json.loads(answer.choices[0].message.content) == {"city": "river", "days": 7}
        likely = await ask("chat.completions.create", **CHAT, max_tokens=4, logprobs=True, top_logprobs=2, stream=True)
        assert [len(c.choices[0].logprobs.content[0].top_logprobs) for c in likely[1:]] == [2] * (len(likely) - 1)
        several = await ask("chat.completions.create", **CHAT, max_tokens=4, n=3)
        assert len({choice.message.content for choice in several.choices}) == 3
        chunks = await ask("chat.completions.create", **CHAT, max_tokens=4, n=3, stream=True)
        assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2}

    at_every_door(tmp_path, work)


def test_an_image_goes_where_images_are_taken(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        auto = await ask("chat.completions.create", model="auto", messages=PICTURE)
        assert auto.model == "eyes-model"
        refusal = await ask.refused("chat.completions.create", model="chat-model", messages=PICTURE)
        assert isinstance(refusal, openai.BadRequestError)
        assert refusal.code == "ModalityGap"

    at_every_door(tmp_path, work, eyes=Pool(inputs=(Modality.TEXT, Modality.IMAGE)))


def test_adapters_and_auto(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        assert (await ask("chat.completions.create", model="poet", messages=HELLO)).model == "poet"
        for name in ("auto", "forebay/auto"):
            raw = await ask("chat.completions.with_raw_response.create", model=name, messages=HELLO)
            assert raw.headers["x-forebay-destination"] in ("chat", "lora")
            assert raw.parse().model in ("chat-model", "lora-model")

    at_every_door(tmp_path, work, lora=Pool(adapters=("poet", "critic")))


def test_embeddings_of_no_named_model_are_refused_where_there_are_two(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"embed": Pool(task=Task.EMBED), "wide": Pool(task=Task.EMBED)}
        async with fleet(tmp_path, pools, cloud=False) as f, sdk(f) as ask:
            refusal = await ask.refused("embeddings.create", model="auto", input="hi")
            assert (refusal.status_code, refusal.code, refusal.param) == (400, "ModelRequired", "model")
            assert "name one of embed-model, wide-model" in refusal.message
            assert (await ask("embeddings.create", model="wide-model", input="hi")).data

    run(work)


def test_models_of_the_whole_fleet(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {
            "chat": Pool(context_tokens=4096),
            "lora": Pool(adapters=("org/poet",)),
            "embed": Pool(task=Task.EMBED),
        }
        async with (
            fleet(tmp_path, pools, cloud=False) as f,
            sdk(f) as ask,
            sdk(f, f.url(f.sidecars["chat-0"])) as at_pool,
        ):
            listed = (await ask("models.list")).data
            assert [m.id for m in listed] == ["auto", "chat-model", "lora-model", "org/poet", "embed-model"]
            assert listed[1].max_model_len == 4096
            for client, names in ((ask, ("auto", "chat-model", "org/poet")), (at_pool, ("auto", "chat-model"))):
                for name in names:
                    one = await client("models.retrieve", name)
                    assert (one.id, one.object) == (name, "model")
                missing = await client.refused("models.retrieve", model="nope")
                assert isinstance(missing, openai.NotFoundError)
                assert (missing.code, missing.param) == ("model_not_found", "model")
            assert "chat-model" in [m.id for m in (await at_pool("models.list")).data]

    run(work)


def test_tokens_to_and_fro(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        for model in ("chat-model", "embed-model"):
            base = ask.door
            counted = await ask("post", f"{base}/tokenize", cast_to=object, body={"model": model, "prompt": "12345678"})
            assert (counted["count"], counted["tokens"]) == (2, [0, 1])
            back = await ask("post", f"{base}/detokenize", cast_to=object, body={"model": model, "tokens": [0, 1]})
            assert back == {"prompt": " the river"}

    at_every_door(tmp_path, work, embed=Pool(task=Task.EMBED))


# What is refused, as the client's own exceptions.


def test_an_unknown_model_is_a_typed_error(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        for method, more in (
            ("chat.completions.create", {"messages": HELLO}),
            ("chat.completions.create", {"messages": HELLO, "stream": True}),
            ("completions.create", {"prompt": "x"}),
            ("responses.create", {"input": "x"}),
            ("embeddings.create", {"input": "x"}),
        ):
            refusal = await ask.refused(method, model="gpt-nope", **more)
            assert isinstance(refusal, openai.NotFoundError)
            assert (refusal.code, refusal.param, refusal.type) == ("model_not_found", "model", "not_found_error")
            assert refusal.response.headers["x-forebay-reason"] == "ModelNotFound"

    at_every_door(tmp_path, work)


def test_a_bad_request_says_what_is_wrong(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        refusal = await ask.refused("chat.completions.create", **CHAT, max_tokens=-1)
        assert isinstance(refusal, openai.BadRequestError)
        assert (refusal.code, "max_tokens" in refusal.message) == ("InvalidRequest", True)
        refusal = await ask.refused("chat.completions.create", **CHAT, max_tokens=0)  # the engine's own word
        assert isinstance(refusal, openai.BadRequestError)
        assert (refusal.type, refusal.param) == ("BadRequestError", "max_tokens")
        behind = await ask.refused("responses.create", model="chat-model", input="x", background=True)
        assert (behind.status_code, "background" in behind.message) == (400, True)
        missing = await ask.refused("responses.create", model="chat-model", input="x", previous_response_id="resp_gone")
        assert isinstance(missing, openai.NotFoundError)
        assert missing.code == "StateNotFound"
        for refused in (refusal, missing):
            assert refused.response.headers["x-forebay-request-id"] == refused.request_id

    at_every_door(tmp_path, work)


def test_too_many_requests_say_when_to_come_back(tmp_path: Path) -> None:
    async def work() -> None:
        alone = {"chat": Pool(slots=1, max_wait_seconds=0)}
        async with fleet(tmp_path, alone, cloud=False) as f, sdk(f) as ask, sdk(f, sync=True) as sync:
            held = asyncio.create_task(f.ask(12_000, model="chat-model"))
            await f.until(lambda: sum(r.free_high for r in f.gate.replicas.of("chat")) == 0)
            for client in (ask, sync):
                refusal = await client.refused("chat.completions.create", **CHAT)
                assert isinstance(refusal, openai.RateLimitError)
                assert refusal.code == "NoPolicy"
                assert 1 <= int(refusal.response.headers["retry-after"]) <= 60
            await stop([held])

    run(work)


def test_the_client_comes_back_by_itself_and_keeps_its_place(tmp_path: Path) -> None:
    async def work() -> None:
        alone = {"chat": Pool(slots=1, max_wait_seconds=0)}
        async with fleet(tmp_path, alone, cloud=False) as f, sdk(f) as ask:
            held = asyncio.create_task(f.ask(12_000, model="chat-model"))
            await f.until(lambda: sum(r.free_high for r in f.gate.replicas.of("chat")) == 0)
            patient = Sdk(ask.client.with_options(max_retries=5), ask.door)
            coming = asyncio.create_task(patient("chat.completions.create", **CHAT, max_tokens=3))
            await f.until(lambda: f.gate.report().pools[0].rejected_total + f.gate.report().pools[0].expired_total)
            await stop([held])
            assert (await coming).model == "chat-model"

    run(work)


def test_faults_are_server_errors(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        refusal = await ask.refused("chat.completions.create", **CHAT)
        assert isinstance(refusal, openai.InternalServerError)
        assert refusal.status_code == 503
        assert refusal.code in ("ReplicaFailed", "NoReplicas")  # the second once nothing is tried any more
        assert int(refusal.response.headers["retry-after"]) >= 1

    async def everything() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}, cloud=False) as f:
            f.engines["chat-0"].faults.error_5xx = True
            async for client in everywhere(f):
                await work(client)

    run(everything)


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
def test_a_stream_that_breaks_off_raises(tmp_path: Path, door: str, sync: bool) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            f.engines["chat-0"].faults.cut = True
            async with sdk(f, f.url(f.gateway if door == "gateway" else f.sidecars["chat-0"]), sync=sync) as ask:
                with pytest.raises(openai.APIError, match="broke off"):
                    await ask("chat.completions.create", **CHAT, stream=True, max_tokens=50)
                with pytest.raises(openai.APIError, match="broke off"):
                    await ask("responses.create", model="chat-model", input="x", stream=True)

    run(work)


def test_only_the_fleets_token_opens_the_control_port(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            f.gateway.context.token.folder = tmp_path  # as if a token were mounted
            f.gateway.context.token.valid = [b"the-token"]
            async with sdk(f, f.url(f.gateway, "control"), key="sk-other") as ask:
                refusal = await ask.refused("chat.completions.create", **CHAT)
                assert isinstance(refusal, openai.AuthenticationError)
                assert refusal.code == "Unauthorized"

    run(work)


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
def test_a_compressed_body_is_refused_with_the_headers_name(tmp_path: Path, door: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            seen = tap(f.engines["chat-0"])
            async with sdk(f, f.url(f.gateway if door == "gateway" else f.sidecars["chat-0"])) as ask:
                refusal = await ask.refused(
                    "chat.completions.create", **CHAT, extra_headers={"Content-Encoding": "zstd"}
                )
            assert (refusal.status_code, refusal.code) == (415, "InvalidRequest")
            assert "content-encoding: zstd" in refusal.message
            assert seen == []

    run(work)


@pytest.mark.parametrize("door", ["gateway", "sidecar"])
def test_everything_else_is_404_and_reaches_no_engine(tmp_path: Path, door: str) -> None:
    control = [
        "/pause", "/resume", "/is_paused", "/sleep", "/wake_up", "/is_sleeping", "/reset_prefix_cache",
        "/load_lora_adapter", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/update_weights",
        "/collective_rpc", "/scale_elastic_ep", "/start_profile",
        "/stop_profile", "/server_info", "/metrics", "/health", "/load", "/ping", "/version",
        "/docs", "/redoc", "/openapi.json", "/invocations", "/inference/v1/generate", "/v1/responses/",
        "/v1/audio/speech", "/v1/chat/completions/", "//v1/chat/completions", "/v1/chat/completions/render",
        "/V1/chat/completions", "/v1/chat/completions%2f", "/v1/../sleep", "/v1/%2e%2e/sleep", "/v1/chat/../../sleep",
        "/sim/faults", "/v1/files", "/v1/batches", "/v1/fine_tuning/jobs", "/", "/v1", "/forebay/v1/report", "/drain",
    ]  # fmt: skip

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            router = f.gateway if door == "gateway" else f.sidecars["chat-0"]
            port, seen = router.request.port, tap(f.engines["chat-0"])
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                for path in control:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
                    writer.write(head.encode())
                    answer = await asyncio.wait_for(reader.read(), 10)
                    head, _, body = answer.decode().partition("\r\n\r\n")
                    assert head.startswith("HTTP/1.1 404"), (method, path, head)
                    assert "x-forebay-reason: InvalidRequest" in head
                    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
                    writer.close()
            assert seen == []

    run(work)


# What goes on, and what comes back.


def test_the_engine_gets_byte_for_byte_what_came(tmp_path: Path) -> None:
    bodies = [
        b'{"model":"chat-model","messages":[{"content":"\\u00e9 \xc3\xa9 \\ud83d\\ude00"}],"max_tokens":3}',
        b'{ "max_tokens" : 3 ,\n\t"temperature":1.0e-1,"seed":12345678901234567890, "model": "chat-model",'
        b'"messages":[{"content":"a"}]\r\n}',
        b'\n{"messages":[{"content":"a"}],"x":{"model":"other","a":[1,2.50,-0.0]},'
        b'"model":"chat-model","max_tokens":3}  ',
    ]

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}, cloud=False) as f:
            seen = tap(f.engines["chat-0"])
            for base in (f.url(f.gateway), f.url(f.sidecars["chat-0"])):
                for body in bodies:
                    headers = {"content-type": "application/json; charset=utf-8", "x-mine": "1", "openai-beta": "a=b"}
                    url = f"{base}/v1/chat/completions?api-version=2024-10-21&key=sk-secret&a=%2F&api%2Dkey=sk"
                    answer = await f.http.post(url, content=body, headers=headers)
                    assert answer.status_code == 200
                    engine = seen.pop()
                    assert (engine.body, engine.query) == (body, "api-version=2024-10-21&a=%2F")
                    assert engine.headers[b"content-type"] == b"application/json; charset=utf-8"
                    assert (engine.headers[b"x-mine"], engine.headers[b"openai-beta"]) == (b"1", b"a=b")
                    assert b"authorization" not in engine.headers
                    assert not [name for name in engine.headers if name.startswith(b"x-forebay")]

    run(work)


def test_raw_answers_carry_the_decision_and_the_requests_id(tmp_path: Path) -> None:
    async def work(ask: Sdk) -> None:
        raw = await ask("chat.completions.with_raw_response.create", **CHAT, max_tokens=3)
        assert raw.headers["x-forebay-destination"] == "chat"
        assert raw.headers["x-forebay-reason"] == "LocalCapacity"
        assert raw.headers["x-forebay-capability"] == "classification"
        assert raw.headers["x-forebay-queue-ms"] == "0"
        assert raw.parse()._request_id == raw.headers["x-forebay-request-id"] == raw.request_id
        assert raw.headers["x-forebay-request-id"].startswith("req-")
        for name in ("x-request-id", "x-forebay-request-id"):
            raw = await ask("chat.completions.with_raw_response.create", **CHAT, extra_headers={name: "mine-1"})
            assert raw.headers.get_list("x-request-id") == ["mine-1"]
            assert raw.headers["x-forebay-request-id"] == "mine-1"

    at_every_door(tmp_path, work)


def test_a_client_that_runs_out_of_patience_frees_its_slot(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=2)}, cloud=False) as f:
            long = {"max_tokens": 12_000, "extra_body": {"min_tokens": 12_000}, "timeout": 0.3}
            async for ask in everywhere(f):
                with pytest.raises(openai.APITimeoutError):
                    await ask("chat.completions.create", **CHAT, **long)
                await f.until(lambda: not f.engines["chat-0"].batch.running)
            async with sdk(f) as ask:
                assert isinstance(ask.client, openai.AsyncOpenAI)
                stream: Any = await ask.client.chat.completions.create(**{**CHAT, **long, "timeout": 20}, stream=True)
                await anext(aiter(stream))
                await stream.close()
                await f.until(lambda: not f.engines["chat-0"].batch.running)
                await f.until(lambda: f.side("chat-0").admission.running == 0 and f.gate.in_flight == 0)

    run(work)
