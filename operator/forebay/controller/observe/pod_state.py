"""What keeps a pod from running, in the words of those who say so in its status. Pure."""

from typing import Any, Final

from forebay.resources import names

_USUAL: Final = frozenset({"ContainerCreating", "PodInitializing"})


def given_up(status: dict[str, Any]) -> str:
    """Why its kubelet ended the pod, or did not take it; empty for one that goes on."""
    if status.get("phase") != "Failed":
        return ""
    return _with_message(status.get("reason") or "Failed", status.get("message") or "its containers ended")


def no_node(spec: dict[str, Any], status: dict[str, Any]) -> str:
    """Why no node has the pod: the scheduler's words, or the names of the gates that hold it; empty when one has."""
    if spec.get("nodeName"):
        return ""
    found: dict[str, Any] = next(
        (item for item in status.get("conditions") or () if item["type"] == "PodScheduled"), {}
    )
    words = str(found.get("message") or found.get("reason") or "") if found.get("status") == "False" else ""
    if gates := [str(gate.get("name")) for gate in spec.get("schedulingGates") or ()]:
        return _with_message(f"held by scheduling gates {', '.join(gates)}", words)
    return words


def waiting_containers(status: dict[str, Any]) -> list[str]:
    """One sentence for each container that cannot run, or has just ended with an error."""
    return [words for item in _containers(status) if (words := _words(item))]


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _words(container: dict[str, Any]) -> str:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    head = f"container {container['name']}"
    if ended.get("exitCode"):
        return f"{head} {_ended(ended)}"
    if waiting.get("reason", "") in ("", *_USUAL):
        return ""
    words = _with_message(f"{head}: {waiting['reason']}", waiting.get("message", ""))
    before = (container.get("lastState") or {}).get("terminated")
    return f"{words} (it {_ended(before)})" if before else words


def _ended(terminated: dict[str, Any]) -> str:
    return f"ended with exit code {terminated.get('exitCode')}, {terminated.get('reason', 'no reason given')}"


def _with_message(words: str, message: str) -> str:
    return f"{words}: {message}" if message else words


def last_words(status: dict[str, Any]) -> str:
    """What the router's process left as its termination message, in this run of the container or the one before."""
    for item in status.get("containerStatuses") or ():
        if item.get("name") == names.CONTAINER_ROUTER:
            for state in (item.get("state") or {}, item.get("lastState") or {}):
                if message := (state.get("terminated") or {}).get("message"):
                    return str(message)
    return ""
