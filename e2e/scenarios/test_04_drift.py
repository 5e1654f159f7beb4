"""What somebody changes or deletes by hand is put right, and the Event says so."""

import json

from e2e.demo.setup import NAMESPACE, Fleet, kubectl
from e2e.scenarios.helpers import get, replica_pods, settle, sizes, until


def notes(reason: str) -> list[str]:
    events = get("events.v1.events.k8s.io")
    return [event["note"] for event in events if event.get("reason") == reason]


def test_a_deleted_service_comes_back(fleet: Fleet) -> None:
    kubectl("delete", "service", "chat", "-n", NAMESPACE)
    until(lambda: any(s["metadata"]["name"] == "chat" for s in get("services")), "the Service chat", 30)
    service = next(s for s in get("services") if s["metadata"]["name"] == "chat")
    assert service["spec"]["sessionAffinity"] == "ClientIP"


def test_a_statefulset_scaled_by_hand_is_put_right(fleet: Fleet) -> None:
    settle(fleet)
    sized = sizes()
    kubectl("scale", "statefulset", "sorter", "-n", NAMESPACE, f"--replicas={sized['sorter'] + 1}")
    until(lambda: sizes() == sized, "the old size", 30)
    until(lambda: bool(notes("ScaleRestored")), "an Event", 15)


def test_a_changed_label_of_a_service_is_put_right_without_touching_a_replica(fleet: Fleet) -> None:
    settle(fleet)
    before = replica_pods()
    patch = json.dumps({"spec": {"sessionAffinity": "None"}})
    kubectl("patch", "service", "chat", "-n", NAMESPACE, "--type=merge", "-p", patch)

    def affine() -> bool:
        return (
            next(s for s in get("services") if s["metadata"]["name"] == "chat")["spec"]["sessionAffinity"] == "ClientIP"
        )

    until(affine, "ClientIP affinity", 30)
    assert replica_pods() == before
