"""Pods as passes need them: whether requests may reach one, whether a node has it, and what keeps it from serving."""

from dataclasses import dataclass
from datetime import datetime

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.pod_state import given_up, last_words, no_node, waiting_containers
from forebay.resources import names


@dataclass(frozen=True, slots=True)
class Pod:
    """One router pod, of a pool or of the gateways."""

    name: str
    uid: str
    address: str = ""
    ready: bool = False
    terminating: bool = False
    failed: str = ""  # why its kubelet gave it up or did not take it, in the kubelet's words
    unschedulable: str = ""  # why no node has it, in the words of the scheduler or of who holds it back
    gated: bool = False  # a scheduling gate holds it
    waiting: str = ""  # why a container cannot run, in the kubelet's words
    warned: str = ""  # the latest Warning about it that nothing has overtaken, in its writer's words
    probed: str = ""  # the same of a probe that fails: usual while an engine loads
    touched: str = ""  # the generation it was last told of
    node: str = ""
    created: float = 0.0  # Unix seconds
    priority: int = 0  # of its priority class
    ready_since: float = 0.0  # Unix seconds
    last_words: str = ""  # of its router's process that ended last

    @property
    def counts(self) -> bool:
        """Whether requests may reach it."""
        return self.ready and not self.terminating

    @property
    def placed(self) -> bool:
        """Whether a node has it; one that ends holds its GPUs until it is gone, one that was given up has none."""
        return (self.node != "" or self.ready) and not self.failed

    @property
    def trouble(self) -> str:
        """What keeps it from serving, in the words of whoever says so; empty when nobody says anything."""
        return "" if self.ready or self.terminating else self.failed or self._no_node or self.waiting or self.warned

    @property
    def _no_node(self) -> str:
        return "" if self.node else self.unschedulable

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
        ready = conditions.get("Ready", {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            address=status.get("podIP", "") if status.get("phase") == "Running" else "",
            ready=ready.get("status") == "True",
            terminating=bool(metadata.get("deletionTimestamp")),
            failed=given_up(status),
            unschedulable=no_node(spec, status),
            gated=bool(spec.get("schedulingGates")),
            waiting="; ".join(waiting_containers(status)),
            touched=(metadata.get("annotations") or {}).get(names.ANNOTATION_GENERATION, ""),
            node=spec.get("nodeName") or "",
            created=_seconds(metadata.get("creationTimestamp")),
            priority=spec.get("priority") or 0,
            ready_since=_seconds(ready.get("lastTransitionTime")) if ready.get("status") == "True" else 0.0,
            last_words=last_words(status),
        )


def _seconds(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
