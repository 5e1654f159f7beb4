"""`CloudFallbackPolicy`: which cloud models stand behind the local fleet, and when they may be used."""

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from forebay.resources.fields import (
    LIST_ATOMIC,
    LIST_SET,
    Condition,
    ModelName,
    Money,
    Name,
    Resource,
    Rule,
    SecretKey,
    list_map,
    says,
)
from forebay.resources.terms import CloudUse, FullWhen, GapAction, MaxTokensField, Modality, OverflowTo, Task, Transport


def _reachable(url: str) -> str:
    """What no pattern sees: a port above 65535, half an IPv6 address."""
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"{url} is no URL that anybody can be reached at: {error}") from error
    if port == 0:
        raise ValueError(f"{url} names port 0, which nobody listens on")
    return url


BASE_URL = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"


class ProviderModel(Resource):
    """One model of a provider: what it costs, and what it takes."""

    name: ModelName
    """Name that the provider knows it by."""
    task: Task = Task.GENERATE
    """What it does. Embeddings go only to a model that makes them; those of two models cannot be compared."""
    input_price: Money | None = None
    """US dollars for a million input tokens."""
    cached_input_price: Money | None = None
    """US dollars for a million input tokens that the provider had in its cache. Empty: as inputPrice."""
    output_price: Money | None = None
    """US dollars for a million output tokens."""
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Longest context in tokens. Empty: not checked."""
    inputs: Annotated[list[Modality], Field(min_length=1, max_length=3, json_schema_extra=LIST_SET)] = [Modality.TEXT]
    """Kinds of input the model takes."""
    max_tokens_field: MaxTokensField = MaxTokensField.MAX_TOKENS
    """What this model calls the token limit."""
    drop_fields: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32, json_schema_extra=LIST_SET)
    ] = []
    """Request fields that the provider refuses and that may be left out."""
    accept_fields: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=64, json_schema_extra=LIST_SET)
    ] = []
    """Request fields beyond OpenAI's API that this model takes as vLLM does, for example top_k."""


class Limits(Resource):
    """What one gateway may send to a provider."""

    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most requests in flight."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests a minute. Empty: no limit."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Most tokens a minute, input and output together; estimated until the provider has counted. Empty: no limit."""


class Timeouts(Resource):
    """Bounds of a provider's answer."""

    connect_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    """To connect."""
    first_token_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    """To the first byte of the answer."""
    between_chunks_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Between two pieces of a stream."""
    total_seconds: Annotated[int, Field(ge=1, le=3600)] = 600
    """For the whole answer."""


class Provider(Resource):
    """An OpenAI-compatible API."""

    name: Name
    """Name inside this policy."""
    base_url: Annotated[
        str,
        Field(
            alias="baseURL",
            min_length=8,
            max_length=1024,
            pattern=BASE_URL,
            json_schema_extra=says(
                BASE_URL, "baseURL is a URL such as https://api.example.com/v1, without user, query or fragment"
            ),
        ),
        AfterValidator(_reachable),
    ]
    """Base URL as an OpenAI client takes it, usually ending in /v1."""
    transport: Transport = Transport.HTTPS
    """HTTPS, or HTTP for a provider inside the cluster."""
    api_key_secret_ref: SecretKey | None = None
    """Secret with the API key; mounted in the gateways only. Empty: no key is sent."""
    models: Annotated[list[ProviderModel], Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))]
    """Models of this provider that may be used."""
    limits: Limits = Limits()
    """What one gateway may send."""
    timeouts: Timeouts = Timeouts()
    """Bounds of an answer."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.baseURL.startsWith('https://') || self.transport == 'HTTP'",
            "baseURL must start with https://; for a provider inside the cluster set transport: HTTP as well",
        ),
    )


class Target(Resource):
    """One provider model."""

    provider: Name
    """Name of the provider."""
    model: ModelName
    """Name of its model."""


Targets = Annotated[list[Target], Field(max_length=8, json_schema_extra=LIST_ATOMIC)]


class OverflowRules(Resource):
    """What may overflow, by priority."""

    full_when: FullWhen = FullWhen.ALL_POOLS_FULL
    """When Normal and Low count as having no local slot."""
    high: OverflowTo = OverflowTo.PRIMARY
    """High requests, as soon as the pools that could serve them are full."""
    normal: OverflowTo = OverflowTo.SECONDARY
    """Normal requests, once local is full."""
    low: OverflowTo = OverflowTo.QUEUE
    """Low requests, once local is full."""


class PolicySpec(Resource):
    """What the cloud may be used for."""

    providers: Annotated[list[Provider], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    """Providers."""
    primary: Targets = []
    """For High requests: provider models in order; the next one is used when one fails or is limited."""
    secondary: Targets = []
    """For the others: provider models in order."""
    overflow: OverflowRules = OverflowRules()
    """What may overflow."""
    on_capability_gap: GapAction = GapAction.CLOUD
    """What happens to a request that no pool can serve: its capability, kind of input or length fits none of them.
    Cloud: High goes to `primary`, the others to `secondary`. Queue: it waits for such a pool. Reject: 404 or 400."""
    cloud: CloudUse = CloudUse.ALLOWED
    """Never switches the cloud off for the requests that this policy decides."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.primary.all(t,"
            " self.providers.exists(p, p.name == t.provider && p.models.exists(m, m.name == t.model)))",
            "primary names a provider or model that is not in providers: add it there, or correct the name",
        ),
        Rule(
            "self.secondary.all(t,"
            " self.providers.exists(p, p.name == t.provider && p.models.exists(m, m.name == t.model)))",
            "secondary names a provider or model that is not in providers: add it there, or correct the name",
        ),
        Rule(
            "size(self.primary) + size(self.secondary) > 0",
            "primary and secondary are both empty: name at least one provider model",
        ),
        Rule(
            "self.overflow.high != 'Primary' || size(self.primary) > 0",
            "overflow.high is Primary but primary is empty: fill primary, or set overflow.high to Secondary or Queue",
        ),
        Rule(
            "self.overflow.normal != 'Secondary' || size(self.secondary) > 0",
            "overflow.normal is Secondary but secondary is empty: fill secondary, or set overflow.normal to Queue",
        ),
    )


class PolicyStatus(Resource):
    """What the policy does."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation that this status speaks of."""
    table_generation: int = 0
    """Generation of the routing table that holds this policy."""
    pools: int = 0
    """Pools that this policy decides for."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Conditions."""
