"""The status of a `LocalModelPool`: what it is, and what a restarted operator needs in order to go on."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.fields import LIST_ATOMIC, Condition, Resource, list_map

Decimal = Annotated[str, Field(max_length=40, pattern=r"^\d+(\.\d+)?$")]
"""A number that is not negative, as a string: no floating point in the API."""


class ReplicaCount(Resource):
    """A change of the pool's size, or what prevented one; then both sizes are the same."""

    time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """Time of the decision, as an RFC 3339 timestamp."""
    from_replicas: int = 0
    """Number of replicas before the decision."""
    to_replicas: int = 0
    """Number of replicas after the decision."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why the size changed or could not change, one word of the list of size reasons."""
    demand: Annotated[str, Field(max_length=20)] = "0"
    """Concurrent requests that wanted the pool at the time of the decision."""
    capacity: int = 0
    """Slots of one replica that Normal requests could use at the time of the decision."""
    wanted: int = 0
    """Number of replicas that demand asked for at the time of the decision."""
    window_seconds: int = 0
    """Stabilization window that demand was judged by, in seconds."""


class ScalingHistory(Resource):
    """What the operator remembers of a pool across restarts."""

    peaks: Annotated[list[int], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """Most replicas that demand needed in each of the last minutes, oldest first."""
    peaks_until: Annotated[int, Field(ge=0)] = 0
    """Unix time in minutes of the last entry of `peaks`, `means` and `variances`."""
    means: Annotated[list[Decimal], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """Mean demand in each minute of `peaks`, in concurrent requests."""
    variances: Annotated[list[Decimal], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """Variance of demand around its mean within each minute of `peaks`."""
    first_replicas: int = 0
    """Initial number of replicas while they are still being asked for, one by one; else 0."""
    cold_starts: Annotated[list[int], Field(max_length=10, json_schema_extra=LIST_ATOMIC)] = []
    """Durations of the last cold starts in seconds, newest last."""
    unplaced_since: Annotated[int, Field(ge=0)] = 0
    """Unix time in seconds since when a replica has no node. 0: every replica has one."""
    withdrawals: Annotated[int, Field(ge=0)] = 0
    """Number of times in a row that a replica was withdrawn because no node took it."""
    withdrawn_at: Annotated[int, Field(ge=0)] = 0
    """Unix time in seconds at which a replica was last withdrawn."""
    retry_at: Annotated[int, Field(ge=0)] = 0
    """Unix time in seconds before which a withdrawn replica is not asked for again, unless there are more GPUs."""
    wanted_since: Annotated[int, Field(ge=0)] = 0
    """Unix time in seconds since when requests want a pool at zero replicas. 0: none does."""
    wanted_cost: Decimal = "0"
    """Cost in US dollars of the cloud requests that wanted a pool at zero replicas since `wantedSince`."""


MOVED: Final = tuple(field.alias or name for name, field in ScalingHistory.model_fields.items())
"""What the first release wrote beside the decisions. The schema keeps such fields until the operator has moved them."""


class ScalingStatus(Resource):
    """What scaling last decided, and why."""

    demand: Annotated[str, Field(max_length=20)] = "0"
    """Concurrent requests that want the pool now: running, queued, and those that left for lack of a slot."""
    capacity: int = 0
    """Slots of one replica that Normal requests may use now."""
    desired_replicas: int = 0
    """Number of replicas that the last decision asked for."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why the pool has its present size, one word of the list of size reasons."""
    cold_start_seconds: int = 0
    """Time from asking for a replica until it serves, in seconds. 90 % of the last starts took no longer. 0: none was
    seen yet."""
    decisions: Annotated[list[ReplicaCount], Field(max_length=10, json_schema_extra=LIST_ATOMIC)] = []
    """The last ten changes of size and what prevented one, newest first."""
    history: ScalingHistory = ScalingHistory()
    """Memory of the operator, from which a restarted operator goes on. Only the operator reads and writes it. Users
    need not look at it, and its fields may change in any release."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_release(cls, read: Any) -> Any:
        if not isinstance(read, Mapping):
            return read
        moved = {field: read[field] for field in MOVED if read.get(field) is not None}
        return {**read, "history": moved} if moved else read


class OverflowStatus(Resource):
    """Requests that were sent to the cloud although the pool could have served them."""

    state: Annotated[str, Field(max_length=16)] = "None"
    """Whether requests of the pool are sent to the cloud for lack of a slot: None or Active."""
    running: int = 0
    """Number of the pool's requests that a provider serves now."""
    total: int = 0
    """Number of the pool's requests that overflowed, as counted by the gateways that run now."""
    cost: Annotated[str, Field(max_length=40)] = "0"
    """Cost of the overflowed requests in US dollars, where the policy's models have prices."""
    cost_per_hour: Annotated[str, Field(max_length=40)] = "0"
    """Cost of overflow in US dollars an hour, at the rate of the last five minutes."""


class PoolStatus(Resource):
    """What the operator last observed of the pool."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the pool that the status describes."""
    replicas: int = 0
    """Number of the pool's pods that are not terminating."""
    ready_replicas: int = 0
    """Number of replicas that serve requests."""
    selector: Annotated[str, Field(max_length=256)] = ""
    """Label selector of the pool's pods, for `kubectl scale`, HorizontalPodAutoscaler and KEDA."""
    slots: int = 0
    """Slots of all serving replicas together."""
    running: int = 0
    """Number of requests that run in the pool's replicas now."""
    queued: int = 0
    """Number of requests that wait for the pool at the gateways now."""
    load: Annotated[str, Field(max_length=32)] = ""
    """Running requests and slots in one word, for example 12/64."""
    engine_version: Annotated[str, Field(max_length=300)] = ""
    """Versions that the pool's engines last said, `unknown` for one that says none. Empty: none was asked yet."""
    scaling: Annotated[ScalingStatus, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = (
        ScalingStatus()
    )
    """What scaling last decided, and why."""
    capacity: CapacityStatus = CapacityStatus()
    """How many requests one replica can run at a time, and what decides it."""
    overflow: OverflowStatus = OverflowStatus()
    """Requests that were sent to the cloud although the pool could have served them."""
    table_generation: int = 0
    """Generation of the routing table that carries this pool to the routers."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Latest conditions of the pool, each with its reason."""
