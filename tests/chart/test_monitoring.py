"""Dashboards and alerts: made from the tables, of metrics that the code exports, understood by Prometheus itself."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.dashboards import DASHBOARDS, FOLDER, document, text
from e2e.cluster import tools
from forebay import engines, reference
from forebay.engines.simulated import SIMULATED
from tests.chart.test_chart import of_kind, render

REPO = Path(__file__).resolve().parents[2]
RULES = REPO / "charts" / "forebay" / "rules.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
VARIABLES = {"$namespace": "n", "$pool": "p", "$model": "m", "$__rate_interval": "5m"}
FAMILIES = "|".join(engines.metric_names(lambda names: names.family))
METRIC = re.compile(rf'\b((?:forebay|gen_ai|{FAMILIES})[a-z_:]*[a-z])(?=[{{\[ )|"]|$)')
# The engine's own, as a real vLLM has them and the simulator's telemetry does; of others, what their dialect says.
ENGINE = set(re.findall(r'"(\w+)", "', (REPO / "operator/forebay/simulator/telemetry.py").read_text()))


def queries() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield f"{dashboard.name}: {panel.title}", query.whole
        for name, query in dashboard.variables:
            yield f"{dashboard.name}: ${name}", query
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]


def exported() -> set[str]:
    rows = re.findall(r"^\| `((?:forebay|gen_ai)_\w+)` \| (\w+) \|", reference.text(), re.M)
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    ours = {name + suffix for name, kind in rows for suffix in suffixes[kind]}
    family = SIMULATED.metrics.family
    others = {name for it in engines.DIALECTS.values() if it.metrics.family != family for name in astuple(it.metrics)}
    return ours | others | {f"{family}{name}{suffix}" for name in ENGINE for suffix in ("", "_total")}


def test_the_dashboards_are_up_to_date() -> None:
    for dashboard in DASHBOARDS:
        assert (FOLDER / f"{dashboard.name}.json").read_text() == text(dashboard), "run: make dashboards"


def test_only_metrics_that_the_code_exports_are_used() -> None:
    there, used = exported(), set()
    for where, query in queries():
        found = set(METRIC.findall(re.sub(r"by \([^)]*\)", "", query)))
        assert found, f"{where} asks for nothing"
        assert found <= there, f"{where}: {found - there}"
        used |= found
    assert len(used) > 30


def test_panels_do_not_overlap_and_fit_on_the_grid() -> None:
    for dashboard in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in document(dashboard)["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
            taken |= cells


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = tools.prometheus("promtool")
    if binary is None:
        pytest.skip("no promtool here; run: make tools")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_understands_every_rule() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": f"q:{number}", "expr": _filled(query)} for number, (_, query) in enumerate(queries())
             if not query.startswith("label_values")]  # fmt: skip
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_not_before() -> None:
    done = promtool("test", "rules", str(Path(__file__).with_name("alerts.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_own_test_and_its_section_of_the_runbook() -> None:
    tested = re.findall(r"alertname: (\w+)", Path(__file__).with_name("alerts.yaml").read_text())
    sections = re.findall(r"^## (\w+)$", (REPO / "docs" / "runbook.md").read_text(), re.M)
    names = [alert["alert"] for alert in ALERTS]
    assert set(names) == set(tested)
    assert names == [section for section in sections if section.startswith("Forebay")]


def test_the_chart_wraps_the_alerts_with_links_to_their_sections() -> None:
    documents = render("--set", "prometheusRules.enabled=true", "--set", "prometheusRules.runbookURL=https://x/book")
    (rule,) = of_kind(documents, "PrometheusRule")
    wrapped = [item for group in rule["spec"]["groups"] for item in group["rules"]]
    assert [item["expr"] for item in wrapped] == [alert["expr"] for alert in ALERTS]
    for item, alert in zip(wrapped, ALERTS, strict=True):
        link = item["annotations"].pop("runbook_url")
        assert link == f"https://x/book#{item['alert'].lower()}"
        assert item == {**alert, "annotations": item["annotations"]}
        assert item["annotations"] == alert["annotations"]


@pytest.mark.slow
def test_the_chart_gives_grafana_the_dashboards_when_asked() -> None:
    maps = of_kind(render("--set", "dashboards.enabled=true"), "ConfigMap")
    titles = {json.loads(next(iter(item["data"].values())))["title"] for item in maps}
    assert titles == {dashboard.title for dashboard in DASHBOARDS}
    assert {item["metadata"]["labels"]["grafana_dashboard"] for item in maps} == {"1"}
    assert not of_kind(render(), "ConfigMap")


def test_the_summary_is_reached_through_one_name_alone() -> None:
    documents = render()
    (role,) = (item for item in of_kind(documents, "Role") if item["metadata"]["name"] == "forebay-summary")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["services/proxy"], "resourceNames": ["forebay-summary"], "verbs": ["get"]}
    ]
    (service,) = (item for item in of_kind(documents, "Service") if item["metadata"]["name"] == "forebay-summary")
    (port,) = service["spec"]["ports"]
    assert "name" not in port  # else its bare name is not enough
    assert role["metadata"]["name"] not in [item["roleRef"]["name"] for item in of_kind(documents, "RoleBinding")]
    bound = render("--set", "summary.subjects[0].kind=Group", "--set", "summary.subjects[0].name=admins")
    assert role["metadata"]["name"] in [item["roleRef"]["name"] for item in of_kind(bound, "RoleBinding")]


def _filled(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def test_the_podmonitors_keep_the_labels_that_the_queries_use() -> None:
    monitors: list[dict[str, Any]] = of_kind(render("--set", "podMonitors.enabled=true"), "PodMonitor")
    assert all(endpoint["honorLabels"] for item in monitors for endpoint in item["spec"]["podMetricsEndpoints"])
