"""The status of a `LocalModelPool`: what it is, and what a restarted operator needs in order to go on."""

from typing import Annotated

from pydantic import Field

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


class CurveStatus(Resource):
    """Time per token in this pool's engines: base + perRequest x running + perFill x KV fill (0 to 1), milliseconds."""

    base_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """A token in an empty engine."""
    per_request_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """What each request that runs adds."""
    per_fill_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """What a full KV cache adds."""
    fill_per_request: Annotated[str, Field(max_length=20)] = "0"
    """KV fill that each request of this pool brings."""
    most_running: Annotated[str, Field(max_length=20)] = "0"
    """The most running requests that it was learnt from."""
    error_percent: Annotated[str, Field(max_length=20)] = "0"
    """Median distance of what was seen from it."""


class CapacityStatus(Resource):
    """How many requests one replica runs at a time, and what that rests on."""

    slots: Annotated[int, Field(ge=0)] = 0
    """Slots of one replica, High's share included. 0: nothing is known yet."""
    bound: Annotated[str, Field(max_length=64)] = ""
    """What decides on them, one word."""
    learnt: Annotated[int, Field(ge=0)] = 0
    """Slots without override and `--max-num-seqs`, as routers are told. 0: nothing yet."""
    learnt_bound: Annotated[str, Field(max_length=64)] = ""
    """What decides on `target`, one word."""
    exact: Annotated[str, Field(max_length=20)] = "0"
    """Where `learnt` is on its way to `target`: at most 2 % an hour up, 5 % an hour down."""
    target: Annotated[int, Field(ge=0)] = 0
    """Slots that what is known now would allow."""
    since: Annotated[str, Field(max_length=40)] = ""
    """When `learnt` last changed."""
    kv_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens that the cache of one engine holds."""
    live_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens that nine in ten requests hold at most."""
    target_milliseconds: Annotated[str, Field(max_length=20)] = ""
    """Target for the time per token: the pool's own, or the default. Empty: neither target nor curve."""
    curve: CurveStatus | None = None
    """What was learnt of the time per token. Empty until the engines have run at different loads for a while."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Looks at engines that the curve rests on."""
    engine: Annotated[str, Field(max_length=64)] = ""
    """Which engine it was learnt from: hash of image, arguments and model. Another one is learnt anew."""
    seen: Annotated[
        list[Annotated[str, Field(max_length=80)]], Field(max_length=48, json_schema_extra=LIST_ATOMIC)
    ] = []
    """What was seen, for a restarted operator: running requests, KV fill, milliseconds a token, looks."""


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
