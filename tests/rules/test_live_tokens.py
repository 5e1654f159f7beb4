"""Live tokens from two histograms."""

import csv
import json
import os
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.live_tokens import Histogram, Lengths

BOUNDS = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]


def histogram(lengths: Sequence[int]) -> Histogram:
    """As vLLM would count these."""
    counts = tuple((float(b), float(sum(a < n <= b for n in lengths))) for a, b in pairwise([0, *BOUNDS]))
    return Histogram(counts, float(sum(lengths)))


def p90(numbers: Sequence[int]) -> int:
    return sorted(numbers)[int(0.9 * len(numbers))]


def check(prompts: list[int], answers: list[int], off: float) -> None:
    true = p90([p + a for p, a in zip(prompts, answers, strict=True)])
    assert Lengths(histogram(prompts), histogram(answers)).p90() == pytest.approx(true, rel=off)


@pytest.mark.parametrize(
    ("median", "spread", "answer"), [(700, 0.5, 300), (1500, 0.9, 15), (7000, 1.0, 350), (30, 0.3, 900)]
)
def test_p90_is_near_the_true_one_for_any_kind_of_traffic(median: int, spread: float, answer: int) -> None:
    rng = random.Random(4)
    prompts = [max(1, round(median * rng.lognormvariate(0, spread))) for _ in range(3000)]
    answers = [max(1, round(rng.expovariate(1 / answer))) for _ in range(3000)]
    check(prompts, answers, 0.15)


def test_a_few_requests_say_nothing() -> None:
    assert Lengths(histogram([10] * 99), histogram([10] * 99)).p90() is None
    assert Lengths(histogram([10] * 100), histogram([10] * 100)).p90() is not None


def test_a_pool_without_answers_is_one_of_embeddings() -> None:
    assert Lengths(histogram([400] * 200), Histogram()).p90() == pytest.approx(400, rel=0.25)


def test_what_grew_is_the_difference_and_a_fall_means_another_engine() -> None:
    before, after = Lengths(histogram([5] * 9)), Lengths(histogram([5] * 9 + [700] * 3))
    grown = after.since(before)
    assert grown is not None
    assert grown.prompts.requests == 3
    assert grown.prompts.total == 2100
    assert before.since(after) is None


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)), min_size=100, max_size=300))
def test_p90_is_within_the_bounds_of_what_was_counted(lengths: list[tuple[int, int]]) -> None:
    prompts, answers = [p for p, _ in lengths], [a for _, a in lengths]
    found = Lengths(histogram(prompts), histogram(answers)).p90()
    assert found is not None
    assert 1 <= found <= 5 * (max(prompts) + max(answers))


def test_recorded_traces_come_within_a_quarter() -> None:
    """With FOREBAY_TRACES=folder (see docs/simulator.md): measured 2026-11-26 were -2, -5, +21 and +7 %."""
    folder = Path(os.environ.get("FOREBAY_TRACES", ""))
    if not (folder / "azure-llm-2023-conv.csv").exists():
        pytest.skip("FOREBAY_TRACES names no folder with azure-llm-2023-conv.csv")
    for name in ("code", "conv"):
        with (folder / f"azure-llm-2023-{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        check([int(row["ContextTokens"]) for row in rows], [int(row["GeneratedTokens"]) for row in rows], 0.25)
    for name, keys in (
        ("mooncake-fast25-conversation.jsonl", ("input_length", "output_length")),
        ("vllm-run-rtx4090-llama-3.1-8b-requests.jsonl", ("input_toks", "output_toks")),
    ):
        with (folder / name).open() as file:
            lines = [json.loads(line) for line in file]
        check([line[keys[0]] for line in lines], [line[keys[1]] for line in lines], 0.25)
