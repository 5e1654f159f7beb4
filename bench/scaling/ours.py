"""forebay's rule as a scaler: the very function that the operator calls."""

from forebay.replay.scaler import ScalerView
from forebay.rules.history import History
from forebay.rules.marginal_value import BreakEven
from forebay.rules.scale import Demand, Pace, ScaleInputs, scale


class Forebay:
    """`rules/scale.py`, every 15 s. The operator looks more often; the rule's windows do not care."""

    period = 15.0

    def __init__(
        self, minimum: int, maximum: int, pace: Pace | None = None, prices: BreakEven | None = None, cloud: bool = True
    ) -> None:
        self.minimum, self.maximum, self.pace, self.prices, self.cloud = minimum, maximum, pace, prices, cloud
        self.history: History | None = None

    def decide(self, seen: ScalerView) -> int:
        """As the operator would."""
        demand = Demand(seen.running, seen.queued, seen.overflowing, seen.lost_per_second, seen.service_seconds)
        found = scale(
            ScaleInputs(
                now=seen.now,
                current=seen.size,
                minimum=self.minimum,
                maximum=self.maximum,
                demand=demand,
                capacity=seen.capacity,
                starting=seen.starting,
                ending=seen.ending,
                history=self.history or History.restored((), 0, seen.now),
                overflow_allowed=self.cloud,
                cold_start_seconds=seen.cold_start_seconds,
                replica_hour_price=self.prices.replica_hour if self.prices else None,
                overflow_cost_per_request_hour=self.prices.request_hour if self.prices else None,
                pace=self.pace,
            )
        )
        self.history = found.history
        return found.replicas
