"""What a gateway counts for the operator: demand by pool, each request once, at the pool the rule would choose."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from forebay.resources.reasons import Reason
from forebay.resources.report import PoolDemand

LACK_OF_A_SLOT = frozenset(
    {Reason.HIGH_PRIORITY_OVERFLOW, Reason.ALL_POOLS_FULL, Reason.CAPABLE_POOLS_FULL, Reason.QUEUE_EXPIRED,
     Reason.NO_REPLICAS}
)  # fmt: skip
"""Reasons that are demand for local capacity; gaps, faults and what is not portable are not."""
REPEATED = b"x-stainless-retry-count"


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


Heard = tuple[int, int, int]
"""What the replicas of a pool have said lately: how many serve, their slots, the requests that they run."""
NOTHING_HEARD: Mapping[str, Heard] = {}


class Accounting:
    """Counters by pool, since the process began."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}

    def of(self, pool: str) -> _Pool:
        """The counters of one pool."""
        return self._pools.setdefault(pool, _Pool())

    def asked(self, pool: str, now: float) -> None:
        """A request came for this pool. `now` in Unix seconds."""
        counters = self.of(pool)
        counters.requests += 1
        counters.last_request = now

    def overflowed(self, pool: str, reason: Reason, repeated: bool) -> None:
        """A request left for a provider for lack of a slot."""
        counters = self.of(pool)
        counters.overflow_running += 1
        if not repeated:
            counters.overflowed += 1
            counters.by_reason[reason] += 1

    def not_overflowed(self, pool: str, reason: Reason, repeated: bool) -> None:
        """The provider did not take it after all."""
        if not repeated:
            counters = self.of(pool)
            counters.overflowed -= 1
            counters.by_reason[reason] -= 1

    def came_back(self, pool: str, cost: str = "") -> None:
        """The provider's answer is over. `cost` in US dollars; empty where no price is known, or no answer came."""
        counters = self.of(pool)
        counters.overflow_running -= 1
        if cost:
            counters.cost += Decimal(cost)

    def waits_at_gap(self, pool: str, more: int) -> None:
        """So many more wait in this pool's line although none of its replicas could serve them."""
        self.of(pool).at_gap += more

    def refused(self, pool: str, waited: bool, repeated: bool) -> None:
        """A request was refused for lack of a slot (`waited`: after its wait) or of a place in the queue."""
        if repeated:
            return
        if waited:
            self.of(pool).expired += 1
        else:
            self.of(pool).rejected += 1

    def report(
        self, pools: Iterable[tuple[str, int]], heard: Mapping[str, Heard] = NOTHING_HEARD
    ) -> tuple[PoolDemand, ...]:
        """For the operator; `pools` are names with the number that waits now."""
        return tuple(self._demand(name, queued, heard.get(name, (0, 0, 0))) for name, queued in pools)

    def _demand(self, name: str, queued: int, heard: Heard) -> PoolDemand:
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
