"""What docs/capacity.md and docs/simulator.md say is so."""

import re
from pathlib import Path

import pytest

from forebay.engines.vllm import VLLM
from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.reasons import CapacityBound
from forebay.rules import capacity, curve, hardware, live_tokens
from forebay.rules.hardware import MODELS, engine
from forebay.simulator.batch import BatchLimits, ServiceTime

DOCS = Path(__file__).resolve().parents[1] / "docs"
CAPACITY, SIMULATOR = ((DOCS / f"{name}.md").read_text() for name in ("capacity", "simulator"))


@pytest.mark.parametrize(
    ("gpu", "model", "tokens", "slots"),
    re.findall(r"^\| (A100 \d+ GB) \| ([\w. ]+) \| ([\d,-]+) \| ([\d-]+) \|", CAPACITY, re.M),
)
def test_its_table_is_what_the_rule_gives(gpu: str, model: str, tokens: str, slots: str) -> None:
    known = engine(gpu.replace("A100 ", "a100-sxm4-").replace(" GB", "gb"), model.replace(" ", "-"))
    assert known is not None
    lengths = [int(number) for number in tokens.replace(",", "").split("-")]
    assert [known.slots(length) for length in lengths] == [int(number) for number in slots.split("-")]


def test_its_numbers_are_the_rules() -> None:
    assert f"{MODELS['llama-2-7b'].kv_bytes:,} bytes" in CAPACITY
    assert f"{MODELS['qwen2.5-7b'].kv_bytes:,} bytes" in CAPACITY
    assert (VLLM.memory_share((), ""), hardware.MEMORY_SHARE) == (0.92, 0.92)
    assert f"weights and {hardware.OVERHEAD_BYTES / 1e9:.2f} GB a GPU leave" in CAPACITY
    assert f"any other gets {capacity.UNKNOWN}" in CAPACITY
    assert f"without it {VLLM.usual_batch}" in CAPACITY
    assert f"{capacity.TYPICAL_TOKENS:,} until {live_tokens.REQUESTS_TO_TRUST} requests" in CAPACITY
    assert f"at most {curve.BINS} bins" in CAPACITY
    assert f"Until {curve.WINDOWS_TO_TRUST} windows" in CAPACITY
    assert (curve.BINS_TO_TRUST, curve.SPAN_TO_TRUST, curve.REACH) == (3, 3.0, 4.0)
    assert (capacity.UP_PER_HOUR, capacity.DOWN_PER_HOUR, capacity.STEP_SHARE) == (0.02, 0.05, 0.05)
    assert (curve.DEFAULT_SECONDS, curve.DEFAULT_TIMES_ALONE) == (0.05, 2.0)


def test_its_words_exist() -> None:
    words = set(re.findall(r"^\| `([A-Z]\w+)` \|", CAPACITY, re.M))
    assert words < {word.value for word in CapacityBound}
    fields = {field.alias for field in CapacityStatus.model_fields.values()}
    assert {"slots", "bound", "learnt", "target", "liveTokens", "kvTokens", "curve", "samples"} <= fields


def test_the_defaults_of_the_simulator_are_as_its_page_says() -> None:
    times, limits = ServiceTime(), BatchLimits()
    assert (
        f"{1e3 * times.base:.1f} ms + {1e3 * times.per_running:.2f} ms × running + "
        f"{1e6 * times.per_kv_token:.3f} µs × KV tokens, "
        f"{times.prefill_tokens_per_second:,.0f} prompt tokens a second, "
        f"{limits.kv_tokens:,} tokens of cache, {limits.max_batched_tokens:,} tokens a step"
    ) in " ".join(SIMULATOR.split())
