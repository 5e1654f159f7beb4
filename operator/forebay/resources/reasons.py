"""The closed lists of words: decision reasons, event reasons, condition types and their reasons.

A decision's reason is the same word in the answer's header, the metric's label, the log, the Event and the CLI.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.resources.documented_enum import DocumentedEnum


class Priority(DocumentedEnum):
    """How urgent a request is. What a client may ask for at most stands in the Secret `forebay-clients`."""

    HIGH = "High", "goes to the primary cloud as soon as its pools are full, and may use the reserved slots"
    NORMAL = "Normal", "waits while another pool has room, then goes to the secondary cloud"
    LOW = "Low", "waits; leaves only where the policy's `overflow.low` says so"


class Capability(DocumentedEnum):
    """What a request needs and a pool declares."""

    CLASSIFICATION = "classification", "one of a closed set; by the heuristic, a short answer (`max_tokens` below 200)"
    EXTRACTION = "extraction", "values or spans of a given text; `task_type` holds `extract`"
    REASONING = "reasoning", "several steps of inference; `complexity_score` above 0.7"
    GENERAL = "general", "everything else"


class Reason(DocumentedEnum):
    """Why a request went where it went."""

    LOCAL_CAPACITY = "LocalCapacity", "served locally: a capable pool had a free slot"
    QUEUED = "Queued", "served locally after it waited for a slot"
    HIGH_PRIORITY_OVERFLOW = "HighPriorityOverflow", "High, and its pools are full: primary cloud"
    ALL_POOLS_FULL = "AllPoolsFull", "every local pool of the same task is full: the cloud that `overflow` names"
    CAPABLE_POOLS_FULL = "CapablePoolsFull", "the same, where the policy says `fullWhen: CapablePoolsFull`"
    QUEUE_EXPIRED = "QueueExpired", "waited as long as it may: what `overflow` allows, else 429"
    CAPABILITY_GAP = "CapabilityGap", "no pool has the capability: what `onCapabilityGap` says, else 404"
    MODALITY_GAP = "ModalityGap", "no pool takes this kind of input: what `onCapabilityGap` says, else 400"
    CONTEXT_LENGTH_GAP = "ContextLengthGap", "longer than every pool's context: what `onCapabilityGap` says, else 400"
    NO_REPLICAS = "NoReplicas", "no replica serves: what `overflow` allows, else 503"
    # Refusals.
    QUEUE_FULL = "QueueFull", "429: as many wait as may"
    LOCAL_ONLY = "LocalOnly", "may not leave the cluster, and no slot came free in time"
    NO_POLICY = "NoPolicy", "no CloudFallbackPolicy applies, and no slot came free in time"
    NOT_PORTABLE = "NotPortable", "no provider's model takes its fields, its inputs or its length"
    SUBSTITUTION_DENIED = (
        "SubstitutionDenied",
        "it names a model, or asks for embeddings, and its pool has `overflow.substitute: Denied`",
    )
    CLOUD_UNAVAILABLE = "CloudUnavailable", "every provider of the tier failed or is limited"
    BUDGET_SPENT = "BudgetSpent", "what is left of the policy's budget is less than this request may cost"
    BUDGET_PACED = "BudgetPaced", "the policy's budget is spread over its period, and what is due by now is spent"
    BUDGET_HELD = "BudgetHeld", "this gateway has been granted nothing of the policy's budget that is enough for it yet"
    MODEL_NOT_FOUND = "ModelNotFound", "404: nobody here serves the model that it names"
    MODEL_REQUIRED = "ModelRequired", "400: it names no model, and answers of the different ones cannot be compared"
    INVALID_REQUEST = (
        "InvalidRequest",
        "400, 404 or 415: a body that does not parse or is compressed, or a path that is not served",
    )
    UNAUTHORIZED = "Unauthorized", "401: the control port asks for the fleet's token"
    CLIENT_LIMIT = "ClientLimit", "429: the client has as many requests in flight as its key allows"
    STATE_NOT_FOUND = (
        "StateNotFound",
        "404: no running replica has the response that `previous_response_id` or the path names",
    )
    REPLICA_FAILED = (
        "ReplicaFailed",
        "503: replicas failed before the first byte, and no other way was left, or engines broke off with its like",
    )
    DEADLINE_EXCEEDED = "DeadlineExceeded", "503: the client's time was over"


NO_MONEY: Final = (Reason.BUDGET_SPENT, Reason.BUDGET_PACED, Reason.BUDGET_HELD)
"""Why a request is not paid for, the firmest word first: where several models were too dear, the last of them holds."""


class ScaleReason(DocumentedEnum):
    """Why the size of a pool changed, or did not."""

    INITIAL = "Initial", "the first size: `spec.replicas` within the bounds"
    DEMAND_ABOVE_CAPACITY = "DemandAboveCapacity", "more requests at a time than its slots: grows"
    DEMAND_BELOW_CAPACITY = "DemandBelowCapacity", "fewer for the whole window: shrinks by one"
    WITHIN_CAPACITY = "WithinCapacity", "stays"
    QUIET_WINDOW = "QuietWindow", "would shrink, but the window has seen more demand"
    MINIMUM = "AtMinimum", "`scaling.minReplicas` holds"
    MAXIMUM = "AtMaximum", "`scaling.maxReplicas` holds"
    METRICS_STALE = "MetricsStale", "stays: a router's report is too old to shrink by"
    REPLICAS_STARTING = "ReplicasStarting", "stays: never down while a replica starts"
    MANUAL = "Manual", "mode Manual: `spec.replicas`"
    ADVISORY = "Advisory", "mode Advisory: only says what it would do"
    CAPACITY_UNKNOWN = "CapacityUnknown", "stays: no replica has said how many slots it has"
    IDLE = "Idle", "no request for `scaling.idleSecondsToZero`: no replica"
    ROLLOUT = "Rollout", "stays: never down while the template changes"
    REPLICA_UNPLACED = "ReplicaUnplaced", "stays: a replica has no node yet, and only one at a time is asked for"
    CLOUD_CHEAPER = "CloudCheaper", "what would leave costs less than a replica: not started, or given up"
    WITHDRAWN = (
        "Withdrawn",
        "a replica found no node and was withdrawn; asked for again after a while, or with more GPUs",
    )
    AWAITS_TURN = "AwaitsTurn", "stays: another pool asks for the same GPUs, and comes first"
    SHARED_DEMAND = (
        "SharedDemand",
        "stays: a pool that serves the same requests starts a replica that has room for them",
    )
    ASLEEP = "Asleep", "no replica yet: `scaling.wakeAfter` waits for more demand"


class CapacityBound(DocumentedEnum):
    """What decides how many requests one replica runs at a time."""

    OVERRIDE = "Override", "`capacity.slotsPerReplica`"
    MEMORY = "Memory", "its KV cache, divided by what nine in ten of the pool's requests stay below"
    LATENCY = "Latency", "with more, a token would take longer than the pool's target, by what the engine has shown"
    MAX_NUM_SEQS = "MaxNumSeqs", "the engine's `--max-num-seqs`"
    TABLE = "Table", "no engine has said anything yet: what its GPU and model are known for"
    UNKNOWN = "Unknown", "no engine has said enough yet, and GPU or model are not known; `unknown` says what is missing"
    BACK_PRESSURE = "BackPressure", "the engine answered 429 or 503 within the last minute"


class CapacityUnknown(DocumentedEnum):
    """Why nothing is known of how many requests one replica runs at a time."""

    NO_ENGINE = "NoEngine", "no engine of the pool has answered yet"
    NO_METRICS = "NoMetrics", "the engines serve, and their metrics cannot be read or have nothing of the engine's own"
    NO_CACHE_SIZE = (
        "NoCacheSize",
        "the engines do not say how large their KV cache is, and have not run at enough different loads to tell what a "
        "token takes",
    )


class EventReason(DocumentedEnum):
    """`reason` of the Events that the operator writes."""

    SCALED_UP = "ScaledUp", "the pool grew; with demand, capacity and window"
    SCALED_DOWN = "ScaledDown", "the pool shrank; with demand, capacity and window"
    SCALE_LIMITED = "ScaleLimited", "demand asks for more than `scaling.maxReplicas`"
    SCALE_ADVISED = "ScaleAdvised", "what mode Advisory would do"
    SCALE_HELD = "ScaleHeld", "demand asks for another size, and something is in the way; by the reason of the decision"
    REPLICA_UNPLACED = "ReplicaUnplaced", "no node takes a replica, or the API server refuses it; in their words"
    REPLICA_WITHDRAWN = "ReplicaWithdrawn", "a replica that found no node was given up; and when it is asked for again"
    SCALE_RESTORED = "ScaleRestored", "somebody changed the StatefulSet's size by hand; it was put back"
    OVERFLOW_STARTED = "OverflowStarted", "requests leave for the cloud, by reason"
    OVERFLOW_STOPPED = "OverflowStopped", "none has left for a while; how many did"
    TEMPLATE_CHANGED = "TemplateChanged", "the pod template changes, and why; replicas follow in turn"
    ROUTERS_PROGRAMMED = "RoutersProgrammed", "every ready router has the new routing table"
    DRIFT_CORRECTED = "DriftCorrected", "somebody changed an object of the operator's; it was put back"
    CREATED = "Created", "new objects"
    REPLICA_CREATE_FAILED = "ReplicaCreateFailed", "the API server refuses pods (quota, Pod Security, a webhook)"
    APPLY_FAILED = "ApplyFailed", "the API server refuses an object"
    INVALID_SPEC = "InvalidSpec", "the spec or its `podTemplate` cannot be used; nothing changes until it can"
    POLICY_NOT_FOUND = "PolicyNotFound", "`cloudFallbackPolicyRef` names a policy that does not exist"
    CAPACITY_CHANGED = "CapacityChanged", "replicas run more or fewer requests at a time than before, and why"
    GATEWAYS_FAILED = (
        "GatewaysFailed",
        "gateways of the fleet do not start; in the API server's, the scheduler's or the kubelet's words",
    )
    REPLICA_STUCK = "ReplicaStuck", "an engine answers its probes and makes no token; it gets no requests"
    ENGINE_UNSUPPORTED = "EngineUnsupported", "an engine says a version that forebay was not tried with; once for each"
    BUDGET_THRESHOLD = "BudgetThreshold", "so many percent of a policy's budget are spent; once in a period"
    BUDGET_SPENT = "BudgetSpent", "what is left of a policy's budget is too little for a request; once in a period"
    BUDGET_RENEWED = "BudgetRenewed", "a new period of a policy's budget has begun; and what the last one came to"
    LEASE_LOST = "LeaseLost", "a gateway is gone with money that it had been granted, which counts as spent"
    ADAPTER_REFUSED = "AdapterRefused", "an engine does not load a LoRA adapter; in its words"
    OPERATOR_WAITS = "OperatorWaits", "another operator is at work; about the Lease that both want"


class ConditionType(DocumentedEnum):
    """`type` of a LocalModelPool's conditions. A CloudFallbackPolicy has Ready, RoutingProgrammed and, with a budget,
    BudgetAvailable, which no pool has."""

    READY = "Ready", "a replica serves, or none is wanted; a policy: gateways can use it"
    ROUTING_PROGRAMMED = "RoutingProgrammed", "every ready router has acknowledged the routing table"
    GATEWAYS_READY = (
        "GatewaysReady",
        "as many gateways serve as are wanted, and the fleet has its Services, its token and its routing table; else "
        "the words of whoever refuses",
    )
    REPLICAS_CREATED = "ReplicasCreated", "the API server takes the pool's pods; else its own words"
    GPUS_AVAILABLE = (
        "GPUsAvailable",
        "every replica that is wanted has a node; else the words of the scheduler, or of the kubelet that refused it",
    )
    METRICS_FRESH = "MetricsFresh", "every router's report is recent"
    ROUTER_OUTDATED = "RouterOutdated", "True: replicas run an older router than the operator would give them"
    ENGINE_UNSUPPORTED = "EngineUnsupported", "True: an engine says a version that forebay was not tried with"
    ADAPTERS_LOADED = (
        "AdaptersLoaded",
        "every replica that serves has each of `model.adapters`; else the words of an engine that refuses one",
    )
    POD_TEMPLATE_ACCEPTED = "PodTemplateAccepted", "the spec's `podTemplate` could be merged"
    BUDGET_AVAILABLE = "BudgetAvailable", "requests of the policy may be paid from its budget, where it has one"


class ConditionReason(DocumentedEnum):
    """`reason` of a condition."""

    PENDING = "Pending", "not looked at yet"
    # Ready
    REPLICAS_READY = "ReplicasReady", "as many replicas serve as are wanted"
    REPLICAS_STARTING = "ReplicasStarting", "fewer serve than are wanted; others start"
    REPLICAS_MISSING = "ReplicasMissing", "fewer serve than are wanted, and something is in the way of the others"
    REPLICAS_STUCK = "ReplicasStuck", "an engine answers its probes and makes no token"
    ROLLOUT_STUCK = "RolloutStuck", "the new template's pods do not start; those of the old one serve"
    NO_REPLICAS_READY = "NoReplicasReady", "none serves, and something is in the way"
    SCALED_TO_ZERO = "ScaledToZero", "none is wanted"
    INVALID_SPEC = "InvalidSpec", "the spec is not understood"
    ACCEPTED = "Accepted", "the policy decides for pools"
    GATEWAY_UNAVAILABLE = "GatewayUnavailable", "no gateway is ready"
    KEY_MISSING = "KeyMissing", "a provider's API key is not mounted in the gateways"
    PROVIDER_UNREACHABLE = (
        "ProviderUnreachable",
        "nothing can be sent to a provider: its name has no address or a refused one, or its certificates, headers or "
        "proxy are missing or wrong",
    )
    UNUSED = "Unused", "no pool refers to the policy"
    # RoutingProgrammed
    ROUTERS_ACKNOWLEDGED = "RoutersAcknowledged", "every ready router has this generation"
    ROUTERS_BEHIND = "RoutersBehind", "some still have an older one"
    NO_ROUTERS = "NoRouters", "no gateway is ready"
    TABLE_REFUSED = "TableRefused", "a router refused the table and keeps its last good one"
    # GatewaysReady
    GATEWAYS_SERVE = "GatewaysServe", "as many gateways serve as are wanted"
    GATEWAYS_STARTING = "GatewaysStarting", "fewer serve than are wanted; others start"
    GATEWAYS_MISSING = "GatewaysMissing", "fewer serve than are wanted, and something is in the way of the others"
    NO_GATEWAYS_READY = "NoGatewaysReady", "no gateway serves, and something is in the way"
    OBJECTS_REFUSED = "ObjectsRefused", "the API server refuses an object that the fleet shares"
    # ReplicasCreated
    CREATED = "Created", "all pods that are asked for exist"
    NOT_ASKED_FOR = "NotAskedFor", "a replica is wanted and none is asked for; GPUsAvailable says why"
    CREATE_REFUSED = "CreateRefused", "the API server refuses pods or objects"
    # GPUsAvailable
    SCHEDULED = "Scheduled", "every replica has a node"
    UNSCHEDULABLE = "Unschedulable", "no node takes a replica"
    SCHEDULING_GATED = "SchedulingGated", "a scheduling gate holds a replica; whoever put it there lifts it"
    WITHDRAWN = "Withdrawn", "demand asks for another replica, which found no node; it is asked for again after a while"
    AWAITS_TURN = "AwaitsTurn", "demand asks for another replica; another pool asks for the same GPUs first"
    # MetricsFresh
    REPORTED = "Reported", "routers report"
    STALE = "Stale", "a router has not reported for too long"
    NO_REPLICAS = "NoReplicas", "there is no router to hear of"
    # RouterOutdated
    UP_TO_DATE = "UpToDate", "replicas run this release's router"
    OLDER_ROUTER = "OlderRouter", "they change with the pool's next change of spec, or as `rollout.adoptRouter` says"
    # EngineUnsupported
    SUPPORTED_VERSION = "SupportedVersion", "every engine says a version that forebay was tried with"
    UNSUPPORTED_VERSION = "UnsupportedVersion", "one is older or newer; the message says which versions are supported"
    VERSION_UNKNOWN = "VersionUnknown", "an engine does not say its version"
    NOT_ASKED = "NotAsked", "no engine was asked for its version yet"
    # BudgetAvailable
    WITHIN_BUDGET = "WithinBudget", "there is money"
    NEAR_LIMIT = "NearLimit", "the last threshold but one that Events tell of is passed"
    BUDGET_PACED = "Paced", "what is due by now is spent; more becomes available with time"
    BUDGET_SPENT = "Spent", "what is left is too little for a request"
    BUDGET_HELD = "Held", "nothing is granted now; the message says why"
    # AdaptersLoaded
    LOADED = "Loaded", "the engines list every adapter"
    NO_ADAPTERS = "NoAdapters", "the pool names none"
    ADAPTERS_LOADING = "AdaptersLoading", "an engine does not list one yet"
    ADAPTER_REFUSED = "AdapterRefused", "an engine refuses one; it is asked again after a while"
    ADAPTERS_AT_START = (
        "AdaptersAtStart",
        "engines start with their adapters: `engine.args` name them, or ask for several API servers, or the pod "
        "template is one of an older release",
    )
    # PodTemplateAccepted
    MERGED = "Merged", "the pod template is as the spec asks"
    REFUSED = "Refused", "it contradicts what forebay needs; the message says where"
    POLICY_NOT_FOUND = "PolicyNotFound", "`cloudFallbackPolicyRef` names a policy that does not exist"


POLICY_CONDITIONS: Final = (ConditionType.READY, ConditionType.ROUTING_PROGRAMMED)
"""The conditions of every CloudFallbackPolicy; one with a budget has BudgetAvailable as well."""
POOL_CONDITIONS: Final = tuple(kind for kind in ConditionType if kind is not ConditionType.BUDGET_AVAILABLE)
"""The conditions of a LocalModelPool."""
_C: Final = ConditionReason
CONDITION_REASONS: Final[Mapping[ConditionType, tuple[ConditionReason, ...]]] = MappingProxyType({
    ConditionType.READY: (
        _C.REPLICAS_READY, _C.REPLICAS_STARTING, _C.REPLICAS_MISSING, _C.REPLICAS_STUCK, _C.ROLLOUT_STUCK,
        _C.NO_REPLICAS_READY, _C.SCALED_TO_ZERO, _C.INVALID_SPEC, _C.ACCEPTED,
        _C.GATEWAY_UNAVAILABLE, _C.KEY_MISSING, _C.PROVIDER_UNREACHABLE,
        _C.UNUSED,
    ),
    ConditionType.ROUTING_PROGRAMMED: (
        _C.ROUTERS_ACKNOWLEDGED, _C.ROUTERS_BEHIND, _C.NO_ROUTERS, _C.TABLE_REFUSED, _C.POLICY_NOT_FOUND, _C.PENDING,
    ),
    ConditionType.GATEWAYS_READY: (
        _C.GATEWAYS_SERVE, _C.GATEWAYS_STARTING, _C.GATEWAYS_MISSING, _C.NO_GATEWAYS_READY, _C.OBJECTS_REFUSED,
        _C.ROLLOUT_STUCK, _C.PENDING,
    ),
    ConditionType.REPLICAS_CREATED: (
        _C.CREATED, _C.CREATE_REFUSED, _C.NOT_ASKED_FOR, _C.SCALED_TO_ZERO, _C.INVALID_SPEC, _C.PENDING,
    ),
    ConditionType.GPUS_AVAILABLE: (
        _C.SCHEDULED, _C.UNSCHEDULABLE, _C.SCHEDULING_GATED, _C.WITHDRAWN, _C.AWAITS_TURN, _C.SCALED_TO_ZERO,
        _C.INVALID_SPEC, _C.PENDING,
    ),
    ConditionType.METRICS_FRESH: (_C.REPORTED, _C.STALE, _C.NO_REPLICAS),
    ConditionType.ROUTER_OUTDATED: (_C.UP_TO_DATE, _C.OLDER_ROUTER, _C.INVALID_SPEC),
    ConditionType.ENGINE_UNSUPPORTED: (
        _C.SUPPORTED_VERSION, _C.UNSUPPORTED_VERSION, _C.VERSION_UNKNOWN, _C.NOT_ASKED,
    ),
    ConditionType.BUDGET_AVAILABLE: (
        _C.WITHIN_BUDGET, _C.NEAR_LIMIT, _C.BUDGET_PACED, _C.BUDGET_SPENT, _C.BUDGET_HELD,
    ),
    ConditionType.ADAPTERS_LOADED: (
        _C.LOADED, _C.NO_ADAPTERS, _C.ADAPTERS_LOADING, _C.ADAPTER_REFUSED, _C.ADAPTERS_AT_START, _C.NO_REPLICAS,
        _C.INVALID_SPEC,
    ),
    ConditionType.POD_TEMPLATE_ACCEPTED: (_C.MERGED, _C.REFUSED, _C.INVALID_SPEC),
})  # fmt: skip
"""The reasons that each condition may have."""
