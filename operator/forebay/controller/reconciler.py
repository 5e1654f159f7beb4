"""One pass over a fleet: observe, plan, execute, and report what came of it."""

import logging
import time
from dataclasses import dataclass, field, replace

from forebay.controller.cluster.kubernetes_api import POLICY, POOL, Cluster, ClusterError
from forebay.controller.cluster.node_watch import NodeWatch
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.cluster.report_client import ControlTokens, ReportClient
from forebay.controller.execute import Executor, remember
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.observe.observe import ObservedFleet, observe
from forebay.controller.plan.actions import Note
from forebay.controller.plan.plan import plan
from forebay.controller.plan.quiescence import Quiescent, quiescent
from forebay.controller.report.event_messages import object_ref
from forebay.controller.report.metrics import Metrics
from forebay.controller.report.summaries import Summaries
from forebay.controller.settings import Settings
from forebay.controller.sizing.gpu_bids import KEPT_SECONDS, GpuBids
from forebay.resources.reasons import EventReason

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Runs passes, and keeps between them what each fleet is remembered by."""

    settings: Settings
    cluster: Cluster
    cache: ObjectCache
    tokens: ControlTokens
    reports: ReportClient
    executor: Executor
    metrics: Metrics
    gpu_bids: GpuBids
    nodes: NodeWatch
    summaries: Summaries = field(default_factory=Summaries)
    ended: dict[str, float] = field(default_factory=dict)
    """When the last good pass over each fleet ended, in time.monotonic()."""
    refused: dict[str, str] = field(default_factory=dict)
    """What the API server refuses in a namespace, in its words."""
    _unheard: dict[str, str] = field(default_factory=dict)  # why a namespace is not heard of, as told
    _memories: dict[str, FleetMemory] = field(default_factory=dict)
    _resting: dict[str, Quiescent] = field(default_factory=dict)

    async def run(self, namespace: str) -> float | None:
        """One pass. Returns after how many seconds the next one is due; None for a namespace without pools."""
        began = time.monotonic()
        try:
            again = await self._run(namespace)
        except Exception as error:
            self.metrics.passes.labels("error").inc()
            self.gpu_bids.excuse(namespace, time.time())
            if isinstance(error, ClusterError) and error.status:
                await self._refused(namespace, str(error))
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
        self.gpu_bids.tell(namespace, planned.bids, fleet.now)
        outcome = await self.executor.run(namespace, planned.batches)
        self.metrics.pools(namespace, planned.sizings)
        self.metrics.conditions(namespace, planned.verdicts, planned.gateways)
        self.metrics.prices(fleet)
        self.summaries.take(fleet, planned.sizings)
        await self._refused(namespace, outcome.forbidden)
        self.metrics.passes.labels("refused" if outcome.refused else "ok").inc()
        if not fleet.owners:
            self._memories.pop(namespace, None)
            self.gpu_bids.forget(namespace)
            self.tokens.drop(namespace)
            self.refused.pop(namespace, None)
            return None
        self._memories[namespace] = memory = remember(planned.memory, outcome)
        if (still := quiescent(fleet, planned, memory, changes)) is not None:
            self._resting[namespace] = still
        return self.settings.resync_seconds if planned.again is None else planned.again

    def forget(self, namespace: str) -> None:
        """Somebody else has acted in a namespace: what was remembered of it is of no use."""
        self._memories.pop(namespace, None)
        self._resting.pop(namespace, None)
        self.gpu_bids.forget(namespace)
        self.tokens.forget(namespace)

    async def _refused(self, namespace: str, words: str) -> None:
        """Tell once what a namespace refuses, to all whom it concerns, as far as it lets itself be told."""
        if not words:
            self.refused.pop(namespace, None)
        elif self.refused.get(namespace) != words:
            self.refused[namespace] = words
            await self._tell(namespace, f"the operator cannot do its work in {namespace}: {words}")

    async def unheard(self, namespace: str, words: str) -> None:
        """Tell once why changes in a namespace are not heard of; empty words when they are."""
        if not words:
            self._unheard.pop(namespace, None)
        elif self._unheard.get(namespace) != words:
            self._unheard[namespace] = words
            await self._tell(namespace, f"the operator does not hear of changes in {namespace}: {words}")

    async def _tell(self, namespace: str, text: str) -> None:
        for obj in (*self.cache.of(POOL.kind, namespace), *self.cache.of(POLICY.kind, namespace)):
            note = Note(object_ref(obj), EventReason.APPLY_FAILED, "Reconcile", text, warning=True)
            await self.executor.recorder.write(note)

    async def _rests(self, namespace: str) -> bool:
        """Whether a fleet that was at rest still is: nothing has changed, and its gateways say what they said."""
        still = self._resting.pop(namespace, None)
        if still is None or not still.holds(self.cache.changes(namespace), time.time()):
            return False
        if await self.reports.fetch(self.tokens.value(namespace), still.addresses, keep=True) != still.said:
            return False
        self._resting[namespace] = still
        self.gpu_bids.repeat(namespace, time.time())
        return True

    def _among_others(self, fleet: ObservedFleet) -> ObservedFleet:
        """The fleet with what others ask for. No await between this, the plan and what the ledger is told of it."""
        began = fleet.now - self.gpu_bids.began < KEPT_SECONDS
        others = self.cache.namespaces(POOL.kind) - {fleet.namespace} if began else ()
        return replace(
            fleet,
            rivals=self.gpu_bids.rivals(fleet.namespace, fleet.now),
            rivals_known=self.gpu_bids.knows(others, fleet.now),
            roomier=dict(self.nodes.roomier),
        )
