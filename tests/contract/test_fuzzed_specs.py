"""Hundreds of odd pools and policies on a real API server: what it takes, the operator copes with, and says how."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kubernetes import client

from forebay.controller.cluster.kubernetes_api import POLICY, POOL, STATEFUL_SET, Cluster, ClusterError
from forebay.resources.crd import schema_of
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from tests.contract.scene import SIMULATED, custom, in_cluster, operator
from tests.controller.fuzzed import valid

pytestmark = pytest.mark.apiserver
TOGETHER, TIMES, TURNS = 8, 4, 8
POOLS, POLICIES = valid(schema_of(PoolSpec)), valid(schema_of(PolicySpec))


@pytest.mark.parametrize("turn", range(TURNS))  # short tests: one that hangs is noticed
@settings(max_examples=TIMES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(POOLS, min_size=TOGETHER, max_size=TOGETHER), POLICIES)
def test_what_the_api_server_takes_the_operator_copes_with(
    api: client.ApiClient, turn: int, pools: list[Any], policy: Any
) -> None:
    async def scene(cluster: Cluster) -> None:
        namespace = client.CoreV1Api(api).create_namespace({"metadata": {"generateName": "odd-"}}).metadata.name
        await cluster.create(custom(POOL, namespace, "fine", SIMULATED))
        taken = ["fine"]
        for number, spec in enumerate(pools):
            try:
                await cluster.create(custom(POOL, namespace, f"odd-{number}", spec))
                taken.append(f"odd-{number}")
            except ClusterError as error:
                assert error.status in (400, 422), error
        try:
            await cluster.create(custom(POLICY, namespace, "default", policy))
        except ClusterError as error:
            assert error.status in (400, 422), error
        async with operator(cluster) as look:
            for turn in range(20):  # a refused object is tried again before its words are in the status
                await look(namespace)
                if await all_looked_at(cluster, namespace):
                    break
                await asyncio.sleep(0.2 * turn)
        await cluster.get(STATEFUL_SET, namespace, "fine")
        for name in taken:
            await told(cluster, namespace, name)

    in_cluster(api, scene)


async def all_looked_at(cluster: Cluster, namespace: str) -> bool:
    pools, _ = await cluster.list(POOL, namespace)
    return all(item.get("observedGeneration") == 1 for pool in pools for item in pool["status"]["conditions"])


async def told(cluster: Cluster, namespace: str, name: str) -> None:
    """Each pool has its StatefulSet, or a condition says why not."""
    conditions = (await cluster.get(POOL, namespace, name))["status"]["conditions"]
    by_type = {item["type"]: item for item in conditions}
    assert all(item.get("observedGeneration") == 1 for item in conditions), by_type
    try:
        await cluster.get(STATEFUL_SET, namespace, name)
    except ClusterError:
        trouble = [by_type[kind] for kind in ("Ready", "ReplicasCreated", "PodTemplateAccepted")]
        assert any(item["status"] == "False" and item["message"] for item in trouble), by_type
