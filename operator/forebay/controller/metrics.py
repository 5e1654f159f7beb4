"""The operator's own metrics, for Prometheus."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from forebay.controller.sizing import Sizing

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_POOL: Final = ("namespace", "pool")


class Metrics:
    """Counters and gauges; one registry, so that tests have their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes = Counter(
            "forebay_operator_reconcile",
            "Passes over a fleet, by how they ended.",
            ("outcome",),
            registry=self.registry,
        )
        self.seconds = Histogram("forebay_operator_reconcile_seconds", "Duration of a pass.", registry=self.registry)
        self.queue_depth = Gauge("forebay_operator_queue_depth", "Fleets that wait for a pass.", registry=self.registry)
        self.watch_age = Gauge(
            "forebay_operator_last_watch_event_age_seconds", "Age of the last watch event.", registry=self.registry
        )
        self.lease_age = Gauge(
            "forebay_operator_lease_age_seconds",
            "Since the operator's Lease was last renewed; infinite while another operator holds it.",
            registry=self.registry,
        )
        self.pass_age = Gauge(
            "forebay_operator_last_reconcile_age_seconds",
            "Since the last pass over this fleet that went well.",
            ("namespace",),
            registry=self.registry,
        )
        gauges = {
            "replicas": "Replicas that serve.",
            "desired_replicas": "Replicas that were decided on.",
            "demand": "Concurrent requests that want the pool.",
            "capacity": "Slots of one replica that Normal requests may use.",
            "slots": "Slots of all serving replicas.",
            "running": "Requests that run.",
            "queued": "Requests that wait at the gateways.",
            "overflow_running": "Requests at a provider now, for lack of a slot.",
        }
        self._pools = {
            name: Gauge(f"forebay_pool_{name}", text, _POOL, registry=self.registry) for name, text in gauges.items()
        }
        self._known: dict[str, set[str]] = {}

    def pools(self, namespace: str, sizings: Mapping[str, Sizing]) -> None:
        """Take over the figures of a fleet's pools, and drop those of pools that are gone."""
        for pool, sizing in sizings.items():
            values = _values(sizing)
            for name, gauge in self._pools.items():
                gauge.labels(namespace, pool).set(values[name])
        for gone in self._known.get(namespace, set()) - set(sizings):
            for gauge in self._pools.values():
                gauge.remove(namespace, gone)
        self._known[namespace] = set(sizings)

    def ages(self, ended: Mapping[str, float], now: float) -> None:
        """Set the ages of the fleets' last good passes, from the times at which those ended."""
        self.pass_age.clear()
        for namespace, time in ended.items():
            self.pass_age.labels(namespace).set(now - time)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


def _values(sizing: Sizing) -> dict[str, float]:
    numbers, decision = sizing.numbers, sizing.decision
    return {
        "replicas": numbers.ready,
        "desired_replicas": decision.replicas,
        "demand": decision.demand,
        "capacity": decision.capacity or 0,
        "slots": numbers.slots,
        "running": numbers.running,
        "queued": numbers.queued,
        "overflow_running": numbers.overflowing,
    }
