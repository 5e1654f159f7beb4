"""What would have happened: a trace through the very rules of router and operator, over simulated engines."""

from forebay.replay.outcome import Fate, Fates, Minute, Outcome
from forebay.replay.play import play
from forebay.replay.scaler import Fixed, Forebay, Scaler, Seen
from forebay.replay.setup import CloudTime, FleetSetup, PoolSetup, policy_of, simple_policy
from forebay.replay.trace import Request

__all__ = ["CloudTime", "Fate", "Fates", "Fixed", "FleetSetup", "Forebay", "Minute", "Outcome", "PoolSetup", "Request",
           "Scaler", "Seen", "play", "policy_of", "simple_policy"]  # fmt: skip
