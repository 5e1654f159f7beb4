"""What /metrics says: bounded, in the field's words, and nothing of what clients write."""

import asyncio
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from forebay.engines.vllm import VLLM
from forebay.resources.reasons import Capability, Priority, Reason
from forebay.resources.report import ReplicaState
from forebay.resources.table import RoutingTable
from forebay.router import exposition, metrics
from forebay.router.fast_metrics import FastCounter, FastHistogram, FastHistogramReader, FastMoneyCounter
from forebay.rules.endpoints import ENDPOINTS
from testing.fleet import Fleet, Pool, fleet

RECORDED = Path(os.environ.get("FOREBAY_DATA", "/nonexistent")) / "vllm" / "metrics-saturated.txt"
REQUESTS = 10_000


async def scrape(f: Fleet, url: str = "") -> dict[str, Metric]:
    answer: httpx.Response = await f.http.get((url or f.url(f.gateway, "metrics")) + "/metrics")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def forget() -> None:
    """The registry is the process', and other tests ran in it."""
    for item in vars(metrics).values():
        if isinstance(item, (FastCounter, FastHistogram, FastMoneyCounter, FastHistogramReader)):
            item.values.clear()
        elif isinstance(item, MetricWrapperBase) and item._labelnames:
            item.clear()


def strange(rng: random.Random, number: int) -> tuple[bytes, bool]:
    """A request nobody expects, most of which are refused."""
    word = f"{rng.choice(['m', 'sk-', 'é', '../', 'chat-model'])}{number}"
    method = rng.choice(["POST"] * 6 + ["GET", "PUT", "PURGE", "OPTIONS"])
    path = rng.choice(["/v1/chat/completions", "/v1/embeddings", "/v1/responses", f"/v1/{number}", f"/{number}/x",
                       f"/v1/models/m{number}", "/tokenize"])  # fmt: skip
    document: dict[str, Any] = {
        "model": rng.choice([word, "auto", word * 9]), "messages": [], "max_tokens": rng.choice([-1, 1, number, "x"]),
        "service_tier": word, "metadata": {"task_type": word, "complexity_score": rng.random()}, "user": word,
    }  # fmt: skip
    document = {key: value for key, value in document.items() if rng.random() < 0.9} | {"max_tokens": -1}
    if rng.random() < 0.9:
        document["model"] = word
        document.pop("max_tokens")
    body = json.dumps(document).encode()
    headers = {
        "x-forebay-priority": rng.choice(["High", "Normal", "Low", f"P{number}"]),
        "x-forebay-task-type": f"task-{number}", "x-forebay-session": f"s{number}", f"x-mine-{number}": "1",
        "x-forebay-request-id": f"id-{number}", "authorization": f"Bearer sk-{number}", "x-forebay-slot": f"S{number}",
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if rng.random() < 0.5)
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body, method == "HEAD"


async def throw(f: Fleet, count: int, seed: int) -> None:
    rng = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", f.gateway.request.port)
    for number in range(count):
        writer.write(strange(rng, seed + number)[0])
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
    writer.close()


@pytest.mark.slow
def test_ten_thousand_strangers_make_no_series_of_their_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            forget()
            await throw(f, REQUESTS // 2, 1)
            before = sum(len(family.samples) for family in (await scrape(f)).values())
            await throw(f, REQUESTS // 2, 1_000_000)
            families = await scrape(f)
            after = sum(len(family.samples) for family in families.values())
            assert before <= after <= before + 10  # a rare pair of words from closed lists, at most
            allowed = {
                "pool": {"", "chat"}, "kind": {"none", "local", "cloud"}, "reason": {str(r) for r in Reason},
                "priority": {"", *map(str, Priority)}, "capability": {"", *map(str, Capability)},
                "state": {str(s) for s in ReplicaState}, "role": {"gateway", "sidecar"},
                "gen_ai_operation_name": {row.operation for row in ENDPOINTS.values()},
                "gen_ai_provider_name": {"vllm"},
                "gen_ai_request_model": {"chat-model", "auto"},
            }  # fmt: skip
            for family in families.values():
                for sample in family.samples:
                    for label, value in sample.labels.items():
                        assert label not in allowed or value in allowed[label], sample
            refused = families["forebay_requests"].samples
            assert sum(sample.value for sample in refused) >= REQUESTS * 0.8  # all but GET /v1/models/…

    uvloop.run(work())


@pytest.mark.slow
def test_names_are_the_conventions_and_all_have_a_help_text_and_a_unit(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            forget()
            await f.ask(stream=True, model="chat-model")
            await f.ask(model="chat-model")
            await f.ask(0, model="chat-model", min_tokens=None)
            gateway = await scrape(f)
            served = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "vllm",
                      "gen_ai_request_model": "chat-model", "pool": "chat"}  # fmt: skip
            counts = {
                (sample.name, sample.labels.get("error_type")): sample.value
                for family in gateway.values()
                for sample in family.samples
                if served.items() <= sample.labels.items() and sample.name.endswith("_count")
            }
            assert counts == {
                ("gen_ai_server_request_duration_seconds_count", ""): 2,
                ("gen_ai_server_request_duration_seconds_count", "400"): 1,
                ("gen_ai_server_time_to_first_token_seconds_count", None): 1,
            }
            for family in gateway.values():
                assert family.name.startswith(("forebay_", "gen_ai_", "process_")), family.name
                assert family.documentation.endswith(".") or family.name.startswith("process_"), family.name
                if family.type == "histogram" and "token_usage" not in family.name:
                    assert family.name.endswith(("_seconds", "_bytes")), family.name

    uvloop.run(work())


def test_a_sidecar_passes_its_engines_metrics_on_and_speaks_of_time_per_token(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            forget()
            await f.ask(model="chat-model", base=f.url(f.sidecars["chat-0"]))
            await f.side("chat-0").engine._metrics()
            side = await scrape(f, f.url(f.sidecars["chat-0"], "metrics"))
            assert side["vllm:num_requests_running"].samples[0].labels == {"engine": "0", "model_name": "chat-model"}
            per_token = side["gen_ai_server_time_per_output_token_seconds"].samples
            assert [s.value for s in per_token if s.name.endswith("_count")] == [1.0]
            assert per_token[0].labels["gen_ai_request_model"] == "chat-model"
            own = [s for s in side["forebay_requests"].samples if s.value]
            assert [(s.labels["pool"], s.labels["reason"], s.value) for s in own] == [("chat", "LocalCapacity", 1)]
            assert "vllm:num_requests_running" not in await scrape(f)

    uvloop.run(work())


def test_pools_that_are_gone_leave_no_gauges(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": Pool()}) as f:
            table = f.gateway.context.table.table
            assert {s.labels["pool"] for s in (await scrape(f))["forebay_slots"].samples} == {"chat", "sort"}
            f.gateway.context.table.take(RoutingTable(generation=9, pools=table.pools[:1]))
            for name in ("forebay_slots", "forebay_replicas", "forebay_queue_length"):
                assert {s.labels["pool"] for s in (await scrape(f))[name].samples} == {"chat"}

    uvloop.run(work())


def test_a_histogram_of_several_engines_is_their_sum() -> None:
    text = "".join(
        f'vllm:x_bucket{{engine="{e}",le="{le}",model_name="m"}} {count}\n'
        for e in (0, 1)
        for le, count in (("0.1", 1.0), ("10.0", 2.0), ("+Inf", 3.0))
    )
    text += 'vllm:x_sum{engine="0",model_name="m"} 4.5\nvllm:x_sum{engine="1",model_name="m"} 1\n'
    assert exposition.histogram(text, "vllm:x", "model_name") == {
        "m": ([("0.1", 2.0), ("10.0", 4.0), ("+Inf", 6.0)], 5.5)
    }
    assert exposition.histogram(text, "vllm:y", "model_name") == {}


@pytest.mark.skipif(not RECORDED.exists(), reason="FOREBAY_DATA does not name the recorded answers")
def test_a_recorded_engine_is_understood() -> None:
    text = RECORDED.read_text()
    buckets, total = exposition.histogram(text, VLLM.metrics.per_token, VLLM.metrics.model_label)["tiny"]
    assert (buckets[0], buckets[-1], round(total, 6)) == (("0.01", 4.0), ("+Inf", 4.0), 0.017933)
    kept = exposition.of_engine(text, VLLM.metrics.family)
    assert {line.split("{")[0].split()[-1][:5] for line in kept.splitlines() if not line.startswith("#")} == {"vllm:"}
    assert len(list(text_string_to_metric_families(kept))) > 30
