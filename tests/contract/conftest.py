"""A real API server, without nodes and without root, for what only it can say."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config

from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.shell import ClusterError
from e2e.cluster.tools import kubernetes

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def api() -> Iterator[client.ApiClient]:
    """An API server with both CRDs."""
    try:
        kubernetes()
    except ClusterError as error:
        pytest.skip(str(error))
    with ControlPlane() as plane, config.new_client_from_config(str(plane.kubeconfig)) as connection:
        crds = client.CustomObjectsApi(connection)
        for path in sorted((REPO / "crds").glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            crds.create_cluster_custom_object("apiextensions.k8s.io", "v1", "customresourcedefinitions", crd)
        _wait_established(crds)
        yield connection


def _served(crds: client.CustomObjectsApi) -> bool:
    """An established resource is refused for a moment yet: its storage initializes."""
    try:
        for plural in ("localmodelpools", "cloudfallbackpolicies"):
            crds.list_cluster_custom_object("forebay.dev", "v1alpha1", plural)
    except client.ApiException:
        return False
    return True


def _wait_established(crds: client.CustomObjectsApi) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = crds.list_cluster_custom_object("apiextensions.k8s.io", "v1", "customresourcedefinitions")["items"]
        conditions = [{c["type"]: c["status"] for c in crd.get("status", {}).get("conditions") or []} for crd in found]
        if found and all(c.get("Established") == "True" for c in conditions) and _served(crds):
            return
        time.sleep(0.1)
    raise AssertionError("the CRDs were not established")
