"""The template a pool runs is a recorded decision: an upgrade of forebay restarts nothing."""

from dataclasses import replace

from forebay.controller.manifests.common import Owner
from forebay.controller.manifests.statefulset import (
    Record,
    choose_template,
    decided_replicas,
    outdated,
    recorded,
    statefulset,
)
from forebay.resources import names
from tests.controller.fleets import IMAGES, NAMESPACE, spec

NEWER = replace(IMAGES, router="forebay:2", engine="vllm:2")


def first(**changes: object) -> Record:
    record = choose_template("chat", spec(**changes), IMAGES, None).record
    assert record is not None
    return record


def test_a_record_survives_the_way_through_the_annotation() -> None:
    owner = Owner(names.POOL_KIND, "chat", "uid")
    assert recorded(statefulset(NAMESPACE, owner, spec(), first(), 2)) == first()


def test_a_newer_router_changes_nothing_by_itself() -> None:
    choice = choose_template("chat", spec(), NEWER, first())
    assert (choice.record, choice.changed) == (first(), False)
    assert "forebay:1" in outdated(choice.record, NEWER)


def test_scaling_and_queue_do_not_touch_the_template() -> None:
    other = spec(scaling={"minReplicas": 2, "maxReplicas": 9}, queue={"maxWaitSeconds": 1}, replicas=4)
    assert not choose_template("chat", other, NEWER, first()).changed


def test_a_change_of_the_engine_takes_the_newer_router_along() -> None:
    choice = choose_template("chat", spec(engine={"type": "Simulated", "gpus": 0, "args": ["-v"]}), NEWER, first())
    assert choice.changed
    assert choice.record is not None
    assert choice.record.images.router == "forebay:2"
    assert choice.why == "the pool's spec changed"
    assert outdated(choice.record, NEWER) == ""


def test_adopt_always_takes_the_newer_router_at_once() -> None:
    choice = choose_template("chat", spec(rollout={"adoptRouter": "Always"}), NEWER, first())
    assert choice.changed
    assert choice.why == "the router is newer"


def test_adopting_a_router_does_not_change_the_engines_image() -> None:
    vllm = {"engine": {"type": "VLLM"}}
    choice = choose_template("chat", spec(**vllm, rollout={"adoptRouter": "Always"}), NEWER, first(**vllm))
    assert choice.record is not None
    assert choice.record.template["spec"]["containers"][0]["image"] == "vllm:1"
    assert choice.record.template["spec"]["initContainers"][0]["image"] == "forebay:2"


def test_a_refused_pod_template_leaves_the_recorded_one_running() -> None:
    bad = spec(engine={"type": "Simulated", "gpus": 0, "podTemplate": {"spec": {"hostNetwork": True}}})
    choice = choose_template("chat", bad, IMAGES, first())
    assert (choice.record, choice.changed) == (first(), False)
    assert "hostNetwork" in choice.refused
    assert choose_template("chat", bad, IMAGES, None).record is None


def test_the_decided_size_is_what_the_annotation_says() -> None:
    live = statefulset(NAMESPACE, Owner(names.POOL_KIND, "chat", "uid"), spec(), first(), 2)
    live["spec"]["replicas"] = 9
    assert decided_replicas(live) == 2
    assert decided_replicas(None) is None
    assert decided_replicas({"metadata": {}, "spec": {"replicas": 4}}) == 4


def test_a_damaged_record_counts_as_none() -> None:
    assert recorded({"metadata": {"annotations": {names.ANNOTATION_TEMPLATE: "{"}}}) is None
