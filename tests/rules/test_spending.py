"""Tokens and money."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.table import ModelEntry, PriceEntry
from forebay.rules.spending import TokenUsage, find_tier, find_usage, price, read_usage

PRICED = ModelEntry(name="m", input_price="4", output_price="20", cached_input_price="0.4")


def chat(given: int, made: int, total: int | None = None, **more: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": given, "completion_tokens": made, **more}
    return counts if total is None else {**counts, "total_tokens": total}


DIALECTS: dict[str, tuple[dict[str, Any], TokenUsage]] = {
    "OpenAI": (chat(9, 3, 12), TokenUsage(9, 3)),
    "OpenAI, cached": (
        chat(9, 3, 12, prompt_tokens_details={"cached_tokens": 8, "audio_tokens": 0},
             completion_tokens_details={"reasoning_tokens": 2, "rejected_prediction_tokens": 0}), TokenUsage(9, 3, 8),
    ),
    "OpenAI, written to the cache": (
        chat(2006, 300, 2306, prompt_tokens_details={"cached_tokens": 1000, "cache_write_tokens": 900}),
        TokenUsage(2006, 300, 1000, 900),
    ),
    "details that are null": (chat(9, 3, prompt_tokens_details=None, completion_tokens_details=None), TokenUsage(9, 3)),
    "Responses": (
        {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 4},
         "output_tokens_details": {"reasoning_tokens": 1}}, TokenUsage(9, 3, 4),
    ),
    "Anthropic": (
        {"input_tokens": 50, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200, "output_tokens": 10,
         "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0}},
        TokenUsage(1250, 10, 1000, 200),
    ),
    "Anthropic, all from the cache": (
        {"input_tokens": 0, "cache_read_input_tokens": 70, "output_tokens": 10}, TokenUsage(70, 10, 70),
    ),
    "Anthropic, no cache": (
        {"input_tokens": 50, "cache_read_input_tokens": None, "output_tokens": 10}, TokenUsage(50, 10),
    ),
    "LiteLLM of Anthropic": (
        chat(1250, 10, 1260, cache_read_input_tokens=1000, cache_creation_input_tokens=200,
             prompt_tokens_details={"cached_tokens": 1000, "cache_creation_tokens": 200}),
        TokenUsage(1250, 10, 1000, 200),
    ),
    "Gemini's thoughts": (chat(1, 9, 103), TokenUsage(1, 102)),
    "Gemini that has only thought": ({"prompt_tokens": 8, "total_tokens": 50}, TokenUsage(8, 42)),
    "xAI's reasoning": (
        chat(1000, 100, 1400, completion_tokens_details={"reasoning_tokens": 300}), TokenUsage(1000, 400),
    ),
    "… without a total": (chat(10, 100, completion_tokens_details={"reasoning_tokens": 300}), TokenUsage(10, 400)),
    "xAI's money": (chat(32, 9, 135, cost_in_usd_ticks=12_345_000), TokenUsage(32, 103, money=Decimal("0.0012345"))),
    "OpenRouter's money": (
        chat(194, 2, 196, cost=0.00014, prompt_tokens_details={"cached_tokens": 0, "cache_write_tokens": 100}),
        TokenUsage(194, 2, 0, 100, Decimal("0.00014")),
    ),
    "nothing to pay": (chat(9, 3, cost=0), TokenUsage(9, 3, money=Decimal(0))),
    "Perplexity's money": (
        chat(9, 3, cost={"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.006}),
        TokenUsage(9, 3, money=Decimal("0.006")),
    ),
    "money alone": ({"cost": 0.5, "prompt_tokens": "9"}, TokenUsage(money=Decimal("0.5"))),
    "DeepSeek": (chat(9, 3, 12, prompt_cache_hit_tokens=5, prompt_cache_miss_tokens=4), TokenUsage(9, 3, 5)),
    "Moonshot": (chat(9, 3, 12, cached_tokens=5), TokenUsage(9, 3, 5)),
    "vLLM": (chat(9, 3, 12, prompt_tokens_details=None), TokenUsage(9, 3)),
    "an answer that is empty": (chat(9, 0, 9), TokenUsage(9, 0)),
    "more cached than given": (chat(9, 0, prompt_tokens_details={"cached_tokens": 99}), TokenUsage(9, 0, 9)),
    "more written than is left": (
        chat(9, 0, prompt_tokens_details={"cached_tokens": 5, "cache_write_tokens": 9}), TokenUsage(9, 0, 5, 4),
    ),
    "a total below its parts": (chat(9, 3, 5), TokenUsage(9, 3)),
    "details that are no counts": (chat(9, 3, prompt_tokens_details={"cached_tokens": "4"}), TokenUsage(9, 3)),
    "money that is none": (chat(9, 3, cost=-1, cost_in_usd_ticks=True), TokenUsage(9, 3)),
    "one name too many": (chat(9, 3, input_tokens=7, output_tokens=2), TokenUsage(9, 3)),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "found"), DIALECTS.values(), ids=DIALECTS.keys())
def test_usage_in_every_dialect(usage: dict[str, Any], found: TokenUsage) -> None:
    assert read_usage(usage) == found


@pytest.mark.parametrize(
    "usage",
    [
        {}, None, [1], "9", chat(0, 0), chat(0, 0, 0), {"prompt_tokens": 9}, {"completion_tokens": 3},
        {"prompt_tokens": "1000", "completion_tokens": "100"}, {"prompt_tokens": 9, "completion_tokens": "3"},
        {"prompt_tokens": -1, "completion_tokens": 3}, {"prompt_tokens": True, "completion_tokens": 1.5},
        {"prompt_tokens": 9, "completion_tokens": -3}, {"prompt_tokens": 9, "total_tokens": 5}, {"cost": "0.5"},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}, {"total_tokens": 9},
    ],
)  # fmt: skip
def test_what_is_no_count_is_left_to_be_estimated(usage: Any) -> None:
    assert read_usage(usage) is None


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 9, "total_tokens": 9}, TokenUsage(9)),  # OpenAI's embeddings
        ({"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}, TokenUsage(9)),
        ({"total_tokens": 815}, TokenUsage(815)),  # Jina, Voyage; vLLM's rerank
        ({"prompt_tokens": 9}, TokenUsage(9)),
        ({"input_tokens": 9}, TokenUsage(9)),
        ({"prompt_tokens": 4, "total_tokens": 700}, TokenUsage(700)),  # an image beside the text
        ({"prompt_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": "9"}, None),
    ],
)
def test_usage_of_what_generates_nothing(usage: Any, found: TokenUsage | None) -> None:
    assert read_usage(usage, generates=False) == found


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"usage": {"a": 1}}, {"a": 1}),
        ({"type": "response.completed", "response": {"usage": {"a": 1}}}, {"a": 1}),
        ({"type": "message_start", "message": {"usage": {"a": 1}}}, {"a": 1}),
        ({"choices": [{"delta": {}, "usage": {"a": 1}}], "usage": None}, {"a": 1}),  # Moonshot's streams
        ({"choices": [], "x_groq": {"usage": {"a": 1}}}, {"a": 1}),
        ({"results": [], "meta": {"tokens": {"input_tokens": 1}}}, {"input_tokens": 1}),  # Cohere's rerank
        ({"choices": [1], "usage": 3, "response": "x", "meta": {"tokens": 3}}, None),
        ({}, None),
    ],
)
def test_usage_wherever_it_stands(document: dict[str, Any], found: Any) -> None:
    assert find_usage(document) == found


@pytest.mark.parametrize(
    ("document", "tier"),
    [
        ({"service_tier": "flex"}, "flex"),
        ({"type": "response.completed", "response": {"service_tier": "priority"}}, "priority"),
        ({"usage": {"service_tier": "standard"}}, "standard"),
        ({"service_tier": None}, ""),
        ({"service_tier": 3}, ""),
    ],
)
def test_the_tier_that_an_answer_names(document: dict[str, Any], tier: str) -> None:
    assert find_tier(document) == tier


COUNTS = st.none() | st.integers(-5, 10**9) | st.sampled_from(["7", True, 1.5, 2**70])
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens",
         "cache_read_input_tokens", "cache_creation_input_tokens")  # fmt: skip
DETAILS = st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), COUNTS)
USAGES = st.builds(
    lambda counts, details: {**counts, **details},
    st.dictionaries(st.sampled_from(NAMES), COUNTS),
    st.dictionaries(
        st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "input_tokens_details"]), DETAILS),
)  # fmt: skip


@given(USAGES, st.booleans())
def test_whatever_is_told_no_row_is_negative_and_no_total_is_more_than_is_billed(usage: Any, generates: bool) -> None:
    used = read_usage(usage, generates=generates)
    if used is None:
        return
    assert used.total > 0
    assert min(used.input, used.output, used.cached, used.written) >= 0
    assert used.cached + used.written <= used.input
    total = usage.get("total_tokens")
    assert not (type(total) is int and total > used.total)
    assert (price(used, PRICED) or 0) > 0


@pytest.mark.parametrize(
    ("usage", "model", "dollars"),
    [
        (TokenUsage(1_000_000, 1_000_000), PRICED, "24"),
        (TokenUsage(1, 0), PRICED, "0.000004"),
        (TokenUsage(1000, 500, 800), PRICED, "0.01112"),
        (TokenUsage(1000, 0, 1000), ModelEntry(name="m", input_price="4", output_price="20"), "0.004"),
        (TokenUsage(3, 0), ModelEntry(name="m", input_price="0.000000001"), "3E-15"),
        (TokenUsage(10, 0), ModelEntry(name="m", input_price="1"), "0.00001"),
        (TokenUsage(10, 1), ModelEntry(name="m", input_price="1"), None),
        (TokenUsage(10, 1), ModelEntry(name="m"), None),
        (TokenUsage(), ModelEntry(name="m"), "0"),
    ],
)
def test_prices(usage: TokenUsage, model: ModelEntry, dollars: str | None) -> None:
    assert price(usage, model) == (None if dollars is None else Decimal(dollars))


TIERED = ModelEntry(
    name="m", input_price="4", cached_input_price="0.4", cache_write_price="5", output_price="20",
    price_tiers=(
        PriceEntry(above_tokens=272_000, input_price="8", cached_input_price="0.8", output_price="30"),
        PriceEntry(above_tokens=500_000, input_price="9", output_price="40"),
        PriceEntry(service_tier="priority", input_price="8", cached_input_price="0.8", output_price="40"),
        PriceEntry(service_tier="flex", input_price="2", cached_input_price="0.2", output_price="10"),
        PriceEntry(service_tier="flex", above_tokens=272_000, input_price="4", output_price="15"),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (TokenUsage(1000, 100), "0.006"),
        (TokenUsage(1000, 100, 500, 200), "0.0044"),  # 300 × 4 + 500 × 0.4 + 200 × 5 + 100 × 20
        (TokenUsage(272_000, 0), "1.088"),
        (TokenUsage(272_001, 0), "2.176008"),  # all of them, not those above
        (TokenUsage(300_000, 1000, 100_000), "1.71"),
        (TokenUsage(600_000, 0, 100_000), "5.4"),
        (TokenUsage(1000, 100, tier="priority"), "0.012"),
        (TokenUsage(1000, 100, tier="flex"), "0.003"),
        (TokenUsage(1000, 100, tier="default"), "0.006"),
        (TokenUsage(300_000, 0, tier="priority"), "2.4"),
        (TokenUsage(300_000, 0, tier="flex"), "1.2"),
        (TokenUsage(1000, 100, 1000, tier="flex"), "0.0012"),
        (TokenUsage(1000, 100, money=Decimal("0.5"), tier="flex"), "0.5"),
        (TokenUsage(1000, 100, money=Decimal(0)), "0"),
    ],
)
def test_prices_by_tier_and_length(usage: TokenUsage, dollars: str) -> None:
    assert price(usage, TIERED) == Decimal(dollars)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_a_sum_of_prices_is_the_price_of_the_sum(counts: list[int]) -> None:
    each = [price(TokenUsage(count, count), PRICED) for count in counts]
    assert sum(cost for cost in each if cost is not None) == price(TokenUsage(sum(counts), sum(counts)), PRICED)
