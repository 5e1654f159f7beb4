"""HTTP headers of forebay: what answers carry, what requests may carry, and what exists between routers only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# On every answer.
DESTINATION: Final = "x-forebay-destination"
REASON: Final = "x-forebay-reason"
CAPABILITY: Final = "x-forebay-capability"
QUEUE_MS: Final = "x-forebay-queue-ms"
REQUEST_ID: Final = "x-forebay-request-id"
COMMON_REQUEST_ID: Final = "x-request-id"
ANSWER_HEADERS: Final[Mapping[str, str]] = MappingProxyType({
    DESTINATION: "where it was served: the pool, or provider/model; `none` for a refusal",
    REASON: "why; one word of the list below",
    CAPABILITY: "what the request was classified as",
    QUEUE_MS: "how long it waited for a slot, in milliseconds",
    REQUEST_ID: "the request's id, also in the access log",
    COMMON_REQUEST_ID: "the same id, under the name that OpenAI's clients show",
    "retry-after": "on 429 and 503: seconds after which there may be room, between 1 and 60",
})  # fmt: skip
"""With their meaning; on every answer of the API but the last."""

# What a client may send (documented). Every other x-forebay-* is dropped on the request port.
PRIORITY: Final = "x-forebay-priority"
TASK_TYPE: Final = "x-forebay-task-type"
COMPLEXITY: Final = "x-forebay-complexity-score"
SESSION: Final = "x-forebay-session"
CLOUD: Final = "x-forebay-cloud"
TIMEOUT_SECONDS: Final = "x-forebay-timeout-seconds"
REQUEST_HEADERS: Final[Mapping[str, str]] = MappingProxyType({
    PRIORITY: "`High`, `Normal` or `Low`; at most what the client's key allows. Else the body's `service_tier`: "
              "`priority` and `flex` count as High and Low",
    TASK_TYPE: "for example `extract`; also `metadata.task_type`",
    COMPLEXITY: "0 to 1; also `metadata.complexity_score`",
    SESSION: "keeps a session on one replica. Else the body's `prompt_cache_key`, or the session in "
             "Anthropic's `metadata.user_id`, else client and opening words "
             "([more](affinity.md))",
    CLOUD: "`Never`: this request stays in the cluster",
    TIMEOUT_SECONDS: "how long the client waits at most",
    REQUEST_ID: "a printable word of at most 128 characters that becomes the request's id. Else `x-request-id`, else a "
                "new one",
})  # fmt: skip
"""With their meaning."""
KEY_HEADERS: Final[Mapping[str, str]] = MappingProxyType({
    "authorization": "`Bearer` and the client's key, as in the Secret `forebay-clients`",
    "x-api-key": "the key where Anthropic's clients put it",
    "api-key": "the key where Azure's clients put it",
    "x-goog-api-key": "the key where Google's clients put it; of several keys the first one that is known counts",
})  # fmt: skip
"""Where a client's key is looked for, in this order. None of them goes further."""
PASSED_HEADERS: Final[Mapping[str, str]] = MappingProxyType({
    "traceparent": "with `tracestate`, unchanged to engine and provider; dropped when it is malformed, never made up",
    "baggage": "to the engine only",
})  # fmt: skip
"""What happens to headers that are not forebay's own. All others go to the engine and to no provider, but for
those that let somebody in (router/http/credential_names.py): they go nowhere."""

RETRY_COUNT: Final = "x-stainless-retry-count"
"""How OpenAI's clients say that they send a request once more; it counts as demand the first time alone."""

# Between routers, on the control port only.
HOP: Final = "x-forebay-hop"  # 1: handed on once already, do not hand on again
CLIENT: Final = "x-forebay-client"  # client name the first router found
PEER: Final = "x-forebay-peer"  # address of a client without a key, as the first router saw it
DEADLINE_MS: Final = "x-forebay-deadline-ms"  # time left
LIVE_TOKENS: Final = "x-forebay-live-tokens"  # what it will hold in the engine's cache; and its sequences, if several
PREFIX: Final = "x-forebay-prefix"  # digest of its session, estimate of its prompt's tokens, 1 if it streams
OFFER: Final = "x-forebay-offer"  # the id of the slot offer that this request takes
AGE_MS: Final = "x-forebay-age-ms"  # time since the first router took it in
SLOT: Final = "x-forebay-slot"  # on a sidecar's refusal: Full | Draining | Starting | BackPressure | Failed | Late
