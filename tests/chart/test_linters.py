"""What kubeconform, kube-score and checkov say of the chart and of the operator's objects is mended, or accepted with a
reason (accepted.yaml). What is new fails, and what is accepted and no longer said, too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.paths import KUBERNETES, OLDEST, REPO
from e2e.cluster.shell import ClusterError
from forebay.controller.manifests import gateway
from forebay.controller.manifests.statefulset import choose_template, statefulset
from testing.linters import findings, install
from testing.linters.findings import Finding
from tests.chart.test_chart import VARIANTS, render
from tests.controller.fleets import IMAGES, NAMESPACE, SETTINGS
from tests.controller.test_manifests import GOLDEN, OWNERS, POLICIES, POOL, VLLM

pytestmark = pytest.mark.slow
ACCEPTED = Path(__file__).parent / "accepted.yaml"
VERSIONS = [".".join(version.split(".")[:2]) for version in (OLDEST, KUBERNETES)]
CRDS = [yaml.safe_load(path.read_text()) for path in sorted((REPO / "crds").glob("*.yaml"))]
ALL_ON = [word for name in ("cloud", "monitoring", "image") for word in VARIANTS[name]]
NAMESPACED = ["--set", "rbac.clusterRoles=false,crds.install=false,namespaces={team-a,team-b}"]
FOREIGN = ("PodMonitor", "PrometheusRule")  # CRDs of the Prometheus operator, which nothing here has
Object = dict[str, Any]


def golden(*names: str) -> list[Object]:
    return [obj for name in names for obj in yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()) if obj]


def openshift(objects: list[Object]) -> list[Object]:
    """As they are where the cluster chooses users."""
    record = choose_template(POOL.name, VLLM, IMAGES, None, None).record
    assert record is not None
    settings = replace(SETTINGS, run_as_user=None)
    made = {
        "Deployment": gateway.gateway_deployment(NAMESPACE, OWNERS, POLICIES, settings),
        "StatefulSet": statefulset(NAMESPACE, POOL, VLLM, record, 2),
    }
    return [made.get(obj["kind"], obj) for obj in objects]


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Object]]:
    """Objects that stand together in one cluster. `chart-bare` and the like are variants of `chart`."""
    variants = {**VARIANTS, "all": ALL_ON, "namespaced": NAMESPACED}
    charts = {f"chart-{name}": render(*values) for name, values in variants.items()}
    fleet, vllm = golden("fleet"), golden("statefulset-vllm", "pool")
    return {
        "chart": charts.pop("chart-defaults"),
        **charts,
        "fleet": fleet,
        "fleet-openshift": openshift(fleet),
        "vllm": vllm,
        "vllm-openshift": openshift(vllm),
        "simulated": golden("statefulset-simulated", "pool"),
    }


def accepted(tool: str) -> set[Finding]:
    entries = yaml.safe_load(ACCEPTED.read_text())[tool]
    return {Finding(tool, entry["check"], on) for entry in entries for on in entry["objects"]}


def found(tool: str, look: Callable[[], set[Finding]]) -> set[Finding]:
    try:
        said = look()
    except ClusterError as error:
        if "make linters" in str(error):
            pytest.skip(str(error))
        raise
    assert all(item.tool == tool for item in said)
    return said


def beyond_the_usual(said: set[Finding]) -> set[Finding]:
    """Without what is said of a variant, `chart-bare`, and of its like as usual, `chart`."""

    def usual(item: Finding) -> Finding:
        name, thing = item.on.split(" ", 1)
        return replace(item, on=f"{name.partition('-')[0]} {thing}")

    return {item for item in said if usual(item) == item or usual(item) not in said}


def compare(tool: str, look: Callable[[], set[Finding]]) -> None:
    said, known = beyond_the_usual(found(tool, look)), accepted(tool)
    new = [f"{item.check}\n    on {item.on}" for item in sorted(said - known)]
    gone = [f"{item.check}\n    on {item.on}" for item in sorted(known - said)]
    assert not new, f"{tool} found what is not accepted in {ACCEPTED.name}: mend it, or say why not\n" + "\n".join(new)
    assert not gone, f"{tool} no longer finds: take it out of {ACCEPTED.name}\n" + "\n".join(gone)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schemas(sets: dict[str, list[Object]], version: str, tmp_path: Path) -> None:
    files = sorted((REPO / "examples").rglob("*.yaml"))
    examples = [obj for path in files for obj in yaml.safe_load_all(path.read_text()) if obj]
    said = misfits({**sets, "examples": examples}, version, tmp_path)
    assert not said, "\n".join(f"{item.on}: {item.check}" for item in sorted(said))


def misfits(objects: dict[str, list[Object]], version: str, folder: Path) -> set[Finding]:
    return found("kubeconform", lambda: findings.kubeconform(objects, CRDS, version, folder, FOREIGN))


def test_what_does_not_fit_a_schema_is_found(sets: dict[str, list[Object]], tmp_path: Path) -> None:
    deployment = next(obj for obj in sets["fleet"] if obj["kind"] == "Deployment")
    pool = {"apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool", "metadata": {"name": "p"}}
    bad = [
        {**deployment, "spec": {**deployment["spec"], "replica": 2}},
        {**pool, "spec": {"model": {"name": "m"}, "engine": {"gpu": 1}}},
        {"apiVersion": "example.com/v1", "kind": "Unheard", "metadata": {"name": "u"}},
    ]
    said = {item.on: item.check for item in misfits({"bad": bad}, VERSIONS[-1], tmp_path)}
    assert set(said) == {"bad Deployment/forebay-gateway", "bad LocalModelPool/p", "bad Unheard/u"}
    assert "replica" in said["bad Deployment/forebay-gateway"] and "gpu" in said["bad LocalModelPool/p"]


def test_kube_score(sets: dict[str, list[Object]], tmp_path: Path) -> None:
    compare("kube-score", lambda: findings.kube_score(sets, VERSIONS[-1], tmp_path))


def test_checkov(sets: dict[str, list[Object]], tmp_path: Path) -> None:
    compare("checkov", lambda: findings.checkov(sets, tmp_path))


def test_every_acceptance_has_a_reason_and_stands_once() -> None:
    entries = [(tool, entry) for tool, listed in yaml.safe_load(ACCEPTED.read_text()).items() for entry in listed]
    assert all(len(entry["reason"]) > 20 and set(entry) == {"check", "objects", "reason"} for _, entry in entries)
    places = [(tool, entry["check"], on) for tool, entry in entries for on in entry["objects"]]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", [*install.GO, "checkov"])
def test_what_is_not_installed_says_how_to(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "BIN", tmp_path)
    monkeypatch.setattr(install, "CHECKOV", tmp_path)
    with pytest.raises(ClusterError, match=f"^{name} is not installed yet; run: make linters$"):
        install.linter(name)


def test_what_cannot_be_had_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ClusterError("the registry is away")

    monkeypatch.setattr(install, "BIN", tmp_path)
    monkeypatch.setattr(install.tools, "build", away)
    monkeypatch.setattr(install, "_checkov", away)
    install.install()
    said = capsys.readouterr().out
    assert all(f"{name} is not to be had here" in said for name in (*install.GO, "checkov"))
    assert said.count("the registry is away") == 3
