"""One pass over a fleet: observe, plan, execute, and report what came of it."""

import logging
import time
from dataclasses import dataclass, field

from forebay.controller.cache import Cache
from forebay.controller.cluster import Cluster
from forebay.controller.execute import Executor, remember
from forebay.controller.memory import FleetMemory
from forebay.controller.metrics import Metrics
from forebay.controller.observe import observe
from forebay.controller.plan import plan
from forebay.controller.reports import Reports, Tokens
from forebay.controller.settings import Settings

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
    ended: dict[str, float] = field(default_factory=dict)
    """When the last good pass over each fleet ended, in time.monotonic()."""
    _memories: dict[str, FleetMemory] = field(default_factory=dict)

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
        memory = self._memories.get(namespace, FleetMemory())
        fleet = await observe(
            namespace,
            self.cache,
            cluster=self.cluster,
            tokens=self.tokens,
            reports=self.reports,
            memory=memory,
            now=time.time(),
        )
        planned = plan(fleet, memory, self.settings)
        outcome = await self.executor.run(namespace, planned.batches)
        self.metrics.pools(namespace, planned.sizings)
        self.metrics.passes.labels("refused" if outcome.refused else "ok").inc()
        if not fleet.owners:
            self._memories.pop(namespace, None)
            self.tokens.forget(namespace)
            return None
        self._memories[namespace] = remember(planned.memory, outcome)
        return self.settings.resync_seconds if planned.again is None else planned.again
