"""What an answer of a provider used, and what that costs: decimal US dollars, at prices for a million tokens."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from forebay.resources.table import ModelEntry

MILLION: Final = Decimal(1_000_000)
_INPUT: Final = ("prompt_tokens", "input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens")
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_CACHED: Final = ("prompt_cache_hit_tokens", "cached_tokens")


class TokenUsage(Struct, frozen=True, gc=False):
    """Tokens of one answer. `input` includes `cached`, those that the provider had in its cache."""

    input: int = 0
    output: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


def read_usage(usage: Any) -> TokenUsage | None:
    """The `usage` object of an answer, in any of its dialects; None where it is none."""
    if not isinstance(usage, Mapping):
        return None
    if not any(name in usage for name in (*_INPUT, *_OUTPUT)):
        return None
    count = _count(usage, _INPUT)
    cached = _count(usage, _CACHED)
    for details in (usage.get(name) for name in _DETAILS):
        if isinstance(details, Mapping):
            cached = _count(details, _CACHED)
    return TokenUsage(count, _count(usage, _OUTPUT), min(cached, count))


def price(usage: TokenUsage, model: ModelEntry) -> Decimal | None:
    """US dollars, exact. None where the entry names no price for what was used."""
    fresh = usage.input - usage.cached
    parts = (
        (fresh, model.input_price),
        (usage.cached, model.cached_input_price or model.input_price),
        (usage.output, model.output_price),
    )
    if any(tokens and text is None for tokens, text in parts):
        return None
    return sum((tokens * Decimal(text) for tokens, text in parts if text is not None), Decimal(0)) / MILLION


def _count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these that is a count."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return 0
