"""A replica that has to go finishes what runs, whoever sends it away; nothing new comes to it meanwhile."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from e2e.demo.setup import kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import get, until
from e2e.scenarios.own import NAMESPACE, POOL, Own, long_or, ways
from e2e.scenarios.streams import flowing, none_failed, summary

TOKENS = long_or(200, 1000)
"""About 0.1 s each: streams of 20 s, or of 100 s."""
BEGIN_SECONDS = 5
NEW_SECONDS = 1.0
"""Within which a draining replica must have stopped taking requests."""


@dataclass
class Leaving:
    """What was seen of one replica that went."""

    admitted: list[tuple[float, int]] = field(default_factory=list)  # time, requests that got a slot so far
    told: float = 0.0  # when its deletion was seen
    gone: float = 0.0

    @property
    def late(self) -> int:
        """Requests that it took later than NEW_SECONDS after its deletion was seen."""
        before = [count for time, count in self.admitted if time <= self.told + NEW_SECONDS]
        return max((count for _, count in self.admitted), default=0) - max(before, default=0)

    @property
    def last(self) -> float:
        """Seconds from its deletion to the last look at which it had taken one more; 0 when it took none."""
        grew = [b[0] for a, b in zip(self.admitted, self.admitted[1:], strict=False) if b[1] > a[1]]
        return max([at - self.told for at in grew if at > self.told], default=0.0)


@contextmanager
def watched(held: Own) -> Iterator[dict[str, Leaving]]:
    """Look at every replica about ten times a second."""
    seen: dict[str, Leaving] = {}
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            pods = held.core.list_namespaced_pod(
                NAMESPACE, label_selector=f"forebay.dev/pool={POOL}", _request_timeout=5
            )
            now, found = time.monotonic(), {}
            for pod in pods.items:
                key = f"{pod.metadata.name} {pod.metadata.uid[:8]}"
                found[key] = pod.status.pod_ip
                leaving = seen.setdefault(key, Leaving())
                if pod.metadata.deletion_timestamp and not leaving.told:
                    leaving.told = now
            for key, address in found.items():
                if address and (count := held.admitted(address)) is not None:
                    seen[key].admitted.append((time.monotonic(), count))
            for key in set(seen) - set(found):
                seen[key].gone = seen[key].gone or now
            stop.wait(0.05)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)


def scale_down(held: Own) -> None:
    held.scale(2)


def delete_pod(held: Own) -> None:
    kubectl("delete", "pod", f"{POOL}-1", "-n", NAMESPACE, "--wait=false")


def evict(held: Own) -> None:
    eviction = {
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": f"{POOL}-0", "namespace": NAMESPACE},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{POOL}-0/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def drain_node(held: Own) -> None:
    """kubectl drain takes them one at a time: the pool's PodDisruptionBudget sees to it."""
    nodes = [pod["spec"]["nodeName"] for pod in get("pods", NAMESPACE, "-l", f"forebay.dev/pool={POOL}")]
    node = max(set(nodes), key=nodes.count)
    try:
        kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector=forebay.dev/pool={POOL}",
            "--timeout=400s",
        )  # fmt: skip
    finally:
        kubectl("uncordon", node)


def change_template(held: Own) -> None:
    before = json.loads(kubectl("get", "statefulset", POOL, "-n", NAMESPACE, "-o", "json"))["status"]["updateRevision"]
    own.patch({"model": {"revision": f"r{int(time.time())}"}})

    def rolled() -> bool:
        status = json.loads(kubectl("get", "statefulset", POOL, "-n", NAMESPACE, "-o", "json"))["status"]
        new = status["updateRevision"] != before
        return bool(new and status.get("updatedReplicas") == held.size == status.get("readyReplicas"))

    until(rolled, "every replica on the new template", 600)


WAYS: dict[str, tuple[Callable[[Own], None], int]] = {
    "scale-down": (scale_down, 1),
    "kubectl delete pod": (delete_pod, 1),
    "eviction": (evict, 1),
    "kubectl drain": (drain_node, 1),
    "template change": (change_template, 3),
}
"""Each way, and how many replicas it sends away at least."""


@pytest.mark.parametrize("way", ways(WAYS, "scale-down", "kubectl drain"))
def test_no_stream_is_aborted_and_nothing_new_comes(held: Own, way: str) -> None:
    held.settle()
    send_away, least = WAYS[way]
    with watched(held) as seen:
        with flowing(held.door, at_once=15, tokens=TOKENS) as streams:
            time.sleep(BEGIN_SECONDS)
            send_away(held)
            until(lambda: sum(bool(pod.gone) for pod in seen.values()) >= least, "the drained replica gone", 400)
        until(lambda: all(pod.gone for pod in seen.values() if pod.told), "every drained replica gone", 60)
    left = {name: pod for name, pod in seen.items() if pod.told}
    for name, pod in left.items():
        print(
            f"\n{way}: {name.split()[0]} took its last request {pod.last:.2f} s after its deletion was seen, drained "
            f"for {pod.gone - pod.told:.0f} s"
        )
    print(f"{way}: {summary(streams.answers)}")
    held.scale(held.size)
    none_failed(streams.answers)
    assert len(left) >= least
    assert max(pod.gone - pod.told for pod in left.values()) > 5, "nothing ran there: the scenario shows nothing"
    assert not sum(pod.late for pod in left.values())
