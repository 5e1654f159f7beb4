"""One trace through the real router and through replay: how many decisions are the same.

Gateways, sidecars and simulated engines are the real ones, over real sockets; time is warped (warp.py). Both sides get
the same routing table, the same requests and the same service times; nothing of one run is told to the other.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.replay.warp import run
from forebay.replay import Fixed, FleetSetup, PoolSetup, TraceRequest, play
from forebay.resources.pool import Scaling
from forebay.resources.reasons import Capability, Priority
from forebay.resources.table import RoutingTable
from forebay.resources.terms import Permission
from forebay.simulator.batch import ServiceTime
from testing.fleet import Fleet, Pool, fleet

STEP = ServiceTime(base=0.15, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=1e12)
WAIT_SECONDS = 6
POOLS = {
    "chat": Pool(slots=4, replicas=2, max_wait_seconds=WAIT_SECONDS, max_requests=2, substitute=Permission.ALLOWED),
    "sort": Pool(
        slots=3, replicas=1, max_wait_seconds=WAIT_SECONDS, max_requests=2,
        capabilities=(Capability.EXTRACTION,),
    ),
}  # fmt: skip
GATEWAYS = 2
SAID = {
    Capability.GENERAL: {"x_forebay_complexity_score": "0.1"},
    Capability.REASONING: {"x_forebay_complexity_score": "0.9"},
    Capability.EXTRACTION: {"x_forebay_task_type": "extract"},
    Capability.CLASSIFICATION: {"x_forebay_task_type": "which"},
}
"""What a client says so that the router takes its request for this."""

Decision = tuple[int, str, str]
"""Status, destination, reason."""


@dataclass(slots=True)
class Agreement:
    """What both said. `differences`: number of the request, the router's and the replay's decision."""

    requests: int
    same: int
    by_decision: Counter[Decision] = field(default_factory=Counter)  # the router's
    differences: list[tuple[int, Decision, Decision]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the requests that were decided alike."""
        return self.same / self.requests


def trace(count: int, seed: int) -> list[TraceRequest]:
    """Requests of all priorities and kinds, at a rate that swings between idle and twice what the pools serve.

    Two of five belong to conversations whose prompts are worth a wait for the replica that has them; some name a model.
    """
    rng = random.Random(seed)
    found, at = [], 0.0
    for number in range(count):
        at += rng.expovariate((0.3, 1.3, 3.0)[int(at // 60) % 3])
        capability = rng.choices(tuple(SAID), (5, 2, 4, 0.2))[0]
        model = ""
        if rng.random() < 0.15:
            model = "sort-model" if capability is Capability.EXTRACTION else "chat-model"
        output = min(80, 5 + int(rng.expovariate(1 / 25)))
        talks = rng.random() < 0.4
        found.append(
            TraceRequest(
                at,
                prompt=rng.randrange(500, 1900) if talks else rng.randrange(10, 300),
                output=output,
                priority=rng.choices(tuple(Priority), (2, 6, 2))[0],
                model=model,
                capability=capability,
                session=f"talk{rng.randrange(12)}" if talks else f"s{number}",
                max_tokens=output,
            )
        )
    return found


async def through_router(requests: Sequence[TraceRequest], progress: Callable[[float], None]) -> tuple[
    RoutingTable, list[Decision]
]:  # fmt: skip
    """What the real router decides, and by which table."""
    with tempfile.TemporaryDirectory() as folder:
        async with fleet(Path(folder), POOLS, gateways=GATEWAYS, times=STEP) as f:
            loop = asyncio.get_running_loop()
            bases = [f.url(router) for router in (f.gateway, *f.more_gateways)]
            begin = loop.time() + 1.0
            found: list[Decision] = [(0, "", "")] * len(requests)

            async def one(number: int, request: TraceRequest) -> None:
                await asyncio.sleep(begin + request.at - loop.time())
                found[number] = await _ask(f, request, number, bases[number % GATEWAYS])
                progress(number / len(requests))

            await asyncio.gather(*(one(number, request) for number, request in enumerate(requests)))
            return f.gate.context.table.table, found


async def _ask(f: Fleet, request: TraceRequest, number: int, base: str) -> Decision:
    assert request.capability is not None
    answer = await f.ask(
        request.output,
        base=base,
        key="sk-vip",
        model=request.model or "auto",
        metadata={} if request.capability is Capability.CLASSIFICATION else {"context": "some"},
        messages=[{"role": "user", "content": f"{number:04}" + "word" * (request.prompt - 1)}],  # no prefix is cached
        stream=True,
        user=str(number),  # no two bodies alike: who comes back after a refusal keeps the age of its first coming
        x_forebay_priority=request.priority,
        x_forebay_session=request.session,
        **SAID[request.capability],
    )
    return answer.status_code, answer.headers["x-forebay-destination"], answer.headers["x-forebay-reason"]


def through_replay(requests: Sequence[TraceRequest], table: RoutingTable) -> list[Decision]:
    """What replay says."""
    pools = tuple(
        PoolSetup(entry, Scaling(min_replicas=n, max_replicas=n), replicas=n, times=STEP)
        for entry in table.pools
        for n in (POOLS[entry.name].replicas,)
    )
    setup = FleetSetup(pools, table.policies, gateways=GATEWAYS, exact=True)
    outcome = play(requests, setup, {pool.name: Fixed(pool.replicas) for pool in pools})
    return [(fate.status, fate.destination, str(fate.reason)) for fate in outcome.fates]


def compare(count: int, seed: int, progress: Callable[[float], None] = lambda _: None) -> Agreement:
    """Play both, and compare."""
    requests = trace(count, seed)
    table, router = run(through_router(requests, progress))
    replayed = through_replay(requests, table)
    found = Agreement(len(requests), 0, Counter(router))
    for number, (said, would) in enumerate(zip(router, replayed, strict=True)):
        if said == would:
            found.same += 1
        else:
            found.differences.append((number, said, would))
    return found
