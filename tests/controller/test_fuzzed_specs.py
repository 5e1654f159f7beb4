"""No spec, however odd, ends a pass: a fleet is planned whatever is in it, and odd pools do not harm the others."""

from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.cluster.kubernetes_api import POLICY, POOL, Object
from forebay.controller.cluster.object_cache import ObjectCache
from forebay.controller.cluster.report_client import ControlTokens, ReportClient
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.observe.observe import ObservedFleet, observe
from forebay.controller.plan.actions import Apply, WriteStatus
from forebay.controller.plan.plan import Plan, plan
from forebay.resources import names
from forebay.resources.crd import schema_of
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from testing.examples import examples
from tests.controller.fleets import NOW, SETTINGS, carried_out, token
from tests.controller.fuzzed import JSON, broken, valid

POOLS, POLICIES = valid(schema_of(PoolSpec)), valid(schema_of(PolicySpec))
FINE: Object = {"model": {"name": "m"}, "engine": {"type": "Simulated", "gpus": 0}}


def stored(kind: str, name: str, spec: Any, status: Any = None) -> Object:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{kind}-{name}", "generation": 2, "resourceVersion": "5"}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def observed(*objects: Object) -> ObservedFleet:
    """What the operator makes of a namespace with these objects. There is nobody to talk to, and no need to."""

    class Nobody(ControlTokens):
        async def secret(self, namespace: str) -> Object | None:
            return token()

    cache = ObjectCache()
    for obj in objects:
        cache.put(obj)
    nobody: Any = None
    look = observe(
        "team", cache, cluster=nobody, tokens=Nobody(nobody), reports=ReportClient(), memory=FleetMemory(), now=NOW
    )
    return uvloop.run(look)


def planned(fleet: ObservedFleet) -> tuple[Plan, Plan]:
    """The first pass, and one after its plan has been carried out."""
    first = plan(fleet, FleetMemory(), SETTINGS)
    return first, plan(carried_out(fleet, first), first.memory, SETTINGS)


def statefulsets(done: Plan) -> set[str]:
    actions = [action for batch in done.batches for action in batch.actions if isinstance(action, Apply)]
    return {action.key[1] for action in actions if action.key[0] == "StatefulSet"}


def conditions(done: Plan, name: str) -> dict[str, Object]:
    writes = [action for batch in done.batches for action in batch.actions if isinstance(action, WriteStatus)]
    status = next(action.status for action in writes if action.name == name)
    return {item["type"]: item for item in status["conditions"]}


def check(pool: Any, policy: Any, status: Any = None) -> None:
    fleet = observed(
        stored(POOL.kind, "odd", pool, status), stored(POOL.kind, "fine", FINE), stored(POLICY.kind, "default", policy)
    )
    first, _ = planned(fleet)
    assert "fine" in statefulsets(first)
    told = conditions(first, "odd")
    assert all(item["message"] or item["status"] != "False" for item in told.values())
    if "odd" not in statefulsets(first):
        assert "False" in {told["Ready"]["status"], told["PodTemplateAccepted"]["status"]}


@pytest.mark.slow
@examples(5)
@given(POOLS, POLICIES)
def test_what_the_schema_takes_never_ends_a_pass(pool: Any, policy: Any) -> None:
    check(pool, policy)


@pytest.mark.slow
@examples(5)
@given(broken(POOLS), broken(POLICIES))
def test_what_no_schema_would_take_never_ends_a_pass(pool: Any, policy: Any) -> None:
    check(pool, policy)


@pytest.mark.slow
@examples(5)
@given(JSON | st.fixed_dictionaries({}, optional={"scaling": JSON, "conditions": JSON, "overflow": JSON}))
def test_no_status_that_somebody_wrote_ends_a_pass(status: Any) -> None:
    check(FINE, {}, status)
