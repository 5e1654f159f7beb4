"""How many GPUs the nodes have, looked at only while a pool waits for some: more of them end its wait."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.controller.cluster.kubernetes_api import NODE, Cluster, ClusterError, Object

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 15.0


@dataclass(slots=True)
class NodeWatch:
    """Allocatable GPUs by resource and node, as last seen, and when a node last had more (Unix seconds)."""

    roomier: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _refused: bool = False

    async def look(self, cluster: Cluster, resources: Iterable[str], now: float) -> frozenset[str]:
        """Look again. Returns the resources of which there are more; none when the nodes cannot be read."""
        try:
            objects, _ = await cluster.list(NODE)
        except ClusterError as error:
            if not self._refused:
                log.warning("nodes cannot be read, so withdrawn replicas are asked for by the clock alone: %s", error)
            self._refused = True
            return frozenset()
        self._refused = False
        return self.take(objects, resources, now)

    def take(self, objects: Iterable[Object], resources: Iterable[str], now: float) -> frozenset[str]:
        """The nodes as they are now. What was not looked at before tells nothing yet."""
        objects = list(objects)
        after = {resource: {_name(node): _allocatable(node, resource) for node in objects} for resource in resources}
        more = frozenset(
            resource
            for resource, nodes in after.items()
            if resource in self._seen and _risen(self._seen[resource], nodes)
        )
        self._seen = dict(after)
        self.roomier |= dict.fromkeys(more, now)
        return more


def _risen(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(count > before.get(node, 0) for node, count in after.items())


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


def _allocatable(node: Object, resource: str) -> int:
    text = str(((node.get("status") or {}).get("allocatable") or {}).get(resource, "0"))
    return int(text) if text.isdecimal() else 0
