"""What the engine's metrics are called, and that they count what forebay takes them for."""

import threading
import time
from typing import Any, Final

import httpx
import pytest

from forebay.engines.vllm import VLLM
from forebay.rules.endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from tests.engine.cases import HELLO
from tests.engine.engines import CONTEXT, ONE, Engine, newer

NAMES: Final = VLLM.metrics
GAUGES: Final = (NAMES.running, NAMES.waiting, NAMES.kv_usage)
COUNTERS: Final = (NAMES.preemptions, NAMES.prompt_tokens, NAMES.generation_tokens, NAMES.prefix_queries,
                   NAMES.prefix_hits)  # fmt: skip
HISTOGRAMS: Final = (NAMES.first_tokens, NAMES.between_tokens[0], NAMES.per_token, NAMES.prompts, NAMES.answers)
SHOWN: Final = (
    "vllm:num_requests_waiting_by_reason", "vllm:request_success_total", "vllm:admission_rejections_total",
    "vllm:e2e_request_latency_seconds_count", "vllm:request_queue_time_seconds_count", "vllm:cache_config_info",
)  # fmt: skip
"""Those that dashboards and people read beside."""
NEW: Final = ("vllm:num_requests_waiting_by_reason", "vllm:admission_rejections_total")
LONG: Final = {"max_tokens": 1000, "min_tokens": 1000, "ignore_eos": True}


def ask(engine: Engine, tokens: int = 20, **fields: Any) -> dict[str, Any]:
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": tokens, "min_tokens": tokens, **fields}
    found: dict[str, Any] = engine.post(CHAT, asked).json()
    return found


def counted(engine: Engine) -> dict[str, float]:
    found = engine.samples()
    names = (*COUNTERS, *(f"{name}_{part}" for name in HISTOGRAMS for part in ("count", "sum")))
    return {name: sum(value for (one, _), value in found.items() if one == name) for name in names}


def grown(engine: Engine, before: dict[str, float], requests: int) -> dict[str, float]:
    """What came since then; the last request's share comes with the step behind it."""
    end = time.monotonic() + 10
    while True:
        more = {name: value - before[name] for name, value in counted(engine).items()}
        if more[f"{NAMES.answers}_count"] >= requests or time.monotonic() > end:
            return more
        time.sleep(0.05)


@pytest.mark.parametrize("name", [*GAUGES, *COUNTERS, *(f"{name}_bucket" for name in HISTOGRAMS), *SHOWN])
def test_a_metric_is_there_under_the_model_s_name(generating: Engine, kind: str, name: str) -> None:
    if name in NEW:
        newer(kind, "does not have it")
    found = [dict(labels) for one, labels in generating.samples() if one == name]
    assert found
    if name != "vllm:cache_config_info":
        assert all(labels[NAMES.model_label] == "tiny" for labels in found)


def test_tokens_are_counted_once(generating: Engine) -> None:
    first = counted(generating)
    ask(generating)
    grown(generating, first, 1)
    before = counted(generating)
    usage = [ask(generating)["usage"], ask(generating, model=ONE)["usage"]]
    more = grown(generating, before, 2)
    assert more[NAMES.prompt_tokens] == more[f"{NAMES.prompts}_sum"] == sum(one["prompt_tokens"] for one in usage)
    assert more[NAMES.generation_tokens] == more[f"{NAMES.answers}_sum"] == 40
    assert more[f"{NAMES.answers}_count"] == more[f"{NAMES.prompts}_count"] == 2
    assert more[f"{NAMES.first_tokens}_count"] == more[f"{NAMES.per_token}_count"] == 2
    assert more[f"{NAMES.between_tokens[0]}_count"] == 38


def test_a_prompt_that_comes_again_is_found_in_the_cache(generating: Engine) -> None:
    asked = {"model": "tiny", "prompt": list(range(100, 1000)), "max_tokens": 1}
    first = counted(generating)
    generating.post(COMPLETIONS, asked)
    grown(generating, first, 1)
    before = counted(generating)
    generating.post(COMPLETIONS, asked)
    more = grown(generating, before, 1)
    assert more[NAMES.prefix_queries] == 900
    assert 500 <= more[NAMES.prefix_hits] < 900


def test_the_size_of_the_cache_is_told_in_tokens(generating: Engine) -> None:
    tokens = VLLM.cache_tokens(generating.http.get(VLLM.metrics_path).text)
    assert tokens is not None and tokens > CONTEXT


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": HELLO, "stream": True, **LONG}),
        (CHAT, {"messages": HELLO, **LONG}),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 2, "stream": True, **LONG}),
        (RESPONSES, {"input": "a", "max_output_tokens": 1000, "stream": True, "ignore_eos": True}),
        (MESSAGES, {"messages": HELLO, "max_tokens": 1000, "stream": True}),
    ],
    ids=["stream", "whole", "prompts", "response", "message"],
)
def test_a_client_that_leaves_frees_its_place(generating: Engine, kind: str, path: str, fields: dict[str, Any]) -> None:
    if path == MESSAGES:
        newer(kind, f"has no {MESSAGES}")
    generating.until(NAMES.running, 0)
    before = generating.metric("vllm:request_success_total")
    asked, seen = {"model": "tiny", **fields}, threading.Event()

    def leave() -> None:
        with httpx.Client(timeout=1.5, trust_env=False, verify=False) as client:
            try:
                with client.stream("POST", generating.url + path, json=asked) as answer:
                    for _ in answer.iter_raw():
                        if seen.is_set():
                            return
            except httpx.ReadTimeout:
                return

    thread = threading.Thread(target=leave)
    thread.start()
    began = time.monotonic()
    while not (running := generating.metric(NAMES.running)):
        assert time.monotonic() - began < 10
    assert running >= 1
    seen.set()
    thread.join()
    assert generating.until(NAMES.running, 0) < 5
    assert (generating.metric(NAMES.kv_usage), generating.metric(NAMES.waiting)) == (0, 0)
    assert generating.metric("vllm:request_success_total") == before, "of what is aborted nothing is told"


def test_what_runs_and_waits_is_told(plain: Engine) -> None:
    threads = [threading.Thread(target=ask, args=(plain, 900), kwargs={"ignore_eos": True}) for _ in range(12)]
    for thread in threads:
        thread.start()
    plain.until(NAMES.running, 8)
    plain.until(NAMES.waiting, 4)
    assert plain.metric("vllm:num_requests_waiting_by_reason", reason="capacity") == 4
    assert plain.metric(NAMES.kv_usage) > 0
    for thread in threads:
        thread.join()


def test_past_its_bound_an_engine_refuses_and_counts(plain: Engine) -> None:
    """16 may be in flight, running ones too. A stream may be told so behind its 200."""
    before, answers = plain.metric("vllm:admission_rejections_total", reason="max_num_queued_reqs"), []

    def one() -> None:
        asked = {"model": "tiny", "messages": HELLO, "stream": True, "max_tokens": 900, "min_tokens": 900}
        answers.append(plain.post(CHAT, {**asked, "ignore_eos": True}))

    threads = [threading.Thread(target=one) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if "currently busy" in answer.text]
    assert 1 <= len(refused) <= 8  # fewer where a client comes once another's answer has ended
    for answer in refused:
        if answer.status_code == 200:
            assert '"code":503' in answer.text.replace(" ", "")
        else:
            assert answer.status_code in VLLM.back_pressure
            assert "retry-after" not in answer.headers
    assert plain.metric("vllm:admission_rejections_total", reason="max_num_queued_reqs") - before >= len(refused)
