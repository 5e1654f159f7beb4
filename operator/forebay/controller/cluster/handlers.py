"""What comes in from the cluster: lists, then watches. It goes into the cache and marks its namespace dirty.

Kopf watches what users write. What is made of it is ten times as many objects, and long ones: kopf would list them a
second time, in one piece. They are followed here from where their lists ended. Nothing is decided.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import kopf

from forebay.controller.cluster.kubernetes_api import OWNED, POD, POLICY, POOL, Cluster, ClusterError, ObjectKind
from forebay.controller.cluster.object_cache import ObjectCache, namespace_of
from forebay.controller.work_queue import WorkQueue
from forebay.resources import names

log = logging.getLogger(__name__)

BY_KOPF: Final = (POOL, POLICY)
FOLLOWED: Final = (*OWNED, POD)
"""Kinds that are followed here; of these only objects with our label."""
WATCHED: Final = (*BY_KOPF, *FOLLOWED)
Scope = tuple[ObjectKind, str]
"""A kind in one namespace, or in all of them."""
GONE: Final = 410  # HTTP: the API server does not know this resourceVersion any more
PAUSE_FIRST: Final = 0.5
PAUSE_MOST: Final = 5.0  # an API server that is back is not kept waiting

BACKOFFS: Final = (1, 2, 3, *[5] * 10)
"""Seconds between tries of a list or watch: an API server that is back is not kept waiting."""


def selector(kind: ObjectKind) -> str:
    """Label selector for lists and watches of a kind."""
    return names.MANAGED_SELECTOR if kind in FOLLOWED else ""


class Watch:
    """Feeds the cache and the queue."""

    def __init__(self, cache: ObjectCache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
        self.listed = asyncio.Event()
        """Set once everything is known: before, half of it must not be taken for the whole."""
        self.last_event = asyncio.get_running_loop().time()
        """loop.time() of the last event of any kind."""
        self._known: dict[Scope, str] = {}  # resourceVersion up to which what is followed here is known
        self._heard: dict[Scope, float] = {}  # loop.time() of its last word, bookmarks included

    def silence(self) -> float:
        """Seconds since the most silent of the watches here was heard of; 0 before the first lists."""
        return asyncio.get_running_loop().time() - min(self._heard.values()) if self._heard else 0.0

    def registry(self) -> kopf.OperatorRegistry:
        """Handlers of what kopf watches, in a registry of their own."""
        registry = kopf.OperatorRegistry()
        for kind in BY_KOPF:
            kopf.on.event(kind.api_version, kind.plural, registry=registry, id=f"watch-{kind.plural}")(
                self._handler(kind)
            )
        kopf.on.login(registry=registry, id="login")(_login)
        return registry

    async def list(self, cluster: Cluster, namespaces: tuple[str, ...]) -> set[str]:
        """Take over full lists of everything. Returns the namespaces in which they changed something.

        Raises ClusterError; what was read by then is known, and `listed` not yet set.
        """
        changed: set[str] = set()
        for kind in WATCHED:  # one after the other: side by side their pages would take memory that never comes back
            for namespace in namespaces or ("",):
                changed |= await self._list(cluster, kind, namespace)
        if not self.listed.is_set():
            self.listed.set()
            changed = set().union(*(self._cache.namespaces(kind.kind) for kind in WATCHED))
        for namespace in changed:
            self._queue.mark(namespace)
        return changed

    async def follow(self, cluster: Cluster, namespaces: tuple[str, ...]) -> None:
        """Follow what kopf does not watch from its first list on, until cancelled."""
        await self.listed.wait()
        async with asyncio.TaskGroup() as group:
            for kind in FOLLOWED:
                for namespace in namespaces or ("",):
                    group.create_task(self._follow(cluster, kind, namespace), name=f"{kind.plural} {namespace}")

    def take(self, kind: ObjectKind, event: Mapping[str, Any]) -> None:
        """One event as the API server sent it."""
        self.last_event = asyncio.get_running_loop().time()
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        changed = self._cache.remove(obj) if event["type"] == "DELETED" else self._cache.put(obj)
        if changed:
            self._queue.mark(namespace_of(obj))

    async def _list(self, cluster: Cluster, kind: ObjectKind, namespace: str) -> set[str]:
        changed: set[str] = set()
        found: set[tuple[str, str]] = set()
        revision = "0"
        async for items, at in cluster.pages(kind, namespace, labels=selector(kind)):
            revision = at
            for item in items:
                found.add(item.key)
                if not self._cache.knows(kind, item.key, item.revision) and self._cache.put(item.read()):
                    changed.add(item.key[0])
        if kind in FOLLOWED:
            self._known[kind, namespace] = revision
            self._hear(kind, namespace)
        return changed | self._cache.keep(kind, found, revision, namespace)

    async def _follow(self, cluster: Cluster, kind: ObjectKind, namespace: str) -> None:
        """One watch after the other, each from where the last one ended; a list where that is forgotten."""
        pause = PAUSE_FIRST
        while True:
            try:
                since = self._known[kind, namespace]
                async for event in cluster.watch(kind, namespace, since, labels=selector(kind)):
                    self._known[kind, namespace] = event["object"]["metadata"]["resourceVersion"]
                    pause = PAUSE_FIRST
                    self._hear(kind, namespace)
                    if event["type"] != "BOOKMARK":
                        self.take(kind, event)
            except ClusterError as error:
                log.warning("watch of %s: %s", kind.plural, error)
                if error.status == GONE and await self._listed_anew(cluster, kind, namespace):
                    continue
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST)

    async def _listed_anew(self, cluster: Cluster, kind: ObjectKind, namespace: str) -> bool:
        try:
            changed = await self._list(cluster, kind, namespace)
        except ClusterError as error:
            log.warning("list of %s: %s", kind.plural, error)
            return False
        for name in changed:
            self._queue.mark(name)
        return True

    def _hear(self, kind: ObjectKind, namespace: str) -> None:
        self._heard[kind, namespace] = asyncio.get_running_loop().time()

    def _handler(self, kind: ObjectKind) -> Any:
        async def handler(event: Mapping[str, Any], **_: Any) -> None:
            self.take(kind, event)

        return handler


def watch_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher: no Events, no peering, no annotations, and time limits on everything."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 75  # bookmarks come every minute: a watch without any is dead
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = BACKOFFS
    settings.queueing.exit_timeout = 1
    # A worker does nothing but put one object into the cache: at the start a thousand of them need not wait side by
    # side, each for five seconds, whether another event comes.
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 0.05
    return settings


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
