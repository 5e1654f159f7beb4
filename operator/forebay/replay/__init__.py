"""What would have happened: a trace through the very rules of router and operator, over simulated engines."""

from forebay.replay.play import play
from forebay.replay.result import Fate, Fates, PlayedMinute, ReplayResult
from forebay.replay.scaler import Fixed, Forebay, Scaler, ScalerView
from forebay.replay.setup import CloudTime, FleetSetup, PoolSetup, policy_of, simple_policy
from forebay.replay.trace import TraceRequest

__all__ = [
    "CloudTime",
    "Fate",
    "Fates",
    "Fixed",
    "FleetSetup",
    "Forebay",
    "PlayedMinute",
    "PoolSetup",
    "ReplayResult",
    "Scaler",
    "ScalerView",
    "TraceRequest",
    "play",
    "policy_of",
    "simple_policy",
]
