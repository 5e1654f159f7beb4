"""A line of the access log: what routers write, and what reports, replays and the CLI read. Data only."""

from typing import Annotated

from msgspec import Meta, Struct


class DecisionInputs(Struct, frozen=True, gc=False):
    """What a decision was made from: free slots of the capable pools, how old that knowledge was, who waited."""

    free_slots: int = 0
    report_age_seconds: float = 0.0
    queued: int = 0


class AccessLogEntry(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What is known of one request when it is over. Fields that have nothing to say are left out."""

    time: Annotated[float, Meta(description="when the answer was complete, in Unix seconds")] = 0.0
    request_id: Annotated[str, Meta(description="as in `x-forebay-request-id`")]
    trace_id: Annotated[str, Meta(description="of the W3C `traceparent`, where the request had a valid one")] = ""
    client: Annotated[str, Meta(description="name of the client's key, or `anonymous`")] = "anonymous"
    method: Annotated[str, Meta(description="HTTP method")] = ""
    path: Annotated[str, Meta(description="without its query; at most 200 characters")] = ""
    model: Annotated[str, Meta(description="the client's word, at most 64 characters")] = ""
    priority: Annotated[str, Meta(description="what counted: at most what the client may ask for")] = ""
    capability: Annotated[str, Meta(description="what the request was classified as")] = ""
    destination: Annotated[str, Meta(description="pool, or provider/model, or `none`")] = ""
    reason: Annotated[str, Meta(description="why it went there; one word of the list of reasons")] = ""
    decision_inputs: Annotated[
        DecisionInputs | None,
        Meta(
            description="what a gateway's decision was made from: `free_slots` for it in the pools that can serve it, "
            "`report_age_seconds` of that knowledge, `queued` there"
        ),
    ] = None
    status: Annotated[int, Meta(description="HTTP status; 499 when the client left before there was one")] = 0
    stream: Annotated[bool, Meta(description="whether a stream was asked for")] = False
    prompt_tokens: Annotated[int, Meta(description="an estimate: a token is taken for four characters")] = 0
    input_tokens: Annotated[int, Meta(description="of a provider's answer, cached ones included")] = 0
    output_tokens: Annotated[int, Meta(description="of a provider's answer")] = 0
    cached_tokens: Annotated[int, Meta(description="input tokens that the provider had in its cache")] = 0
    usage: Annotated[str, Meta(description="`counted` by the provider, or `estimated` where it did not say")] = ""
    cost_usd: Annotated[str, Meta(description="of a provider's answer, at the policy's prices; decimal")] = ""
    provider_request_id: Annotated[str, Meta(description="what the provider knows it by")] = ""
    queue_ms: Annotated[int, Meta(description="wait for a slot")] = 0
    first_token_ms: Annotated[int, Meta(description="from the request's first byte to the first content byte")] = 0
    duration_ms: Annotated[int, Meta(description="from the request's first byte to the answer's last")] = 0
    tries: Annotated[int, Meta(description="replicas and providers that it was sent to")] = 0
    problem: Annotated[str, Meta(description="what went wrong on the way, at most 200 characters")] = ""
