"""docs/reference.md, written from the code: every word, header, path, port, metric and field that users meet.

The meanings stand beside the things themselves; here is only their order.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from forebay import engines, generated
from forebay.cli.running import advice
from forebay.controller.report import metrics as operator_metrics
from forebay.resources import headers, names, reasons
from forebay.resources.access_log import AccessLogEntry
from forebay.resources.clients import ClientEntry
from forebay.resources.documented_enum import DocumentedEnum
from forebay.resources.option import Option, rows
from forebay.resources.options import OperatorOptions, RouterOptions
from forebay.router import metrics as router_metrics
from forebay.rules.endpoints import MEANINGS

FILE: Final = Path("docs/reference.md")
RUNBOOK: Final = Path("docs/runbook.md")
"""Written by hand, but for the table at its end."""
LINES: Final = """\
One JSON line per request on the router's stdout, from the router that answered it; fields that have nothing to say are
left out. What cannot be parsed as HTTP has no line. There is nothing of bodies and keys in it. Lines that nobody takes
in time are dropped, and counted in `forebay_access_log_dropped_total`.
"""
Rows = Iterable[tuple[str, ...]]


def text() -> str:
    """The whole page."""
    return "\n".join([*_page()]) + "\n"


def runbook(written: str) -> str:
    """The runbook with its table of reasons anew."""
    head = "| reason | means | do |\n| --- | --- | --- |\n"
    rows = ((f"`{reason}`", reason.meaning, advice.NEXT[reason]) for reason in advice.NEXT)
    return written.partition(head)[0] + head + "\n".join(_rows(rows)) + "\n"


def _page() -> Iterator[str]:
    yield "# Reference"
    yield "\nGenerated from the code; run `make docs`.\n"
    yield "## Requests\n"
    yield from _table(("path", "what"), _coded(MEANINGS))
    yield '\nAn error is `{"error": {"message", "type", "param", "code"}}`; its `code` is the reason\'s word, or'
    yield "OpenAI's own where its clients look for it: `model_not_found`, `context_length_exceeded`.\n"
    yield "| header of a request | meaning |\n| --- | --- |"
    yield from _rows(_coded(headers.REQUEST_HEADERS))
    yield from _rows(_coded(headers.KEY_HEADERS))
    yield from _rows(_coded(headers.PASSED_HEADERS))
    yield "\nAll other `x-forebay-*` headers are dropped.\n"
    yield from _table(("header of an answer", "meaning"), _coded(headers.ANSWER_HEADERS))
    yield from _words("Reasons of decisions", reasons.Reason, "In `x-forebay-reason`, logs, metrics and Events.")
    yield from _words("Capabilities", reasons.Capability, "The first that fits.")
    yield from _words("Priorities", reasons.Priority)
    yield from _conditions()
    yield from _words("Events", reasons.EventReason)
    yield from _words("Reasons of a pool's size", reasons.ScaleReason, "In the pool's status and in Events.")
    yield from _words("Bounds of a replica's capacity", reasons.CapacityBound, "In `status.capacity` and in Events.")
    yield from _words("Why a capacity is unknown", reasons.CapacityUnknown, "In `status.capacity.unknown`.")
    yield from _metrics()
    yield from _access_log()
    yield "\n## Ports of a router\n"
    yield from _table(("port", "number", "who uses it"), ((n, str(p), what) for n, (p, what) in names.PORTS.items()))
    yield "\nOn the health port:\n"
    yield from _table(("path", "meaning"), _coded(names.HEALTH_PATHS))
    yield from _clients()
    yield from _options()


def _conditions() -> Iterator[str]:
    yield "\n## Conditions\n"
    yield "A pool has all of them, a policy `Ready` and `RoutingProgrammed`. `Unknown`: it cannot be said yet.\n"
    rows = ((f"`{kind}`", kind.meaning, _listed(of)) for kind, of in reasons.CONDITION_REASONS.items())
    yield from _table(("condition", "True means", "reasons"), rows)
    yield ""
    yield from _table(("reason", "meaning"), ((f"`{word}`", word.meaning) for word in reasons.ConditionReason))


def _metrics() -> Iterator[str]:
    yield "\n## Metrics of the routers\n"
    own = " or ".join(f"`{family}*`" for family in engines.metric_names(lambda names: names.family))
    yield f"Sidecars pass on the {own} metrics of their engine as well.\n"
    yield from _collectors(vars(router_metrics))
    yield "\n## Metrics of the operator\n"
    yield from _collectors(vars(operator_metrics.Metrics()))


def _collectors(space: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(("name", "type", "labels", "meaning"), sorted(map(_metric, _within(space))))


def _within(space: Mapping[str, Any]) -> Iterator[Any]:
    """The metrics among the values, and among those of dictionaries."""
    for value in space.values():
        if isinstance(value, dict):
            yield from _within(value)
        elif hasattr(value, "collect") and not isinstance(value, (type, CollectorRegistry)):
            yield value


def _metric(collector: Any) -> tuple[str, ...]:
    """prometheus_client's own metrics keep their labels' names private; cells do not."""
    family = next(iter(collector.describe() if hasattr(collector, "describe") else collector.collect()))
    labels = getattr(collector, "_labelnames", None) or getattr(collector, "labels", ())
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"`{name}`", family.type, _listed(labels if isinstance(labels, tuple) else ()), family.documentation


def _access_log() -> Iterator[str]:
    yield "\n## Access log\n"
    yield LINES
    fields = msgspec.json.schema_components([AccessLogEntry])[1]["AccessLogEntry"]["properties"]
    rows = ((f"`{name}`", field.get("type", "object"), field.get("description", "")) for name, field in fields.items())
    yield from _table(("field", "type", "meaning"), rows)


def _clients() -> Iterator[str]:
    yield "\n## Clients\n"
    yield f'The Secret `{names.CLIENTS_SECRET}` has a key `{names.CLIENTS_KEY}`, which holds `{{"clients": [...]}}`:'
    yield "one entry for each client. Who sends no key that is known is `anonymous`, with Normal at most.\n"
    fields = msgspec.json.schema_components([ClientEntry])[1]["ClientEntry"]["properties"]
    rows = ((f"`{name}`", _client_default(field), field["description"]) for name, field in fields.items())
    yield from _table(("field", "default", "meaning"), rows)


def _client_default(field: Mapping[str, Any]) -> str:
    return "must be given" if "default" not in field else _code(field["default"] or "") or "none"


def _options() -> Iterator[str]:
    yield "\n## Environment of the operator\n"
    yield "The chart sets what has a chart value, and `FOREBAY_SERVICE`, `POD_NAME` and `POD_NAMESPACE` by itself."
    yield "What makes no sense ends the operator, with a sentence that names the variable and says what it must be.\n"
    variables = ((f"`{row.env}`", _code(row.value), *_taken(row)) for row in rows(OperatorOptions))
    yield from _table(("variable", "chart value", "what it must be", "default", "meaning"), variables)
    yield "\n## Flags of a router\n"
    yield "For `forebay-router` without Kubernetes; in a fleet the operator gives them."
    yield "What is for one role, the other role ignores.\n"
    flags = ((f"`{row.flag}`", row.role or "both", *_taken(row)) for row in rows(RouterOptions))
    yield from _table(("flag", "role", "what it must be", "default", "meaning"), flags)


def _taken(row: Option) -> tuple[str, str, str]:
    default = row.shown or _code(row.said_default)
    secret = " It holds secrets." if row.secret else ""
    return row.wanted, "must be given" if row.required else default, row.description + secret


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def _words(title: str, words: type[DocumentedEnum], note: str = "") -> Iterator[str]:
    yield f"\n## {title}\n"
    if note:
        yield f"{note}\n"
    yield from _table(("word", "meaning"), ((f"`{word}`", word.meaning) for word in words))


def _table(head: tuple[str, ...], rows: Rows) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    yield from _rows(rows)


def _rows(rows: Rows) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _coded(meanings: Mapping[str, str]) -> Rows:
    return ((f"`{name}`", meaning) for name, meaning in meanings.items())


def _listed(items: Iterable[str]) -> str:
    return ", ".join(f"`{item}`" for item in items)


def main() -> int:
    """Write or check the files below the current folder."""
    return generated.main(__doc__, {FILE: text(), RUNBOOK: runbook(RUNBOOK.read_text())}, "make docs")


if __name__ == "__main__":
    sys.exit(main())
