"""What a request at a provider used and cost: into the metrics and its line of the access log."""

from forebay.resources.access_log import AccessLogEntry
from forebay.router import metrics
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.prompt_content import CHARACTERS_PER_TOKEN
from forebay.rules.endpoints import ENDPOINTS, operation
from forebay.rules.facts import CloudTarget
from forebay.rules.spending import TokenUsage, price


def account(
    target: CloudTarget, parsed: ParsedRequest, record: AccessLogEntry, usage: TokenUsage | None, *, output: int
) -> TokenUsage:
    """Count an answer that the client got, whole or in part. Returns what was counted.

    Without the provider's own count (a cut stream, a client that left) its cost is estimated, from the prompt's length
    and `output` tokens; the metrics of tokens hold only what providers counted.
    """
    counted = usage or TokenUsage(parsed.facts.prompt_tokens, output)
    provider, model = target.provider, target.model.name
    if usage is not None:
        what = operation(parsed.path)
        metrics.TOKENS.observe((what, provider, model, "input"), usage.input)
        if ENDPOINTS[parsed.path].output_tokens:
            metrics.TOKENS.observe((what, provider, model, "output"), usage.output)
        if usage.cached:
            metrics.CACHED_TOKENS.labels(provider, model).inc(usage.cached)
    record.input_tokens, record.output_tokens, record.cached_tokens = counted.input, counted.output, counted.cached
    record.usage = "counted" if usage is not None else "estimated"
    if (cost := price(counted, target.model)) is not None:
        metrics.COST.add((provider, model, record.usage), cost)
        record.cost_usd = format(cost.normalize(), "f")
    return counted


def tokens_of(size: int) -> int:
    """What so many bytes of an answer are taken for."""
    return size // CHARACTERS_PER_TOKEN
