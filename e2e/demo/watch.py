"""What the demo sees of the cluster: pools, Events, the gateways' counters. Reads only, through the API server."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client, config

from e2e.demo.checks import Seen

POLL_TIMEOUT = 5
OVERFLOW = re.compile(r"^forebay_overflow_total\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+]+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(slots=True)
class PoolLine:
    """One pool for the live view."""

    name: str
    replicas: int = 0
    ready: int = 0
    slots: int = 0
    running: int = 0
    queued: int = 0
    demand: str = "0"
    overflow: str = "None"
    conditions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One Event, with the time it was last seen."""

    uid: str
    time: str
    kind: str
    reason: str
    pool: str
    note: str
    count: int


class Watch:
    """Reads one namespace of the cluster that `kubeconfig` points at. Every call has a timeout."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self.namespace = namespace
        self.api = config.new_client_from_config(kubeconfig)
        self.custom = client.CustomObjectsApi(self.api)
        self.core = client.CoreV1Api(self.api)

    def pools(self) -> list[PoolLine]:
        """The pools with the numbers of their status and the size of their StatefulSets."""
        found = self._list("forebay.dev/v1alpha1", "localmodelpools")
        return sorted((_pool(item) for item in found), key=lambda line: line.name)

    def sizes(self) -> dict[str, int]:
        """spec.replicas of each pool's StatefulSet."""
        found = self._list("apps/v1", "statefulsets")
        return {item["metadata"]["name"]: item["spec"]["replicas"] for item in found}

    def events(self) -> list[ClusterEvent]:
        """Events that forebay wrote, oldest first."""
        found = self._list("events.k8s.io/v1", "events")
        mine = (item for item in found if (item.get("reportingController") or "").startswith("forebay.dev/"))
        return sorted((_event(item) for item in mine), key=lambda event: event.time)

    def overflow(self) -> Counter[tuple[str, str, str]]:
        """(pool, tier, reason) -> requests, summed over the gateways."""
        total: Counter[tuple[str, str, str]] = Counter()
        for text in self._gateway_metrics():
            for match in OVERFLOW.finditer(text):
                labels = dict(LABEL.findall(match["labels"]))
                key = (labels.get("pool", ""), labels.get("tier", ""), labels.get("reason", ""))
                total[key] += int(float(match["value"]))
        return total

    def gauge(self, name: str) -> Counter[str]:
        """A gauge of the gateways by pool: summed over each one's series, and the highest of all gateways.

        Each gateway knows all slots; of what waits, this is the longest line at one of them.
        """
        highest: Counter[str] = Counter()
        for text in self._gateway_metrics():
            mine: Counter[str] = Counter()
            for match in re.finditer(rf"^{name}\{{([^}}]*)\}} ([0-9.e+]+)$", text, re.M):
                mine[dict(LABEL.findall(match[1])).get("pool", "")] += int(float(match[2]))
            highest |= mine
        return highest

    def _list(self, api_version: str, plural: str) -> list[dict[str, Any]]:
        """Objects as plain dicts: the typed client refuses Events that leave out what it thinks required."""
        group, _, version = api_version.partition("/")
        found: Any = self.custom.list_namespaced_custom_object(
            group, version, self.namespace, plural, _request_timeout=POLL_TIMEOUT
        )
        items: list[dict[str, Any]] = found["items"]
        return items

    def _gateway_metrics(self) -> list[str]:
        pods = self.core.list_namespaced_pod(
            self.namespace, label_selector="app.kubernetes.io/component=gateway", _request_timeout=POLL_TIMEOUT
        )
        texts = []
        for pod in pods.items:
            try:
                texts.append(self._metrics(pod.metadata.name))
            except client.ApiException:
                continue  # starting or going
        return texts

    def _metrics(self, pod: str) -> str:
        response = self.core.connect_get_namespaced_pod_proxy_with_path(
            f"{pod}:9090", self.namespace, "metrics", _preload_content=False, _request_timeout=POLL_TIMEOUT
        )
        return str(response.data.decode())


def as_seen(events: list[ClusterEvent]) -> list[Seen]:
    """Events as the checks want them."""
    return [Seen(event.reason, event.pool, event.note) for event in events]


def _pool(item: dict[str, Any]) -> PoolLine:
    status = item.get("status", {})
    return PoolLine(
        name=item["metadata"]["name"],
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        slots=status.get("slots", 0),
        running=status.get("running", 0),
        queued=status.get("queued", 0),
        demand=status.get("scaling", {}).get("demand", "0"),
        overflow=status.get("overflow", {}).get("state", "None"),
        conditions={c["type"]: c["status"] for c in status.get("conditions", [])},
    )


def _event(item: dict[str, Any]) -> ClusterEvent:
    series = item.get("series") or {}
    metadata, regarding = item["metadata"], item.get("regarding") or {}
    return ClusterEvent(
        uid=metadata["uid"],
        time=series.get("lastObservedTime") or item.get("eventTime") or metadata["creationTimestamp"],
        kind=regarding.get("kind", ""),
        reason=item.get("reason", ""),
        pool=regarding.get("name", ""),
        note=item.get("note", ""),
        count=series.get("count", 1),
    )
