"""What a gateway counts for the operator: demand by pool, each request once, at the pool the rule would choose."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import assert_never

from forebay.resources.reasons import Reason
from forebay.resources.report import PoolDemand
from forebay.rules.steps import Demand, DemandEvent, DemandKind


@dataclass(slots=True)
class _Pool:
    requests: int = 0
    overflow_running: int = 0
    overflowed: int = 0
    rejected: int = 0
    expired: int = 0
    by_reason: Counter[Reason] = field(default_factory=Counter)
    cost: Decimal = field(default_factory=Decimal)
    at_gap: int = 0
    last_request: float = 0.0


ReplicaTotals = tuple[int, int, int]
"""What the replicas of a pool have said lately: how many serve, their slots, the requests that they run."""
NO_REPLICA_TOTALS: Mapping[str, ReplicaTotals] = {}


class Accounting:
    """Counters by pool, since the process began."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}

    def of(self, pool: str) -> _Pool:
        """The counters of one pool."""
        counters = self._pools.get(pool)
        if counters is None:
            counters = self._pools[pool] = _Pool()
        return counters

    def count(self, demand: Demand, now: float) -> None:
        """What a request's lifecycle says. `now` in Unix seconds."""
        for event in demand:
            self._count(self.of(event.pool), event, now)

    def _count(self, counters: _Pool, event: DemandEvent, now: float) -> None:
        match event.kind:
            case DemandKind.ASKED:
                counters.requests += 1
                counters.last_request = now
            case DemandKind.LEFT:
                counters.overflow_running += 1
            case DemandKind.CAME_BACK:
                counters.overflow_running -= 1
                if event.cost:
                    counters.cost += Decimal(event.cost)
            case DemandKind.OVERFLOWED:
                self._overflowed(counters, event.reason, 1)
            case DemandKind.NOT_OVERFLOWED:
                self._overflowed(counters, event.reason, -1)
            case DemandKind.REJECTED:
                counters.rejected += 1
            case DemandKind.EXPIRED:
                counters.expired += 1
            case DemandKind.GAP_WAIT:
                counters.at_gap += 1
            case DemandKind.GAP_WAIT_OVER:
                counters.at_gap -= 1
            case DemandKind.WANTED:
                pass  # the operator is told of it by a call of its own
            case _:
                assert_never(event.kind)

    @staticmethod
    def _overflowed(counters: _Pool, reason: Reason | None, requests: int) -> None:
        counters.overflowed += requests
        if reason is not None:
            counters.by_reason[reason] += requests

    def report(
        self, pools: Iterable[tuple[str, int]], heard: Mapping[str, ReplicaTotals] = NO_REPLICA_TOTALS
    ) -> tuple[PoolDemand, ...]:
        """For the operator; `pools` are names with the number that waits now."""
        return tuple(self._demand(name, queued, heard.get(name, (0, 0, 0))) for name, queued in pools)

    def _demand(self, name: str, queued: int, heard: ReplicaTotals) -> PoolDemand:
        c = self.of(name)
        serving, slots, running = heard
        return PoolDemand(
            pool=name,
            queued=max(0, queued - c.at_gap),
            requests_total=c.requests,
            overflow_running=c.overflow_running,
            overflowed_total=c.overflowed,
            rejected_total=c.rejected,
            expired_total=c.expired,
            overflow_by_reason=dict(c.by_reason),
            overflow_cost_total=c.cost,
            last_request=c.last_request,
            serving=serving,
            slots=slots,
            running=running,
        )
