"""The chart as helm renders it: valid, restricted, with no right that is not needed, and clear about bad values."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.shell import ClusterError
from forebay.controller.settings import load

CHART = Path(__file__).resolve().parents[2] / "charts" / "forebay"
CLOUD_PAGE = (CHART.parents[1] / "docs" / "cloud.md").read_text()
VARIANTS: dict[str, list[str]] = {
    "defaults": [],
    "namespaces": ["--set", "namespaces={team-a,team-b}"],
    "bare": ["--set", "networkPolicies.enabled=false", "--set", "crds.install=false"],
    "cloud": [
        "--set",
        "cloud.allowedNetworks={10.96.0.0/16,fd00::/8}",
        "--set",
        "cloud.proxies={corp=http://proxy.example:3128}",
    ],
    "monitoring": [
        "--set",
        "dashboards.enabled=true",
        "--set",
        "prometheusRules.enabled=true",
        "--set",
        "podMonitors.enabled=true",
    ],
    "cluster": ["--set", "securityContext.runAsUser=null", "--set", "networkPolicies.modelPorts={443,9000}"],
    "image": ["--set", "image.tag=dev", "--set", "routerImage=r:1", "--set", "imagePullSecrets[0].name=s"],
}


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        binary = tools.helm()
    except ClusterError as error:
        pytest.skip(str(error))
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)


def render(*values: str) -> list[dict[str, Any]]:
    done = helm("template", "forebay", str(CHART), "-n", "forebay-system", *values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_the_operator_is_restricted() -> None:
    pod = of_kind(render(), "Deployment")[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_rights_name_what_they_allow(values: list[str]) -> None:
    roles = [d for d in render(*values) if d["kind"] in ("Role", "ClusterRole")]
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["forebay-control-token"]
        if "delete" in rule["verbs"] and "forebay.dev" not in rule["apiGroups"]:
            assert rule["resourceNames"], "only the fleet's own objects, by name"
        if "leases" in rule["resources"]:
            assert rule["verbs"] in (["create"], ["list"]) or rule["resourceNames"] == ["forebay-operator"]
        assert "statefulsets" not in rule["resources"] or "delete" not in rule["verbs"]


def test_a_watch_list_needs_no_cluster_role_of_the_operators() -> None:
    documents = render(*VARIANTS["namespaces"])
    roles = [role for role in of_kind(documents, "Role") if role["metadata"]["name"] != "forebay-summary"]  # for people
    assert sorted(role["metadata"]["namespace"] for role in roles) == ["team-a", "team-b"]
    assert all(role["metadata"]["name"].endswith(("-edit", "-view")) for role in of_kind(documents, "ClusterRole"))
    assert not of_kind(documents, "ClusterRoleBinding")


@pytest.mark.parametrize(
    ("values", "user"),
    [
        ([], 65532),
        (["--set", "securityContext.runAsUser=1000680000"], 1_000_680_000),
        (["--set", "securityContext.runAsUser=null"], None),
        (["--set", "securityContext=null"], 65532),
        (["--set", "securityContext.runAsUser=0"], "minimum"),
    ],
)
def test_the_operator_and_what_it_makes_have_the_user_that_the_chart_says(
    values: list[str], user: int | str | None
) -> None:
    if isinstance(user, str):
        assert user in helm("template", "forebay", str(CHART), *values).stderr
        return
    pod = of_kind(render(*values), "Deployment")[0]["spec"]["template"]["spec"]
    assert {pod["securityContext"].get(field) for field in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    env = {item["name"]: item["value"] for item in pod["containers"][0]["env"] if "value" in item}
    given = load({name: env[name] for name in ("FOREBAY_ROUTER_IMAGE", "FOREBAY_RUN_AS_USER")})
    assert given.run_as_user == user


def test_other_peoples_ports_are_values_of_the_operators_policy() -> None:
    values = ["networkPolicies.apiServerPorts={7443}", "networkPolicies.dnsPorts={1053}"]
    rule = '[{"to":[{"ipBlock":{"cidr":"10.0.0.1/32"}}],"ports":[{"protocol":"TCP","port":3128}]}]'
    given = [
        "--set-json",
        f"networkPolicies.operatorEgress={rule}",
        "--set-json",
        f"networkPolicies.replicaEgress={rule}",
    ]
    documents = render(*(word for value in values for word in ("--set", value)), *given)
    egress = of_kind(documents, "NetworkPolicy")[0]["spec"]["egress"]
    assert egress[-1] == yaml.safe_load(rule)[0]
    assert {"ports": [{"protocol": "TCP", "port": 7443}]} in egress
    assert {"ports": [{"protocol": protocol, "port": 1053} for protocol in ("UDP", "TCP")]} in egress
    env = {item["name"]: item.get("value") for item in container_of(documents)["env"]}
    network = load({name: env[name] or "" for name in ("FOREBAY_ROUTER_IMAGE", "FOREBAY_REPLICA_EGRESS")}).network
    assert [*network.replica_egress] == yaml.safe_load(rule)


def container_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_no_port_is_named_where_an_old_cluster_would_not_find_it() -> None:
    """Services and probes: before 1.33 a named port of a native sidecar has no endpoint."""
    documents = render()
    targets = [port["targetPort"] for service in of_kind(documents, "Service") for port in service["spec"]["ports"]]
    probes = [probe["httpGet"]["port"] for name, probe in container_of(documents).items() if name.endswith("Probe")]
    assert len(probes) == 3 and all(isinstance(port, int) for port in (*targets, *probes))


def test_annotations_of_the_operator_keep_its_node_removable() -> None:
    documents = render("--set", "podAnnotations.team=a")
    annotations = of_kind(documents, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"team": "a", "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "tmp"}


def test_crds_stay_when_the_release_goes() -> None:
    crds = of_kind(render(), "CustomResourceDefinition")
    assert len(crds) == 2
    assert {crd["metadata"]["annotations"]["helm.sh/resource-policy"] for crd in crds} == {"keep"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("gatewayReplicas=0", "minimum: got 0, want 1"),
        ("resyncSeconds=0", "minimum"),
        ("logLevel=LOUD", "logLevel"),
        ("gatewayReplica=3", "gatewayReplica"),
        ("namespaces={Team}", "does not match pattern"),
    ],
)
def test_bad_values_are_refused_by_name(value: str, says: str) -> None:
    done = helm("template", "forebay", str(CHART), "--set", value)
    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.parametrize("arguments", re.findall(r"^helm upgrade forebay charts/forebay (.*)$", CLOUD_PAGE, re.M))
def test_the_commands_of_the_page_about_clouds_are_valid(arguments: str) -> None:
    kept, *rest = [word for word in shlex.split(arguments) if word.endswith("reuse-values")]
    assert not rest and kept in helm("upgrade", "--help").stdout
    done = helm("template", "forebay", str(CHART), *(word for word in shlex.split(arguments) if word != kept))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("proxy", ["corp=http://me:secret@proxy:3128", "corp=socks5://proxy", "http://proxy:3128"])
def test_a_proxy_that_is_none_is_refused_by_the_chart(proxy: str) -> None:
    assert (
        "does not match pattern"
        in helm("template", "forebay", str(CHART), "--set", f"cloud.proxies={{{proxy}}}").stderr
    )
