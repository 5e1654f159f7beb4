"""What scenarios ask of the cluster."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.demo.checks import Answer
from e2e.demo.load import Load
from e2e.demo.phases import Phase
from e2e.demo.setup import KEYS, NAMESPACE, SYSTEM_NAMESPACE, Fleet, kubectl

OPERATOR = "app.kubernetes.io/component=operator"
MANAGED = "app.kubernetes.io/managed-by=forebay"


def get(what: str, namespace: str = NAMESPACE, *more: str) -> list[dict[str, Any]]:
    """Objects of a kind."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", what, "-n", namespace, "-o", "json", *more))["items"]
    return items


def run_forebay(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kubectl forebay`, as a user of this kubeconfig runs it in a wide terminal."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "forebay.cli", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip


def pods() -> dict[str, tuple[str, int]]:
    """Every forebay pod of the fleet: its uid, and how often its containers were restarted."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], _restarts(pod))
        for pod in get("pods", NAMESPACE, "-l", MANAGED)
    }


def replica_pods() -> dict[str, tuple[str, int]]:
    """Those of them that hold GPUs."""
    return {name: identity for name, identity in pods().items() if not name.startswith("forebay-gateway")}


def sizes() -> dict[str, int]:
    """spec.replicas of each pool."""
    return {item["metadata"]["name"]: item["spec"]["replicas"] for item in get("statefulsets")}


def settle(fleet: Fleet) -> None:
    """Wait until every pool is at its smallest and no pod is on its way out or in."""
    wanted = sum(fleet.smallest.values())
    until(lambda: sizes() == fleet.smallest and len(replica_pods()) == wanted, "the fleet at its smallest", 120)


def operator_pod() -> str:
    """The operator's pod, the one that is not ending."""
    found = [p for p in get("pods", SYSTEM_NAMESPACE, "-l", OPERATOR) if "deletionTimestamp" not in p["metadata"]]
    return str(found[0]["metadata"]["name"]) if found else ""


def until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Wait for a state of the cluster, at most so long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


def steady(seconds: float, chat: int = 5, sort: int = 3) -> Phase:
    """A load that fits into the smallest fleet."""
    return Phase("steady", seconds, chat=chat, sort=sort)


def under_load(fleet: Fleet, phase: Phase, during: Callable[[], None]) -> list[Answer]:
    """Run a load, and something beside it; returns every answer."""

    async def run() -> list[Answer]:
        load = Load(fleet.door, KEYS)

        async def no_picture(_: Phase) -> None:
            return

        beside = asyncio.create_task(asyncio.to_thread(during))
        await load.ramp((phase,), no_picture)
        await beside
        return load.answers

    return asyncio.run(run())


def _restarts(pod: dict[str, Any]) -> int:
    status = pod.get("status", {})
    return sum(c["restartCount"] for key in ("containerStatuses", "initContainerStatuses") for c in status.get(key, []))
