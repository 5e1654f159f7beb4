"""The chart in the hands of somebody without cluster rights, on a real API server: installed, upgraded, taken away."""

import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.paths import REPO
from e2e.cluster.shell import ClusterError

pytestmark = pytest.mark.apiserver
USER = "team-admin"
ADMIN = ("system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view")
"""What the ClusterRole `admin` is made of, where a controller aggregates it."""


def bind(api: client.ApiClient, namespace: str, kind: str, role: str) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}]
    body = {"metadata": {"generateName": "admin-"}, "roleRef": reference, "subjects": subjects}
    client.RbacAuthorizationV1Api(api).create_namespaced_role_binding(namespace, body)


def test_an_administrator_of_a_namespace_installs_with_the_rights_that_the_chart_hands_on(
    plane: ControlPlane, api: client.ApiClient, namespace: str
) -> None:
    assert plane.authority is not None
    kubeconfig = plane.authority.kubeconfig(USER, f"/CN={USER}")
    chart = (str(REPO / "charts" / "forebay"), "-n", namespace)
    chart += ("--set", f"rbac.clusterRoles=false,crds.install=false,namespaces={{{namespace}}}")

    def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [_helm(), "--kubeconfig", kubeconfig, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    for role in ADMIN:
        bind(api, namespace, "ClusterRole", role)
    refused = helm("install", "forebay", *chart)
    assert "attempting to grant RBAC permissions not currently held" in refused.stderr
    helm("uninstall", "forebay", "-n", namespace)

    # What docs/operations.md asks of somebody with cluster rights.
    documents = yaml.safe_load_all(helm("template", "forebay", *chart).stdout)
    (handed_on,) = [d for d in documents if d["kind"] == "Role" and "leases" in str(d["rules"])]
    rights = {"metadata": {"name": "forebay"}, "rules": handed_on["rules"]}
    client.RbacAuthorizationV1Api(api).create_namespaced_role(namespace, rights)
    bind(api, namespace, "Role", "forebay")

    for words in (("install", "forebay", *chart), ("upgrade", "forebay", *chart, "--set", "gatewayReplicas=3")):
        done = helm(*words)
        assert done.returncode == 0, done.stderr
    (operator,) = client.AppsV1Api(api).list_namespaced_deployment(namespace).items
    variables = {item.name: item.value for item in operator.spec.template.spec.containers[0].env or ()}
    assert (variables["FOREBAY_NAMESPACES"], variables["FOREBAY_GATEWAY_REPLICAS"]) == (namespace, "3")
    done = helm("uninstall", "forebay", "-n", namespace)
    assert done.returncode == 0, done.stderr
    assert not client.AppsV1Api(api).list_namespaced_deployment(namespace).items


def _helm() -> Path:
    try:
        return tools.helm()
    except ClusterError as error:
        pytest.skip(str(error))
