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
from forebay.resources.kubernetes_fields import GatewaySpec
from forebay.resources.policy_budget import BudgetStatus, PolicyBudget
from forebay.resources.reach import PROVIDER_RULES, HeaderName, Headers, Proxy, Query, Scheme, Tls
from forebay.resources.terms import (
    USUAL_APIS,
    Api,
    CloudUse,
    FullWhen,
    GapAction,
    MaxTokensField,
    Modality,
    OnDisconnect,
    OverflowTo,
    Task,
    Tier,
    Transport,
)
from forebay.resources.tiers import TARGET_FIELDS


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


class PriceTier(Resource):
    """Prices that hold for some of a model's answers instead of its own. Of those that fit, one with `serviceTier` goes
    before one without, then the highest `aboveTokens`."""

    service_tier: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    """Service tier that the answer names, for example `priority` or `flex`. Empty: any."""
    above_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Input tokens that a request has to exceed for these prices to hold. 0: any number."""
    input_price: Money
    """Price of one million input tokens of such an answer in US dollars, as a decimal string."""
    cached_input_price: Money | None = None
    """Price of one million input tokens read from the provider's prompt cache for such an answer. Empty: this row's
    `inputPrice`."""
    cache_write_price: Money | None = None
    """Price of one million input tokens written into the provider's prompt cache for such an answer. Empty: this row's
    `inputPrice`."""
    output_price: Money
    """Price of one million output tokens of such an answer in US dollars, as a decimal string."""


class ProviderModel(Resource):
    """One model of a provider: its name, its prices, and which requests it accepts."""

    name: ModelName
    """Name of the model in the provider's API."""
    task: Task = Task.GENERATE
    """API that the provider's model serves: Generate for chat and completions, Embed for embeddings,
    Score for reranking, Transcribe for audio files. Vectors of
    different embedding models cannot be compared."""
    input_price: Money | None = None
    """Price of one million input tokens in US dollars, as a decimal string."""
    cached_input_price: Money | None = None
    """Price of one million input tokens that the provider read from its prompt cache, in US dollars. Empty: the same as
    `inputPrice`."""
    cache_write_price: Money | None = None
    """Price of one million input tokens that the provider wrote into its prompt cache, in US dollars. Empty: the same
    as `inputPrice`."""
    output_price: Money | None = None
    """Price of one million output tokens in US dollars, as a decimal string."""
    price_tiers: Annotated[list[PriceTier], Field(max_length=8, json_schema_extra=LIST_ATOMIC)] = []
    """Prices by service tier and length of the prompt, where they differ from the model's own."""
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Longest context of the provider's model, in tokens. Longer requests are not sent to it. Empty: the length is not
    checked."""
    answer_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Limit of output tokens that is sent with requests that name none. It bounds what such a request can cost. Empty:
    none is sent."""
    inputs: Annotated[list[Modality], Field(min_length=1, max_length=3, json_schema_extra=LIST_SET)] = [Modality.TEXT]
    """Kinds of input that the provider's model accepts. Requests with another kind are not sent to it."""
    max_tokens_field: MaxTokensField = MaxTokensField.MAX_TOKENS
    """Request field in which the provider's model expects the limit of output tokens."""
    drop_fields: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32, json_schema_extra=LIST_SET)
    ] = []
    """Request fields that the provider refuses and that are removed before a request is sent to it."""
    accept_fields: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=64, json_schema_extra=LIST_SET)
    ] = []
    """Request fields beyond OpenAI's API that the provider's model accepts with vLLM's meaning, for example `top_k`."""
    apis: Annotated[list[Api], Field(min_length=1, max_length=8, json_schema_extra=LIST_SET)] = list(USUAL_APIS)
    """APIs that the provider's model speaks under `baseURL`. A request of another API is not sent to it: nothing is
    translated. Messages is Anthropic's, Rerank that of Cohere and Jina."""


class Limits(Resource):
    """What one gateway may send to a provider."""

    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most requests that one gateway has in flight at the provider."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests that one gateway sends to the provider in a minute. Empty: no limit."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Most input and output tokens that one gateway uses at the provider in a minute. They are estimated until the
    provider has counted them. Empty: no limit."""


class Timeouts(Resource):
    """Timeouts of requests to a provider."""

    connect_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    """Longest time to connect to the provider, in seconds."""
    first_token_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    """Longest time until the first byte of the provider's answer, in seconds."""
    between_chunks_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Longest pause between two chunks of a stream from the provider, in seconds."""
    total_seconds: Annotated[int, Field(ge=1, le=3600)] = 600
    """Longest time for the whole answer of the provider, in seconds."""
    idle_seconds: Annotated[int, Field(ge=1, le=600)] = 5
    """Longest time that an unused connection to the provider is kept, in seconds."""


class Provider(Resource):
    """One OpenAI-compatible API, and the models that may be used there."""

    name: Name
    """Name of the provider in this policy; `primary` and `secondary` refer to it."""
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
    """Base URL of the provider's API as OpenAI clients take it, usually ending in /v1."""
    transport: Transport = Transport.HTTPS
    """How gateways connect to the provider: HTTPS, or HTTP for a provider inside the cluster."""
    api_key_secret_ref: SecretKey | None = None
    """Secret key that holds the API key of the provider. Only gateways mount it. Empty: no key is sent."""
    api_key_header: HeaderName | None = None
    """Header that carries the API key, for example `api-key` or `x-api-key`. Empty: `Authorization`."""
    api_key_prefix: Scheme | None = None
    """Word before the API key in its header. Left out: `Bearer` in `Authorization`, none in any other header. An empty
    string: none."""
    headers: Headers | None = None
    """Headers that every request to the provider carries besides forebay's own, for example `anthropic-version`."""
    query: Query | None = None
    """Query parameters of every request to the provider, for example `api-version`."""
    tls: Tls | None = None
    """Private authority of the provider and certificate of the gateways. Empty: what the system trusts, and none."""
    proxy: Proxy | None = None
    """Name of an egress proxy from the chart's `cloud.proxies`. Then the proxy looks up the provider's name, and only
    the proxy's own address is checked. Empty: connections are direct."""
    on_disconnect: OnDisconnect = OnDisconnect.STOPS
    """What the provider does, and bills, when a stream's connection is closed before its end: Stops, or Continues to
    the end. Costs of streams that clients leave are estimated by it."""
    models: Annotated[list[ProviderModel], Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))]
    """Models of the provider that requests may be sent to."""
    limits: Limits = Limits()
    """Limits on what one gateway sends to the provider."""
    timeouts: Timeouts = Timeouts()
    """Timeouts of requests to the provider."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.baseURL.startsWith('https://') || self.?transport.orValue('HTTPS') == 'HTTP'",
            "baseURL must start with https://; for a provider inside the cluster set transport: HTTP as well",
        ),
        *PROVIDER_RULES,
    )


class Target(Resource):
    """One model of one provider."""

    provider: Name
    """Name of a provider in `providers`."""
    model: ModelName
    """Name of a model that the provider lists in its `models`."""


Targets = Annotated[list[Target], Field(max_length=8, json_schema_extra=LIST_ATOMIC)]


class OverflowRules(Resource):
    """Where requests of each priority go when local pools are full."""

    full_when: FullWhen = FullWhen.ALL_POOLS_FULL
    """When Normal and Low requests may overflow. AllPoolsFull: every pool of the same task is full. CapablePoolsFull:
    every pool that can serve the request is full."""
    high: OverflowTo = OverflowTo.PRIMARY
    """Where High requests go as soon as every pool that can serve them is full."""
    normal: OverflowTo = OverflowTo.SECONDARY
    """Where Normal requests go once local pools are full, as `fullWhen` defines it."""
    low: OverflowTo = OverflowTo.QUEUE
    """Where Low requests go once local pools are full, as `fullWhen` defines it."""


class PolicySpec(Resource):
    """Which cloud models requests may be sent to, and when."""

    providers: Annotated[list[Provider], Field(max_length=16, json_schema_extra=list_map("name"))] = []
    """Cloud providers, which `primary` and `secondary` refer to. A policy with `cloud: Never` needs none."""
    primary: Targets = []
    """Provider models of the primary tier, in order of preference; High requests use it by default. When one fails or
    is limited, the next one is tried."""
    secondary: Targets = []
    """Provider models of the secondary tier, in order of preference; Normal requests use it by default. When one fails
    or is limited, the next one is tried."""
    overflow: OverflowRules = OverflowRules()
    """Where requests of each priority go when local pools are full."""
    on_capability_gap: GapAction = GapAction.CLOUD
    """What happens to a request whose capability, kind of input or length no local pool serves. Cloud: High requests go
    to `primary`, others to `secondary`. Queue: they wait for such a pool. Reject: they get 404 or 400."""
    cloud: CloudUse = CloudUse.ALLOWED
    """Whether requests that this policy decides may leave the cluster. Never: none of them does, whatever the other
    fields say."""
    budget: PolicyBudget | None = None
    """Most that requests may cost at providers in a period. Every model in `primary` and `secondary` needs prices then.
    Empty: no limit."""
    gateway: GatewaySpec | None = None
    """How the gateways of this namespace run, in the policy `default` alone. Empty: as the chart says."""

    def targets(self, tier: Tier) -> list[Target]:
        """A tier's provider models, in order."""
        found: list[Target] = getattr(self, TARGET_FIELDS[tier])
        return found

    RULES: ClassVar[tuple[Rule, ...]] = (
        *(
            Rule(
                f"self.{field}.all(t,"
                " self.providers.exists(p, p.name == t.provider && p.models.exists(m, m.name == t.model)))",
                f"{field} names a provider or model that is not in providers: add it there, or correct the name",
            )
            for field in TARGET_FIELDS.values()
        ),
        Rule(
            "size(self.primary) + size(self.secondary) > 0 || self.cloud == 'Never'",
            "primary and secondary are both empty: name at least one provider model, or set cloud: Never",
        ),
        Rule(
            "self.overflow.high != 'Primary' || size(self.primary) > 0 || self.cloud == 'Never'",
            "overflow.high is Primary but primary is empty: fill primary, or set overflow.high to Secondary or Queue",
        ),
        Rule(
            "self.overflow.normal != 'Secondary' || size(self.secondary) > 0 || self.cloud == 'Never'",
            "overflow.normal is Secondary but secondary is empty: fill secondary, or set overflow.normal to Queue",
        ),
        *(
            Rule(
                f"!has(self.budget) || self.{field}.all(t, self.providers.exists(p, p.name == t.provider"
                " && p.models.exists(m, m.name == t.model && has(m.inputPrice) && has(m.outputPrice))))",
                f"budget counts money, and a model in {field} has no price: give it inputPrice and outputPrice",
            )
            for field in TARGET_FIELDS.values()
        ),
    )


class PolicyStatus(Resource):
    """What the operator last observed of the policy."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the policy that the status describes."""
    table_generation: int = 0
    """Generation of the routing table that carries this policy to the gateways."""
    budget: BudgetStatus | None = None
    """How the policy's budget stands. Empty: it has none."""
    pools: int = 0
    """Number of pools whose requests this policy decides."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Latest conditions of the policy: Ready, RoutingProgrammed, and BudgetAvailable where it has a budget."""
