"""A cluster that chooses the users of pods, as OpenShift does: with none named, gateways and replicas are made."""

import asyncio
from dataclasses import replace

import pytest
from kubernetes import client

from forebay.controller.cluster.kubernetes_api import POD, POOL, Cluster
from forebay.resources import names
from tests.contract.clusters import FIRST_USER, RANGE
from tests.contract.scene import LOCAL, SIMULATED, custom, in_cluster, operator

pytestmark = pytest.mark.apiserver


@pytest.fixture
def ranged(managed_api: client.ApiClient) -> str:
    """A namespace with a range of users."""
    metadata = {"generateName": "ranged-", "annotations": RANGE}
    return str(client.CoreV1Api(managed_api).create_namespace({"metadata": metadata}).metadata.name)


def outcome(api: client.ApiClient, namespace: str, user: int | None) -> tuple[set[str], int]:
    """Components of the pods that the controllers could make, and how many of these controllers were refused."""
    found: set[str] = set()
    refused: set[str] = set()

    async def scene(cluster: Cluster) -> None:
        await cluster.create(custom(POOL, namespace, "chat", SIMULATED))
        settings = replace(LOCAL, namespaces=(namespace,), run_as_user=user)
        async with operator(cluster, settings) as look:
            await look(namespace)
        while len(found) + len(refused) < 2:
            pods, _ = await cluster.list(POD, namespace)
            found.update(pod["metadata"]["labels"][names.LABEL_COMPONENT] for pod in pods)
            events = client.CoreV1Api(api).list_namespaced_event(namespace).items
            refused.update(event.involved_object.kind for event in events if "range of the namespace" in event.message)
            await asyncio.sleep(0.3)

    in_cluster(api, scene)
    return found, len(refused)


@pytest.mark.parametrize(
    ("user", "components"),
    [
        (names.USER, set()),
        (FIRST_USER + 7, {names.COMPONENT_GATEWAY, names.COMPONENT_REPLICA}),
        (None, {names.COMPONENT_GATEWAY, names.COMPONENT_REPLICA}),
    ],
    ids=["a user of its own", "one of the range", "none"],
)
def test_pods_are_made_with_a_user_of_the_range_or_with_none(
    managed_api: client.ApiClient, ranged: str, user: int | None, components: set[str]
) -> None:
    assert outcome(managed_api, ranged, user) == (components, 2 - len(components))
