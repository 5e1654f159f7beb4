"""The simulated engine as its clients see it: the shapes of a real vLLM, its errors, its metrics, its faults."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from forebay.simulator.batch import BatchLimits, ServiceTime
from forebay.simulator.engine import SimulatedEngine
from forebay.simulator.http import Connection
from forebay.simulator.settings import POOLS, Settings, read

FAST = ServiceTime(base=0.001, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=1e9)
METRICS = {
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason",
    "vllm:kv_cache_usage_perc", "vllm:cache_config_info", "vllm:prompt_tokens_total", "vllm:generation_tokens_total",
    "vllm:num_preemptions_total", "vllm:request_success_total", "vllm:admission_rejections_total",
    "vllm:time_to_first_token_seconds_bucket", "vllm:inter_token_latency_seconds_bucket",
    "vllm:request_time_per_output_token_seconds_bucket", "vllm:e2e_request_latency_seconds_bucket",
    "vllm:request_queue_time_seconds_bucket", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
}  # fmt: skip
"""Names that a real vLLM 0.32 exports."""

RECORDED = Path(os.environ.get("FOREBAY_DATA", "/nonexistent")) / "vllm"


def outline(value: Any) -> Any:
    """Keys in their order, and types."""
    if isinstance(value, dict):
        return [(key, outline(part)) for key, part in value.items()]
    if isinstance(value, list):
        return [outline(part) for part in value[:1]]
    return type(value).__name__


def engine(work: Callable[[SimulatedEngine, httpx.AsyncClient], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        made = SimulatedEngine(Settings(models=("tiny",), times=FAST, **settings))
        server = await asyncio.get_running_loop().create_server(lambda: Connection(made.handle), "127.0.0.1", 0)
        running = asyncio.create_task(made.run())
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, verify=False) as http:
                await work(made, http)
        finally:
            running.cancel()
            server.close()

    uvloop.run(run())


def body(**more: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "min_tokens": 5,
        **more,
    }


def test_a_chat_answer_has_the_recorded_fields() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        answer = await http.post("/v1/chat/completions", json=body())
        document = answer.json()
        assert answer.headers["server"] == "uvicorn"
        assert list(document) == [
            "id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage",
            "prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics",
        ]  # fmt: skip
        assert document["choices"][0]["finish_reason"] == "length"
        assert document["usage"]["completion_tokens"] == 5

    engine(work)


def test_a_stream_has_the_recorded_chunks() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        answer = await http.post("/v1/chat/completions", json=body(stream=True, stream_options={"include_usage": True}))
        events = [line[6:] for line in answer.text.split("\n\n") if line]
        chunks = [json.loads(event) for event in events[:-1]]
        assert events[-1] == "[DONE]"
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert list(chunks[1]["choices"][0]) == ["index", "delta", "logprobs", "finish_reason", "token_ids"]
        assert chunks[-2]["choices"][0]["finish_reason"] == "length"
        assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 5)
        assert sum("content" in c["choices"][0]["delta"] for c in chunks[1:-1]) == 5

    engine(work)


@pytest.mark.parametrize(
    ("path", "sent", "status", "says"),
    [
        ("/v1/chat/completions", body(model="nope"), 404, "The model `nope` does not exist"),
        (
            "/v1/chat/completions",
            body(max_tokens=20_000, min_tokens=1),
            400,
            "cannot be greater than max_model_len=16384",
        ),
        ("/v1/chat/completions", body(max_tokens=0), 400, "max_tokens must be at least 1"),
        ("/v1/chat/completions", [], 400, "valid dictionary"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_errors(path: str, sent: Any, status: int, says: str) -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        answer = await http.post(path, json=sent)
        assert (answer.status_code, says in answer.text) == (status, True)

    engine(work)


def test_other_endpoints() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/version")).json() == {"version": "0.32.0"}
        assert (await http.get("/v1/models")).json()["data"][0]["max_model_len"] == 16_384
        assert (await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 3})).json()[
            "object"
        ] == "text_completion"
        assert (await http.post("/v1/responses", json={"input": "x", "max_output_tokens": 3})).json()[
            "status"
        ] == "incomplete"
        assert (await http.post("/v1/embeddings", json={"input": ["a", "b"]})).status_code == 404
        assert (await http.post("/tokenize", json={"prompt": "12345678"})).json()["count"] == 2

    engine(work)


@pytest.mark.skipif(not RECORDED.exists(), reason="FOREBAY_DATA does not name the recorded answers")
@pytest.mark.parametrize(
    ("file", "path", "more"),
    [
        ("chat.http", "/v1/chat/completions", {}),
        ("chat-stream.http", "/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}),
        ("error-404.http", "/v1/chat/completions", {"model": "nope"}),
        ("models.http", "/v1/models", None),
    ],
)
def test_answers_have_the_outline_of_the_recorded_ones(file: str, path: str, more: dict[str, Any] | None) -> None:
    def documents(text: str) -> list[Any]:
        parts = [part.removeprefix("data: ") for part in text.split("\n\n") if part.strip()]
        return [outline(json.loads(part)) for part in parts if part != "[DONE]"]

    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        answer = await (http.get(path) if more is None else http.post(path, json=body(**more)))
        head, _, recorded = (RECORDED / file).read_text().replace("\r\n", "\n").partition("\n\n")
        assert documents(answer.text) == documents(recorded)
        assert f"content-type: {answer.headers['content-type']}" in head

    engine(work)


def test_a_responses_stream_names_its_events_and_ends_with_the_whole() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        answer = await http.post("/v1/responses", json={"input": "x", "stream": True})
        events = [event.split("\n") for event in answer.text.split("\n\n") if event]
        assert [name for name, data in events if '"delta"' not in data] == [
            "event: response.created", "event: response.in_progress", "event: response.output_item.added",
            "event: response.content_part.added", "event: response.output_text.done",
            "event: response.content_part.done", "event: response.output_item.done", "event: response.completed",
        ]  # fmt: skip
        documents = [json.loads(data[6:]) for _, data in events]
        assert [document["sequence_number"] for document in documents] == list(range(len(events)))
        again = {"input": "y", "previous_response_id": documents[-1]["response"]["id"]}
        assert (await http.post("/v1/responses", json=again)).status_code == 200
        assert (await http.post("/v1/responses", json={**again, "previous_response_id": "resp_x"})).status_code == 404

    engine(work, keeps_responses=True)


def test_one_that_embeds_does_nothing_else() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        assert len((await http.post("/v1/embeddings", json={"input": ["a", "b"]})).json()["data"]) == 2
        assert (await http.post("/v1/chat/completions", json=body())).status_code == 404

    engine(work, tasks=POOLS)


def test_past_its_queue_it_answers_503_and_counts() -> None:
    async def work(made: SimulatedEngine, http: httpx.AsyncClient) -> None:
        made.faults.dead_gpu = True
        held = []
        for queue in (made.batch.running, made.batch.waiting):
            held.append(asyncio.create_task(http.post("/v1/chat/completions", json=body())))
            async with asyncio.timeout(5):
                while not queue:
                    await asyncio.sleep(0.01)
        answers = [await http.post("/v1/chat/completions", json=body()) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {503}
        assert (
            'admission_rejections_total{model_name="tiny",reason="max_num_queued_reqs"} 3.0'
            in (await http.get("/metrics")).text
        )
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    engine(work, limits=BatchLimits(max_num_seqs=1, max_in_flight=2))


def test_metric_names_are_those_of_a_real_engine() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        await http.post("/v1/chat/completions", json=body())
        text = (await http.get("/metrics")).text
        names = set(re.findall(r"^(vllm:\w+)", text, re.M))
        assert names >= METRICS
        recorded = RECORDED / "metrics-saturated.txt"
        if recorded.exists():
            assert names <= set(re.findall(r"^(vllm:\w+)", recorded.read_text(), re.M))

    engine(work)


def test_a_client_that_leaves_is_noticed() -> None:
    async def work(made: SimulatedEngine, http: httpx.AsyncClient) -> None:
        task = asyncio.create_task(http.post("/v1/chat/completions", json=body(max_tokens=9000, min_tokens=9000)))
        async with asyncio.timeout(5):
            while not made.batch.running:
                await asyncio.sleep(0.01)
        task.cancel()
        async with asyncio.timeout(5):
            while made.batch.running or made.in_flight:
                await asyncio.sleep(0.01)

    engine(work)


@pytest.mark.parametrize(("fault", "status"), [("reject_429", 429), ("error_5xx", 500)])
def test_faults_can_be_switched_at_run_time(fault: str, status: int) -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        assert (await http.post("/sim/faults", json={fault: True})).json()[fault] is True
        answer = await http.post("/v1/chat/completions", json=body())
        assert answer.status_code == status
        assert status != 429 or answer.headers["retry-after"] == "2"
        await http.post("/sim/faults", json={fault: False})
        assert (await http.post("/v1/chat/completions", json=body())).status_code == 200

    engine(work)


def test_a_provider_wants_its_key() -> None:
    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        assert (await http.post("/v1/chat/completions", json=body())).status_code == 401
        answer = await http.post("/v1/chat/completions", json=body(), headers={"authorization": "Bearer sk"})
        assert answer.status_code == 200

    engine(work, role="cloud", api_key="sk")


def test_vllms_own_flags_are_understood_or_named(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["serve", "org/model", "--served-model-name", "a", "b", "--max-num-seqs", "8", "--max-model-len=99"]
    settings = read([*flags, "--no-enable-prefix-caching", "--tensor-parallel-size=2"], {"FOREBAY_SIM_SLOW": "3"})
    assert (settings.models, settings.limits.max_num_seqs, settings.max_model_len) == (("a", "b"), 8, 99)
    assert settings.faults.slow == 3
    assert not settings.prefix_caching
    assert "--tensor-parallel-size=2" in capsys.readouterr().err


def test_the_beginning_of_a_conversation_is_found_in_the_prefix_cache() -> None:
    opening = {"role": "system", "content": "be brief. " * 600}

    async def work(_: SimulatedEngine, http: httpx.AsyncClient) -> None:
        for question in ("one", "two"):
            messages = [opening, {"role": "user", "content": question}]
            await http.post("/v1/chat/completions", json=body(messages=messages))
        counted = dict(re.findall(r"vllm:prefix_cache_(\w+)_total\{.*?\} ([\d.]+)", (await http.get("/metrics")).text))
        assert float(counted["hits"]) == 2 * 512
        assert float(counted["queries"]) > 2 * 1500

    engine(work)
