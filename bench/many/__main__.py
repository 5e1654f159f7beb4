"""make bench-many: 100, 300 and 1,000 pools with ten replicas each on a real API server; a table of what they cost."""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.many.operator import Process, calls, grant
from bench.many.world import CUSTOM, GATEWAYS, Shape, make_fleets, make_pods
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run, say
from e2e.cluster.tools import kubernetes
from forebay.resources import names
from testing.api import Api
from testing.fake_routers import SLOTS, FakeRouters

LONGEST_SECONDS = 900
SETTLE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """What one size costs."""

    pools: int
    pods: int
    fleets: int
    first_seconds: float  # nothing is there yet: until every object is made
    restart_seconds: float  # until everything is known and reconciled
    restart_cpu: float
    memory_mib: float
    most_memory_mib: float
    idle_percent: float  # of a core
    calls_per_minute: float
    table_p50: float  # seconds: from the change of a spec until the last router has the table
    table_p99: float
    heard_p50: float  # until the operator knows
    heard_p99: float
    change_cpu: float  # seconds of the operator's CPU for one change
    routers: int


async def measure(shape: Shape, idle_seconds: float, changes: int) -> Row:
    """Build one size, and measure it."""
    with ControlPlane() as plane:
        for crd in sorted((REPO / "crds").glob("*.yaml")):
            run(kubernetes(), "kubectl", "--kubeconfig", plane.kubeconfig, "apply", "--server-side", "-f", crd)
        kubeconfig, routers = grant(plane), FakeRouters()
        port = await routers.listen()
        async with Api(plane.kubeconfig) as api:
            say(f"{shape.pools} pools in {len(shape.fleets)} fleets: making them")
            await make_fleets(api, shape)
            with Process(kubeconfig, port) as process:
                sets = await until(lambda: statefulsets(api), shape.pools, "StatefulSets", process)
            first = sets - process.began
            say(f"  all objects after {first:.1f} s; making {shape.pods} pods")
            await make_pods(api, shape, routers)
            routers.follow(api)
            await asyncio.sleep(2)
            routers.table_now()
            with Process(kubeconfig, port) as process:
                row = await running(api, shape, routers, process, plane, first, idle_seconds, changes)
            await routers.stop()
            return row


async def running(
    api: Api, shape: Shape, routers: FakeRouters, process: Process, plane: ControlPlane, first: float,
    idle_seconds: float, changes: int,
) -> Row:  # fmt: skip
    """The operator starts on what is there, comes to rest, and is then asked for something."""
    slots = shape.all_replicas * SLOTS

    async def heard() -> float:
        found = await asyncio.to_thread(process.metric, "forebay_pool_slots")
        return sum(found.values())

    restarted = await until(heard, slots, "slots heard of", process) - process.began
    cpu = process.cpu_seconds()
    say(f"  reconciled after {restarted:.1f} s and {cpu:.1f} s of CPU, {process.memory_mib():.0f} MiB")
    await asyncio.sleep(SETTLE_SECONDS)
    before, asked, began, used = len(calls(plane)), routers.asked, time.monotonic(), process.cpu_seconds()
    await asyncio.sleep(idle_seconds)
    minutes = (time.monotonic() - began) / 60
    idle = 100 * (process.cpu_seconds() - used) / (minutes * 60)
    counted = calls(plane)[before:]
    kinds = Counter(f"{call['verb']} {_resource(call)}" for call in counted).most_common(6)
    memory, most = process.memory_mib(), process.memory_mib("VmHWM")
    say(f"  at rest: {idle:.2f} % of a core, {len(counted) / minutes:.0f} calls a minute {dict(kinds)}, "
        f"{(routers.asked - asked) / minutes:.0f} reports a minute, {memory:.0f} MiB, passes "
        f"{await asyncio.to_thread(process.metric, 'forebay_operator_reconcile_total')}")  # fmt: skip
    used = process.cpu_seconds()
    tables, acknowledged = await change(api, shape, routers, changes)
    per_change = (process.cpu_seconds() - used) / changes
    return Row(
        shape.pools, shape.pods, len(shape.fleets), first, restarted, cpu, memory, most, idle,
        len(counted) / minutes, _p(tables, 50), _p(tables, 99), _p(acknowledged, 50), _p(acknowledged, 99), per_change,
        shape.big + GATEWAYS,
    )  # fmt: skip


async def change(api: Api, shape: Shape, routers: FakeRouters, times: int) -> tuple[list[float], list[float]]:
    """Change the large pool's spec again and again. Returns the seconds until the last router has it, and is heard."""
    namespace, pool = shape.last
    mine = [r for r in routers.by_address.values() if r.namespace == namespace and r.pool in ("", pool)]
    path = f"{CUSTOM}/namespaces/{namespace}/{names.POOL_PLURAL}/{pool}"
    tables, heard = [], []
    for turn in range(times):
        before = {router.pod: router.generation for router in mine}
        began = time.monotonic()
        patch = {"spec": {"queue": {"maxWaitSeconds": 40 + turn}}}
        await api.call("PATCH", path, patch, "application/merge-patch+json")
        while not all(router.generation > before[router.pod] and router.told == router.generation for router in mine):
            assert time.monotonic() - began < 60, "the routers do not follow"
            await asyncio.sleep(0.01)
        tables.append(max(router.applied for router in mine) - began)
        heard.append(max(router.acknowledged for router in mine) - began)
        await asyncio.sleep(2)
    return tables, heard


async def statefulsets(api: Api) -> float:
    found = await api.call("GET", "/apis/apps/v1/statefulsets?limit=1")
    return len(found["items"]) + found["metadata"].get("remainingItemCount", 0)


async def until(look: Callable[[], object], wanted: float, what: str, process: Process) -> float:
    """Wait until a number is reached. Returns time.monotonic()."""
    told = time.monotonic()
    while (found := await look()) < wanted:  # type: ignore[misc]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"  … {found:.0f} of {wanted:.0f} {what}, {process.cpu_seconds():.0f} s of CPU")
        assert time.monotonic() - process.began < LONGEST_SECONDS, process.tail()
        await asyncio.sleep(0.25)
    return time.monotonic()


def _resource(call: dict[str, object]) -> str:
    reference = call.get("objectRef")
    return str(reference.get("resource", "")) if isinstance(reference, dict) else ""


def _p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| pools | pods | restart to all reconciled | CPU of it | memory (most) | CPU at rest | API calls at rest "
        "| change of spec: in 200 routers, p50 / p99 | acknowledged, p50 / p99 | CPU of it |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.pools:,} | {row.pods:,} | {row.restart_seconds:.0f} s | {row.restart_cpu:.0f} s "
            f"| {row.memory_mib:.0f} ({row.most_memory_mib:.0f}) MiB | {row.idle_percent:.1f} % "
            f"| {row.calls_per_minute:.0f} a minute | {row.table_p50:.2f} / {row.table_p99:.2f} s "
            f"| {row.heard_p50:.2f} / {row.heard_p99:.2f} s | {row.change_cpu:.2f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure each size, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--pools", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--replicas", type=int, default=10, help="of each pool")
    parser.add_argument("--pools-per-fleet", type=int, default=20)
    parser.add_argument("--big", type=int, default=198, help="replicas of the pool whose spec is changed")
    parser.add_argument("--idle-seconds", type=float, default=330, help="one full round of everything takes 300")
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--json", type=Path, default=Path("bench-many.json"))
    chosen = parser.parse_args()
    rows = []
    for pools in chosen.pools:
        shape = Shape(pools, chosen.replicas, chosen.big, chosen.pools_per_fleet)
        rows.append(asyncio.run(measure(shape, chosen.idle_seconds, chosen.changes)))
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
