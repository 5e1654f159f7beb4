"""Each bad object is refused by the API server, or gets in and a condition says what is wrong, where, what to do."""

import asyncio
import json
import re
from typing import Any

import pytest
from kubernetes import client

from forebay.controller.cluster.kubernetes_api import Cluster, kind_of
from tests.contract import clusters
from tests.contract.bad import REFUSED, TOLD, Bad
from tests.contract.scene import in_cluster, operator
from tests.contract.test_crds import create

pytestmark = pytest.mark.apiserver


def test_there_are_at_least_a_hundred_different_ones() -> None:
    documents = {json.dumps(bad.document, sort_keys=True) for bad in (*REFUSED, *TOLD)}
    assert len(documents) == len(REFUSED) + len(TOLD) >= 100
    assert len({bad.name for bad in (*REFUSED, *TOLD)}) == len(documents)


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: bad.name)
def test_the_api_server_refuses(api: client.ApiClient, bad: Bad) -> None:
    with pytest.raises(client.ApiException) as refused:
        create(api, bad.document)
    assert refused.value.status in (400, 422), refused.value.body
    message = json.loads(refused.value.body)["message"]
    for word in bad.words:
        assert word in message


@pytest.mark.parametrize("bad", TOLD, ids=lambda bad: bad.name)
def test_a_condition_tells(api: client.ApiClient, namespace: str, bad: Bad) -> None:
    kind, reason = bad.condition
    conditions: dict[str, Any] = {}

    async def scene(cluster: Cluster) -> None:
        document = {**bad.document, "metadata": {**bad.document["metadata"], "namespace": namespace}}
        await cluster.create(document)
        async with operator(cluster) as look:
            for _ in range(3):
                await look(namespace)
                await asyncio.sleep(0.01)
        made = await cluster.get(kind_of(document), namespace, "chat")
        conditions.update({item["type"]: item for item in made["status"]["conditions"]})

    in_cluster(api, scene)
    condition = conditions[kind]
    if clusters.OLDEST and reason == "CreateRefused" and condition["reason"] == "Pending":
        pytest.skip("it takes many a pod template; the StatefulSet's controller tells then (test_truth.py)")
    assert (condition["status"], condition["reason"]) == ("False", reason), condition
    for word in bad.words:
        assert word in condition["message"]
    assert not re.search(r"Traceback|<.* at 0x", condition["message"])
