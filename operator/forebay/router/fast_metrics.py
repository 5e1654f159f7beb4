"""Counters and histograms for the request path: a dictionary entry per label set, made into metrics when scraped.

prometheus_client's own take a lock and walk their buckets in Python on every observation, several times a request.
"""

from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class FastCounter(Collector):
    """A counter. The name is given without `_total`."""

    def __init__(self, name: str, text: str, labels: Labels, registry: CollectorRegistry) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Labels, int] = {}
        registry.register(self)

    def inc(self, labels: Labels) -> None:
        """Count one."""
        self.values[labels] = self.values.get(labels, 0) + 1

    def set(self, labels: Labels, value: int) -> None:
        """Take over what was counted elsewhere."""
        self.values[labels] = value

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry."""
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


class FastCounterReader(Collector):
    """A counter that somebody else keeps: `values` are set before a scrape. The name is given without `_total`."""

    def __init__(self, name: str, text: str, labels: Labels, registry: CollectorRegistry) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Labels, float] = {}
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry."""
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


class FastMoneyCounter(Collector):
    """A counter of exact sums. The name is given without `_total`."""

    def __init__(self, name: str, text: str, labels: Labels, registry: CollectorRegistry) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Labels, Decimal] = {}
        registry.register(self)

    def add(self, labels: Labels, amount: Decimal) -> None:
        """Add an amount."""
        self.values[labels] = self.values.get(labels, Decimal(0)) + amount

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry."""
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, float(value))
        yield family


class FastHistogram(Collector):
    """A histogram with fixed upper bounds, in ascending order."""

    def __init__(
        self, name: str, text: str, labels: Labels, bounds: tuple[float, ...], registry: CollectorRegistry
    ) -> None:
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        self.values: dict[Labels, list[float]] = {}  # counts by bucket, the last one above all bounds; then the sum
        registry.register(self)

    def observe(self, labels: Labels, value: float) -> None:
        """Count one value."""
        cells = self.values.get(labels)
        if cells is None:
            cells = self.values[labels] = [0.0] * (len(self.bounds) + 2)
        cells[bisect_left(self.bounds, value)] += 1
        cells[-1] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, cells in self.values.items():
            total, buckets = 0.0, []
            for bound, count in zip((*self.bounds, float("inf")), cells, strict=False):
                total += count
                buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
            family.add_metric(labels, buckets, cells[-1])
        yield family


class FastHistogramReader(Collector):
    """A histogram that somebody else keeps: `read` replaces it, as cumulative counts by upper bound and the sum."""

    def __init__(self, name: str, text: str, labels: Labels, registry: CollectorRegistry) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Labels, tuple[list[tuple[str, float]], float]] = {}
        registry.register(self)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, (buckets, total) in self.values.items():
            family.add_metric(labels, buckets, total)
        yield family
