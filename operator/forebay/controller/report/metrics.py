"""The operator's own metrics, for Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.report.conditions import Verdict
from forebay.controller.report.gateways import GatewayFacts
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.summary import price_rows

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
        self.events_left_out = Gauge(
            "forebay_operator_events_left_out",
            "Events beyond the budget of what they are about.",
            registry=self.registry,
        )
        self.watch_silence = Gauge(
            "forebay_operator_watch_silence_seconds",
            "Since the most silent watch of what pools own was heard of, bookmarks included; above 90 it is not ready.",
            registry=self.registry,
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
        self._refused = Gauge(
            "forebay_operator_namespace_refused",
            "1 where the API server refuses the operator its lease, a watch or a pass; no namespace: all of them.",
            ("namespace", "what"),
            registry=self.registry,
        )
        gauges = {
            "replicas": "Replicas that serve.",
            "desired_replicas": "Replicas that were decided on.",
            "wanted_replicas": "Replicas that the scaling rule would have, whether there are GPUs or not.",
            "unplaced_replicas": "Replicas that no node has.",
            "overflow_dollars_per_hour": "What overflow costs an hour at the rate of the last five minutes.",
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
        self._conditions = Gauge(
            "forebay_pool_condition", "A condition of the pool: 1 for True, 0 for False, -1 for Unknown.",
            (*_POOL, "condition"), registry=self.registry,
        )  # fmt: skip
        self._judged: dict[str, set[tuple[str, str]]] = {}
        self._gateways = Gauge("forebay_fleet_gateways", "Gateways that serve.", ("namespace",), registry=self.registry)
        self._wanted_gateways = Gauge(
            "forebay_fleet_wanted_gateways", "Gateways that are wanted.", ("namespace",), registry=self.registry
        )
        self._gpus = Gauge("forebay_pool_gpus", "GPUs of one replica.", _POOL, registry=self.registry)
        self._gpu_price = Gauge(
            "forebay_pool_gpu_hour_dollars", "Price of one GPU for an hour, where the pool names one.", _POOL,
            registry=self.registry,
        )  # fmt: skip
        self._cloud_price = Gauge(
            "forebay_cloud_price_dollars", "Price of a million tokens at a provider, as policies name it; in or out.",
            ("namespace", "policy", "tier", "provider", "model", "tokens"), registry=self.registry,
        )  # fmt: skip
        self._budget = Gauge(
            "forebay_budget_dollars",
            "A policy's budget in the period that runs: its amount, and what is spent, leased, lost and left of it.",
            ("namespace", "policy", "part"), registry=self.registry,
        )  # fmt: skip
        self._budget_end = Gauge(
            "forebay_budget_end_timestamp_seconds", "When the running period of a policy's budget ends.",
            ("namespace", "policy"), registry=self.registry,
        )  # fmt: skip
        self._budget_forecast = Gauge(
            "forebay_budget_forecast_timestamp_seconds",
            "Begin of the day (UTC) on which a policy's budget is about spent, where it does not last.",
            ("namespace", "policy"), registry=self.registry,
        )  # fmt: skip
        self._priced: dict[str, tuple[tuple[Gauge, tuple[str, ...]], ...]] = {}

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

    def conditions(
        self, namespace: str, verdicts: Mapping[str, tuple[Verdict, ...]], gateways: GatewayFacts | None
    ) -> None:
        """Take over a fleet's conditions as its pools' statuses have them, and drop those of pools that are gone."""
        judged = {(pool, verdict.type.value): verdict.status for pool, found in verdicts.items() for verdict in found}
        for (pool, kind), status in judged.items():
            self._conditions.labels(namespace, pool, kind).set(-1 if status is None else int(status))
        for pool, kind in self._judged.get(namespace, set()) - set(judged):
            self._conditions.remove(namespace, pool, kind)
        before = self._judged.pop(namespace, None)
        if gateways is not None:
            self._judged[namespace] = set(judged)
            self._gateways.labels(namespace).set(gateways.ready)
            self._wanted_gateways.labels(namespace).set(gateways.wanted)
        elif before is not None:
            self._gateways.remove(namespace)
            self._wanted_gateways.remove(namespace)

    def prices(self, fleet: ObservedFleet) -> None:
        """Take over what a fleet's pools and policies say of money, and drop what they no longer say."""
        found = {(gauge, labels): value for gauge, labels, value in self._prices_of(fleet)}
        for gauge, labels in self._priced.get(fleet.namespace, ()):
            if (gauge, labels) not in found:
                gauge.remove(*labels)
        for (gauge, labels), value in found.items():
            gauge.labels(*labels).set(value)
        self._priced[fleet.namespace] = tuple(found)

    def _prices_of(self, fleet: ObservedFleet) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
        for pool in fleet.pools:
            if pool.spec is not None:
                yield self._gpus, (fleet.namespace, pool.name), pool.spec.engine.gpus
                if pool.spec.gpu_hour_price is not None:
                    yield self._gpu_price, (fleet.namespace, pool.name), float(pool.spec.gpu_hour_price)
        for policy in fleet.policies:
            for row in price_rows(policy.name, policy.spec) if policy.spec is not None else ():
                of = (fleet.namespace, row.policy, row.tier, row.provider, row.model)
                for tokens, price in (("in", row.input_price), ("out", row.output_price)):
                    if price is not None:
                        yield self._cloud_price, (*of, tokens), float(price)
            if (budget := policy.status.budget) is not None:
                of_policy = (fleet.namespace, policy.name)
                for part in ("amount", "spent", "leased", "lost", "left"):
                    yield self._budget, (*of_policy, part), float(getattr(budget, part))
                if budget.period_end:
                    yield self._budget_end, of_policy, datetime.fromisoformat(budget.period_end).timestamp()
                if budget.forecast is not None and budget.forecast.likely:
                    day = datetime.fromisoformat(f"{budget.forecast.likely}T00:00:00Z")
                    yield self._budget_forecast, of_policy, day.timestamp()

    def ages(self, ended: Mapping[str, float], now: float) -> None:
        """Set the ages of the fleets' last good passes, from the times at which those ended."""
        self.pass_age.clear()
        for namespace, time in ended.items():
            self.pass_age.labels(namespace).set(now - time)

    def refusals(self, refused: Iterable[tuple[str, str]]) -> None:
        """Set where something is refused now, by namespace and what."""
        self._refused.clear()
        for labels in refused:
            self._refused.labels(*labels).set(1)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


def _values(sizing: Sizing) -> dict[str, float]:
    numbers, decision = sizing.numbers, sizing.decision
    return {
        "replicas": numbers.ready,
        "desired_replicas": decision.replicas,
        "wanted_replicas": sizing.wanted,
        "unplaced_replicas": numbers.unplaced,
        "overflow_dollars_per_hour": sizing.cost_per_hour,
        "demand": decision.demand,
        "capacity": decision.capacity or 0,
        "slots": numbers.slots,
        "running": numbers.running,
        "queued": numbers.queued,
        "overflow_running": numbers.overflowing,
    }
