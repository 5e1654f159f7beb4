"""The template a pool runs is a recorded decision: an upgrade of forebay restarts nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest

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
from tests.controller.test_manifests import VLLM

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


def adapted(*adapters: dict[str, Any], args: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"model": {"name": "m", "adapters": list(adapters)}, "engine": {"type": "VLLM", "args": list(args)}}


LAW, TAX = {"name": "law", "source": "/adapters/law"}, {"name": "tax", "source": "/adapters/tax"}
WIDE = {**TAX, "rank": 64}
RANK = ("--max-lora-rank", "128")
RANKS = ("--data-parallel-size", "2")


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (adapted(LAW), adapted(LAW, TAX), False),
        (adapted(LAW, TAX), adapted(TAX), False),
        (adapted(LAW), adapted(TAX), False),
        (adapted(LAW), adapted({**LAW, "source": "/adapters/law-2"}), False),
        (adapted(LAW), adapted(), False),
        (adapted(LAW), adapted({**LAW, "rank": 16}), False),
        (adapted(WIDE), adapted({**WIDE, "rank": 8}), False),
        (adapted({**WIDE, "rank": 33}), adapted(WIDE), False),  # it takes ranks in steps
        (adapted(LAW, args=RANK), adapted(LAW, {**WIDE, "rank": 100}, args=RANK), False),
        (adapted(LAW, args=RANK), adapted(LAW, {**WIDE, "rank": 256}, args=RANK), False),  # as the user will have it
        (adapted(), adapted(LAW), True),
        (adapted(LAW), adapted(LAW, WIDE), True),
        (adapted(LAW), adapted(LAW, args=RANK), True),
        (adapted(LAW), adapted(args=RANK), True),
        (adapted(LAW), adapted(LAW, args=("--lora-modules", "law=/x")), True),
        (adapted(LAW), adapted(LAW, args=RANKS), True),
        (adapted(LAW, args=RANKS), adapted(LAW, TAX, args=RANKS), True),  # each of its API servers has its own list
        (adapted(LAW, args=RANKS), adapted(LAW, args=RANKS), False),
    ],
)
def test_adapters_come_and_go_without_another_template(
    before: dict[str, Any], after: dict[str, Any], changed: bool
) -> None:
    old = first(**before)
    choice = choose_template("chat", spec(**after), IMAGES, old)
    assert choice.changed is changed
    again = choose_template("chat", spec(**after), IMAGES, choice.record)
    assert not again.changed, "one decision, and not one a pass"
    assert choice.record is not None
    back = recorded(statefulset(NAMESPACE, Owner(names.POOL_KIND, "chat", "uid"), spec(**after), choice.record, 2))
    assert back == choice.record


def test_a_template_says_that_adapters_may_come_and_not_which() -> None:
    (engine,) = first(**adapted(LAW, TAX)).template["spec"]["containers"]
    assert "law" not in json.dumps(engine)
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "1"} in engine["env"]
    for args in (("--lora-modules", "law=/x"), RANKS):
        own = first(**adapted(LAW, args=args)).template["spec"]["containers"][0]
        assert "VLLM_ALLOW" not in json.dumps(own)
        assert "law=/adapters/law" in own["args"]
    assert "VLLM_ALLOW" not in json.dumps(first(**adapted()).template)


OF_OLD = "edab88d610de5b5f"
"""The inputs' hash of VLLM while templates held its adapters."""


def test_pods_that_were_started_with_their_adapters_stay_as_they_are() -> None:
    old = Record(OF_OLD, IMAGES, 3, {"spec": {"containers": []}})
    assert choose_template("chat", VLLM, IMAGES, old) == choose_template("chat", VLLM, NEWER, old)
    assert not choose_template("chat", VLLM, NEWER, old).changed
    for change in ({"adapters": []}, {"adapters": [LAW, TAX]}, {"revision": "v2"}):
        told = VLLM.model_dump(mode="json")
        told["model"] |= change
        assert choose_template("chat", type(VLLM).model_validate(told), IMAGES, old).changed
