"""What Events say of pods that do not get on."""

import asyncio
from typing import Any

import pytest

from forebay.controller.cluster.kubernetes_api import ClusterError, Object, ObjectKind
from forebay.controller.observe.pods import Pod
from forebay.controller.observe.warnings import ASKED, create_failure, latest_warning, with_warnings


def event(reason: str, at: int, kind: str = "Warning", note: str = "words", by: str = "kubelet") -> Object:
    time = f"2026-01-01T00:00:{at:02}Z"
    return {"reason": reason, "type": kind, "note": note, "deprecatedLastTimestamp": time, "reportingController": by}


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([event("FailedAttachVolume", 5)], "FailedAttachVolume"),
        ([event("FailedCreatePodSandBox", 5), event("SandboxChanged", 6, "Normal")], "FailedCreatePodSandBox"),
        ([event("WordsOfANewerKubelet", 5)], "WordsOfANewerKubelet"),
        ([event("FailedMount", 5), event("FailedAttachVolume", 7)], "FailedAttachVolume"),
        ([event("FailedMount", 5), event("Pulling", 6, "Normal")], None),
        ([event("Pulling", 6, "Normal"), event("Failed", 8)], "Failed"),
        ([event("FailedMount", 5), event("Scheduled", 9, "Normal", by="scheduler")], "FailedMount"),
        ([event("FailedScheduling", 5, by="scheduler"), event("Scheduled", 9, "Normal", by="scheduler")], None),
        ([event("FailedAttachVolume", 5, by="attachdetach"), event("Pulling", 9, "Normal")], None),
        ([event("NodeNotReady", 9, by="node-controller"), event("Started", 5, "Normal")], "NodeNotReady"),
        ([event("Started", 6, "Normal"), event("Pulling", 4, "Normal")], None),
        ([], None),
    ],
)
def test_the_latest_warning_that_nothing_has_overtaken(events: list[Object], says: str | None) -> None:
    found = latest_warning(events)
    assert (found["reason"] if found else None) == says


class Told:
    """An API server that has these Events, by uid."""

    def __init__(self, **events: list[Object]) -> None:
        self.events, self.asked = events, 0

    async def list(self, kind: ObjectKind, namespace: str, *, fields: str = "") -> tuple[list[Object], str]:
        self.asked += 1
        found = self.events.get(fields.rpartition("=")[2])
        if found is None:
            raise ClusterError(0, "no answer")
        return found, "1"


def warned(cluster: Any, *pods: Pod) -> tuple[Pod, ...]:
    return asyncio.run(with_warnings(pods, "team", cluster))


def test_pods_whose_status_says_nothing_are_asked_about() -> None:
    api = Told(a=[event("FailedMount", 1, note="no volume")], b=[event("Unhealthy", 1, note="refused")])
    mounted, probed, lost = warned(api, Pod("chat-0", "a"), Pod("chat-1", "b"), Pod("chat-2", "c"))
    assert (mounted.trouble, mounted.probed) == ("FailedMount: no volume", "")
    assert (probed.trouble, probed.probed) == ("", "Unhealthy: refused")
    assert (lost.trouble, lost.probed) == ("", "")


def test_pods_that_serve_or_end_or_say_why_are_not() -> None:
    api = Told()
    pods = (Pod("a", "a", ready=True), Pod("b", "b", terminating=True), Pod("c", "c", waiting="ImagePullBackOff"))
    assert warned(api, *pods) == pods
    assert api.asked == 0


def test_a_few_are_asked_about_however_many_wait() -> None:
    api = Told()
    warned(api, *(Pod(f"chat-{n}", f"{n}") for n in range(50)))
    assert api.asked == ASKED


def test_what_was_said_of_a_statefulset_before_its_size_was_decided_is_no_news() -> None:
    api: Any = Told(s=[event("FailedCreate", 30, note="exceeded quota")])
    statefulset = {"metadata": {"uid": "s"}}
    assert asyncio.run(create_failure(statefulset, "team", api, "2026-01-01T00:00:30Z")) == "exceeded quota"
    assert asyncio.run(create_failure(statefulset, "team", api, "2026-01-01T00:00:31Z")) == ""
