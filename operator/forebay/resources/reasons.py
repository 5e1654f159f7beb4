"""The closed lists of words: decision reasons, event reasons, condition types and their reasons.

A decision's reason is the same word in the answer's header, the metric's label, the log, the Event and the CLI.
"""

from enum import StrEnum


class Priority(StrEnum):
    """How urgent a request is. What a client may ask for at most stands in the Secret `forebay-clients`."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


class Capability(StrEnum):
    """What a request needs and a pool declares."""

    CLASSIFICATION = "classification"
    EXTRACTION = "extraction"
    REASONING = "reasoning"
    GENERAL = "general"


class Reason(StrEnum):
    """Why a request went where it went."""

    LOCAL_CAPACITY = "LocalCapacity"  # a capable pool has a free slot
    HIGH_PRIORITY_OVERFLOW = "HighPriorityOverflow"  # High, its pools are full -> primary
    ALL_POOLS_FULL = "AllPoolsFull"  # every local pool is full -> secondary
    CAPABLE_POOLS_FULL = "CapablePoolsFull"  # the same where the policy looks at capable pools only
    QUEUED = "Queued"  # waits locally
    QUEUE_EXPIRED = "QueueExpired"  # waited as long as it may -> what the policy's overflow allows
    CAPABILITY_GAP = "CapabilityGap"  # no local pool has the capability
    MODALITY_GAP = "ModalityGap"  # no local pool takes this input
    CONTEXT_LENGTH_GAP = "ContextLengthGap"  # no local pool takes this length
    NO_REPLICAS = "NoReplicas"  # the pools exist, nobody runs
    # Refusals.
    QUEUE_FULL = "QueueFull"
    LOCAL_ONLY = "LocalOnly"  # may not leave, and local cannot take it in time
    NO_POLICY = "NoPolicy"  # no CloudFallbackPolicy applies
    NOT_PORTABLE = "NotPortable"  # no provider model takes these fields, inputs or this length
    SUBSTITUTION_DENIED = "SubstitutionDenied"  # the client named a model, and the pool forbids another
    BUDGET_SPENT = "BudgetSpent"
    CLOUD_UNAVAILABLE = "CloudUnavailable"  # every provider of the tier failed or is limited
    MODEL_NOT_FOUND = "ModelNotFound"
    INVALID_REQUEST = "InvalidRequest"
    UNAUTHORIZED = "Unauthorized"
    CLIENT_LIMIT = "ClientLimit"  # the client's own requests in flight
    STATE_NOT_FOUND = "StateNotFound"  # stored state lives in a replica that is gone
    REPLICA_FAILED = "ReplicaFailed"  # failed before the first byte, and no other way was left
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    SHUTTING_DOWN = "ShuttingDown"


class ScaleReason(StrEnum):
    """Why the size of a pool changed, or did not."""

    INITIAL = "Initial"
    DEMAND_ABOVE_CAPACITY = "DemandAboveCapacity"
    DEMAND_BELOW_CAPACITY = "DemandBelowCapacity"
    WITHIN_CAPACITY = "WithinCapacity"
    QUIET_WINDOW = "QuietWindow"  # would shrink, the window has seen more
    MINIMUM = "AtMinimum"
    MAXIMUM = "AtMaximum"
    METRICS_STALE = "MetricsStale"  # hold
    REPLICAS_STARTING = "ReplicasStarting"  # never down while a start is pending
    MANUAL = "Manual"
    ADVISORY = "Advisory"
    CAPACITY_UNKNOWN = "CapacityUnknown"
    IDLE = "Idle"


class EventReason(StrEnum):
    """`reason` of the Events that the operator writes."""

    SCALED_UP = "ScaledUp"
    SCALED_DOWN = "ScaledDown"
    SCALE_LIMITED = "ScaleLimited"  # demand asks for more than maxReplicas
    SCALE_ADVISED = "ScaleAdvised"  # mode Advisory
    SCALE_RESTORED = "ScaleRestored"  # somebody changed the StatefulSet's size by hand
    OVERFLOW_STARTED = "OverflowStarted"
    OVERFLOW_STOPPED = "OverflowStopped"
    TEMPLATE_CHANGED = "TemplateChanged"
    ROUTERS_PROGRAMMED = "RoutersProgrammed"
    DRIFT_CORRECTED = "DriftCorrected"
    CREATED = "Created"
    REPLICA_CREATE_FAILED = "ReplicaCreateFailed"
    APPLY_FAILED = "ApplyFailed"
    INVALID_SPEC = "InvalidSpec"
    POLICY_NOT_FOUND = "PolicyNotFound"


class ConditionType(StrEnum):
    """`type` of a LocalModelPool's conditions. A CloudFallbackPolicy has Ready and RoutingProgrammed."""

    READY = "Ready"
    ROUTING_PROGRAMMED = "RoutingProgrammed"
    REPLICAS_CREATED = "ReplicasCreated"
    GPUS_AVAILABLE = "GPUsAvailable"
    METRICS_FRESH = "MetricsFresh"
    ROUTER_OUTDATED = "RouterOutdated"
    POD_TEMPLATE_ACCEPTED = "PodTemplateAccepted"


class ConditionReason(StrEnum):
    """`reason` of a condition."""

    PENDING = "Pending"  # not looked at yet
    # Ready
    REPLICAS_READY = "ReplicasReady"
    REPLICAS_STARTING = "ReplicasStarting"
    NO_REPLICAS_READY = "NoReplicasReady"
    SCALED_TO_ZERO = "ScaledToZero"
    INVALID_SPEC = "InvalidSpec"
    ACCEPTED = "Accepted"
    GATEWAY_UNAVAILABLE = "GatewayUnavailable"
    KEY_MISSING = "KeyMissing"
    PROVIDER_UNREACHABLE = "ProviderUnreachable"  # its name has no address, or one that nothing is sent to
    UNUSED = "Unused"
    # RoutingProgrammed
    ROUTERS_ACKNOWLEDGED = "RoutersAcknowledged"
    ROUTERS_BEHIND = "RoutersBehind"
    NO_ROUTERS = "NoRouters"
    TABLE_REFUSED = "TableRefused"
    # ReplicasCreated
    CREATED = "Created"
    CREATE_REFUSED = "CreateRefused"
    # GPUsAvailable
    SCHEDULED = "Scheduled"
    UNSCHEDULABLE = "Unschedulable"
    # MetricsFresh
    REPORTED = "Reported"
    STALE = "Stale"
    NO_REPLICAS = "NoReplicas"
    # RouterOutdated
    UP_TO_DATE = "UpToDate"
    OLDER_ROUTER = "OlderRouter"
    # PodTemplateAccepted
    MERGED = "Merged"
    REFUSED = "Refused"
    POLICY_NOT_FOUND = "PolicyNotFound"
