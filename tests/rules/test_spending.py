"""Tokens and money."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.table import ModelEntry
from forebay.rules.spending import TokenUsage, price, read_usage

PRICED = ModelEntry(name="m", input_price="4", output_price="20", cached_input_price="0.4")


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, TokenUsage(9, 3)),
        (
            {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
            TokenUsage(9, 3, 8),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None}, TokenUsage(9, 3)),
        ({"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}, TokenUsage(9, 3, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_cache_hit_tokens": 5}, TokenUsage(9, 3, 5)),
        ({"prompt_tokens": 9, "total_tokens": 9}, TokenUsage(9)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 99}}, TokenUsage(9, 0, 9)),
        ({"prompt_tokens": -1, "completion_tokens": "3"}, TokenUsage()),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, TokenUsage()),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_usage_in_every_dialect(usage: Any, found: TokenUsage | None) -> None:
    assert read_usage(usage) == found


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


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_a_sum_of_prices_is_the_price_of_the_sum(counts: list[int]) -> None:
    each = [price(TokenUsage(count, count), PRICED) for count in counts]
    assert sum(cost for cost in each if cost is not None) == price(TokenUsage(sum(counts), sum(counts)), PRICED)
