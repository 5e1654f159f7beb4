"""A period from Prometheus: whatever it has scraped of the routers and the operator.

The series need the label `namespace` of the fleet, and those of the engines the label `pool`, as the chart's
PodMonitors give them.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, TypeVar

from forebay import engines
from forebay.cli.cost.period import BilledPeriod, Moment, PoolUse, Use
from forebay.cli.problem import Problem
from forebay.cli.running.fleet_objects import RunningPool
from forebay.engines.dialect import MetricNames
from forebay.rules.cost import Price

TIMEOUT_SECONDS: Final = 60.0
MOMENTS: Final = 500
"""At most so many moments of a period are looked at."""
LEAST_STEP_SECONDS: Final = 15
_BY: Final = ("pool", "destination", "client", "priority", "capability")
_USAGE: Final = ("requests", "seconds", "input_tokens", "output_tokens", "dollars")
_GAUGES: Final = ("replicas", "slots", "running", "queued", "overflow_running", "desired_replicas")
_TOKENS: Final[Mapping[str, Callable[[MetricNames], str]]] = {
    "prompt": attrgetter("prompt_tokens"),
    "generation": attrgetter("generation_tokens"),
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """Labels, and values by Unix second."""

    labels: Mapping[str, str]
    values: Mapping[int, float]


class Prometheus:
    """Asks one Prometheus. The library has no time limit of its own: each question runs in a thread that has one."""

    def __init__(self, url: str) -> None:
        try:
            from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - an optional dependency
        except ImportError:
            needs = "--prometheus needs prometheus-api-client: pip install prometheus-api-client"
            raise Problem(needs, 2) from None
        self.url = url.rstrip("/")
        self._connection = PrometheusConnect(url=self.url)

    def at(self, query: str, time: float) -> list[MetricSeries]:
        """A query at one time. Raises Problem."""
        answer = self._in_time(lambda: self._connection.custom_query(query, params={"time": time}))
        return [MetricSeries(item["metric"], dict([_point(item["value"])])) for item in answer]

    def over(self, query: str, begin: float, end: float, step: int) -> list[MetricSeries]:
        """A query at every step. Raises Problem."""
        first, last = (datetime.fromtimestamp(time, UTC) for time in (begin, end))
        answer = self._in_time(lambda: self._connection.custom_query_range(query, first, last, str(step)))
        return [MetricSeries(item["metric"], dict(map(_point, item["values"]))) for item in answer]

    def _in_time(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, within TIMEOUT_SECONDS."""
        answers: list[T] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                answers.append(ask())
            except Exception as error:  # told as a sentence below
                errors.append(error)

        thread = threading.Thread(target=work, name="prometheus", daemon=True)
        thread.start()
        thread.join(TIMEOUT_SECONDS)
        if answers:
            return answers[0]
        why = str(errors[0]) if errors else f"no answer within {TIMEOUT_SECONDS:.0f} s"
        raise Problem(f"Prometheus at {self.url} cannot be asked: {why}")


def _point(pair: Sequence[Any]) -> tuple[int, float]:
    return int(pair[0]), float(pair[1])


def period(
    source: Prometheus, pools: Iterable[RunningPool], namespace: str, begin: float, end: float, *,
    gpu_hour_price: float | None, displaced: Mapping[str, Price],
) -> BilledPeriod:  # fmt: skip
    """What Prometheus has of a fleet between two times. Raises Problem when it has nothing."""
    uses = _uses(source, namespace, begin, end)
    step = max(LEAST_STEP_SECONDS, round((end - begin) / MOMENTS))
    gauges = {name: _by_pool(source, _mean(name, namespace, step), begin, end, step) for name in _GAUGES}
    tokens = {kind: _tokens(source, kind, namespace, begin, end) for kind in _TOKENS}
    known = tuple(pools)
    if not uses and not any(gauges.values()):
        raise Problem(
            f"Prometheus at {source.url} has nothing of namespace {namespace} in this time: does it scrape the routers "
            "and the operator (chart: podMonitors.enabled)?"
        )
    return BilledPeriod(
        namespace=namespace,
        begin=begin,
        end=end,
        source=f"Prometheus at {source.url}",
        pools=tuple(_pool(pool, gauges, tokens, step, gpu_hour_price) for pool in known),
        uses=tuple(uses),
        displaced=displaced,
    )


def _uses(source: Prometheus, namespace: str, begin: float, end: float) -> list[Use]:
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for kind in _USAGE:
        usage = f'forebay_usage_{kind}_total{{namespace="{namespace}"}}'
        query = f"sum by ({', '.join(_BY)}) ({_grown(usage, namespace, begin, end)})"
        for series in source.at(query, end):
            key = tuple(series.labels.get(label, "") for label in _BY)
            rows.setdefault(key, {})[kind] = next(iter(series.values.values()))
    return [_use(key, values) for key, values in rows.items() if any(values.values())]


def _use(key: tuple[str, ...], values: Mapping[str, float]) -> Use:
    pool, destination, client, priority, capability = key
    requests, seconds, tokens_in, tokens_out, dollars = (values.get(kind, 0.0) for kind in _USAGE)
    return Use(pool, destination, client, priority, capability, requests, seconds, tokens_in, tokens_out, dollars)


def _grown(series: str, namespace: str, begin: float, end: float) -> str:
    """What counters grew by. `increase` leaves out what a series had when it was first seen; that counts where its
    process began within the period, as that of every new pod did."""
    of = f'{{namespace="{namespace}"}}'
    span = f"[{round(end - begin)}s]"
    nothing = f"min_over_time({series}{span}) * 0"
    began = f"process_start_time_seconds{of} > {begin:.0f}"
    first = f"(min_over_time({series}{span}) unless {series} offset {span[1:-1]}) and on (instance) ({began})"
    return f"(increase({series}{span}) or {nothing}) + (({first}) or {nothing})"


def _mean(gauge: str, namespace: str, step: int) -> str:
    return f'sum by (pool) (avg_over_time(forebay_pool_{gauge}{{namespace="{namespace}"}}[{step}s]))'


def _by_pool(source: Prometheus, query: str, begin: float, end: float, step: int) -> dict[str, Mapping[int, float]]:
    return {series.labels.get("pool", ""): series.values for series in source.over(query, begin + step, end, step)}


def _tokens(source: Prometheus, kind: str, namespace: str, begin: float, end: float) -> dict[str, float]:
    counters = engines.series(_TOKENS[kind], f'namespace="{namespace}"')
    grown = _grown(counters, namespace, begin, end)
    found = source.at(f"sum by (pool) ({grown})", end)
    return {series.labels.get("pool", ""): next(iter(series.values.values())) for series in found}


def _pool(
    pool: RunningPool,
    gauges: Mapping[str, Mapping[str, Mapping[int, float]]],
    tokens: Mapping[str, Mapping[str, float]],
    step: int,
    gpu_hour_price: float | None,
) -> PoolUse:
    mine = {name: by_pool.get(pool.name, {}) for name, by_pool in gauges.items()}
    times = sorted(set().union(*mine.values()))
    moments = tuple(
        Moment(float(step), *(mine[name].get(time, 0.0) for name in _GAUGES if name != "desired_replicas"))
        for time in times
    )
    gpus, price = 0, gpu_hour_price
    if pool.spec is not None:
        gpus = pool.spec.engine.gpus
        price = gpu_hour_price if pool.spec.gpu_hour_price is None else float(pool.spec.gpu_hour_price)
    return PoolUse(
        name=pool.name,
        gpus=gpus,
        gpu_hour_price=price,
        gpu_hours=gpus * sum(mine["desired_replicas"].values()) * step / 3600,
        prompt_tokens=tokens["prompt"].get(pool.name, 0.0),
        generation_tokens=tokens["generation"].get(pool.name, 0.0),
        moments=moments,
    )
