"""One chart, many ways to install it: over older values, as a dependency, twice, without cluster rights, any name."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.test_chart import CHART, helm, of_kind, render

RELEASED = sorted((Path(__file__).parent / "released").glob("*.yaml"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())["properties"]
MONITORING = ("--set", "podMonitors.enabled=true,dashboards.enabled=true,prometheusRules.enabled=true")
NO_CLUSTER_RIGHTS = ("--set", "rbac.clusterRoles=false,crds.install=false,namespaces={team}")
Document = dict[str, Any]


@pytest.fixture
def with_values(tmp_path: Path) -> Callable[..., list[Document]]:
    """Renders this chart's templates with other values than its own: what `helm upgrade --reuse-values` does."""

    def rendered(values: dict[str, Any], *arguments: str) -> list[Document]:
        chart = tmp_path / "forebay"
        shutil.rmtree(chart, ignore_errors=True)
        shutil.copytree(CHART, chart)
        (chart / "values.yaml").write_text(yaml.safe_dump(values))
        done = helm("template", "forebay", str(chart), "-n", "forebay-system", *arguments)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return rendered


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_the_values_of_each_released_chart_are_enough(
    released: Path, with_values: Callable[..., list[Document]]
) -> None:
    old = yaml.safe_load(released.read_text())
    documents = with_values(old, *MONITORING)
    same = {kind: len(of_kind(render(*MONITORING), kind)) for kind in ("Deployment", "ConfigMap", "ClusterRole")}
    assert {kind: len(of_kind(documents, kind)) for kind in same} == same


def test_whatever_value_is_absent_the_chart_is_as_by_default(with_values: Callable[..., list[Document]]) -> None:
    """Values that a later chart adds are absent after an upgrade that reuses those of an earlier one."""
    usual = render(*MONITORING)
    assert with_values({}, *MONITORING) == usual, "no value at all"
    blocks = {
        name: {} if isinstance(value, dict) and "required" not in SCHEMA[name] else value
        for name, value in VALUES.items()
        if not _nullable(name) and name != "resources"
    }
    assert with_values(blocks, *MONITORING) == usual, "blocks without their values"


def _nullable(name: str) -> bool:
    return any("null" in of.get("type", ()) for of in SCHEMA[name].get("properties", {}).values())


def test_what_people_take_away_is_not_put_back(with_values: Callable[..., list[Document]]) -> None:
    values = {**VALUES, "resources": {"requests": {"cpu": "1"}}, "networkPolicies": {"enabled": False}}
    documents = with_values({**values, "summary": {"subjects": []}, "gatewayReplicas": 1})
    container = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "1"}}
    assert not of_kind(documents, "NetworkPolicy")


@pytest.mark.parametrize("enabled", [True, False])
def test_as_a_dependency_with_a_condition(tmp_path: Path, enabled: bool) -> None:
    (tmp_path / "charts").mkdir()
    shutil.copytree(CHART, tmp_path / "charts" / "forebay")
    chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0"}
    dependency = {"name": "forebay", "version": "0.1.0", "condition": "forebay.enabled"}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({**chart, "dependencies": [dependency]}))
    values = {"global": {"x": 1}, "forebay": {"enabled": enabled, "gateway": {"replicas": 3}}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = helm("template", "app", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert ("kind: Deployment" in done.stdout) is enabled


def named(release: str, namespace: str, *values: str) -> list[Document]:
    done = helm("template", release, str(CHART), "-n", namespace, *values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def identities(documents: list[Document]) -> set[tuple[str, str, str]]:
    return {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents}


@pytest.mark.parametrize("namespaces", [(), ("--set", "namespaces={team}")], ids=["cluster", "namespaces"])
def test_two_releases_of_one_name_have_no_object_in_common(namespaces: tuple[str, ...]) -> None:
    bare = ("--set", "crds.install=false", *namespaces)
    assert not identities(named("forebay", "a", *bare)) & identities(named("forebay", "b", *bare))
    assert not identities(named("one", "a", *bare)) & identities(named("two", "b", *bare))


LONG = "a-release-with-a-name-of-all-the-characters-that-fit"
NAMES = ("forebay", "x", "7b-models", "team.inference.v2", LONG, LONG[:-1] + "x", "1.2.3", "f" * 53, "my-forebay")


@pytest.mark.parametrize("release", NAMES)
def test_any_name_of_a_release_makes_valid_names(release: str) -> None:
    documents = named(release, "forebay-system", *MONITORING)
    for kind, _, name in identities(documents):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) and len(name) <= 253, (kind, name)
        if kind in ("Service", "Pod", "Deployment"):
            assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), (kind, name)
            assert len(name) <= 63 + 5 * (kind == "Pod"), (kind, name)
    container = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    service = next(item["value"] for item in container["env"] if item["name"] == "FOREBAY_SERVICE")
    assert ("Service", "forebay-system", service) in identities(documents)


def test_names_that_had_to_change_stay_different() -> None:
    deployments = {of_kind(named(release, "s"), "Deployment")[0]["metadata"]["name"] for release in NAMES}
    assert len(deployments) == len(NAMES)
    assert {"forebay-operator", "x-forebay-operator", "my-forebay-operator"} <= deployments, (
        "short ones stay as they were"
    )


def test_an_administrator_of_namespaces_can_install_it() -> None:
    documents = named("forebay", "team", *NO_CLUSTER_RIGHTS)
    assert {namespace for _, namespace, _ in identities(documents)} == {"team"}
    assert not {kind for kind, _, _ in identities(documents)} & {
        "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
    }  # fmt: skip


def test_without_cluster_rights_the_namespaces_must_be_named() -> None:
    done = helm("template", "forebay", str(CHART), "--set", "rbac.clusterRoles=false")
    assert done.returncode != 0 and "set namespaces" in done.stderr


def test_monitors_have_the_labels_that_select_them() -> None:
    monitors = of_kind(render(*MONITORING, "--set", "podMonitors.labels.release=monitoring"), "PodMonitor")
    assert len(monitors) == 2
    assert all(item["metadata"]["labels"]["release"] == "monitoring" for item in monitors)


def test_pull_policy_and_secrets_are_those_of_all_pods() -> None:
    documents = render("--set", "image.pullPolicy=Always,imagePullSecrets[0].name=s,fleetPullSecrets={f}")
    container = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert (env["FOREBAY_PULL_POLICY"], env["FOREBAY_PULL_SECRETS"]) == ("Always", "f")
    assert container["imagePullPolicy"] == "Always"
    (test,) = of_kind(documents, "Pod")
    assert test["spec"]["imagePullSecrets"] == [{"name": "s"}]
    assert test["spec"]["containers"][0]["imagePullPolicy"] == "Always"


def test_helm_test_asks_the_operator_and_is_not_taken_for_it() -> None:
    documents = render()
    (pod,) = of_kind(documents, "Pod")
    (deployment,) = of_kind(documents, "Deployment")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= pod["metadata"]["labels"].items()
    compile(pod["spec"]["containers"][0]["args"][0], "helm test", "exec")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("gateway.replicas=0", "minimum"),
        ("gateway.nodeSelektor.a=b", "nodeSelektor"),
        ("gateway.tolerations=x", "array"),
        ("gateway.volumes[0].emptyDir=x", "name"),
        ("fleetPullSecrets={A_B}", "pattern"),
        ("rbac.clusterRoles=no", "boolean"),
    ],
)
def test_bad_gateways_are_refused_by_name(value: str, says: str) -> None:
    done = helm("template", "forebay", str(CHART), "--set", value)
    assert done.returncode != 0 and says in done.stderr
