"""`status.capacity` of a LocalModelPool: what one replica can take, and what that rests on."""

from typing import Annotated

from pydantic import Field

from forebay.resources.fields import LIST_ATOMIC, Resource


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
