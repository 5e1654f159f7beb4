"""Pods as passes need them: whether requests may reach one, and whether a node has it."""

from dataclasses import dataclass
from datetime import datetime

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.pod_state import is_creating, waiting_containers
from forebay.resources import names


@dataclass(frozen=True, slots=True)
class Pod:
    """One router pod, of a pool or of the gateways."""

    name: str
    uid: str
    address: str = ""
    ready: bool = False
    terminating: bool = False
    unschedulable: str = ""  # the scheduler's words
    waiting: str = ""  # why a container cannot run, in the kubelet's words
    creating: bool = False  # has a node, and its containers are still to be made
    touched: str = ""  # the generation it was last told of
    node: str = ""
    created: float = 0.0  # Unix seconds
    priority: int = 0  # of its priority class
    ready_since: float = 0.0  # Unix seconds

    @property
    def counts(self) -> bool:
        """Whether requests may reach it."""
        return self.ready and not self.terminating

    @property
    def placed(self) -> bool:
        """Whether a node has it; one that ends holds its GPUs until it is gone."""
        return self.node != "" or self.ready

    @property
    def ordinal(self) -> int:
        """Its number within the StatefulSet; -1 for a pod of another kind."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else -1

    @classmethod
    def of(cls, obj: Object) -> "Pod":
        """From the API server's object."""
        metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        conditions = {item["type"]: item for item in status.get("conditions") or ()}
        scheduled = conditions.get("PodScheduled", {})
        waits = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        ready = conditions.get("Ready", {})
        waiting = waiting_containers(status)
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            address=status.get("podIP", "") if status.get("phase") == "Running" else "",
            ready=ready.get("status") == "True",
            terminating=bool(metadata.get("deletionTimestamp")),
            unschedulable=scheduled.get("message", "") if waits else "",
            waiting="; ".join(waiting),
            creating=scheduled.get("status") == "True" and not waiting and is_creating(status),
            touched=(metadata.get("annotations") or {}).get(names.ANNOTATION_GENERATION, ""),
            node=spec.get("nodeName") or "",
            created=_seconds(metadata.get("creationTimestamp")),
            priority=spec.get("priority") or 0,
            ready_since=_seconds(ready.get("lastTransitionTime")) if ready.get("status") == "True" else 0.0,
        )


def _seconds(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
