"""`forebay-operator`: the control plane of forebay in one process."""

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

import uvloop

from forebay.controller.cluster import probes, wake_port
from forebay.controller.cluster.event_recorder import Recorder
from forebay.controller.cluster.handlers import Watch
from forebay.controller.cluster.kubernetes_api import SILENT_SECONDS, Cluster, ClusterError
from forebay.controller.cluster.lease import Leases
from forebay.controller.cluster.node_watch import LOOK_SECONDS, NodeWatch
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.cluster.report_client import ControlTokens, ReportClient
from forebay.controller.execute import Executor
from forebay.controller.manifests.gateway import gateway_refusal
from forebay.controller.reconciler import Reconciler
from forebay.controller.report.metrics import CONTENT_TYPE, Metrics
from forebay.controller.settings import Settings, SettingsError, load
from forebay.controller.sizing.gpu_bids import GpuBids
from forebay.controller.work_queue import QueueTimes, WorkQueue
from forebay.resources import names, summary

log = logging.getLogger(__name__)

STUCK_SECONDS: Final = 60.0  # the work loop did not go round for so long
BLIND_SECONDS: Final = SILENT_SECONDS + 15  # a watch that died is back within this, or it is not coming back
LISTS: Final = 4  # scopes that are listed at a time
PAUSE_SECONDS: Final = 5.0  # until a scope that was refused is listed again


def main() -> None:
    """Run until a signal ends it."""
    try:
        settings = load()
        if refused := gateway_refusal((), settings):
            raise SettingsError(f"FOREBAY_GATEWAY_PODS: {refused}")
    except SettingsError as error:
        sys.exit(f"forebay-operator: {error}")
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    level = logging.getLevelName(settings.log_level)
    for chatty in ("aiohttp", "kopf"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, level))
    for told in ("kopf._cogs", "kopf._core"):  # each try, and every task that ends with it; what ended it is told once
        logging.getLogger(told).setLevel(level if level <= logging.DEBUG else logging.CRITICAL)
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    """Connect, fill the cache, then watch and work until stopped."""
    async with await Cluster.connect() as cluster:
        await Operator(settings, cluster).run()


class Operator:
    """All parts of the operator, put together."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings = settings
        self.cluster = cluster
        self.cache = ObjectCache()
        self.metrics = Metrics()
        self.queue = WorkQueue(QueueTimes(), settings.concurrency)
        self.watch = Watch(self.cache, self.queue, settings.namespaces)
        self.reports = ReportClient(settings.control_port)
        self.listed = self.watch.listed
        self._listing = asyncio.Semaphore(LISTS)
        self._losses: dict[str, int] = {}  # of a namespace's Lease, as of its last pass
        self._take_signals: Callable[[], None] = lambda: None
        self.tokens = ControlTokens(cluster)
        self.gpu_bids, self.nodes = GpuBids(time.time()), NodeWatch()
        self.recorder = Recorder(cluster, settings.instance)
        self.leases = Leases(cluster, self.recorder, settings.identity, settings.namespaces, settings.lease_namespace)
        executor = Executor(cluster, self.cache, self.recorder, self.tokens)
        self.reconciler = Reconciler(
            settings, cluster, self.cache, self.tokens, self.reports, executor, self.metrics, self.gpu_bids, self.nodes
        )

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until SIGTERM, SIGINT or `stop`. Ends in the midst of a pass: the next start goes on from there."""
        stop = stop or asyncio.Event()
        self._take_signals = partial(_stop_on_signals, stop)
        self._take_signals()
        servers = await self._serve()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in {
                "lease": self.leases.run(),
                "lists": self._in_each_scope(self._list),
                "watches": self._in_each_scope(self._follow),
                "nodes": self._look_at_nodes(),
                "passes": self.queue.run(self._pass),
                "stop": _wait(stop),
            }.items()
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            for task in done:
                log.info("%s ended", task.get_name())
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.leases.release()
            for server in servers:
                server.close()
            await self.reports.close()

    async def _serve(self) -> list[asyncio.Server]:
        settings = self.settings
        health: probes.Pages = {
            names.PATH_LIVE: lambda: probes.verdict(self.sickness()),
            names.PATH_READY: lambda: probes.verdict(self.unready()),
        }
        metrics: probes.Pages = {"/metrics": self._metrics_page, summary.PATH: self._summary_page}
        self.wake_server = await wake_port.serve(settings.host, settings.wake_port, self.tokens.admits, self._wanted)
        return [
            await probes.serve(settings.host, settings.health_port, health),
            await probes.serve(settings.host, settings.metrics_port, metrics),
            self.wake_server,
        ]

    def _wanted(self, fleet: str, _: str) -> None:
        """A gateway says that a pool is wanted; which one, and how much, the next pass reads in its report."""
        self.queue.mark(fleet)

    def _metrics_page(self) -> probes.Page:
        self.metrics.queue_depth.set(len(self.queue))
        self.metrics.events_left_out.set(self.recorder.left_out)
        self.metrics.watch_age.set(asyncio.get_running_loop().time() - self.watch.last_event)
        self.metrics.watch_silence.set(self.watch.silence())
        self.metrics.lease_age.set(self.leases.age)
        self.metrics.refusals(self._refusals())
        self.metrics.ages(self.reconciler.ended, time.monotonic())
        return probes.Page(200, self.metrics.text(), CONTENT_TYPE)

    def _summary_page(self) -> probes.Page:
        return probes.Page(200, self.reconciler.summaries.page(), "application/json")

    def sickness(self) -> str:
        """What only a restart would cure; empty when nothing is. A silent API server is not our sickness."""
        now = asyncio.get_running_loop().time()
        if self.listed.is_set() and now - self.queue.last_turn > STUCK_SECONDS:
            return "the work loop is stuck"
        return ""

    def unready(self) -> str:
        """Why it does not do its work now, though a restart would cure nothing; empty when it does."""
        problems = [self._problem(scope) for scope in self.watch.whole]
        return self.sickness() if not all(problems) else problems[0]

    def _problem(self, scope: str) -> str:
        """Why it does not do its work in one scope."""
        if problem := self.leases.problem(scope):
            return problem
        if not self.watch.whole[scope].is_set():
            return self.watch.problem(scope) or "the first lists are incomplete"
        silence = self.watch.silence(scope)
        return f"a watch has been silent for {silence:.0f} s" if silence > BLIND_SECONDS else ""

    def _refusals(self) -> Iterator[tuple[str, str]]:
        """Where something is refused now, and what: namespaces, empty for all of them."""
        for scope in self.watch.whole:
            if self.leases.problem(scope):
                yield scope, "lease"
            if self.watch.problem(scope):
                yield scope, "watch"
        for namespace in self.reconciler.refused:
            yield namespace, "pass"

    async def _pass(self, namespace: str) -> float | None:
        """A pass, where this operator is the one to make it."""
        if not self.leases.may_act(namespace):
            self.gpu_bids.excuse(namespace, time.time())
            return 1.0
        if (losses := self.leases.losses(namespace)) != self._losses.get(namespace, 0):
            self._losses[namespace] = losses
            self.reconciler.forget(namespace)
        scope = namespace if namespace in self.watch.whole else ""
        await self.reconciler.unheard(namespace, self.watch.problem(scope))
        return await self.reconciler.run(namespace)

    async def _in_each_scope(self, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for scope in self.watch.whole:
                group.create_task(work(scope))

    async def _follow(self, scope: str) -> None:
        await self.watch.follow(self.cluster, scope, self._take_signals)

    async def _look_at_nodes(self) -> None:
        """While pools wait for GPUs; more of them are worth a look at the fleets that wait."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if waiting := self.gpu_bids.waiting():
                for resource in await self.nodes.look(self.cluster, waiting, time.time()):
                    for namespace in waiting[resource]:
                        self.queue.mark(namespace)

    async def _list(self, scope: str) -> None:
        """Full lists: once before anything is planned, then now and then in case a watch missed something.

        And at once when the API server is back: the watches find that out later, each for itself.
        """
        lease = self.leases.scopes[scope]
        await lease.held.wait()
        while True:
            try:
                lease.back.clear()
                async with self._listing:
                    await self.watch.list(self.cluster, scope)
                await lease.wait_back(self.settings.relist_seconds)
            except ClusterError as error:
                log.info("lists of %s: %s", scope or "all namespaces", error)
                await asyncio.sleep(PAUSE_SECONDS if error.status else 2.0)
            except Exception:
                log.exception("lists of %s", scope or "all namespaces")
                await asyncio.sleep(PAUSE_SECONDS)


def _stop_on_signals(stop: asyncio.Event) -> None:
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


if __name__ == "__main__":
    main()
