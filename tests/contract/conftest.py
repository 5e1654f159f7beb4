"""A real API server, without nodes and without root, for what only it can say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config

from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.shell import ClusterError
from e2e.cluster.tools import control_plane
from forebay.resources import names
from tests.contract import clusters

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """An API server alone, with both CRDs."""
    with _plane(controllers=False) as made:
        yield made


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Iterator[client.ApiClient]:
    """A connection to it."""
    with config.new_client_from_config(str(plane.kubeconfig)) as connection:
        yield connection


@pytest.fixture(scope="session")
def managed_api() -> Iterator[client.ApiClient]:
    """An API server with the controllers that make pods, the scheduler, and admission as usual."""
    with _plane(controllers=True) as made, config.new_client_from_config(str(made.kubeconfig)) as connection:
        yield connection


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace of its own."""
    core = client.CoreV1Api(api)
    name = core.create_namespace(
        {"metadata": {"generateName": "controller-", "annotations": clusters.namespace_annotations()}}
    ).metadata.name
    yield name
    clusters.forget_fleets(api, name)
    core.delete_namespace(name)


@contextmanager
def _plane(*, controllers: bool) -> Iterator[ControlPlane]:
    try:
        control_plane(oldest=clusters.OLDEST)
    except ClusterError as error:
        pytest.skip(str(error))
    made = ControlPlane(controllers=controllers, oldest=clusters.OLDEST, admission=clusters.PLUGINS)
    with made, config.new_client_from_config(str(made.kubeconfig)) as connection:
        crds = client.CustomObjectsApi(connection)
        for path in sorted((REPO / "crds").glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            crds.create_cluster_custom_object("apiextensions.k8s.io", "v1", "customresourcedefinitions", crd)
        _wait_established(crds)
        clusters.restrict(connection)
        yield made


def _wait_established(crds: client.CustomObjectsApi) -> None:
    """Until objects of both kinds can be listed: the storage follows a moment after the condition."""
    end = time.monotonic() + 30
    while True:
        try:
            for plural in (names.POOL_PLURAL, names.POLICY_PLURAL):
                crds.list_cluster_custom_object(names.GROUP, names.VERSION, plural)
            return
        except client.ApiException:
            assert time.monotonic() < end, "the CRDs were not established"
        time.sleep(0.1)
