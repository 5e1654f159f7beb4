"""One pass over a fleet: observe, plan, execute, and report what came of it."""

import logging
import time
from dataclasses import dataclass, field, replace

from forebay.controller.cache import Cache
from forebay.controller.cluster import POOL, Cluster
from forebay.controller.execute import Executor, remember
from forebay.controller.ledger import KEPT_SECONDS, Ledger
from forebay.controller.memory import FleetMemory
from forebay.controller.metrics import Metrics
from forebay.controller.nodes import Nodes
from forebay.controller.observe import ObservedFleet, observe
from forebay.controller.plan import plan
from forebay.controller.reports import Reports, Tokens
from forebay.controller.rest import Rest, rest
from forebay.controller.settings import Settings
from forebay.controller.summary import Summaries

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Passes:
    """Runs passes, and keeps between them what each fleet is remembered by."""

    settings: Settings
    cluster: Cluster
    cache: Cache
    tokens: Tokens
    reports: Reports
    executor: Executor
    metrics: Metrics
    ledger: Ledger
    nodes: Nodes
    summaries: Summaries = field(default_factory=Summaries)
    ended: dict[str, float] = field(default_factory=dict)
    """When the last good pass over each fleet ended, in time.monotonic()."""
    _memories: dict[str, FleetMemory] = field(default_factory=dict)
    _resting: dict[str, Rest] = field(default_factory=dict)

    async def run(self, namespace: str) -> float | None:
        """One pass. Returns after how many seconds the next one is due; None for a namespace without pools."""
        began = time.monotonic()
        try:
            again = await self._run(namespace)
        except Exception:
            self.metrics.passes.labels("error").inc()
            raise
        self.metrics.seconds.observe(time.monotonic() - began)
        if again is None:
            self.ended.pop(namespace, None)
        else:
            self.ended[namespace] = time.monotonic()
        return again

    async def _run(self, namespace: str) -> float | None:
        if await self._rests(namespace):
            self.metrics.passes.labels("rest").inc()
            return self.settings.resync_seconds
        memory, changes = self._memories.get(namespace, FleetMemory()), self.cache.changes(namespace)
        fleet = await observe(
            namespace,
            self.cache,
            cluster=self.cluster,
            tokens=self.tokens,
            reports=self.reports,
            memory=memory,
            now=time.time(),
        )
        fleet = self._among_others(fleet)
        planned = plan(fleet, memory, self.settings)
        self.ledger.tell(namespace, planned.bids, fleet.now)
        outcome = await self.executor.run(namespace, planned.batches)
        self.metrics.pools(namespace, planned.sizings)
        self.metrics.prices(fleet)
        self.summaries.take(fleet, planned.sizings)
        self.metrics.passes.labels("refused" if outcome.refused else "ok").inc()
        if not fleet.owners:
            self._memories.pop(namespace, None)
            self.ledger.forget(namespace)
            self.tokens.drop(namespace)
            return None
        self._memories[namespace] = memory = remember(planned.memory, outcome)
        if (still := rest(fleet, planned, memory, changes)) is not None:
            self._resting[namespace] = still
        return self.settings.resync_seconds if planned.again is None else planned.again

    async def _rests(self, namespace: str) -> bool:
        """Whether a fleet that was at rest still is: nothing has changed, and its gateways say what they said."""
        still = self._resting.pop(namespace, None)
        if still is None or not still.holds(self.cache.changes(namespace), time.time()):
            return False
        if await self.reports.fetch(self.tokens.value(namespace), still.addresses, keep=True) != still.said:
            return False
        self._resting[namespace] = still
        self.ledger.repeat(namespace, time.time())
        return True

    def _among_others(self, fleet: ObservedFleet) -> ObservedFleet:
        """The fleet with what others ask for. No await between this, the plan and what the ledger is told of it."""
        began = fleet.now - self.ledger.began < KEPT_SECONDS
        others = self.cache.namespaces(POOL.kind) - {fleet.namespace} if began else ()
        return replace(
            fleet,
            rivals=self.ledger.rivals(fleet.namespace, fleet.now),
            rivals_known=self.ledger.knows(others, fleet.now),
            roomier=dict(self.nodes.roomier),
        )
