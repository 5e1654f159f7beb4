"""Slots at saturation: 8 replicas, 2 gateways, real sockets, one process (`make bench-queue`).

Every moment at which a slot that a waiting request may use stands idle is measured from the truth, not from what a
router believes: the admissions of all replicas and the lines of both gateways are looked at after every change.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from forebay.resources.reasons import Capability, Priority
from forebay.resources.report import SlotOffer
from forebay.router import metrics
from forebay.router.gateway import Gateway
from forebay.router.placement.pool_replicas import Replica
from forebay.router.sidecar import Sidecar
from forebay.rules.queue import Waiter
from forebay.simulator.batch import ServiceTime
from testing.fleet import Fleet, Pool, fleet

SLOW = ServiceTime(base=0.004, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=1e6)
POOL = "chat"
SETTLED_SECONDS = 0.1
"""Who has waited for less is not known everywhere yet."""
PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.NORMAL, Priority.NORMAL, Priority.LOW)


@dataclass
class Watch:
    """Idle intervals and the order of service, seen from outside."""

    fleet: Fleet
    idle: list[float] = field(default_factory=list)
    inversions: list[float] = field(default_factory=list)  # deadlines of equals, when the later one came first
    rank_inversions: int = 0
    overtook: int = 0
    bound: int = 0
    joined: dict[tuple[int, int], float] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def attach(self) -> None:
        """Look after every change of a slot or a line."""
        for name in self.fleet.sidecars:
            side = self.fleet.side(name)
            side.admission.on_change = _after(side.admission.on_change, self.look)
        for gate in self.fleet.gates:
            gate.waiting.offered = self._offered(gate)  # type: ignore[method-assign]
            gate.waiting._changed = _after(gate.waiting._changed, self.look)  # type: ignore[method-assign]

    def waiters(self) -> list[Waiter]:
        """Everybody who waits, at both gateways."""
        return [waiter for gate in self.fleet.gates for waiter in gate.waiting._queues.get(POOL, ())]

    def look(self) -> None:
        """Begin or end the idle time of each replica's slots."""
        now = asyncio.get_running_loop().time()
        waiters = self.waiters()
        high = any(waiter.priority is Priority.HIGH for waiter in waiters)
        for name in self.fleet.sidecars:
            a = self.fleet.side(name).admission
            free = a.slots - a.running
            usable = (free > 0 and high) or (free - a.reserve > 0 and bool(waiters))
            if usable:
                self.since.setdefault(name, now)
            elif name in self.since:
                self.idle.append(now - self.since.pop(name))

    def _offered(self, gate: Gateway) -> Callable[[Replica, SlotOffer], None]:
        inner = gate.waiting.offered

        def offered(replica: Replica, offer: SlotOffer) -> None:
            before = {(id(g), w.id): w for g in self.fleet.gates for w in g.waiting._queues.get(POOL, ())}
            inner(replica, offer)
            after = {(id(g), w.id) for g in self.fleet.gates for w in g.waiting._queues.get(POOL, ())}
            now = asyncio.get_running_loop().time()
            for key in set(before) - after:
                self.bound += 1
                mine = before[key]
                due = mine.due_at(replica.name)
                passed = [
                    (mine.rank(now) - waiter.rank(now), due - waiter.due_at(replica.name))
                    for other, waiter in before.items()
                    if other in after
                    and now - self.joined.get(other, now) > SETTLED_SECONDS
                    and (waiter.rank(now), waiter.due_at(replica.name)) < (mine.rank(now), due)
                ]
                self.inversions += [gap for ranks, gap in passed if not ranks]
                self.rank_inversions += sum(ranks > 0 for ranks, _ in passed)
                self.overtook += bool(passed)
            for key in after:
                self.joined.setdefault(key, now)

        return offered


def _after(first: Callable[..., None], then: Callable[[], None]) -> Callable[..., None]:
    def both(*arguments: Any) -> None:
        first(*arguments)
        then()

    return both


async def _client(f: Fleet, base: str, rng: random.Random, end: float, answers: list[tuple[int, float]]) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        priority = rng.choice(PRIORITIES)
        begun = loop.time()
        try:
            answer = await f.ask(
                rng.randint(20, 120),
                base=base,
                key="sk-vip",
                x_forebay_priority=priority,
                x_forebay_timeout_seconds=str(rng.uniform(20, 40)),
                x_forebay_session=str(rng.random()),
            )
            answers.append((answer.status_code, loop.time() - begun))
        except httpx.HTTPError:
            answers.append((0, loop.time() - begun))


async def measure(seconds: float, replicas: int, slots: int, gateways: int, clients: int, seed: int) -> dict[str, Any]:
    """Run a closed loop of more clients than slots; the figures."""
    pools = {POOL: Pool(slots=slots, replicas=replicas, capabilities=tuple(Capability), max_wait_seconds=30)}
    with tempfile.TemporaryDirectory() as folder:
        async with fleet(Path(folder), pools, cloud=False, gateways=gateways, times=SLOW) as f:
            f.http = httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None))
            watch = Watch(f)
            watch.attach()
            loop = asyncio.get_running_loop()
            end = loop.time() + seconds
            bases = [f.url(router) for router in (f.gateway, *f.more_gateways)]
            answers: list[tuple[int, float]] = []
            with Progress(transient=True, console=Console(stderr=True)) as progress:
                bar = progress.add_task(f"{replicas} replicas x {slots} slots, {clients} clients", total=seconds)
                work = [
                    asyncio.create_task(_client(f, bases[n % len(bases)], random.Random(seed + n), end, answers))
                    for n in range(clients)
                ]
                while loop.time() < end:
                    await asyncio.sleep(0.25)
                    progress.update(bar, completed=seconds - (end - loop.time()))
                await asyncio.gather(*work)
            await f.http.aclose()
            return _figures(watch, answers, [f.side(name) for name in f.sidecars])


def _figures(watch: Watch, answers: list[tuple[int, float]], sides: list[Sidecar]) -> dict[str, Any]:
    admitted = sum(side.admission.admitted_total for side in sides)
    wasted = sum(
        sample.value
        for metric in metrics.WASTED_TRIES.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
    idle, inversions = sorted(watch.idle), sorted(watch.inversions)
    return {
        "requests": len(answers),
        "failed": sum(status != 200 for status, _ in answers),
        "admitted": admitted,
        "bound_by_offer": watch.bound,
        "idle_ms_p50": _percentile(idle, 50),
        "idle_ms_p99": _percentile(idle, 99),
        "idle_ms_max": _percentile(idle, 100),
        "wasted_tries_per_admitted": round(wasted / max(1, admitted), 4),
        "overtook_share": round(watch.overtook / max(1, watch.bound), 4),
        "rank_inversions": watch.rank_inversions,
        "deadline_inversion_ms_p99": _percentile(inversions, 99),
        "deadline_inversion_ms_max": _percentile(inversions, 100),
        "left_running": sum(side.admission.running + side.admission.offers.held for side in sides),
    }


def _percentile(values: list[float], percent: int) -> float:
    if not values:
        return 0.0
    return round(1000 * values[min(len(values) - 1, int(len(values) * percent / 100))], 2)


def main() -> int:
    """Print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rounds = []
    for number in range(chosen.rounds):
        metrics.WASTED_TRIES.clear()
        rounds.append(uvloop.run(measure(chosen.seconds, 8, 4, 2, 64, seed=number * 1000)))
    table = Table("figure", "median of rounds", "worst round", title="8 replicas x 4 slots, 2 gateways, 64 clients")
    for key in rounds[0]:
        values = [row[key] for row in rounds]
        table.add_row(key.replace("_", " "), f"{statistics.median(values):g}", f"{max(values):g}")
    Console().print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps(rounds, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
