"""What comes in from the cluster: lists, and what kopf watches. It goes into the cache and marks its namespace dirty.

Nothing is decided here.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import kopf

from forebay.controller.cache import Cache, namespace_of
from forebay.controller.cluster import OWNED, POD, POLICY, POOL, Cluster, Kind
from forebay.controller.queue import WorkQueue
from forebay.resources import names

WATCHED: Final = (POOL, POLICY, POD, *OWNED)
LABELLED: Final = (POD, *OWNED)
"""Kinds of which only those with our label are watched."""


def selector(kind: Kind) -> str:
    """Label selector for lists and watches of a kind."""
    return names.MANAGED_SELECTOR if kind in LABELLED else ""


class Watch:
    """Feeds the cache and the queue."""

    def __init__(self, cache: Cache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
        self.listed = asyncio.Event()
        """Set once everything is known: before, half of it must not be taken for the whole."""
        self.last_event = asyncio.get_running_loop().time()
        """loop.time() of the last event of any kind."""

    def registry(self) -> kopf.OperatorRegistry:
        """Handlers of all kinds, in a registry of their own."""
        registry = kopf.OperatorRegistry()
        for kind in WATCHED:
            kopf.on.event(kind.api_version, kind.plural, registry=registry, id=f"watch-{kind.plural}")(
                self._handler(kind)
            )
        kopf.on.login(registry=registry, id="login")(_login)
        return registry

    async def list(self, cluster: Cluster, namespaces: tuple[str, ...]) -> set[str]:
        """Take over full lists of everything. Returns the namespaces in which they changed something.

        Raises ClusterError; what was read by then is known, and `listed` not yet set.
        """
        scopes = [(kind, namespace) for kind in WATCHED for namespace in namespaces or ("",)]
        changed = set().union(*await asyncio.gather(*(self._list(cluster, *scope) for scope in scopes)))
        if not self.listed.is_set():
            self.listed.set()
            changed = {namespace_of(obj) for kind in WATCHED for obj in self._cache.of(kind.kind)}
        for namespace in changed:
            self._queue.mark(namespace)
        return changed

    def take(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """One event as the API server sent it."""
        self.last_event = asyncio.get_running_loop().time()
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        changed = self._cache.remove(obj) if event["type"] == "DELETED" else self._cache.put(obj)
        if changed:
            self._queue.mark(namespace_of(obj))

    async def _list(self, cluster: Cluster, kind: Kind, namespace: str) -> set[str]:
        changed: set[str] = set()
        found: set[tuple[str, str]] = set()
        revision = "0"
        async for objects, at in cluster.pages(kind, namespace, labels=selector(kind)):
            revision = at
            changed |= {namespace_of(obj) for obj in objects if self._cache.put(obj)}
            found |= {(namespace_of(obj), obj["metadata"]["name"]) for obj in objects}
        return changed | self._cache.keep(kind, found, revision, namespace)

    def _handler(self, kind: Kind) -> Any:
        async def handler(event: Mapping[str, Any], **_: Any) -> None:
            self.take(kind, event)

        return handler


def watch_settings() -> kopf.OperatorSettings:
    """Kopf as a mere watcher: no Events, no peering, no annotations, and time limits on everything."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.queueing.exit_timeout = 1
    for kind in LABELLED:
        settings.watching.label_selectors[kind.api_version, kind.plural] = names.MANAGED_SELECTOR
    return settings


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
