"""`status.capacity` of a LocalModelPool: what one replica can take, and what that rests on."""

from typing import Annotated

from pydantic import Field

from forebay.resources.fields import LIST_ATOMIC, Resource


class CurveStatus(Resource):
    """Time per token in this pool's engines: base + perRequest x running + perFill x KV fill (0 to 1), milliseconds."""

    base_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """Time per output token in an otherwise empty engine, in milliseconds."""
    per_request_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """Time that each running request adds to an output token, in milliseconds."""
    per_fill_milliseconds: Annotated[str, Field(max_length=20)] = "0"
    """Time that a full KV cache adds to an output token, in milliseconds."""
    fill_per_request: Annotated[str, Field(max_length=20)] = "0"
    """Share of the KV cache that one request of the pool fills, from 0 to 1."""
    most_running: Annotated[str, Field(max_length=20)] = "0"
    """Largest number of running requests that the curve was learnt from."""
    error_percent: Annotated[str, Field(max_length=20)] = "0"
    """Median deviation of the measurements from the curve, in percent."""


class CapacityStatus(Resource):
    """How many requests one replica runs at a time, and what that rests on."""

    slots: Annotated[int, Field(ge=0)] = 0
    """Slots of one replica, those reserved for High requests included. 0: nothing is known yet."""
    bound: Annotated[str, Field(max_length=64)] = ""
    """What limits `slots`, one word of the list of capacity bounds."""
    unknown: Annotated[str, Field(max_length=64)] = ""
    """Why `bound` is Unknown, one word of the list of reasons for an unknown capacity. Empty: it is known."""
    learnt: Annotated[int, Field(ge=0)] = 0
    """Slots of one replica as learnt and told to routers, without override and --max-num-seqs. 0: nothing is learnt
    yet."""
    learnt_bound: Annotated[str, Field(max_length=64)] = ""
    """What limits `target`, one word of the list of capacity bounds."""
    exact: Annotated[str, Field(max_length=20)] = "0"
    """Learnt slots as a decimal, on their way to `target`: at most 2 % an hour up, 5 % an hour down."""
    target: Annotated[int, Field(ge=0)] = 0
    """Slots of one replica that the present measurements would allow."""
    since: Annotated[str, Field(max_length=40)] = ""
    """Time at which `learnt` last changed, as an RFC 3339 timestamp."""
    kv_tokens: Annotated[int, Field(ge=0)] = 0
    """Number of tokens that the KV cache of one engine holds."""
    live_tokens: Annotated[int, Field(ge=0)] = 0
    """Number of tokens that nine in ten of the pool's requests hold at most."""
    target_milliseconds: Annotated[str, Field(max_length=20)] = ""
    """Target for the time per output token in milliseconds: the pool's own, or the default. Empty: neither target nor
    curve exists."""
    curve: CurveStatus | None = None
    """Learnt time per output token: base + perRequest x running + perFill x KV fill (0 to 1), in milliseconds. Empty
    until the engines have run at different loads for a while."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Number of engine measurements that the curve rests on."""
    engine: Annotated[str, Field(max_length=64)] = ""
    """Hash of image, arguments and model of the engine that the capacity was learnt from. A different engine is learnt
    anew."""
    seen: Annotated[
        list[Annotated[str, Field(max_length=80)]], Field(max_length=48, json_schema_extra=LIST_ATOMIC)
    ] = []
    """Measurements for a restarted operator; each entry holds running requests, KV fill, milliseconds per token and
    number of looks."""
