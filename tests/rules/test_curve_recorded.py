"""Curves from recorded engines (LLMServingSim, vLLM 0.19): what their windows of 2.5 s come to is kept here as bins."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.calibrate.runs import Run, runs
from forebay.rules.capacity import CapacityInputs, capacity
from forebay.rules.curve import Bin, Bins, Window, fit, latency_bound, seen

WIDTH = 2.5
# Running requests, KV fill, seconds a token, windows.
RTX_4090_LLAMA_8B: Bins = (
    Bin(0.7, 0.029, 0.0216, 1), Bin(7.5, 0.197, 0.0314, 1), Bin(6.5, 0.285, 0.0228, 1), Bin(14.2, 0.537, 0.0237, 2),
    Bin(16.7, 0.569, 0.0241, 1), Bin(20.2, 0.652, 0.0253, 1), Bin(29.9, 0.968, 0.0270, 14),
    Bin(35.2, 0.993, 0.0318, 33), Bin(43.7, 0.999, 0.0317, 20),
)  # fmt: skip
TWO_RTX_PRO_6000_QWEN_32B: Bins = (
    Bin(1.1, 0.004, 0.0408, 2), Bin(4.6, 0.012, 0.0934, 1), Bin(5.2, 0.022, 0.0422, 1), Bin(11.7, 0.052, 0.0463, 1),
    Bin(16.0, 0.043, 0.0931, 1), Bin(20.8, 0.081, 0.0480, 1), Bin(29.4, 0.090, 0.0674, 2), Bin(35.3, 0.114, 0.0504, 1),
    Bin(47.3, 0.130, 0.0525, 3), Bin(59.9, 0.156, 0.0657, 2), Bin(73.7, 0.226, 0.0583, 2), Bin(91.8, 0.201, 0.0861, 2),
    Bin(93.6, 0.287, 0.0631, 1), Bin(126.4, 0.357, 0.0659, 32), Bin(128.0, 0.322, 0.0859, 12),
)  # fmt: skip


@pytest.mark.parametrize(
    ("bins", "target", "fewest", "most"),
    [
        (RTX_4090_LLAMA_8B, 0.030, 28, 40),  # it took 27 ms with 30 and 32 ms with 35
        (RTX_4090_LLAMA_8B, 0.025, 10, 20),  # 24 ms with 14, 25 ms with 20
        (TWO_RTX_PRO_6000_QWEN_32B, 0.070, 100, 130),  # 66 ms with 126, when no prompts came
    ],
)
def test_the_bound_is_where_the_engine_met_the_target(bins: Bins, target: float, fewest: int, most: int) -> None:
    curve = fit(bins)
    assert curve is not None
    assert fewest <= (curve.most_within(target) or 0) <= most


def test_memory_bounds_the_4090_at_half_of_what_it_ran_and_had_to_preempt() -> None:
    """41,408 tokens of cache, and nine in ten requests below 2,172: it ran 33 at a time, with a full cache."""
    latency = latency_bound(RTX_4090_LLAMA_8B, fit(RTX_4090_LLAMA_8B), None)
    found = capacity(CapacityInputs(kv_tokens=41_408, live_tokens=2172, latency=latency))
    assert (found.slots, found.bound) == (19, "Memory")


def test_the_figures_kept_here_are_those_of_the_recorded_runs() -> None:
    """With FOREBAY_TRACES=folder (see docs/simulator.md)."""
    folder = Path(os.environ.get("FOREBAY_TRACES", ""))
    found = {run.name: run for run in runs(folder)} if os.environ.get("FOREBAY_TRACES") else {}
    if "rtx4090-llama-3.1-8b" not in found:
        pytest.skip("FOREBAY_TRACES names no folder with vllm-run-rtx4090-llama-3.1-8b-meta.json")
    bins: Bins = ()
    for window in _windows(found["rtx4090-llama-3.1-8b"]):
        bins = seen(bins, window)
    assert [item.windows for item in bins] == [item.windows for item in RTX_4090_LLAMA_8B]
    for mine, kept in zip(bins, RTX_4090_LLAMA_8B, strict=True):
        assert (mine.running, mine.seconds) == pytest.approx((kept.running, kept.seconds), rel=0.08)


def _windows(run: Run) -> Iterator[Window]:
    """What a sidecar would have seen, taking each request's tokens as evenly spread between its first and its last."""
    begin, end = 0.0, max(request.last for request in run.requests)
    while begin < end:
        waited = tokens = held = 0.0
        for request in run.requests:
            since, until = max(request.first, begin), min(request.last, begin + WIDTH)
            if until > since and request.output > 1:
                waited += until - since
                tokens += (until - since) / request.per_token
                held += (until - since) * (request.prompt + ((since + until) / 2 - request.first) / request.per_token)
        if tokens > 20:
            yield Window(waited / WIDTH, min(1.0, held / WIDTH / run.kv_tokens), waited / tokens)
        begin += WIDTH
