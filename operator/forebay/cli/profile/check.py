"""The busiest stretch of a log once more, through the router's own queue and rule (`forebay.replay`).

Playing a log slot by slot knows no queue, and reckons how long a request holds its slot. A replay has both: waiters,
the reserve for High, prompts that hold up tokens. It takes a hundred times as long, so only a stretch is played.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan
from typing import Final

from forebay.cli.profile.asked_pool import AskedPool
from forebay.cli.profile.reading import CLASSES, EMBEDDINGS, PRIORITIES, Log
from forebay.cli.profile.traffic import Traffic
from forebay.replay import Fixed, FleetSetup, PoolSetup, TraceRequest, play, simple_policy
from forebay.resources.reasons import Capability
from forebay.resources.table import PoolEntry
from forebay.simulator.batch import BatchLimits, ServiceTime

REQUESTS: Final = 20_000
ENDLESS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """A stretch of the log, with so many replicas: the local share as reckoned and as replayed. Seconds.

    `waited` is the share of the requests served by the pool that waited for a slot, `first_token` the 95th percentile.
    """

    requests: int
    seconds: float
    replicas: int
    reckoned: float
    replayed: float
    waited: float
    first_token: float


def check(
    log: Log, found: Traffic, pool: AskedPool, replicas: int, progress: Callable[[float], None] = lambda _: None
) -> Check:
    """Replay it; `progress` hears of seconds played."""
    stretch = _busiest(found)
    at = found.period.at
    begin = at[stretch[0]]
    requests = [_request(log, number, at[number] - begin) for number in stretch if log.kind[number] & 7 != EMBEDDINGS]
    outcome = play(requests, FleetSetup((_setup(pool, replicas),), (simple_policy(),)), Fixed(replicas), 0, progress)
    fates = list(outcome.fates)
    local = [fate for fate in fates if fate.local]
    first = sorted(fate.first_token for fate in local if not isnan(fate.first_token))
    slots = replicas * pool.usable
    return Check(
        requests=len(stretch),
        seconds=at[stretch[-1]] - begin,
        replicas=replicas,
        reckoned=sum(found.slot[number] < slots for number in stretch) / len(stretch),
        replayed=len(local) / len(stretch),
        waited=sum(fate.waited > 0 for fate in local) / len(local) if local else 0.0,
        first_token=first[int(0.95 * (len(first) - 1))] if first else 0.0,
    )


def _busiest(found: Traffic) -> Sequence[int]:
    """The requests in a row that came within the least time."""
    order, at = found.period.order, found.period.at
    if len(order) <= REQUESTS:
        return order
    ends = zip(islice(order, REQUESTS - 1, None), order, strict=False)
    begin = min(enumerate(ends), key=lambda item: at[item[1][0]] - at[item[1][1]])[0]
    return order[begin : begin + REQUESTS]


def _request(log: Log, number: int, at: float) -> TraceRequest:
    name = CLASSES[log.kind[number] & 7]
    capability = Capability(name) if name in tuple(Capability) else None
    output = max(1, log.output[number])
    return TraceRequest(at, max(1, log.prompt[number]), output, PRIORITIES[log.kind[number] >> 4 & 3],
                   max_tokens=output, capability=capability)  # fmt: skip


def _setup(pool: AskedPool, replicas: int) -> PoolSetup:
    """Replicas that serve from the first moment, with the time per token and prompt that the question says."""
    entry = PoolEntry(
        name="pool",
        served_names=("pool",),
        capabilities=tuple(sorted(pool.capabilities)),
        context_tokens=pool.context_tokens,
        slots_per_replica=pool.slots,
        high_reserved_percent=pool.reserved_percent,
    )
    times = ServiceTime(pool.token_seconds, 0.0, 0.0, pool.prefill)
    return PoolSetup(entry, replicas=replicas, limits=BatchLimits(ENDLESS, ENDLESS), times=times)
