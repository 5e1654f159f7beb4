"""The status of a `LocalModelPool`: what it is, and what a restarted operator needs in order to go on."""

from typing import Annotated

from pydantic import Field

from forebay.resources.capacity_status import CapacityStatus
from forebay.resources.fields import LIST_ATOMIC, Condition, Resource, list_map

Decimal = Annotated[str, Field(max_length=40, pattern=r"^\d+(\.\d+)?$")]
"""A number that is not negative, as a string: no floating point in the API."""


class ReplicaCount(Resource):
    """A change of size, or what was in the way of one (the size before and after are then the same)."""

    time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """When."""
    from_replicas: int = 0
    """Size before."""
    to_replicas: int = 0
    """Size after."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why, one word."""
    demand: Annotated[str, Field(max_length=20)] = "0"
    """Concurrent requests that wanted this pool."""
    capacity: int = 0
    """Slots of one replica that Normal requests may use."""
    wanted: int = 0
    """Size that demand asked for."""
    window_seconds: int = 0
    """Window that it was judged by."""


class ScalingStatus(Resource):
    """What scaling knows and did; kept here so that a restarted operator goes on where the last one was."""

    demand: Annotated[str, Field(max_length=20)] = "0"
    """Concurrent requests that want this pool: running, queued, and what left for lack of a slot."""
    capacity: int = 0
    """Slots of one replica that Normal requests may use."""
    desired_replicas: int = 0
    """Size that the last decision asked for."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it has this size."""
    first_replicas: int = 0
    """The first size, while replicas of it are still to be asked for; else 0."""
    peaks: Annotated[list[int], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """Most replicas needed in each of the last minutes, oldest first; the last entry is the minute `peaksUntil`."""
    peaks_until: Annotated[int, Field(ge=0)] = 0
    """Unix minute of the last entry of `peaks`."""
    means: Annotated[list[Decimal], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """Mean demand of the same minutes."""
    variances: Annotated[list[Decimal], Field(max_length=240, json_schema_extra=LIST_ATOMIC)] = []
    """How demand varied around the mean of each of them."""
    cold_start_seconds: int = 0
    """From wanted to serving: 90 % of the last starts took no longer. 0: none was seen yet."""
    cold_starts: Annotated[list[int], Field(max_length=10, json_schema_extra=LIST_ATOMIC)] = []
    """Seconds of the last starts, newest last."""
    unplaced_since: Annotated[int, Field(ge=0)] = 0
    """Unix second since when a replica has no node; 0: each has one."""
    withdrawals: Annotated[int, Field(ge=0)] = 0
    """How often in a row a replica that found no node was withdrawn."""
    withdrawn_at: Annotated[int, Field(ge=0)] = 0
    """Unix second of the last time."""
    retry_at: Annotated[int, Field(ge=0)] = 0
    """Unix second before which it is not asked for again, unless there are more GPUs."""
    wanted_since: Annotated[int, Field(ge=0)] = 0
    """Of a pool at zero: Unix second since when requests want it; 0: none does."""
    wanted_cost: Decimal = "0"
    """US dollars that those requests have cost in the cloud since."""
    decisions: Annotated[list[ReplicaCount], Field(max_length=10, json_schema_extra=LIST_ATOMIC)] = []
    """The last ten changes of size and what was in the way of one, newest first."""


class OverflowStatus(Resource):
    """What left the cluster although the pool could have served it."""

    state: Annotated[str, Field(max_length=16)] = "None"
    """None or Active."""
    running: int = 0
    """Requests of this pool at a provider now."""
    total: int = 0
    """Requests that overflowed, as the gateways that run now have counted them."""
    cost: Annotated[str, Field(max_length=40)] = "0"
    """US dollars that those cost, where the policy's models have prices."""
    cost_per_hour: Annotated[str, Field(max_length=40)] = "0"
    """US dollars an hour at the rate of the last five minutes."""


class PoolStatus(Resource):
    """What the pool is."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation that this status speaks of."""
    replicas: int = 0
    """Pods of the pool."""
    ready_replicas: int = 0
    """Pods that serve."""
    selector: Annotated[str, Field(max_length=256)] = ""
    """Label selector of the pods, for `kubectl scale`, HPA and KEDA."""
    slots: int = 0
    """Slots of all serving replicas."""
    running: int = 0
    """Requests that run."""
    queued: int = 0
    """Requests that wait at the gateways."""
    load: Annotated[str, Field(max_length=32)] = ""
    """running/slots, for people."""
    scaling: ScalingStatus = ScalingStatus()
    """What scaling knows and did."""
    capacity: CapacityStatus = CapacityStatus()
    """What one replica can take, and why."""
    overflow: OverflowStatus = OverflowStatus()
    """What left the cluster."""
    table_generation: int = 0
    """Generation of the routing table that holds this pool."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] = []
    """Conditions."""
