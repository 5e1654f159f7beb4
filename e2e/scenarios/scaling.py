"""What the scenarios of scaling share: pools of their own beside the demo's, requests that name them, and Events."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from e2e.demo.setup import KEYS, NAMESPACE, Fleet, kubectl
from e2e.scenarios.helpers import get, until

GPU = "nvidia.com/gpu"
AT_ONCE = {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 15}}
TOKENS = 60


def pool(name: str, *, gpus: int = 1, slots: int = 2, startup: int = 3, **spec: Any) -> dict[str, Any]:
    """A simulated pool that only requests for its own name reach."""
    env = [{"name": "FOREBAY_SIM_STARTUP_SECONDS", "value": str(startup)}, {"name": "FOREBAY_SIM_SLOW", "value": "4"}]
    template = {"spec": {"containers": [{"name": "engine", "env": env}]}}
    usual = {
        "model": {"name": f"example/{name}", "servedNames": [name]},
        "capabilities": ["reasoning"],
        "engine": {"type": "Simulated", "gpus": gpus, "drainSeconds": 5, "podTemplate": template},
        "capacity": {"slotsPerReplica": slots, "highReservedPercent": 0},
        "queue": {"maxWaitSeconds": 60},
        "overflow": {"substitute": "Allowed"},
    }
    return {
        "apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {**usual, **spec},
    }  # fmt: skip


@contextmanager
def pools(*documents: dict[str, Any]) -> Iterator[None]:
    """Pools that are there for a while, and gone afterwards."""
    for document in documents:
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(document))
    names = [str(document["metadata"]["name"]) for document in documents]
    try:
        yield
    finally:
        kubectl("delete", "lmp", "-n", NAMESPACE, *names, "--wait=false")
        until(
            lambda: not set(names) & {item["metadata"]["name"] for item in get("statefulsets")}, "the pools gone", 120
        )
        until(
            lambda: not any(p["metadata"]["name"].startswith(tuple(names)) for p in get("pods")), "their pods gone", 120
        )


def size(name: str) -> int:
    """spec.replicas of a pool's StatefulSet; -1 while there is none."""
    return next((int(item["spec"]["replicas"]) for item in get("statefulsets") if item["metadata"]["name"] == name), -1)


def ready(name: str, count: int = 1, seconds: float = 90) -> None:
    """Wait until so many replicas serve, and the gateways know the pool."""
    until(lambda: _status(name).get("readyReplicas", 0) >= count, f"{count} replicas of {name}", seconds)


def _status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in get("lmp") if item["metadata"]["name"] == name).get("status") or {}
    return found


def condition(name: str, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = next((item for item in _status(name).get("conditions") or () if item["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


def notes(name: str, *reasons: str) -> list[str]:
    """Notes of the Events about a pool that is there, oldest first; not those of one that had its name before."""
    uid = next(item["metadata"]["uid"] for item in get("lmp") if item["metadata"]["name"] == name)
    mine = [
        event for event in get("events.v1.events.k8s.io")
        if event.get("reason") in reasons and event["regarding"].get("uid") == uid
        and event["reportingController"] == "forebay.dev/operator"
    ]  # fmt: skip
    return [event["note"] for event in sorted(mine, key=lambda event: event["eventTime"])]


@dataclass
class Steady:
    """Keeps so many requests for one model in flight, from a thread of its own."""

    fleet: Fleet
    model: str
    in_flight: int
    who: str = "batch"
    priority: str = "Normal"
    seen: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    async def run(self) -> None:
        """Until `stopped`; each answer is counted by where it came from."""
        limits = httpx.Limits(max_connections=self.in_flight)
        async with httpx.AsyncClient(timeout=120, trust_env=False, limits=limits) as client:
            await asyncio.gather(*(self._one_after_the_other(client) for _ in range(self.in_flight)))

    async def _one_after_the_other(self, client: httpx.AsyncClient) -> None:
        body = {
            "model": self.model, "max_tokens": TOKENS, "messages": [{"role": "user", "content": "tell me of rivers"}],
        }  # fmt: skip
        headers = {"authorization": f"Bearer {KEYS[self.who]}", "x-forebay-priority": self.priority}
        while not self.stopped:
            answer = await client.post(f"{self.fleet.door}/v1/chat/completions", json=body, headers=headers)
            where = answer.headers.get("x-forebay-destination", "")
            self.seen["cloud" if "/" in where else f"{answer.status_code} {where}"] += 1
            if answer.status_code != 200:
                await asyncio.sleep(0.5)


def under(load: Steady, story: Callable[[], None]) -> Counter[str]:
    """Run the story while the load goes on. Returns what became of the requests."""

    async def both() -> None:
        sending = asyncio.create_task(load.run())
        try:
            await asyncio.to_thread(story)
        finally:
            load.stopped = True
            await asyncio.wait_for(sending, 150)

    begun = time.monotonic()
    asyncio.run(both())
    print(f"\n{load.model}: {dict(load.seen)} in {time.monotonic() - begun:.0f} s")
    return load.seen
