"""What kopf watches for us: every event goes into the cache and marks its namespace dirty. Nothing is decided here."""

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf

from forebay.controller.cache import Cache, namespace_of
from forebay.controller.cluster import OWNED, POD, POLICY, POOL, Kind
from forebay.controller.queue import WorkQueue
from forebay.resources import names

WATCHED = (POOL, POLICY, POD, *OWNED)
LABELLED = (POD, *OWNED)
"""Kinds of which only those with our label are watched."""


def selector(kind: Kind) -> str:
    """Label selector for lists and watches of a kind."""
    return names.MANAGED_SELECTOR if kind in LABELLED else ""


class Watch:
    """Feeds the cache and the queue."""

    def __init__(self, cache: Cache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
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

    def take(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """One event as the API server sent it."""
        self.last_event = asyncio.get_running_loop().time()
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        changed = self._cache.remove(obj) if event["type"] == "DELETED" else self._cache.put(obj)
        if changed:
            self._queue.mark(namespace_of(obj))

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
