"""Plans: what is done about a fleet, and above all what is not."""

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from forebay.controller.execute import ExecutionResult, remember
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.plan.actions import Action, Apply, CreateToken, Note, Say, Touch, WriteStatus
from forebay.controller.plan.desired_vs_live import drift_notes
from forebay.controller.plan.plan import Plan, plan
from forebay.resources import names
from forebay.resources.reasons import EventReason, Reason
from forebay.resources.report import AdapterReport, EngineReport, PoolDemand
from tests.controller.fleets import (
    IMAGES,
    SETTINGS,
    carried_out,
    fleet,
    gateway,
    gateway_report,
    policy,
    pool,
    replica,
    running_fleet,
    sidecar_report,
    spec,
    token,
)

AT_ONCE = {"stabilizationWindowSeconds": 0}


def actions(done: Plan) -> list[Action]:
    return [action for batch in done.batches for action in batch.actions]


def applied(done: Plan) -> list[str]:
    return [" ".join(action.key) for action in actions(done) if isinstance(action, Apply)]


def notes(done: Plan) -> list[Note]:
    found: list[Note] = []
    for action in actions(done):
        found += action.notes if isinstance(action, Apply) else [action.note] if isinstance(action, Say) else []
    return found


def said(done: Plan) -> list[str]:
    return [note.reason.value for note in notes(done)]


def status_of(done: Plan, name: str = "chat") -> dict[str, Any]:
    return next(item.status for item in actions(done) if isinstance(item, WriteStatus) and item.name == name)


def changed(observed: ObservedFleet, key: tuple[str, str], **spec_changes: Any) -> ObservedFleet:
    """Somebody edits the spec of a live object by hand."""
    live = dict(observed.live)
    live[key] = {**live[key], "spec": {**live[key]["spec"], **spec_changes}}
    pools = tuple(
        replace(item, statefulset=live[key]) if key == ("StatefulSet", item.name) else item for item in observed.pools
    )
    return replace(observed, live=live, pools=pools)


def loaded(observed: ObservedFleet, **demand: Any) -> ObservedFleet:
    """The first gateway reports this demand for the pool, and its replica is full."""
    heard = dict(observed.heard)
    heard["gateway-0"] = gateway_report(pools=[PoolDemand(pool="chat", **demand)])
    heard["chat-0"] = sidecar_report(running=10)
    heard = {name: replace(item, time=observed.now) for name, item in heard.items()}
    return replace(observed, heard=heard)


def later(observed: ObservedFleet, seconds: float) -> ObservedFleet:
    """Time passes, and every router reports again."""
    now = observed.now + seconds
    return replace(observed, now=now, heard={name: replace(item, time=now) for name, item in observed.heard.items()})


def test_a_new_pool_gets_its_objects_in_the_order_they_are_needed() -> None:
    done = plan(fleet(pool(), policies=(policy(),)), FleetMemory(), SETTINGS)
    assert applied(done) == [
        "Secret forebay-control-token",
        "ServiceAccount forebay-gateway",
        "Service forebay",
        "Service forebay-gateway",
        "PodDisruptionBudget forebay-gateway",
        "NetworkPolicy forebay-gateway",
        "Deployment forebay-gateway",
        "ConfigMap forebay-routing",
        "ServiceAccount chat",
        "Service chat-replicas",
        "Service chat",
        "PodDisruptionBudget chat",
        "NetworkPolicy chat",
        "StatefulSet chat",
    ]
    assert said(done) == ["Created", "Created"]
    assert notes(done)[-1].text.endswith("StatefulSet chat: replicas 1, reason Initial")


def test_a_fleet_without_a_token_gets_one_before_anything_else() -> None:
    first = actions(plan(fleet(pool(), token=None), FleetMemory(), SETTINGS))[0]
    assert isinstance(first, CreateToken)


def test_a_deleted_token_comes_back_with_its_rotation_and_every_router_is_told() -> None:
    observed, memory = running_fleet()
    notes = {names.ANNOTATION_ROTATION: "swapped 1", "team": "a"}
    lost = {
        **token(),
        "metadata": {**token()["metadata"], "annotations": notes},
        "data": {"current": "b", "previous": "a"},
    }
    first, *rest = actions(plan(replace(observed, token=None, lost_token=lost), memory, SETTINGS))
    assert isinstance(first, CreateToken)
    assert (first.obj["data"], "stringData" in first.obj) == ({"current": "b", "previous": "a"}, False)
    assert first.obj["metadata"]["annotations"][names.ANNOTATION_ROTATION] == "swapped 1"
    assert "team" not in first.obj["metadata"]["annotations"]
    assert "uid" not in first.obj["metadata"]
    assert [item.pod for item in rest if isinstance(item, Touch)] == ["gateway-0", "gateway-1", "chat-0"]


def test_network_policies_can_be_left_out() -> None:
    done = plan(fleet(pool()), FleetMemory(), replace(SETTINGS, network_policies=False))
    assert not [name for name in applied(done) if name.startswith("NetworkPolicy")]


def test_a_fleet_that_is_as_it_should_be_is_left_alone() -> None:
    observed, memory = running_fleet()
    assert [action for action in actions(plan(observed, memory, SETTINGS)) if not isinstance(action, WriteStatus)] == []


def test_an_operator_without_memory_changes_nothing() -> None:
    observed, _ = running_fleet()
    assert applied(plan(observed, FleetMemory(), SETTINGS)) == []
    assert said(plan(observed, FleetMemory(), SETTINGS)) == []


def test_an_upgrade_of_forebay_restarts_no_replica_and_says_so() -> None:
    observed, memory = running_fleet()
    newer = replace(SETTINGS, images=replace(IMAGES, router="forebay:2"))
    done = plan(observed, memory, newer)
    assert applied(done) == ["Deployment forebay-gateway"]
    outdated = next(item for item in status_of(done)["conditions"] if item["type"] == "RouterOutdated")
    assert (outdated["status"], outdated["reason"]) == ("True", "OlderRouter")


def test_a_size_changed_by_hand_is_restored_with_an_event() -> None:
    observed, memory = running_fleet()
    done = plan(changed(observed, ("StatefulSet", "chat"), replicas=9), memory, SETTINGS)
    assert applied(done) == ["StatefulSet chat"]
    assert said(done) == ["ScaleRestored"]
    assert "changed to 9 by somebody else and put back to 1" in notes(done)[0].text


def test_drift_is_put_right_and_its_path_told() -> None:
    observed, memory = running_fleet()
    done = plan(changed(observed, ("Service", "chat"), sessionAffinity="None"), memory, SETTINGS)
    assert applied(done) == ["Service chat"]
    (apply,) = (action for action in actions(done) if isinstance(action, Apply))
    (note,) = drift_notes(apply, ())
    assert note.reason is EventReason.DRIFT_CORRECTED
    assert "spec.sessionAffinity" in note.text


def test_what_a_webhook_rewrites_is_no_drift_of_which_a_new_operator_tells() -> None:
    observed, _ = running_fleet()
    template = deepcopy(observed.live["StatefulSet", "chat"]["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "mirror.example/forebay:1"
    template["spec"]["terminationGracePeriodSeconds"] = 1
    done = plan(changed(observed, ("StatefulSet", "chat"), template=template), FleetMemory(), SETTINGS)
    (apply,) = (action for action in actions(done) if isinstance(action, Apply))
    image, period = apply.drift
    assert list(drift_notes(apply, {image, period})) == []
    (note,) = drift_notes(apply, {image})
    assert period in note.text


def test_fields_of_others_are_no_drift() -> None:
    observed, memory = running_fleet()
    assert applied(plan(changed(observed, ("Service", "chat"), clusterIP="10.0.0.9"), memory, SETTINGS)) == []


def test_what_the_api_server_rewrites_is_not_applied_for_ever() -> None:
    observed, memory = running_fleet()
    drifted = changed(observed, ("Service", "chat"), sessionAffinity="None")
    outcome = ExecutionResult(applied={("Service", "chat"): frozenset({"spec.sessionAffinity"})})
    assert applied(plan(drifted, remember(memory, outcome, observed.now), SETTINGS)) == []


def test_an_object_that_ends_is_left_to_the_garbage_collector() -> None:
    observed, memory = running_fleet()
    live = dict(observed.live)
    service = live["Service", "chat"]
    live["Service", "chat"] = {
        **service,
        "spec": {},
        "metadata": {**service["metadata"], "deletionTimestamp": "2027-01-15T08:00:00Z"},
    }
    assert applied(plan(replace(observed, live=live), memory, SETTINGS)) == []


def test_a_refused_object_is_tried_again_later_and_shown_meanwhile() -> None:
    observed, memory = running_fleet()
    drifted = changed(observed, ("StatefulSet", "chat"), replicas=9)
    memory = remember(
        memory, ExecutionResult(refused={("StatefulSet", "chat"): "StatefulSet chat: quota"}), observed.now
    )
    done = plan(drifted, memory, SETTINGS)
    assert applied(done) == []
    created = next(item for item in status_of(done)["conditions"] if item["type"] == "ReplicasCreated")
    assert (created["status"], created["message"]) == ("False", "StatefulSet chat: quota")
    assert applied(plan(later(drifted, 2), memory, SETTINGS)) == ["StatefulSet chat"]


def test_demand_above_capacity_scales_up_with_its_figures() -> None:
    observed, memory = running_fleet()
    done = plan(loaded(observed, queued=14), memory, SETTINGS)
    assert applied(done) == ["StatefulSet chat"]
    assert [note.text for note in notes(done)] == [
        "replicas 1 -> 2: demand 24.0, capacity 10 a replica (Normal), window 0 s, reason DemandAboveCapacity, "
        "3 wanted: one is asked for at a time"
    ]
    decision = status_of(done)["scaling"]["decisions"][0]
    assert (decision["fromReplicas"], decision["toReplicas"], decision["wanted"]) == (1, 2, 3)
    assert (decision["demand"], decision["capacity"], decision["windowSeconds"]) == ("24.0", 10, 0)


def test_a_pool_grows_replica_by_replica_as_nodes_take_them() -> None:
    observed, memory = running_fleet()
    sizes = []
    for _ in range(3):
        full = loaded(observed, queued=14)
        done = plan(full, memory, SETTINGS)
        sizes += [note.text.partition(":")[0] for note in notes(done)]
        observed, memory = later(carried_out(full, done), 0.5), done.memory
    assert sizes == ["replicas 1 -> 2", "replicas 2 -> 3"]


def test_demand_above_the_maximum_is_told_once() -> None:
    observed, memory = running_fleet(
        spec(scaling={"minReplicas": 1, "maxReplicas": 1, "behavior": {"scaleUp": AT_ONCE}})
    )
    full = loaded(observed, queued=14)
    first = plan(full, memory, SETTINGS)
    assert said(first) == ["ScaleLimited"]
    assert said(plan(later(full, 5), first.memory, SETTINGS)) == []
    restarted = carried_out(full, first)
    assert said(plan(later(restarted, 5), FleetMemory(), SETTINGS)) == []


def test_a_quiet_window_scales_down_by_one() -> None:
    behavior = {"scaleUp": AT_ONCE, "scaleDown": {"stabilizationWindowSeconds": 20}}
    observed, memory = running_fleet(spec(scaling={"minReplicas": 1, "maxReplicas": 3, "behavior": behavior}))
    for _ in range(2):
        done = plan(loaded(observed, queued=14), memory, SETTINGS)
        observed, memory = carried_out(loaded(observed, queued=14), done), done.memory
    heard = {f"gateway-{n}": gateway_report(n) for n in range(2)}
    heard |= {f"chat-{n}": sidecar_report(n) for n in range(3)}
    observed = replace(observed, heard=heard)
    sizes = []
    for _ in range(10):
        observed = later(observed, 5)
        done = plan(observed, memory, SETTINGS)
        memory = done.memory
        sizes.append([note.text.partition(":")[0] for note in notes(done) if note.reason == "ScaledDown"])
        if sizes[-1]:
            break
    assert sizes == [[], [], [], [], ["replicas 3 -> 2"]]


def test_silent_routers_hold_the_size_and_are_named() -> None:
    observed, memory = running_fleet(spec(scaling={"minReplicas": 1, "maxReplicas": 3}))
    silent = replace(observed, now=observed.now + SETTINGS.stale_seconds + 1)
    done = plan(silent, memory, SETTINGS)
    assert applied(done) == []
    fresh = next(item for item in status_of(done)["conditions"] if item["type"] == "MetricsFresh")
    assert (fresh["status"], fresh["reason"]) == ("False", "Stale")
    assert "gateway-0" in fresh["message"]


def test_manual_follows_spec_replicas() -> None:
    observed, memory = running_fleet(spec(scaling={"mode": "Manual"}, replicas=2))
    grown = replace(observed, pools=(replace(observed.pools[0], spec=spec(scaling={"mode": "Manual"}, replicas=5)),))
    done = plan(grown, memory, SETTINGS)
    assert applied(done) == ["StatefulSet chat"]
    assert notes(done)[0].text.startswith("replicas 2 -> 5:")
    assert notes(done)[0].text.endswith("reason Manual")


def test_advisory_changes_nothing_and_says_what_it_would_do_once() -> None:
    advisory = {"mode": "Advisory", "minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleUp": AT_ONCE}}
    observed, memory = running_fleet(spec(scaling=advisory))
    full = loaded(observed, queued=14)
    done = plan(full, memory, SETTINGS)
    assert (applied(done), said(done)) == ([], ["ScaleAdvised"])
    assert said(plan(later(full, 5), done.memory, SETTINGS)) == []
    assert said(plan(later(carried_out(full, done), 5), FleetMemory(), SETTINGS)) == []


def overflowing(observed: ObservedFleet, seconds: float, total: int) -> ObservedFleet:
    """Time passes, and by then so many have overflowed, at two cents each."""
    observed, by_reason = later(observed, seconds), {Reason.ALL_POOLS_FULL: total}
    demand = PoolDemand(
        pool="chat", overflowed_total=total, overflow_by_reason=by_reason, overflow_cost_total=Decimal("0.02") * total
    )
    report = replace(gateway_report(pools=[demand]), time=observed.now)
    return replace(observed, heard={**observed.heard, "gateway-0": report})


def overflow_story(*looks: tuple[float, int]) -> list[tuple[float, Note]]:
    """The Events of overflow, each with the second at which it was written."""
    observed, memory = running_fleet(spec(scaling={"minReplicas": 1, "maxReplicas": 1}))
    story, begun = [], observed.now
    for seconds, total in looks:
        observed = overflowing(observed, seconds, total)
        done = plan(observed, memory, SETTINGS)
        memory = done.memory
        story += [(observed.now - begun, note) for note in notes(done) if note.reason.value.startswith("Overflow")]
    return story


def test_overflow_begins_after_ten_seconds_and_ends_after_sixty_with_count_and_money() -> None:
    flicker = [(5, total) for total in (1, 2, 3, 3, 5, 7, 7, 7, 7, 9)]
    story = overflow_story((1, 0), *flicker, *[(5.0, 9)] * 16)
    assert [(seconds, note.reason.value) for seconds, note in story] == [
        (16, "OverflowStarted"), (116, "OverflowStopped")
    ]  # fmt: skip
    assert "(AllPoolsFull 3), 0.0600 US dollars" in story[0][1].text
    assert "9 requests (AllPoolsFull 9), 0.1800 US dollars" in story[1][1].text


def test_a_single_request_that_overflows_is_counted_and_no_event() -> None:
    assert overflow_story((1, 0), (5, 1), *[(5.0, 1)] * 20) == []


def test_an_operator_that_began_while_a_spill_ended_does_not_make_up_its_length() -> None:
    observed, _ = running_fleet()
    status = observed.pools[0].status
    spilling = status.model_copy(update={"overflow": status.overflow.model_copy(update={"state": "Active"})})
    observed = replace(observed, pools=(replace(observed.pools[0], status=spilling),))
    first = plan(observed, FleetMemory(), SETTINGS)
    assert "OverflowStopped" not in said(first)
    (note,) = [note for note in notes(plan(later(observed, 61), first.memory, SETTINGS)) if "overflow" in note.text]
    assert note.text == "no overflow for 60 s, nor since this operator began; what left before is in status.overflow"


def test_a_spec_that_is_not_understood_changes_nothing_that_runs() -> None:
    observed, memory = running_fleet()
    broken = replace(observed.pools[0], spec=None, invalid="engine: wrong", generation=2)
    done = plan(replace(observed, pools=(broken,)), memory, SETTINGS)
    assert applied(done) == []
    assert said(done) == ["InvalidSpec"]
    assert said(plan(carried_out(replace(observed, pools=(broken,)), done), done.memory, SETTINGS)) == []


def test_a_missing_policy_is_said_once() -> None:
    observed, memory = running_fleet()
    lost = replace(observed.pools[0], spec=spec(cloudFallbackPolicyRef={"name": "gone"}), generation=2)
    first = plan(replace(observed, pools=(lost,)), memory, SETTINGS)
    assert said(first) == ["PolicyNotFound"]
    again = plan(carried_out(replace(observed, pools=(lost,)), first), first.memory, SETTINGS)
    assert "PolicyNotFound" not in said(again)


def test_a_stuck_engine_is_told_once() -> None:
    at_rest, memory = running_fleet()
    report = sidecar_report(0, engine=EngineReport(age_seconds=1, stuck_seconds=31))
    stuck = replace(at_rest, heard={**at_rest.heard, "chat-0": report})
    first = plan(stuck, memory, SETTINGS)
    (note,) = notes(first)
    assert (note.reason, note.warning) == ("ReplicaStuck", True)
    assert "the engine of chat-0 answers its probes and makes no token" in note.text
    assert said(plan(later(carried_out(stuck, first), 5), first.memory, SETTINGS)) == []


def with_versions(observed: ObservedFleet, *versions: str | None) -> ObservedFleet:
    """The first of the versions is the word of the replica that runs, the others of more of them."""
    pods = tuple(replica(number) for number in range(len(versions)))
    heard = {f"chat-{n}": sidecar_report(n, engine_version=version) for n, version in enumerate(versions)}
    heard = {name: replace(item, time=observed.now) for name, item in heard.items()}
    return replace(observed, pools=(replace(observed.pools[0], pods=pods),), heard={**observed.heard, **heard})


def test_an_engine_of_another_version_is_told_once_for_each_change() -> None:
    observed, memory = running_fleet()
    told: list[list[str]] = []
    for versions in (
        ("0.32.0",), ("0.33.0",), ("0.33.0",), (None,), ("0.33.0",),
        ("0.34.0", "0.33.0"), ("0.34.0",), ("",), ("0.9.2",),
    ):  # fmt: skip
        observed = with_versions(later(observed, 15), *versions)
        done = plan(observed, memory, SETTINGS)
        told.append([note.text for note in notes(done) if note.reason == "EngineUnsupported"])
        memory = done.memory
        observed = carried_out(observed, done)
    assert [len(texts) for texts in told] == [0, 1, 0, 0, 0, 1, 0, 0, 1]
    assert "an engine says 0.33.0, newer than what is supported: 0.11.0 to 0.32" in told[1][0]
    assert "0.34.0, newer" in told[5][0]
    assert "0.9.2, older" in told[8][0]


def test_a_restarted_operator_does_not_tell_of_the_same_version_again() -> None:
    observed, memory = running_fleet()
    observed = with_versions(later(observed, 15), "0.33.0", "")
    done = plan(observed, memory, SETTINGS)
    status = status_of(done)
    assert status["engineVersion"] == "unknown, 0.33.0"
    after = carried_out(observed, done)
    assert "EngineUnsupported" not in said(plan(later(after, 15), FleetMemory(), SETTINGS))
    newer = plan(with_versions(later(after, 15), "0.34.0"), FleetMemory(), SETTINGS)
    assert "EngineUnsupported" in said(newer)


LAW, TAX = ({"name": name, "source": f"/adapters/{name}"} for name in ("law", "tax"))


def with_adapters(
    observed: ObservedFleet, *wanted: dict[str, str], problem: str = "", loaded: bool = True
) -> ObservedFleet:
    """The running fleet's pool with these adapters, and what its sidecars say of them."""
    said = tuple(AdapterReport(**adapter, loaded=loaded, problem=problem) for adapter in wanted)
    heard = {pod.name: sidecar_report(n, adapters=said) for n, pod in enumerate(observed.pools[0].pods)}
    changed = spec(model={"name": "m", "adapters": list(wanted)})
    return replace(observed, heard={**observed.heard, **heard}, pools=(replace(observed.pools[0], spec=changed),))


def test_adapters_come_and_go_in_the_routing_table_alone() -> None:
    observed, memory = running_fleet()
    told = []
    for wanted in ((LAW,), (LAW, TAX), ({**LAW, "source": "/adapters/law-2"}, TAX), (TAX,), ()):
        observed = with_adapters(later(observed, 15), *wanted)
        done = plan(observed, memory, SETTINGS)
        told.append(applied(done))
        memory, observed = done.memory, carried_out(observed, done)
    assert told == [["ConfigMap forebay-routing", "StatefulSet chat"], *[["ConfigMap forebay-routing"]] * 4]


def test_an_adapter_that_an_engine_refuses_is_told_once_in_its_words() -> None:
    observed, memory = running_fleet()
    told, seen = [], []
    for problem, loaded in (("", False), ("no such file", False), ("no such file", False), ("", True)):
        observed = with_adapters(later(observed, 65), LAW, problem=problem, loaded=loaded)
        done = plan(observed, memory, SETTINGS)
        written = [item.status for item in actions(done) if isinstance(item, WriteStatus) and item.name == "chat"]
        seen += [c["reason"] for new in written for c in new["conditions"] if c["type"] == "AdaptersLoaded"]
        told.append([note.text for note in notes(done) if note.reason == "AdapterRefused"])
        memory, observed = done.memory, carried_out(observed, done)
    assert seen == ["AdaptersLoading", "AdapterRefused", "Loaded"]
    assert [len(texts) for texts in told] == [0, 1, 0, 0]
    assert "chat-0: law: no such file" in told[1][0]


def test_what_engines_last_said_stays_while_none_is_there_to_ask() -> None:
    observed, memory = running_fleet()
    observed = with_versions(later(observed, 15), "0.31.0")
    done = plan(observed, memory, SETTINGS)
    silent = with_versions(later(carried_out(observed, done), 65), None)
    status = status_of(plan(silent, done.memory, SETTINGS))
    assert status["engineVersion"] == "0.31.0"
    (condition,) = [item for item in status["conditions"] if item["type"] == "EngineUnsupported"]
    assert (condition["status"], condition["reason"]) == ("Unknown", "NotAsked"), "nobody looked at what runs now"


def test_a_changed_table_is_written_against_the_version_it_was_made_from() -> None:
    observed, memory = running_fleet()
    other = replace(observed.pools[0], spec=spec(queue={"maxWaitSeconds": 5}), generation=2)
    done = plan(replace(observed, pools=(other,)), memory, SETTINGS)
    (write,) = [item for item in actions(done) if isinstance(item, Apply)]
    assert write.key == ("ConfigMap", "forebay-routing")
    assert write.obj["metadata"]["resourceVersion"] == "7"
    assert done.again is not None


def test_routers_are_touched_until_they_have_the_table_and_then_it_is_told() -> None:
    observed, memory = running_fleet()
    other = replace(observed.pools[0], spec=spec(queue={"maxWaitSeconds": 5}), generation=2)
    observed = replace(observed, pools=(other,))
    first = plan(observed, memory, SETTINGS)
    touched = [(item.pod, item.value) for item in actions(first) if isinstance(item, Touch)]
    assert touched == [("gateway-0", "2"), ("gateway-1", "2"), ("chat-0", "2")]

    observed, memory = later(carried_out(observed, first), 1), first.memory
    soon = plan(observed, memory, SETTINGS)
    assert not [item for item in actions(soon) if isinstance(item, Touch)]
    again = plan(later(observed, 3), soon.memory, SETTINGS)
    assert [item.value for item in actions(again) if isinstance(item, Touch)] == ["2.2"] * 3

    heard = {f"gateway-{n}": gateway_report(n, generation=2) for n in range(2)}
    heard["chat-0"] = sidecar_report(generation=2)
    done = plan(later(replace(observed, heard=heard), 4), again.memory, SETTINGS)
    assert [note.text for note in notes(done)] == [
        "generation 2 of the routing table acknowledged by 3 routers in 5.0 s"
    ]
    assert done.memory.pending is None


def test_a_change_of_one_pool_is_no_news_about_another() -> None:
    """In a fleet of twenty pools, each change would write twenty statuses, and twenty again."""
    observed = fleet(pool("chat"), pool("sort"), policies=(policy(),), gateways=(gateway(0),))
    memory = FleetMemory()
    for _ in range(3):
        done = plan(observed, memory, SETTINGS)
        observed, memory = carried_out(observed, done), done.memory
        heard = {"gateway-0": gateway_report(0)}
        heard |= {f"{name}-0": sidecar_report(pool_name=name) for name in ("chat", "sort")}
        observed = replace(observed, heard=heard, now=observed.now + 1)
    chat, sort = observed.pools
    other = replace(chat, spec=spec(queue={"maxWaitSeconds": 5}), generation=2)
    done = plan(replace(observed, pools=(other, sort)), memory, SETTINGS)
    assert "sort" not in [item.name for item in actions(done) if isinstance(item, WriteStatus)]


def test_a_router_that_starts_is_not_touched() -> None:
    observed, memory = running_fleet()
    starting = replica(1, ready=False)
    grown = replace(observed.pools[0], pods=(*observed.pools[0].pods, starting))
    assert not [a for a in actions(plan(replace(observed, pools=(grown,)), memory, SETTINGS)) if isinstance(a, Touch)]


def test_a_namespace_without_pools_and_policies_is_left_alone() -> None:
    done = plan(fleet(gateways=(gateway(),)), FleetMemory(), SETTINGS)
    assert done.batches == ()


@pytest.mark.parametrize(("seconds", "written"), [(5.0, False), (11.0, True)])
def test_numbers_are_written_every_ten_seconds_at_most(seconds: float, written: bool) -> None:
    observed, memory = running_fleet(spec(scaling={"minReplicas": 1, "maxReplicas": 1}))
    memory = plan(observed, memory, SETTINGS).memory
    busy = later(replace(observed, heard={**observed.heard, "chat-0": sidecar_report(running=4)}), seconds)
    writes = [item for item in actions(plan(busy, memory, SETTINGS)) if isinstance(item, WriteStatus)]
    assert bool([item for item in writes if item.name == "chat"]) is written


def test_the_same_fleet_gives_the_same_plan() -> None:
    observed, memory = running_fleet()
    full = loaded(observed, queued=14)
    assert plan(full, memory, SETTINGS) == plan(full, memory, SETTINGS)


def test_a_quiet_pool_has_nothing_to_write_however_long_it_is_quiet() -> None:
    observed, memory = running_fleet()
    for seconds in (61, 61, 300, 4000, 9000):
        observed = later(observed, seconds)
        done = plan(observed, memory, SETTINGS)
        written = [item.why for item in actions(done) if isinstance(item, WriteStatus)]
        assert written in ([], ["a minute has passed"]) if seconds == 61 else written == []
        observed, memory = carried_out(observed, done), done.memory
