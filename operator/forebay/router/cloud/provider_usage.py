"""What a request at a provider used and cost: into the metrics and its line of the access log."""

from decimal import Decimal
from typing import Final

from forebay.resources.access_log import AccessLogEntry
from forebay.router import metrics
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.prompt_content import CHARACTERS_PER_TOKEN
from forebay.rules.endpoints import ENDPOINTS, operation
from forebay.rules.facts import USUAL_ANSWER_TOKENS, CloudTarget
from forebay.rules.spending import TokenUsage, price

HUNG_UP: Final = frozenset({"ClientGone", "Deadline", "NoFirstToken", "Stalled"})
"""Ends that the provider did not make: it may have gone on."""
WORKED: Final = HUNG_UP | {"Cut", "Malformed", "NoContent", "Status408", "Status502", "Status504"}
"""Tries without an answer that providers may bill all the same, once they were sent the request."""


def used_at(
    parsed: ParsedRequest, word: str, usage: TokenUsage | None, output: int, goes_on: bool
) -> tuple[TokenUsage, bool]:
    """What an answer used, whole or in part, and whether the provider has counted it.

    `output`: tokens that were seen. Whoever `goes_on` when nobody listens makes an answer of the usual length; so does
    everybody who was to answer in one piece.
    """
    if usage is not None and not usage.total:  # it counted nothing but its money
        return TokenUsage(parsed.facts.prompt_tokens, output, money=usage.money), True
    if word in HUNG_UP and (goes_on or not parsed.stream):
        counted = usage or TokenUsage(parsed.facts.prompt_tokens)
        return TokenUsage(counted.input, max(counted.output, output, _usual(parsed)), counted.cached), False
    return (TokenUsage(parsed.facts.prompt_tokens, output), False) if usage is None else (usage, True)


def account(
    target: CloudTarget, parsed: ParsedRequest, record: AccessLogEntry, used: TokenUsage, *, counted: bool
) -> None:
    """Count an answer that the client got, whole or in part. The metrics of tokens hold only what providers counted."""
    provider, model = target.provider, target.model.name
    if counted:
        what = operation(parsed.path)
        metrics.TOKENS.observe((what, provider, model, "input"), used.input)
        if ENDPOINTS[parsed.path].output_tokens:
            metrics.TOKENS.observe((what, provider, model, "output"), used.output)
        if used.cached:
            metrics.CACHED_TOKENS.labels(provider, model).inc(used.cached)
    record.input_tokens, record.output_tokens, record.cached_tokens = used.input, used.output, used.cached
    record.usage = "counted" if counted else "estimated"
    charge(target, record, used, counted=counted)


def charge(target: CloudTarget, record: AccessLogEntry, used: TokenUsage, *, counted: bool) -> None:
    """Add its cost, that of a try without an answer too, to what the request has cost."""
    if (cost := price(used, target.model)) is not None:
        metrics.COST.add((target.provider, target.model.name, "counted" if counted else "estimated"), cost)
        record.cost_usd = format((Decimal(record.cost_usd or 0) + cost).normalize(), "f")


def _usual(parsed: ParsedRequest) -> int:
    if not ENDPOINTS[parsed.path].output_tokens:
        return 0
    return min(parsed.facts.max_tokens or USUAL_ANSWER_TOKENS, USUAL_ANSWER_TOKENS)


def tokens_of(size: int) -> int:
    """What so many bytes of an answer are taken for."""
    return size // CHARACTERS_PER_TOKEN
