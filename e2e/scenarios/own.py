"""A fleet of the scenarios' own: one pool in its own namespace, which they may hurt. And how to look into it."""

import base64
import json
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client, config

from e2e.cluster import __main__ as cluster
from e2e.cluster.embedded import started
from e2e.cluster.shell import run
from e2e.demo.setup import EXAMPLES, KEYS, SYSTEM_NAMESPACE, kubectl
from e2e.scenarios.helpers import get, operator_pod, until
from forebay.resources.names import CONTROL_TOKEN_SECRET, PATH_REPORT, PORT_CONTROL

NAMESPACE = "holds"
POOL = "long"
EXTENT = os.environ.get("FOREBAY_E2E", "quick")
"""quick: what CI has time for. all: every variant. long: those with streams and outages at full length.
engine: those of a real engine."""
LONG = EXTENT == "long"
MANIFEST = Path(__file__).with_name("fleet.yaml")
CALM_SECONDS = 15
FILES = ("clients.yaml", "providers.yaml", "policy.yaml")


def long_or(quick: int, full: int) -> int:
    """A length for CI, and the full one."""
    return full if LONG else quick


long_only = pytest.mark.skipif(EXTENT == "quick", reason="part of make e2e-long")
"""For what CI has no time for."""


def ways(all_of_them: Iterable[str], *quick: str) -> list[str]:
    """The variants of one scenario: some in CI, else all of them."""
    return list(quick) if EXTENT == "quick" else list(all_of_them)


@dataclass(slots=True)
class Own:
    """The fleet, once it serves. `door` is the base URL without /v1."""

    door: str
    core: client.CoreV1Api
    api: client.ApiClient
    token: str
    size: int = 3
    interactive: str = field(default=KEYS["interactive"])

    @property
    def names(self) -> list[str]:
        """Replicas, ending ones included."""
        return sorted(pod["metadata"]["name"] for pod in get("pods", NAMESPACE, "-l", f"forebay.dev/pool={POOL}"))

    def settle(self, size: int = 3) -> None:
        """So many replicas, all ready and none on its way."""
        until(lambda: ready(POOL) == size == len(self.names), f"{size} ready replicas", 180)

    def scale(self, size: int) -> None:
        """As a person would in mode Manual."""
        kubectl("scale", "localmodelpool", POOL, "-n", NAMESPACE, f"--replicas={size}")

    def admitted(self, address: str) -> int | None:
        """Requests that the sidecar at this address gave a slot so far, by its own word; None when it is silent."""
        url = f"http://{address}:{PORT_CONTROL}{PATH_REPORT}"
        try:
            answer = httpx.get(url, headers={"authorization": f"Bearer {self.token}"}, timeout=2, trust_env=False)
            return int(answer.json()["admitted_total"])
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    def fault(self, pod: str, **faults: Any) -> None:
        """Set faults of a simulated engine, from inside its pod: nobody else can reach it."""
        kubectl("exec", pod, "-n", NAMESPACE, "-c", "engine", "--", "python3", "-c", _FAULT, json.dumps(faults))


_FAULT = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8000/sim/faults", sys.argv[1].encode(), method="POST")
try:
    urllib.request.urlopen(request, timeout=5)
except OSError:
    pass
"""


def make() -> Own:
    """The namespace, its providers, its policy, its pool; until all of it serves."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    kubectl("apply", "-n", NAMESPACE, *(word for name in FILES for word in ("-f", str(EXAMPLES / name))))
    kubectl("apply", "-n", NAMESPACE, "-f", str(MANIFEST))
    api = config.new_client_from_config(str(cluster.kubeconfig()))
    until(lambda: bool(_address()), "the door", 60)
    token = control_token()
    own = Own(f"http://{_address()}", client.CoreV1Api(api), api, token)
    own.settle()
    programmed()
    kubectl("wait", "-n", NAMESPACE, "deployments", "--all", "--for=condition=Available", "--timeout=120s")
    return own


def control_token() -> str:
    """The fleet's control token; empty while there is none."""
    found = kubectl(
        "get", "secret", CONTROL_TOKEN_SECRET, "-n", NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.data.current}"
    )
    return base64.b64decode(found).decode()


def remove() -> None:
    """All of it; pods first, because a namespace waits by the clock for half of the longest grace in it."""
    kubectl("delete", "localmodelpools,cloudfallbackpolicies,deployments", "--all", "-n", NAMESPACE, check=False)
    until(lambda: not get("pods", NAMESPACE), "no pod", 120)
    kubectl("delete", "namespace", NAMESPACE, "--timeout=180s", "--wait=true", check=False)


def programmed() -> None:
    """Until every ready router has the routing table."""
    until(lambda: condition("RoutingProgrammed")["status"] == "True", "RoutingProgrammed", 90)


def _address() -> str:
    return kubectl(
        "get", "service", "forebay", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}", "--ignore-not-found"
    )


def pool(name: str = POOL) -> dict[str, Any]:
    """The custom resource."""
    found: dict[str, Any] = json.loads(kubectl("get", "localmodelpool", name, "-n", NAMESPACE, "-o", "json"))
    return found


def condition(kind: str, name: str = POOL) -> dict[str, Any]:
    """One condition of a pool; status Unknown while it has none."""
    found = pool(name).get("status", {}).get("conditions", [])
    return next((item for item in found if item["type"] == kind), {"status": "Unknown", "message": "", "reason": ""})


def patch(spec: dict[str, Any], name: str = POOL) -> None:
    """Change the pool."""
    kubectl("patch", "localmodelpool", name, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": spec}))


def ready(name: str) -> int:
    """Replicas that are ready and not ending."""
    found = get("pods", NAMESPACE, "-l", f"forebay.dev/pool={name}")
    return sum("deletionTimestamp" not in pod["metadata"] and is_ready(pod) for pod in found)


def wanted(name: str = POOL) -> int:
    """The size that the operator asks of the StatefulSet."""
    found = json.loads(kubectl("get", "statefulset", name, "-n", NAMESPACE, "-o", "json"))
    return int(found["spec"]["replicas"])


def ready_gateways() -> int:
    """Gateways that are ready and not ending."""
    found = get("pods", NAMESPACE, "-l", "app.kubernetes.io/component=gateway")
    return sum("deletionTimestamp" not in pod["metadata"] and is_ready(pod) for pod in found)


def is_ready(pod: dict[str, Any]) -> bool:
    """By its condition."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def identities(namespace: str = NAMESPACE, selector: str = "forebay.dev/pool") -> dict[str, tuple[str, int]]:
    """Each pod's uid and how often its containers were restarted."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            sum(
                c["restartCount"]
                for key in ("containerStatuses", "initContainerStatuses")
                for c in pod.get("status", {}).get(key, [])
            ),
        )
        for pod in get("pods", namespace, "-l", selector)
    }


@dataclass(frozen=True, slots=True)
class Told:
    """An Event of forebay's."""

    reason: str
    about: str
    note: str
    at: float  # Unix seconds when it was last observed


def told(since: float = 0.0, namespace: str = NAMESPACE) -> list[Told]:
    """Events of the operator that were last observed after `since` (Unix seconds), oldest first."""
    found = []
    for event in get("events.v1.events.k8s.io", namespace):
        if not (event.get("reportingController") or "").startswith("forebay.dev/"):
            continue
        stamp = (event.get("series") or {}).get("lastObservedTime") or event["eventTime"]
        at = datetime.fromisoformat(stamp).timestamp()
        if at >= since:
            regarding = event["regarding"]
            found.append(Told(event["reason"], f"{regarding['kind']}/{regarding['name']}", event["note"], at))
    return sorted(found, key=lambda event: event.at)


def steps(since: float, name: str = POOL) -> list[tuple[int, int]]:
    """Changes of a pool's size that Events tell of."""
    found = [re.match(r"replicas (\d+) -> (\d+):", event.note) for event in told(since) if event.about.endswith(name)]
    return [(int(match[1]), int(match[2])) for match in found if match]


def processes(pod: str, container: str, namespace: str = NAMESPACE) -> list[int]:
    """Pids, on this machine, of a container's first process."""
    state = json.loads(kubectl("get", "pod", pod, "-n", namespace, "-o", "json"))["status"]
    statuses = [*state.get("containerStatuses", []), *state.get("initContainerStatuses", [])]
    identity = next(s["containerID"] for s in statuses if s["name"] == container).rpartition("/")[2]
    found = []
    for node in started():
        for line in run("ctr", "-a", node.socket, "-n", "k8s.io", "task", "ls", check=False).splitlines()[1:]:
            task, pid, *_ = line.split()
            if task == identity:
                found.append(int(pid))
    return found


def kill(pod: str, container: str, number: signal.Signals = signal.SIGKILL, namespace: str = NAMESPACE) -> None:
    """Send a signal from outside: the kernel, not the program, decides."""
    pids = processes(pod, container, namespace)
    assert pids, f"no process of {pod}/{container} found"
    for pid in pids:
        os.kill(pid, number)


def operator_page(path: str, port: int = 8082) -> tuple[int, str]:
    """Status and body of one of the operator's own pages, through its node, not through the API server."""
    answer = httpx.get(f"http://{OPERATOR.address}:{port}{path}", timeout=5, trust_env=False)
    return answer.status_code, answer.text


@dataclass(slots=True)
class _Operator:
    """Its address is asked for while the API server answers, and kept for when it does not."""

    address: str = ""

    def find(self) -> None:
        found = json.loads(kubectl("get", "pod", operator_pod(), "-n", SYSTEM_NAMESPACE, "-o", "json"))
        self.address = found["status"]["podIP"]


OPERATOR = _Operator()


def wait_operator(seconds: float = 90) -> None:
    """Until an operator is ready."""

    def there() -> bool:
        name = operator_pod()
        return bool(name) and is_ready(json.loads(kubectl("get", "pod", name, "-n", SYSTEM_NAMESPACE, "-o", "json")))

    until(there, "a ready operator", seconds)
    OPERATOR.find()


def calm() -> None:
    """Until every node is Ready: after an outage of the API server the node controller doubts them all for a while."""

    def ready_nodes() -> bool:
        return all(is_ready(node) for node in get("nodes", ""))

    end = time.monotonic() + 180
    since = 0.0
    while not since or time.monotonic() - since < CALM_SECONDS:
        since = (since or time.monotonic()) if ready_nodes() else 0.0
        assert time.monotonic() < end, "nodes are not Ready"
        time.sleep(1)


def quiet(seconds: float) -> None:
    """Let time pass in which nothing is to happen."""
    time.sleep(seconds)
