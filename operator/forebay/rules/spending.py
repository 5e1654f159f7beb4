"""What an answer of a provider used, and what that costs: decimal US dollars, at prices for a million tokens.

Providers agree on hardly any field of `usage`. Three rules hold for all of them. A total says what its parts leave out:
billed output is at least total less input, since some count reasoning in the total alone. What is no count (a string,
a negative, nothing at all, zero for a whole answer) is not used, and the caller estimates. A provider's own money wins
over prices.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from forebay.resources.table import ModelEntry, PriceEntry

MILLION: Final = Decimal(1_000_000)
TICKS: Final = Decimal(10**10)
"""xAI's `cost_in_usd_ticks` in a dollar."""
_INPUT: Final = ("prompt_tokens", "input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens")
_TOTAL: Final = ("total_tokens",)
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
_READ: Final = ("cached_tokens", "cache_read_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_BESIDE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic's: `input_tokens` does not have them in it."""


class TokenUsage(Struct, frozen=True, gc=False):
    """Tokens of one answer, as they are billed.

    `input` includes `cached`, those that the provider had in its cache, and `written`, those that it put there;
    `output` includes reasoning. `money` is what the provider says that it took, in US dollars; `tier` its word for how
    it was served.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    money: Decimal | None = None
    tier: str = ""

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


def find_usage(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The usage object of an answer, or of one event of a stream, wherever its dialect has it."""
    for holder in (document, *(document.get(name) for name in ("response", "message", "x_groq"))):
        if isinstance(holder, Mapping) and isinstance(usage := holder.get("usage"), Mapping):
            return usage
    choices, meta = document.get("choices"), document.get("meta")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        usage = choices[0].get("usage")
        return usage if isinstance(usage, Mapping) else None
    usage = meta.get("tokens") if isinstance(meta, Mapping) else None
    return usage if isinstance(usage, Mapping) else None


def find_tier(document: Mapping[str, Any]) -> str:
    """How an answer says that it was served: `default`, `priority`, `flex`."""
    for holder in (document, document.get("response"), find_usage(document)):
        if isinstance(holder, Mapping) and isinstance(tier := holder.get("service_tier"), str):
            return tier
    return ""


def read_usage(usage: Any, tier: str = "", *, generates: bool = True) -> TokenUsage | None:
    """A usage object in any dialect; None where it does not say what was used, nor what it cost.

    `generates`: False where an answer has no tokens of its own, as vectors and scores.
    """
    if not isinstance(usage, Mapping):
        return None
    money = _money(usage)
    tokens = _input_and_output(usage, generates)
    if tokens is None:
        return None if money is None else TokenUsage(money=money, tier=tier)
    read = _first(_holders(usage, _INPUT_DETAILS), _READ) or 0
    written = _first(_holders(usage, _INPUT_DETAILS), _WRITTEN) or 0
    cached = min(read, tokens[0])
    return TokenUsage(*tokens, cached, min(written, tokens[0] - cached), money, tier)


def price(usage: TokenUsage, model: ModelEntry) -> Decimal | None:
    """US dollars, exact. None where the entry names no price for what was used."""
    if usage.money is not None:
        return usage.money
    row = _row(usage, model)
    parts = (
        (usage.input - usage.cached - usage.written, row.input_price),
        (usage.cached, row.cached_input_price or row.input_price),
        (usage.written, row.cache_write_price or row.input_price),
        (usage.output, row.output_price),
    )
    if any(tokens and text is None for tokens, text in parts):
        return None
    return sum((tokens * Decimal(text) for tokens, text in parts if text is not None), Decimal(0)) / MILLION


def _row(usage: TokenUsage, model: ModelEntry) -> ModelEntry | PriceEntry:
    """The prices of such an answer: those of its tier before those of any, those of the longest prompt first."""
    fits = [
        row
        for row in model.price_tiers or ()
        if row.service_tier in ("", usage.tier) and (usage.input > row.above_tokens or not row.above_tokens)
    ]
    return max(fits, key=lambda row: (row.service_tier != "", row.above_tokens), default=model)


def _input_and_output(usage: Mapping[str, Any], generates: bool) -> tuple[int, int] | None:
    """Tokens in and out as they are billed; None where one of them is unknown, or both are nothing."""
    given, total = _first((usage,), _INPUT), _first((usage,), _TOTAL)
    if not generates:
        most = max(given or 0, total or 0)
        return (most, 0) if most else None
    if given is None:
        return None
    if not any(name in usage for name in ("prompt_tokens", "input_tokens_details")):
        given += sum(_first((usage,), (name,)) or 0 for name in _BESIDE)
    said = _first((usage,), _OUTPUT)
    if said is None and (total is None or total < given):
        return None
    reasoning = _first(_holders(usage, _OUTPUT_DETAILS), ("reasoning_tokens",)) or 0
    output = max(said or 0, (total or 0) - given)
    if reasoning > output:  # a part is never more than its whole: it lies beside it
        output += reasoning
    return (given, output) if given or output else None


def _money(usage: Mapping[str, Any]) -> Decimal | None:
    cost = usage.get("cost")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    ticks = usage.get("cost_in_usd_ticks")
    for value, unit in ((cost, Decimal(1)), (ticks, TICKS)):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return Decimal(repr(value)) / unit
    return None


def _holders(usage: Mapping[str, Any], details: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """Where details may stand: in an object of their own, or among the others."""
    return (*(found for name in details if isinstance(found := usage.get(name), Mapping)), usage)


def _first(holders: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> int | None:
    """The first of these that is a count."""
    for holder in holders:
        for name in names:
            value = holder.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
    return None
