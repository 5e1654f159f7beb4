"""Every metric of the routers.

Where OpenTelemetry's conventions for generative AI have a name, it is theirs (`gen_ai_*`, as its Prometheus exporter
writes them); all others begin with `forebay_`. Every label's values are bounded: pools, providers and models as the
routing table names them, everything else from a closed list. Nothing that a client writes becomes a label's value,
but a model's name once a pool that serves it has answered.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from forebay import engines
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.table import PoolEntry
from forebay.router.fast_metrics import (
    FastCounter,
    FastCounterReader,
    FastHistogram,
    FastHistogramReader,
    FastMoneyCounter,
)
from forebay.router.usage_counters import UsageCounters
from forebay.rules.endpoints import operation

REGISTRY: Final = CollectorRegistry()
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

ProcessCollector(registry=REGISTRY)
BUILD: Final = Gauge("forebay_build_info", "Always 1; which router this is.", ("version", "role"), registry=REGISTRY)

REQUESTS: Final = FastCounter(
    "forebay_requests", "Finished requests by where they went and why.",
    ("pool", "kind", "reason", "priority", "capability", "code"), REGISTRY,
)  # fmt: skip
_SERVED: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "pool")
DURATION: Final = FastHistogram(
    "gen_ai_server_request_duration_seconds",
    "From a request's first byte in to its answer's last byte out, waits included; error_type is empty for an answer.",
    (*_SERVED, "error_type"), (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
                               163.84, 327.68, 655.36), REGISTRY,
)  # fmt: skip
FIRST_TOKEN: Final = FastHistogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From a streamed request's first byte in to its first content byte out, waits included.", _SERVED,
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80), REGISTRY,
)  # fmt: skip
PER_TOKEN: Final = FastHistogramReader(
    "gen_ai_server_time_per_output_token_seconds",
    "Time of each token after the first, as the replica's engine measured it; sidecars only.",
    ("gen_ai_provider_name", "gen_ai_request_model", "pool"), REGISTRY,
)  # fmt: skip
QUEUE_WAIT: Final = Histogram(
    "forebay_queue_wait_seconds", "How long requests waited for a slot.", ("pool",), registry=REGISTRY, buckets=SECONDS
)
QUEUE_LENGTH: Final = Gauge("forebay_queue_length", "Requests that wait.", ("pool", "priority"), registry=REGISTRY)
SLOTS: Final = Gauge("forebay_slots", "Slots of the replicas that serve.", ("pool",), registry=REGISTRY)
SLOTS_RUNNING: Final = Gauge("forebay_slots_running", "Slots in use.", ("pool",), registry=REGISTRY)
REPLICAS: Final = Gauge("forebay_replicas", "Replicas heard of lately, by state.", ("pool", "state"), registry=REGISTRY)
OVERFLOW: Final = Counter(
    "forebay_overflow_total",
    "Requests sent to a provider, gaps included.",
    ("pool", "tier", "provider", "model", "reason"),
    registry=REGISTRY,
)
OVERFLOW_RUNNING: Final = Gauge(
    "forebay_overflow_running", "Requests at a provider now.", ("provider",), registry=REGISTRY
)
CLOUD_ERRORS: Final = Counter(
    "forebay_cloud_errors_total", "Tries at a provider that ended without a whole answer, and why.",
    ("provider", "code"), registry=REGISTRY,
)  # fmt: skip
# The names of OpenTelemetry's conventions for generative AI, where it has one.
TOKENS: Final = FastHistogram(
    "gen_ai_client_token_usage", "Tokens of one answer, as the provider counted them; input includes cached ones.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
    tuple(4**power for power in range(14)), REGISTRY,
)  # fmt: skip
OPERATION: Final = FastHistogram(
    "gen_ai_client_operation_duration_seconds", "How long tries at providers took; error_type is empty for an answer.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"),
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92), REGISTRY,
)  # fmt: skip
CACHED_TOKENS: Final = Counter(
    "forebay_cloud_cached_tokens_total", "Input tokens that providers had in their cache.", ("provider", "model"),
    registry=REGISTRY,
)  # fmt: skip
COST: Final = FastMoneyCounter(
    "forebay_cloud_cost_dollars", "What providers' answers cost at the policy's prices, counted or estimated.",
    ("provider", "model", "source"), REGISTRY,
)  # fmt: skip
BUDGET_SPENT: Final = Gauge(
    "forebay_budget_gateway_spent_dollars", "What this gateway's requests have cost in the running period, by budget.",
    ("budget",), registry=REGISTRY,
)  # fmt: skip
BUDGET_RESERVED: Final = Gauge(
    "forebay_budget_gateway_reserved_dollars", "Worst cases of requests that this gateway has at providers, by budget.",
    ("budget",), registry=REGISTRY,
)  # fmt: skip
BUDGET_ROOM: Final = Gauge(
    "forebay_budget_gateway_room_dollars", "What this gateway may still reserve of what it was granted, by budget.",
    ("budget",), registry=REGISTRY,
)  # fmt: skip
BUDGET_ASSUMED: Final = FastMoneyCounter(
    "forebay_budget_assumed_dollars", "What budgets were charged for answers that no provider has counted.",
    ("provider", "model"), REGISTRY,
)  # fmt: skip
BUDGET_BEYOND: Final = Gauge(
    "forebay_budget_beyond_worst_dollars",
    "What answers cost above the worst case that was reserved for them: a wrong price, or a limit that is ignored.",
    registry=REGISTRY,
)  # fmt: skip
WASTED_TRIES: Final = Counter(
    "forebay_wasted_tries_total", "Requests that a replica refused or failed before the first byte.",
    ("pool", "cause"), registry=REGISTRY,
)  # fmt: skip
WAKES: Final = Counter(
    "forebay_wakes_total", "Requests to the operator to look at a pool without replicas, by how they ended.",
    ("pool", "outcome"), registry=REGISTRY,
)  # fmt: skip
OFFERS: Final = Counter(
    "forebay_slot_offers_total", "Offers of freed slots to gateways, by what became of them.", ("outcome",),
    registry=REGISTRY,
)  # fmt: skip
SLOT_IDLE: Final = Histogram(
    "forebay_slot_idle_seconds", "How long a slot stood idle while a request that may use it waited.",
    registry=REGISTRY, buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)  # fmt: skip
ADAPTER_CHANGES: Final = Counter(
    "forebay_adapter_changes_total", "LoRA adapters that this replica's engine was told to load or unload.",
    ("change", "outcome"), registry=REGISTRY,
)  # fmt: skip
ADMITTED: Final = FastCounter("forebay_admitted", "Requests that got a slot of this replica.", (), REGISTRY)
TABLE_GENERATION: Final = Gauge(
    "forebay_table_generation", "Generation of the routing table in use.", registry=REGISTRY
)
TABLE_REFUSED: Final = FastCounter("forebay_table_refused", "Routing tables that were not taken.", (), REGISTRY)
BODY_BYTES: Final = Gauge("forebay_body_bytes", "Bytes of request bodies that are held.", registry=REGISTRY)
UPSTREAM_CALLS: Final = Gauge(
    "forebay_upstream_calls", "Requests under way to other routers and the engine, probes included.", registry=REGISTRY
)
CONNECTIONS: Final = Gauge("forebay_connections", "Open client connections.", registry=REGISTRY)
LOG_DROPPED: Final = FastCounter(
    "forebay_access_log_dropped", "Lines of the access log that nobody took in time.", (), REGISTRY
)

_LOCAL_TOKENS: Final = engines.metric_names(lambda names: names.generation_tokens)
_USED: Final = ("pool", "destination", "client", "priority", "capability")
USAGE_REQUESTS: Final = FastCounterReader(
    "forebay_usage_requests", "Requests that were served, by who asked; destination is local, or provider/model.",
    _USED, REGISTRY,
)  # fmt: skip
USAGE_SECONDS: Final = FastCounterReader(
    "forebay_usage_seconds", "Time that their service took, without waits for a slot.", _USED, REGISTRY
)
USAGE_INPUT_TOKENS: Final = FastCounterReader(
    "forebay_usage_input_tokens", "Tokens of their prompts: an estimate of local ones, counted by providers.", _USED,
    REGISTRY,
)  # fmt: skip
USAGE_OUTPUT_TOKENS: Final = FastCounterReader(
    "forebay_usage_output_tokens", f"Tokens of providers' answers; for local ones see {' and '.join(_LOCAL_TOKENS)}.",
    _USED, REGISTRY,
)  # fmt: skip
USAGE_DOLLARS: Final = FastCounterReader(
    "forebay_usage_dollars", "What providers' answers cost at the policy's prices.", _USED, REGISTRY
)

_CODES: Final = {int(status): str(int(status)) for status in HTTPStatus} | {499: "499"}


_USUAL_PROVIDER: Final = engines.of(engines.DEFAULT).provider
_providers: dict[str, str] = {}
"""By pool, `gen_ai_provider_name` of its engines. Those of pools that are gone stay: their last requests end later."""


def know(pools: Iterable[PoolEntry]) -> None:
    """Learn what the engines of a routing table's pools are."""
    _providers.update((pool.name, pool.dialect.provider) for pool in pools)


def finished(record: AccessLogEntry, seconds: float | None) -> None:
    """Count a request that is over; `seconds` is None where it never set out."""
    destination, code = record.destination, _CODES.get(record.status, "other")
    kind = "none" if destination in ("", "none") else "cloud" if "/" in destination else "local"
    pool = destination if kind == "local" else ""
    REQUESTS.inc((pool, kind, record.reason, record.priority, record.capability, code))
    if seconds is not None and kind != "none":
        DURATION.observe((*_served(record), code if record.status >= 400 else ""), seconds)


def used(usage: UsageCounters) -> None:
    """Take over who used what."""
    cells = usage.cells.items()
    USAGE_REQUESTS.values = {key: cell.requests for key, cell in cells}
    USAGE_SECONDS.values = {key: cell.seconds for key, cell in cells}
    USAGE_INPUT_TOKENS.values = {key: cell.input_tokens for key, cell in cells}
    USAGE_OUTPUT_TOKENS.values = {key: cell.output_tokens for key, cell in cells}
    USAGE_DOLLARS.values = {key: float(cell.dollars) for key, cell in cells}


def first_token(record: AccessLogEntry, seconds: float) -> None:
    """Note the time to a stream's first content byte."""
    FIRST_TOKEN.observe(_served(record), seconds)


def _served(record: AccessLogEntry) -> tuple[str, str, str, str]:
    provider, cloud, model = record.destination.partition("/")
    what = operation(record.path)
    if cloud:
        return what, provider, model, ""
    pool = record.destination
    return what, _providers.get(pool, _USUAL_PROVIDER), record.model, pool


def render() -> bytes:
    """The text for Prometheus."""
    return generate_latest(REGISTRY)
