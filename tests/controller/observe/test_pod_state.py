"""What keeps containers from running, as kubelets say it."""

from typing import Any

import pytest

from forebay.controller.observe.pod_state import given_up, no_node, waiting_containers


def container(name: str, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "state": state, "lastState": {"terminated": last} if last else {}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


RUNS: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ENDED = {"exitCode": 137, "reason": "OOMKilled"}


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (container("engine", waits("CreateContainerConfigError", 'secret "hub" not found')),
         ['container engine: CreateContainerConfigError: secret "hub" not found']),
        (container("engine", waits("ImagePullBackOff", "Back-off pulling image")),
         ["container engine: ImagePullBackOff: Back-off pulling image"]),
        (container("engine", waits("CrashLoopBackOff", "back-off 40s"), ENDED),
         ["container engine: CrashLoopBackOff: back-off 40s (it ended with exit code 137, OOMKilled)"]),
        (container("engine", waits("ContainerCreating")), []),
        (container("engine", waits("PodInitializing")), []),
        (container("engine", RUNS, ENDED), []),
        (container("engine", {}), []),
    ],
)  # fmt: skip
def test_a_container_that_cannot_run_says_why(engine: dict[str, Any], says: list[str]) -> None:
    assert waiting_containers({"containerStatuses": [engine]}) == says


def test_the_router_is_looked_at_as_well() -> None:
    status = {"initContainerStatuses": [container("router", waits("ErrImagePull", "no such image"))]}
    assert waiting_containers(status) == ["container router: ErrImagePull: no such image"]


def test_a_container_that_has_just_ended_with_an_error_says_so() -> None:
    status = {"containerStatuses": [container("engine", {"terminated": ENDED}), container("x", {"terminated": {}})]}
    assert waiting_containers(status) == ["container engine ended with exit code 137, OOMKilled"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted: low on memory"),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed"},
         "UnexpectedAdmissionError: Allocate failed"),
        ({"phase": "Failed"}, "Failed: its containers ended"),
        ({"phase": "Running", "reason": "x"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_pod_that_its_kubelet_gave_up(status: dict[str, Any], says: str) -> None:
    assert given_up(status) == says


def scheduled(status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": status, "reason": reason, "message": message}]}


@pytest.mark.parametrize(
    ("spec", "status", "says"),
    [
        ({}, scheduled("False", "Unschedulable", "0/3 nodes"), "0/3 nodes"),
        ({}, scheduled("False", "SchedulerError", "lost"), "lost"),
        ({}, scheduled("False", "Unschedulable"), "Unschedulable"),
        ({"schedulingGates": [{"name": "kueue"}]}, {}, "held by scheduling gates kueue"),
        ({"schedulingGates": [{"name": "a"}, {"name": "b"}]}, scheduled("False", "SchedulingGated", "blocked"),
         "held by scheduling gates a, b: blocked"),
        ({"nodeName": "n"}, scheduled("False", "Unschedulable", "old"), ""),
        ({}, {}, ""),
    ],
)  # fmt: skip
def test_a_pod_that_no_node_has(spec: dict[str, Any], status: dict[str, Any], says: str) -> None:
    assert no_node(spec, status) == says
