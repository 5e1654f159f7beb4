"""Fields that the API server never lets anybody change: whatever a pool asks for, size and image still apply."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from forebay.controller.plan.actions import Apply, WriteStatus
from forebay.controller.plan.plan import plan
from tests.controller.fleets import SETTINGS, running_fleet, spec

IMMUTABLE = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")
CACHES: tuple[dict[str, Any], ...] = (
    {"ephemeral": {}},
    {"perReplica": {"storage": "10Gi"}},
    {"perReplica": {"storage": "20Gi"}},
    {"perReplica": {"storage": "10Gi", "storageClassName": "fast"}},
    {"perReplica": {"storage": "10Gi", "storageClassName": "slow"}},
    {"sharedClaim": {"claimName": "weights"}},
    {"hostPath": {"path": "/weights"}},
)
MANUAL = {"mode": "Manual", "maxReplicas": 4}


@pytest.mark.parametrize(("before", "after"), tuple(permutations(CACHES, 2)), ids=str)
def test_whatever_the_cache_becomes_size_and_image_apply(before: dict[str, Any], after: dict[str, Any]) -> None:
    old = spec(engine={"gpus": 1, "cache": before}, scaling=MANUAL, replicas=1)
    new = spec(engine={"gpus": 1, "cache": after, "image": "engine:2"}, scaling=MANUAL, replicas=3)
    observed, memory = running_fleet(old)
    (item,) = observed.pools
    observed = replace(observed, pools=(replace(item, spec=new, generation=item.generation + 1),))
    done = plan(observed, memory, SETTINGS)
    actions = [action for batch in done.batches for action in batch.actions]
    (applied,) = [a.obj for a in actions if isinstance(a, Apply) and a.key == ("StatefulSet", "chat")]
    assert item.statefulset is not None
    for field in IMMUTABLE:
        assert applied["spec"].get(field) == item.statefulset["spec"].get(field), field
    assert applied["spec"]["replicas"] == 3
    frozen = "perReplica" in before or "perReplica" in after
    (status,) = [a.status for a in actions if isinstance(a, WriteStatus) and a.name == "chat"]
    told = {c["type"]: c for c in status["conditions"]}["PodTemplateAccepted"]
    assert (told["status"] == "False" and "engine.cache.perReplica" in told["message"]) is frozen
    engine = applied["spec"]["template"]["spec"]["containers"][0]
    assert engine["image"] == "engine:2" or "perReplica" not in before  # what it was instead, only the old one says
    mounts = {mount["name"] for mount in engine["volumeMounts"]}
    volumes = {volume["name"] for volume in applied["spec"]["template"]["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in applied["spec"].get("volumeClaimTemplates", ())}
    assert mounts <= volumes | claims
