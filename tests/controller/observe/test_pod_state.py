"""What keeps containers from running, as kubelets say it."""

from typing import Any

import pytest

from forebay.controller.observe.pod_state import is_creating, waiting_containers


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


@pytest.mark.parametrize(
    ("router", "engine", "creating"),
    [
        (waits("PodInitializing"), waits("PodInitializing"), True),
        (waits("ContainerCreating"), waits("PodInitializing"), True),
        (RUNS, waits("PodInitializing"), False),  # its startup probe is under way
        (RUNS, waits("ContainerCreating"), True),
        (RUNS, RUNS, False),
    ],
)
def test_volumes_are_prepared_as_long_as_nothing_was_made(router: Any, engine: Any, creating: bool) -> None:
    status = {
        "initContainerStatuses": [container("router", router)],
        "containerStatuses": [container("engine", engine)],
    }
    assert is_creating(status) is creating


def test_a_pod_without_statuses_is_not_being_made() -> None:
    assert not is_creating({})
