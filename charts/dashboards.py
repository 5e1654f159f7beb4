"""Writes the chart's Grafana dashboards from the tables below: `make dashboards`; `--check` compares.

A panel is a title, a unit and its queries. In a query FLEET stands for the matcher of the chosen namespace, POOL for
that of the chosen pool, RATE for the interval of rates.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from forebay import engines, generated

FOLDER: Final = Path(__file__).parent / "forebay" / "dashboards"
WIDTH: Final = 24
WORDS: Final = {
    "FLEET": 'namespace="$namespace"',
    "POOL": 'namespace="$namespace",pool="$pool"',
    "RATE": "$__rate_interval",
}
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """An expression of PromQL and the legend of its series."""

    expr: str
    legend: str = ""

    @property
    def whole(self) -> str:
        """As Grafana sends it."""
        text = self.expr
        for word, meaning in WORDS.items():
            text = text.replace(word, meaning)
        return text


@dataclass(frozen=True)
class Panel:
    """One number (`stat`) or lines over time; `stack`: areas on each other; `bad`: where yellow and red begin."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    says: str = ""
    stat: bool = False
    stack: bool = False
    bad: tuple[float, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the grid."""
        return (6, 4) if self.stat else (12, 8)


@dataclass(frozen=True)
class Dashboard:
    """`variables` are names with the query that fills them, besides the data source and the namespace."""

    name: str
    title: str
    says: str
    panels: tuple[Panel, ...]
    variables: tuple[tuple[str, str], ...] = ()


def number(title: str, unit: str, expr: str, says: str = "", bad: tuple[float, float] | None = None) -> Panel:
    """One number."""
    return Panel(title, unit, (Query(expr),), says, stat=True, bad=bad)


def lines(title: str, unit: str, *queries: tuple[str, str], says: str = "", stack: bool = False) -> Panel:
    """Lines over time."""
    return Panel(title, unit, tuple(Query(*query) for query in queries), says, stack=stack)


def quantiles(title: str, metric: str, of: str, says: str = "") -> Panel:
    """Three quantiles of a histogram of seconds."""
    buckets = f"sum by (le) (rate({metric}_bucket{{{of}}}[RATE]))"
    return lines(
        title, "s", *((f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)), says=says
    )


def _engines(meaning: str, matchers: str) -> str:
    """Series of the engines themselves, by what forebay calls one of their metrics."""
    return engines.series(attrgetter(meaning), matchers)


_SERVED: Final = 'sum(rate(forebay_requests_total{FLEET,kind=~"local|cloud"}[RATE]))'
_REFUSED: Final = (
    '(sum(rate(forebay_requests_total{FLEET,kind="none"}[RATE])) or vector(0)) / '
    "sum(rate(forebay_requests_total{FLEET}[RATE]))"
)

FLEET: Final = Dashboard(
    "fleet", "forebay / fleet", "Is it fine, how full is it, what leaves and why.",
    (
        number("served locally", "percentunit",
               f'sum(rate(forebay_requests_total{{FLEET,kind="local"}}[RATE])) / {_SERVED}',
               "Of the requests that were served."),
        number("slots in use", "percentunit", "sum(forebay_pool_running{FLEET}) / sum(forebay_pool_slots{FLEET})"),
        number("waiting", "short", "sum(forebay_pool_queued{FLEET})", "Requests at the gateways.", (1, 20)),
        number("refused", "percentunit", _REFUSED,
               "Of all requests, those that clients got wrong included.", (0.01, 0.05)),
        lines("slots in use", "short", ("forebay_pool_running{FLEET}", "{{pool}} runs"),
              ("forebay_pool_slots{FLEET}", "{{pool}} slots")),
        lines("where requests went, and why", "reqps",
              ("sum by (kind, reason) (rate(forebay_requests_total{FLEET}[RATE]))", "{{kind}} {{reason}}"),
              says="kind is local, cloud, or none for a refusal; the reasons are those of the reference.", stack=True),
        lines("waiting requests", "short",
              ("sum by (pool, priority) (forebay_queue_length{FLEET})", "{{pool}} {{priority}}"), stack=True),
        lines("replicas", "short", ("forebay_pool_replicas{FLEET}", "{{pool}} serving"),
              ("forebay_pool_desired_replicas{FLEET}", "{{pool}} wanted")),
        quantiles("time to first token", "gen_ai_server_time_to_first_token_seconds", "FLEET",
                  "Of streams, waits included, local and cloud."),
        lines("at providers now", "short", ("sum by (provider) (forebay_overflow_running{FLEET})", "{{provider}}"),
              stack=True),
        lines("failed tries at providers", "reqps",
              ("sum by (provider, code) (rate(forebay_cloud_errors_total{FLEET}[RATE]))", "{{provider}} {{code}}")),
        lines("failed or refused tries at replicas", "reqps",
              ("sum by (pool, cause) (rate(forebay_wasted_tries_total{FLEET}[RATE]))", "{{pool}} {{cause}}")),
    ),
)  # fmt: skip
POOL: Final = Dashboard(
    "pool", "forebay / pool", "Why one pool has its size, and how its engines do.",
    (
        number("replicas", "short", "forebay_pool_replicas{POOL}", "That serve."),
        number("demand", "short", "forebay_pool_demand{POOL}", "Concurrent requests that want the pool."),
        number("slots in use", "percentunit", "forebay_pool_running{POOL} / forebay_pool_slots{POOL}"),
        number("at providers", "short", "forebay_pool_overflow_running{POOL}", "For lack of a slot.", (1, 20)),
        lines("demand and capacity", "short", ("forebay_pool_demand{POOL}", "demand"),
              ("forebay_pool_capacity{POOL} * forebay_pool_replicas{POOL}", "slots for Normal"),
              ("forebay_pool_slots{POOL}", "all slots"),
              says="Demand above the slots for Normal makes the pool grow."),
        lines("replicas", "short", ("forebay_pool_replicas{POOL}", "serving"),
              ("forebay_pool_desired_replicas{POOL}", "wanted"),
              ('sum by (state) (max by (state, pool) (forebay_replicas{POOL}))', "heard of: {{state}}")),
        lines("waiting requests", "short", ("sum by (priority) (forebay_queue_length{POOL})", "{{priority}}"),
              stack=True),
        quantiles("wait for a slot", "forebay_queue_wait_seconds", "POOL", "Of requests that waited."),
        lines("overflow by reason", "reqps",
              ("sum by (reason, provider) (rate(forebay_overflow_total{POOL}[RATE]))", "{{reason}} {{provider}}"),
              stack=True),
        quantiles("time to first token", "gen_ai_server_time_to_first_token_seconds", "POOL"),
        quantiles("time per output token", "gen_ai_server_time_per_output_token_seconds", "POOL",
                  "As the engines measured it."),
        quantiles("whole requests", "gen_ai_server_request_duration_seconds", "POOL"),
        lines("KV cache in use", "percentunit", (_engines("kv_usage", "POOL"), "{{pod}}")),
        lines("in the engines", "short", (f"sum({_engines('running', 'POOL')})", "running"),
              (f"sum({_engines('waiting', 'POOL')})", "waiting"),
              says="Requests that wait inside an engine have a slot: then it has too many slots."),
        lines("prompt tokens found in caches", "percentunit",
              (f"sum(rate({_engines('prefix_hits', 'POOL')}[RATE])) / "
               f"sum(rate({_engines('prefix_queries', 'POOL')}[RATE]))", "found")),
        lines("tokens", "short", (f"sum(rate({_engines('prompt_tokens', 'POOL')}[RATE]))", "prompt tokens/s"),
              (f"sum(rate({_engines('generation_tokens', 'POOL')}[RATE]))", "generated tokens/s")),
        lines("failed or refused tries", "reqps",
              ("sum by (cause) (rate(forebay_wasted_tries_total{POOL}[RATE]))", "{{cause}}")),
        lines("preemptions in the engines", "ops", (f"sum(rate({_engines('preemptions', 'POOL')}[RATE]))", "preempted"),
              says="The KV cache was too small for what ran."),
    ),
    (("pool", "label_values(forebay_pool_slots{FLEET}, pool)"),),
)  # fmt: skip
_HOURLY: Final = (
    "forebay_pool_desired_replicas{FLEET} * forebay_pool_gpus{FLEET} * forebay_pool_gpu_hour_dollars{FLEET}"
)
_SPENT: Final = "sum(rate(forebay_cloud_cost_dollars_total{FLEET}[1h])) * 3600"
_PRICE: Final = 'max(forebay_cloud_price_dollars{FLEET,model="$model",tokens="%s"})'
_PROMPTS: Final = f"sum(rate({_engines('prompt_tokens', 'FLEET')}[1h]))"
_GENERATED: Final = f"sum(rate({_engines('generation_tokens', 'FLEET')}[1h]))"
_AVOIDED: Final = (
    f"({_PROMPTS} * " + _PRICE % "in" + f" + {_GENERATED} * " + _PRICE % "out" + ") / 1e6 * 3600"
)  # fmt: skip
_PART: Final = 'max by (policy) (forebay_budget_dollars{FLEET,part="%s"})'
MONEY: Final = Dashboard(
    "money", "forebay / money", "What GPUs and providers cost, who for, and what the cloud alone would have cost.",
    (
        number("GPUs, dollars an hour", "currencyUSD", f"sum({_HOURLY})", "Of pools that name spec.gpuHourPrice."),
        number("providers, dollars an hour", "currencyUSD", _SPENT, "Mean of the last hour."),
        number("all-cloud instead, dollars an hour", "currencyUSD", _AVOIDED,
               "What the tokens of the local engines would have cost at the chosen model, last hour."),
        number("a million local tokens", "currencyUSD",
               f"sum({_HOURLY}) / 3600 / ({_PROMPTS} + {_GENERATED}) * 1e6", "GPUs, idle ones too, over all tokens."),
        number("fullest budget", "percentunit", f"max({_PART % 'spent'} / ({_PART % 'amount'} > 0))",
               "Spent of its amount, of the policy that is nearest to its end.", (0.8, 1)),
        number("left of budgets", "currencyUSD", f"sum({_PART % 'left'})", "What no gateway holds."),
        number("lost of budgets", "currencyUSD", f"sum({_PART % 'lost'})",
               "What gateways that are gone may have spent beyond what they told; it counts as spent."),
        number("until a budget is spent", "s", "min(forebay_budget_forecast_timestamp_seconds{FLEET} - time())",
               "As forecast; no data where all last until their period's end, or too few days are known."),
        lines("GPUs beside the cloud, dollars an hour", "currencyUSD", (f"sum({_HOURLY})", "GPUs"),
              (_SPENT, "providers"),
              (_AVOIDED, "all-cloud instead")),
        lines("providers by model, dollars an hour", "currencyUSD",
              ("sum by (provider, model) (rate(forebay_cloud_cost_dollars_total{FLEET}[1h])) * 3600",
               "{{provider}}/{{model}}"), stack=True),
        lines("providers by client, dollars an hour", "currencyUSD",
              ("sum by (client) (rate(forebay_usage_dollars_total{FLEET}[1h])) * 3600", "{{client}}"), stack=True),
        lines("GPU time by client", "percentunit",
              ('sum by (client) (rate(forebay_usage_seconds_total{FLEET,destination="local"}[1h])) / scalar('
               'sum(rate(forebay_usage_seconds_total{FLEET,destination="local"}[1h])))', "{{client}}"),
              says="Share of the service time at local engines.", stack=True),
        lines("providers by capability and priority, dollars an hour", "currencyUSD",
              ("sum by (capability, priority) (rate(forebay_usage_dollars_total{FLEET}[1h])) * 3600",
               "{{capability}} {{priority}}"), stack=True),
        lines("tokens at providers", "short",
              ("sum by (gen_ai_provider_name, gen_ai_token_type) (rate(gen_ai_client_token_usage_sum{FLEET}[RATE]))",
               "{{gen_ai_provider_name}} {{gen_ai_token_type}}/s"),
              ("sum by (provider) (rate(forebay_cloud_cached_tokens_total{FLEET}[RATE]))", "{{provider}} cached/s")),
        lines("budgets: spent beside the amount", "currencyUSD", (_PART % "spent", "{{policy}} spent"),
              (_PART % "amount", "{{policy}} amount")),
        lines("budgets: where the amount is", "currencyUSD",
              ('max by (policy, part) (forebay_budget_dollars{FLEET,part!="amount"})', "{{policy}} {{part}}"),
              says="Leased is what gateways were granted and have not spent.",
              stack=True),
        lines("refused for want of money", "reqps",
              ('sum by (reason) (rate(forebay_requests_total{FLEET,reason=~"Budget(Spent|Paced|Held)"}[RATE]))',
               "{{reason}}"), stack=True),
        lines("charged to budgets without a count", "currencyUSD",
              ("sum by (provider, model) (increase(forebay_budget_assumed_dollars_total{FLEET}[1h]))",
               "{{provider}}/{{model}} an hour"),
              ("max(forebay_budget_beyond_worst_dollars{FLEET})", "above the worst case, in all"),
              says="Answers that broke off and that no provider counted; and what should be 0."),
    ),
    (("model", "label_values(forebay_cloud_price_dollars{FLEET}, model)"),),
)  # fmt: skip
DASHBOARDS: Final = (FLEET, POOL, MONEY)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "uid": f"forebay-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["forebay"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [*_variables(dashboard)]},
        "panels": [*_panels(dashboard)],
        "links": [{"type": "dashboards", "tags": ["forebay"], "title": "forebay", "asDropdown": True}],
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"}
    for name, query in (("namespace", "label_values(forebay_pool_slots, namespace)"), *dashboard.variables):
        yield {
            "name": name, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
            "query": {"query": Query(query).whole, "refId": name},
        }  # fmt: skip


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(dashboard.panels, 1):
        width, height = panel.size
        yield {
            "id": number,
            "type": "stat" if panel.stat else "timeseries",
            "title": panel.title,
            "description": panel.says,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "fieldConfig": {"defaults": _look(panel), "overrides": []},
            "options": _options(panel),
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": SOURCE,
                    "expr": query.whole,
                    "legendFormat": query.legend,
                }
                for place, query in enumerate(panel.queries)
            ],
        }
        x, y = (0, y + height) if x + width >= WIDTH else (x + width, y)


def _look(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad:
        steps += [{"color": "yellow", "value": panel.bad[0]}, {"color": "red", "value": panel.bad[1]}]
    look: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if not panel.stat:
        stacking = {"mode": "normal" if panel.stack else "none"}
        look["custom"] = {"fillOpacity": 30 if panel.stack else 8, "stacking": stacking, "showPoints": "never"}
    return look


def _options(panel: Panel) -> dict[str, Any]:
    if panel.stat:
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def text(dashboard: Dashboard) -> str:
    """The file's content."""
    return json.dumps(document(dashboard), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or check that they are up to date."""
    files = {FOLDER / f"{dashboard.name}.json": text(dashboard) for dashboard in DASHBOARDS}
    return generated.main(__doc__, files, "make dashboards")


if __name__ == "__main__":
    sys.exit(main())
