"""What one try at a provider can cost at worst, and what it is taken to have cost when nobody has counted. Pure.

A token has at least one byte, so the bytes of a request bound its tokens; what no text shows has a bound of its own.
"""

from decimal import Decimal
from typing import Any, Final

from forebay.resources.table import ModelEntry, PriceEntry
from forebay.resources.terms import OnDisconnect
from forebay.rules.budget.picodollars import DOLLAR, picodollars
from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.facts import RequestFacts
from forebay.rules.portability import sent_limit
from forebay.rules.spending import MILLION, TokenUsage, price

UNKNOWN_ANSWER: Final = 131_072
"""Output tokens of an answer that neither the request, nor the model's entry bounds."""
MEDIA_TOKENS: Final = 20_000
"""Most tokens of an image or a second part that is no text, however short the URL that names it."""
OVERHEAD: Final = 1_000
"""Tokens that a provider adds by itself."""
SEEN_FACTOR: Final = Decimal("1.15")
"""What an answer that broke off may have had beyond what was seen of it."""
_DEEPEST: Final = 8


def worst_case(facts: RequestFacts, model: ModelEntry, size: int, document: Any) -> int | None:
    """Picodollars, for a request of `size` bytes; None where the model's entry names no prices."""
    return _cost(model, size + OVERHEAD + MEDIA_TOKENS * media_parts(document), _most_output(facts, model))


def assumed(
    facts: RequestFacts, model: ModelEntry, size: int, seen: int, manner: OnDisconnect | None, worst: int
) -> int:
    """Of an answer that nobody counted, of which so many tokens were seen: by what its provider does when it is left.

    Without a word of that, or before anything was seen, it may have cost its worst case.
    """
    if manner is not OnDisconnect.STOPS or not seen:
        return worst
    output = int(seen * SEEN_FACTOR) + 1
    found = _cost(model, size + OVERHEAD, output)
    return worst if found is None else min(worst, found)


def counted_cost(usage: TokenUsage, model: ModelEntry, worst: int) -> int:
    """Of an answer that the provider has counted."""
    cost = price(usage, model)
    return worst if cost is None else picodollars(cost)


def media_parts(value: Any, depth: int = 0) -> int:
    """Parts of a body that are no text: images, files, audio."""
    if depth > _DEEPEST:
        return 0
    if isinstance(value, dict):
        own = value.get("type") in _MEDIA
        return own + sum(media_parts(item, depth + 1) for item in value.values() if isinstance(item, dict | list))
    if isinstance(value, list):
        return sum(media_parts(item, depth + 1) for item in value if isinstance(item, dict | list))
    return 0


_MEDIA: Final = frozenset({
    "image", "image_url", "input_image", "file", "input_file", "document", "input_audio", "video_url", "audio_url",
})  # fmt: skip


def _most_output(facts: RequestFacts, model: ModelEntry) -> int:
    if not ENDPOINTS[facts.path].output_tokens:
        return 0
    limit = sent_limit(facts.path, facts.max_tokens, model)
    if limit is None:
        limit = model.context_tokens or UNKNOWN_ANSWER
    return limit * facts.sequences


def _cost(model: ModelEntry, tokens: int, output: int) -> int | None:
    """At the dearest of the model's rates."""
    rows: tuple[ModelEntry | PriceEntry, ...] = (model, *(model.price_tiers or ()))
    rates = [(row.input_price, row.cached_input_price, row.cache_write_price or None) for row in rows]
    inputs = [Decimal(text) for row in rates for text in row if text is not None]
    outputs = [Decimal(row.output_price) for row in rows if row.output_price is not None]
    if model.input_price is None or (output and model.output_price is None):
        return None
    dollars = (max(inputs) * tokens + (max(outputs) * output if output else 0)) / MILLION
    return picodollars(dollars) if dollars < DOLLAR else None
