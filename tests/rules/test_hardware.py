"""What GPU and model are known for, beside what was measured on them."""

import csv
import os
from pathlib import Path
from statistics import median

import pytest

from forebay.rules.hardware import MODELS, engine, slots_of

A100_40, A100_80, H100 = "NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"
LLAMA_2_7B = "meta-llama/Llama-2-7b-hf"


@pytest.mark.parametrize(
    ("gpu", "live_tokens", "slots"),
    [(A100_40, 1000, 45), (A100_40, 1400, 32), (A100_80, 2400, 46), (A100_80, 3900, 30)],
)
def test_an_a100_runs_30_to_50_concurrent_requests_of_a_7b(gpu: str, live_tokens: int, slots: int) -> None:
    """Of Llama 2 7B in 16 bits, where every head has its own keys: with 1,000-1,400 live tokens each in 40 GB, or
    2,400-3,900 in 80 GB. Memory is the bound in 40 GB; in 80 GB, 50 ms a token comes close to it."""
    found = slots_of(gpu, LLAMA_2_7B, 1, live_tokens)
    assert found == pytest.approx(slots, abs=2)
    assert found is not None
    assert 30 <= found <= 50


def test_grouped_attention_makes_a_ninth_of_it() -> None:
    assert MODELS["llama-2-7b"].kv_bytes == 524_288
    assert MODELS["qwen2.5-7b"].kv_bytes == 57_344
    grouped = slots_of(A100_40, "Qwen/Qwen2.5-7B-Instruct", 1, 2048)
    alone = slots_of(A100_40, LLAMA_2_7B, 1, 2048)
    assert grouped is not None
    assert alone is not None
    assert 7 < grouped / alone < 9.2


def test_larger_models_get_proportionally_fewer() -> None:
    sizes = ["Llama-2-7b", "Llama-2-13b"]
    slots = [slots_of(A100_80, f"meta-llama/{size}-chat-hf", 1, 3000) or 0 for size in sizes]
    assert slots[1] == pytest.approx(slots[0] * 6.74 / 13.02, rel=0.15)
    assert slots_of(A100_80, "meta-llama/Llama-2-70b-hf", 1, 3000) is None  # does not even fit


def test_the_cache_is_what_a_real_engine_said() -> None:
    """vLLM 0.19 on an RTX 4090 with Llama-3.1-8B, as LLMServingSim's recorded run has it: 41,408 tokens, with a memory
    share of 0.9."""
    found = engine("NVIDIA-GeForce-RTX-4090", "meta-llama/Llama-3.1-8B", memory_share=0.9)
    assert found is not None
    assert found.kv_tokens == pytest.approx(41_408, rel=0.01)


def test_a_larger_share_is_all_for_the_cache() -> None:
    smaller, larger = (engine(A100_40, LLAMA_2_7B, memory_share=share) for share in (0.9, 0.92))
    assert smaller is not None
    assert larger is not None
    more = (larger.kv_tokens - smaller.kv_tokens) * MODELS["llama-2-7b"].kv_bytes
    assert more == pytest.approx(0.02 * smaller.gpu.memory, abs=2 * MODELS["llama-2-7b"].kv_bytes)


@pytest.mark.parametrize(
    ("gpu", "model", "batch", "length", "milliseconds"),
    [  # LLM-Inference-Bench (Argonne), vLLM: seconds of a batch of prompts and answers of one length, per answer token
        (A100_40, LLAMA_2_7B, 1, 512, 13.6),
        (A100_40, LLAMA_2_7B, 32, 512, 26.5),
        (A100_40, LLAMA_2_7B, 64, 256, 30.8),
        (H100, LLAMA_2_7B, 32, 1024, 18.5),
        (H100, "Qwen/Qwen2-7B", 64, 1024, 15.7),
        (H100, "Qwen/Qwen2-7B", 16, 2048, 10.9),
    ],
)
def test_a_token_takes_what_was_measured(gpu: str, model: str, batch: int, length: int, milliseconds: float) -> None:
    assert 1e3 * seconds_per_token(gpu, model, 1, batch, length) == pytest.approx(milliseconds, rel=0.2)


@pytest.mark.parametrize(
    ("gpu", "model"),
    [("", LLAMA_2_7B), (A100_40, "somebody/else"), (A100_40, "Qwen/Qwen2.5-7B-Instruct-AWQ"), ("A100-MIG-1g.5gb", "")],
)
def test_what_the_table_does_not_know_it_does_not_guess(gpu: str, model: str) -> None:
    assert slots_of(gpu, model, 1, 2048) is None


def test_the_whole_table_of_measurements_within_a_tenth_in_the_median() -> None:
    """With FOREBAY_TRACES=folder that has argonne-vllm-a100-h100.csv (see docs/simulator.md)."""
    path = Path(os.environ.get("FOREBAY_TRACES", "")) / "argonne-vllm-a100-h100.csv"
    if not os.environ.get("FOREBAY_TRACES") or not path.exists():
        pytest.skip("FOREBAY_TRACES names no folder with argonne-vllm-a100-h100.csv")
    gpus = {"Nvidia A100 GPU": A100_40, "Nvidia H100 GPU": H100}
    off = []
    with path.open() as file:
        for row in csv.DictReader(file):
            gpu, count = gpus[row["Hardware"]], int(row["Num of Hardware"])
            batch, length = int(row["Batch Size"]), int(row["Input Output Length"])
            known = engine(gpu, row["Model"], count)
            if known is None or 2 * length * batch > known.kv_tokens:
                continue  # not in the table, or more than the cache holds, so that requests wait
            found = seconds_per_token(gpu, row["Model"], count, batch, length)
            off.append(abs(found * length / float(row["Latency"]) - 1))
    assert len(off) > 400
    assert median(off) < 0.1
    assert sorted(off)[int(0.9 * len(off))] < 0.2


def seconds_per_token(gpu: str, model: str, count: int, batch: int, length: int) -> float:
    """A whole batch of prompts and answers of one length, by answer token; half of the answer is held on average."""
    found = engine(gpu, model, count)
    assert found is not None
    held = 1.5 * length
    return found.curve(held).seconds(batch) + batch * length / found.prompt_tokens_per_second / length
