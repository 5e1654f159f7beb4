"""HTTP headers of forebay: what answers carry, what requests may carry, and what exists between routers only."""

from typing import Final

# On every answer.
DESTINATION: Final = "x-forebay-destination"  # pool name, or provider/model, or "none"
REASON: Final = "x-forebay-reason"  # one word of reasons.Reason
CAPABILITY: Final = "x-forebay-capability"
QUEUE_MS: Final = "x-forebay-queue-ms"
REQUEST_ID: Final = "x-forebay-request-id"
ANSWER_HEADERS: Final = (DESTINATION, REASON, CAPABILITY, QUEUE_MS, REQUEST_ID)

# What a client may send (documented). Every other x-forebay-* is dropped on the request port.
PRIORITY: Final = "x-forebay-priority"  # High | Normal | Low
TASK_TYPE: Final = "x-forebay-task-type"
COMPLEXITY: Final = "x-forebay-complexity-score"
SESSION: Final = "x-forebay-session"
CLOUD: Final = "x-forebay-cloud"  # Never: this request stays local
TIMEOUT_SECONDS: Final = "x-forebay-timeout-seconds"
REQUEST_HEADERS: Final = (PRIORITY, TASK_TYPE, COMPLEXITY, SESSION, CLOUD, TIMEOUT_SECONDS, REQUEST_ID)

# Between routers, on the control port only.
HOP: Final = "x-forebay-hop"  # 1: handed on once already, do not hand on again
CLIENT: Final = "x-forebay-client"  # client name the first router found
DEADLINE_MS: Final = "x-forebay-deadline-ms"  # time left
LIVE_TOKENS: Final = "x-forebay-live-tokens"  # estimate of what it will hold in the engine's cache
PREFIX: Final = "x-forebay-prefix"  # digest of its session, estimate of its prompt's tokens, 1 if it streams
OFFER: Final = "x-forebay-offer"  # the id of the slot offer that this request takes
AGE_MS: Final = "x-forebay-age-ms"  # time since the first router took it in
SLOT: Final = "x-forebay-slot"  # on a sidecar's refusal: Full | Draining | Starting | BackPressure | Failed | Late
