"""Lists and watches: all that the operator knows of the cluster comes in here, and marks its namespace dirty. Nothing
is decided.

One task for each kind, and each namespace where they are named: a list, then a watch from where the list ended; and a
list again when the API server has forgotten that moment.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from forebay.controller.cache import Cache, namespace_of
from forebay.controller.cluster import OWNED, POD, POLICY, POOL, Cluster, ClusterError, Kind
from forebay.controller.queue import WorkQueue
from forebay.resources import names

log = logging.getLogger(__name__)

WATCHED: Final = (POOL, POLICY, POD, *OWNED)
LABELLED: Final = (POD, *OWNED)
"""Kinds of which only those with our label are watched."""
GONE: Final = 410  # HTTP: the API server does not know this resourceVersion any more
PAUSE_FIRST: Final = 0.5
PAUSE_MOST: Final = 5.0  # an API server that is back is not kept waiting


def selector(kind: Kind) -> str:
    """Label selector for lists and watches of a kind."""
    return names.MANAGED_SELECTOR if kind in LABELLED else ""


class Watch:
    """Feeds the cache and the queue."""

    def __init__(self, cache: Cache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
        self._early: set[str] = set()  # changed before everything was listed
        self.listed = asyncio.Event()
        """Set once everything is known."""
        self.last_event = asyncio.get_running_loop().time()
        """loop.time() of the last event of any kind."""
        self._heard: dict[tuple[Kind, str], float] = {}  # loop.time() of each watch's last word, bookmarks included

    def silence(self) -> float:
        """Seconds since the most silent watch was heard of; 0 before the first lists."""
        return asyncio.get_running_loop().time() - min(self._heard.values()) if self._heard else 0.0

    async def run(self, cluster: Cluster, namespaces: tuple[str, ...]) -> None:
        """Follow everything until cancelled."""
        scopes = [(kind, namespace) for kind in WATCHED for namespace in namespaces or ("",)]
        missing = set(scopes)

        def known(scope: tuple[Kind, str]) -> None:
            missing.discard(scope)
            if not missing and not self.listed.is_set():
                self.listed.set()
                for namespace in self._early:
                    self._queue.mark(namespace)

        async with asyncio.TaskGroup() as group:
            for scope in scopes:
                group.create_task(self._follow(cluster, scope, known), name=f"watch {scope[0].plural} {scope[1]}")

    async def list(self, cluster: Cluster, kind: Kind, namespace: str) -> tuple[set[str], str]:
        """Take over a full list. Returns the namespaces in which it changed something, and its resourceVersion."""
        changed: set[str] = set()
        found: set[tuple[str, str]] = set()
        revision = "0"
        async for objects, at in cluster.pages(kind, namespace, labels=selector(kind)):
            revision = at
            changed |= {namespace_of(obj) for obj in objects if self._cache.put(obj)}
            found |= {(namespace_of(obj), obj["metadata"]["name"]) for obj in objects}
        changed |= self._cache.keep(kind, found, revision, namespace)
        for name in changed:
            self._mark(name)
        return changed, revision

    def _hear(self, kind: Kind, namespace: str) -> None:
        self._heard[kind, namespace] = asyncio.get_running_loop().time()

    def take(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """One event as the API server sent it."""
        self.last_event = asyncio.get_running_loop().time()
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        changed = self._cache.remove(obj) if event["type"] == "DELETED" else self._cache.put(obj)
        if changed:
            self._mark(namespace_of(obj))

    async def _follow(self, cluster: Cluster, scope: tuple[Kind, str], known: Any) -> None:
        kind, namespace = scope
        pause = PAUSE_FIRST
        while True:
            try:
                _, revision = await self.list(cluster, kind, namespace)
                self._hear(kind, namespace)
                known(scope)
                pause = PAUSE_FIRST
                await self._watch(cluster, kind, namespace, revision)
            except ClusterError as error:
                log.warning("list of %s: %s", kind.plural, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST)

    async def _watch(self, cluster: Cluster, kind: Kind, namespace: str, revision: str) -> None:
        """Follow from this moment on, one watch after the other, until the API server has forgotten it."""
        pause = PAUSE_FIRST
        while True:
            try:
                async for event in cluster.watch(kind, namespace, revision, labels=selector(kind)):
                    revision = event["object"]["metadata"]["resourceVersion"]
                    pause = PAUSE_FIRST
                    self._hear(kind, namespace)
                    if event["type"] != "BOOKMARK":
                        self.take(kind, event)
            except ClusterError as error:
                if error.status == GONE:
                    log.info("watch of %s: %s; listing anew", kind.plural, error)
                    return
                log.warning("watch of %s: %s", kind.plural, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST)

    def _mark(self, namespace: str) -> None:
        """Before everything is listed, half of it must not be taken for the whole."""
        if self.listed.is_set():
            self._queue.mark(namespace)
        else:
            self._early.add(namespace)
