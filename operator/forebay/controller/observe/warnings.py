"""What Events say of pods, and of StatefulSets, that do not get on: in the words of kubelets and controllers.

Whatever the reason: it is told if its type is Warning, and if nothing that comes later shows that the pod got further.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from forebay.controller.cluster.kubernetes_api import EVENT, Cluster, ClusterError, Object
from forebay.controller.observe.pods import Pod

ASKED: Final = 3
"""Pods of one workload whose Events are read in a pass: more would say the same."""
_STARTS: Final = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""A kubelet's: whatever had to be there before a container is there."""
_DONE: Final = frozenset({"Scheduled", "SuccessfulAttachVolume", "SuccessfulCreate"})
"""Of schedulers and controllers. They end their own warnings alone: their clocks are not the kubelet's."""
_PROBES: Final = frozenset({"Unhealthy", "ProbeWarning"})


async def with_warnings(pods: Sequence[Pod], namespace: str, cluster: Cluster) -> tuple[Pod, ...]:
    """The pods; those that do not serve and whose status does not say why, with what Events say of them."""
    silent = [pod for pod in pods if not (pod.ready or pod.terminating or pod.trouble)][:ASKED]
    told = {pod.uid: await _told(pod, namespace, cluster) for pod in silent}
    return tuple(told.get(pod.uid, pod) for pod in pods)


async def create_failure(statefulset: Object, namespace: str, cluster: Cluster, since: str) -> str:
    """Why the StatefulSet controller cannot make its pods. `since`: an RFC 3339 time; what is older is no news."""
    events = await _events(cluster, namespace, "StatefulSet", statefulset["metadata"]["uid"])
    latest = latest_warning(event for event in events if _last_seen(event)[:19] >= since[:19])
    return str(latest.get("note", "")) if latest else ""


def latest_warning(events: Iterable[Object]) -> Object | None:
    """The last Event of type Warning, unless a later one shows that its object got further."""
    known = list(events)
    further = [event for event in known if event.get("reason") in _STARTS | _DONE]
    warnings = (event for event in known if event.get("type") == "Warning")
    left = (event for event in warnings if not any(_overtakes(later, event) for later in further))
    return max(left, key=_last_seen, default=None)


def _overtakes(later: Object, warning: Object) -> bool:
    """To the second, as far as kubelets tell the time."""
    about = later.get("reason") in _STARTS or _writer(later) == _writer(warning)
    return about and _last_seen(later)[:19] > _last_seen(warning)[:19]


def _writer(event: Object) -> str:
    return str(event.get("reportingController") or (event.get("deprecatedSource") or {}).get("component", ""))


async def _told(pod: Pod, namespace: str, cluster: Cluster) -> Pod:
    latest = latest_warning(await _events(cluster, namespace, "Pod", pod.uid))
    if latest is None:
        return pod
    words = f"{latest.get('reason')}: {latest.get('note', '')}"
    return replace(pod, probed=words) if latest.get("reason") in _PROBES else replace(pod, warned=words)


async def _events(cluster: Cluster, namespace: str, kind: str, uid: str) -> list[Object]:
    """The Events about one object; none when nobody answers."""
    try:
        events, _ = await cluster.list(EVENT, namespace, fields=f"regarding.kind={kind},regarding.uid={uid}")
    except ClusterError:
        return []
    return events


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime")
    return str(next((time for time in times if time), ""))
