"""What comes in from the cluster: lists, then watches. It goes into the cache and marks its namespace dirty.

Kopf watches what users write. What is made of it is ten times as many objects, and long ones: kopf would list them a
second time, in one piece. They are followed here from where their lists ended. Each scope, a namespace or the whole
cluster, has a kopf and watches of its own, which begin anew whatever they ended with: what is refused in one is no
business of the others. Nothing is decided.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import kopf

from forebay.controller.cluster.embedded_kopf import new_registry, run_kopf
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
PAUSE_MOST: Final = 5.0  # an API server that is back is not kept waiting, nor is a Role
DEAF_SECONDS: Final = 30.0  # a list showed a change, and kopf has not told it for so long since


def selector(kind: ObjectKind) -> str:
    """Label selector for lists and watches of a kind."""
    return names.MANAGED_SELECTOR if kind in FOLLOWED else ""


class Watch:
    """Feeds the cache and the queue."""

    def __init__(self, cache: ObjectCache, queue: WorkQueue, namespaces: tuple[str, ...] = ()) -> None:
        self._cache = cache
        self._queue = queue
        self.whole = {namespace: asyncio.Event() for namespace in namespaces or ("",)}
        """By scope: set once everything in it is known. Before, half of it must not be taken for the whole."""
        self.listed = asyncio.Event()
        """Set once that is so for one of them."""
        self.last_event = asyncio.get_running_loop().time()
        """loop.time() of the last event of any kind."""
        self._known: dict[Scope, str] = {}  # resourceVersion up to which it is known
        self._heard: dict[Scope, float] = {}  # loop.time() of its last word, bookmarks included
        self._refused: dict[Scope, str] = {}  # what its last list or watch ended with
        self._ended: dict[str, str] = {}  # what kopf ended with in a scope, until it is well again
        self._untold: dict[Scope, float] = {}  # loop.time() at which a list showed what kopf had not told

    def silence(self, namespace: str | None = None) -> float:
        """Seconds since the most silent watch, of one scope or of all that are not refused, was heard of; 0 before the
        first lists."""
        heard = [
            at
            for (kind, where), at in self._heard.items()
            if where == namespace or (namespace is None and (kind, where) not in self._refused)
        ]
        return asyncio.get_running_loop().time() - min(heard) if heard else 0.0

    def problem(self, namespace: str) -> str:
        """What keeps a scope from being known, in the API server's words; empty when nothing does."""
        refused = next((words for (_, where), words in self._refused.items() if where == namespace), "")
        return refused or self._ended.get(namespace, "")

    async def list(self, cluster: Cluster, namespace: str) -> set[str]:
        """Take over full lists of everything in a scope. Returns the namespaces in which they changed something.

        Raises ClusterError; what was read by then is known, and the scope not yet whole.
        """
        changed: set[str] = set()
        whole = self.whole[namespace].is_set()
        for kind in WATCHED:  # one after the other: side by side their pages would take memory that never comes back
            shown = await self._list(cluster, kind, namespace)
            if whole and shown and kind in BY_KOPF:
                self._untold.setdefault((kind, namespace), asyncio.get_running_loop().time())
            changed |= shown
        if not self.whole[namespace].is_set():
            self.whole[namespace].set()
            self.listed.set()
            known = set().union(*(self._cache.namespaces(kind.kind) for kind in WATCHED))
            changed = {name for name in known if namespace in ("", name)}
        for name in changed:
            self._queue.mark(name)
        return changed

    async def follow(self, cluster: Cluster, namespace: str, take_signals: Callable[[], None]) -> None:
        """Follow every kind in a scope from its first list on, until cancelled.

        `take_signals` is called whenever kopf has taken the process's signals.
        """
        await self.whole[namespace].wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_by_kopf(cluster, namespace, take_signals), name=f"kopf {namespace}")
            for kind in FOLLOWED:
                group.create_task(self._follow(cluster, kind, namespace), name=f"{kind.plural} {namespace}")

    def take(self, kind: ObjectKind, event: Mapping[str, Any]) -> None:
        """One event as the API server sent it."""
        self.last_event = asyncio.get_running_loop().time()
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        changed = self._cache.remove(obj) if event["type"] == "DELETED" else self._cache.put(obj)
        if changed:
            self._queue.mark(namespace_of(obj))

    async def _follow_by_kopf(self, cluster: Cluster, scope: str, take_signals: Callable[[], None]) -> None:
        """One kopf after the other. What is not known since the last one ended is listed before the next begins."""
        pause, loop = PAUSE_FIRST, asyncio.get_running_loop()
        while True:
            stop, began = asyncio.Event(), loop.time()
            try:
                await self._look(cluster, scope, (kind for kind in BY_KOPF if (kind, scope) not in self._known))
                kinds = tuple(kind for kind in BY_KOPF if (kind, scope) in self._known)
                for kind in BY_KOPF:
                    self._untold.pop((kind, scope), None)
                minding = asyncio.create_task(self._mind(cluster, scope, kinds, stop))
                try:
                    await run_kopf(self._registry(scope, kinds), scope, stop, take_signals)
                finally:
                    minding.cancel()
            except ClusterError:
                log.debug("kopf of %s waits", scope or "all namespaces")  # the list has told why
            except Exception as error:
                self._end(scope, f"kopf ended: {error.args[0] if error.args else error!r}")
            if loop.time() - began > PAUSE_MOST:
                pause = PAUSE_FIRST
            if not stop.is_set():
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST)

    async def _mind(self, cluster: Cluster, scope: str, kinds: tuple[ObjectKind, ...], stop: asyncio.Event) -> None:
        """Stop a scope's kopf when it is deaf, or when there is a kind that was not there when it began.

        It tells no deletion of before its own lists, so these are looked for once it is well.
        """
        missing = tuple(kind for kind in BY_KOPF if kind not in kinds)
        look: tuple[ObjectKind, ...] = BY_KOPF
        while not stop.is_set():
            await asyncio.sleep(PAUSE_MOST)
            self._ended.pop(scope, None)
            self._heard.pop((POOL, scope), None)
            try:
                await self._look(cluster, scope, look)
            except ClusterError as error:
                log.info("%s: %s", scope or "all namespaces", error)
            else:
                look = missing
            if any((kind, scope) in self._known for kind in missing):
                stop.set()
            if self.deaf(scope):
                log.warning("%s: kopf is silent although lists show changes", scope or "all namespaces")
                stop.set()

    def deaf(self, scope: str) -> bool:
        """Whether kopf has not told for long what a list of a scope showed."""
        now = asyncio.get_running_loop().time()
        return any(now - self._untold.get((kind, scope), now) > DEAF_SECONDS for kind in BY_KOPF)

    async def _look(self, cluster: Cluster, scope: str, kinds: Iterable[ObjectKind]) -> None:
        for kind in kinds:
            for name in await self._list(cluster, kind, scope):
                self._queue.mark(name)

    def _registry(self, scope: str, kinds: Iterable[ObjectKind]) -> kopf.OperatorRegistry:
        """Handlers of what kopf watches in a scope."""
        registry = new_registry()
        for kind in kinds:
            kopf.on.event(kind.api_version, kind.plural, registry=registry, id=f"watch-{kind.plural}")(
                self._handler(kind, scope)
            )
        return registry

    def _handler(self, kind: ObjectKind, scope: str) -> Any:
        async def handler(event: Mapping[str, Any], **_: Any) -> None:
            self._untold.pop((kind, scope), None)
            self.take(kind, event)

        return handler

    async def _list(self, cluster: Cluster, kind: ObjectKind, namespace: str) -> set[str]:
        """The namespaces in which a list changed something. A kind that does not exist has no objects."""
        changed: set[str] = set()
        found: set[tuple[str, str]] = set()
        revision = "0"
        try:
            async for items, at in cluster.pages(kind, namespace, labels=selector(kind)):
                revision = at
                for item in items:
                    found.add(item.key)
                    if not self._cache.knows(kind, item.key, item.revision) and self._cache.put(item.read()):
                        changed.add(item.key[0])
        except ClusterError as error:
            self._refuse(kind, namespace, error)
            if not error.not_found:
                raise
            self._known.pop((kind, namespace), None)
            return self._cache.keep(kind, set(), _LATEST, namespace)
        self._known[kind, namespace] = revision
        self._hear(kind, namespace)
        return changed | self._cache.keep(kind, found, revision, namespace)

    async def _follow(self, cluster: Cluster, kind: ObjectKind, namespace: str) -> None:
        """One watch after the other, each from where the last one ended; a list where that is not known."""
        pause = PAUSE_FIRST
        while True:
            try:
                if (kind, namespace) not in self._known:
                    for name in await self._list(cluster, kind, namespace):
                        self._queue.mark(name)
                if (since := self._known.get((kind, namespace))) is not None:
                    async for event in cluster.watch(kind, namespace, since, labels=selector(kind)):
                        self._known[kind, namespace] = event["object"]["metadata"]["resourceVersion"]
                        pause = PAUSE_FIRST
                        self._hear(kind, namespace)
                        if event["type"] != "BOOKMARK":
                            self.take(kind, event)
                    continue
            except ClusterError as error:
                self._refuse(kind, namespace, error)
                if error.status == GONE or error.not_found:
                    self._known.pop((kind, namespace), None)
            except Exception:
                log.exception("watch of %s in %s", kind.plural, namespace or "all namespaces")
                self._known.pop((kind, namespace), None)
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST)

    def _refuse(self, kind: ObjectKind, namespace: str, error: ClusterError) -> None:
        """Note why a kind is not heard of; said once for the same words."""
        words = f"{kind.plural}: {error}"
        if self._refused.get((kind, namespace)) != words:
            log.warning("%s: %s: %s", namespace or "all namespaces", kind.plural, error)
        if error.status != GONE:
            self._refused[kind, namespace] = words

    def _end(self, scope: str, words: str) -> None:
        """Note what kopf ended with. What it told is not kept up to date meanwhile."""
        self._heard.setdefault((POOL, scope), asyncio.get_running_loop().time())
        for kind in BY_KOPF:
            self._known.pop((kind, scope), None)
        if self._ended.get(scope) != words:
            self._ended[scope] = words
            log.warning("%s: %s", scope or "all namespaces", words)
            for name in set().union(*(self._cache.namespaces(kind.kind) for kind in BY_KOPF)):
                if scope in ("", name):
                    self._queue.mark(name)

    def _hear(self, kind: ObjectKind, namespace: str) -> None:
        if kind in FOLLOWED:
            self._heard[kind, namespace] = asyncio.get_running_loop().time()
        self._refused.pop((kind, namespace), None)


_LATEST: Final = str(2**63)
"""A resourceVersion that none comes after."""
