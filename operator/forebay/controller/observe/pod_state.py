"""What keeps a pod's containers from running, in the kubelet's words. Pure."""

from typing import Any, Final

_USUAL: Final = frozenset({"ContainerCreating", "PodInitializing"})


def waiting_containers(status: dict[str, Any]) -> list[str]:
    """One sentence for each container that cannot run."""
    return [_words(item) for item in _containers(status) if _waits_for(item) not in ("", *_USUAL)]


def is_creating(status: dict[str, Any]) -> bool:
    """Whether containers are still to be made: the kubelet prepares volumes, or pulls images."""
    return any(_waits_for(item) == "ContainerCreating" for item in _containers(status)) or (
        bool(_containers(status)) and all(_waits_for(item) == "PodInitializing" for item in _containers(status))
    )


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _waits_for(container: dict[str, Any]) -> str:
    return str((container.get("state") or {}).get("waiting", {}).get("reason", ""))


def _words(container: dict[str, Any]) -> str:
    waiting = container["state"]["waiting"]
    ended = (container.get("lastState") or {}).get("terminated") or {}
    words = f"container {container['name']}: {waiting['reason']}"
    if message := waiting.get("message"):
        words += f": {message}"
    if ended:
        words += f" (it ended with exit code {ended.get('exitCode')}, {ended.get('reason', 'no reason given')})"
    return words
