"""The figures: first tokens and cache hits by placement and load, and what a scale step moves."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from bench.affinity.fleet import Played, Pool
from bench.affinity.placement import ClientIP, Forebay, LeastLoaded, LeastWaiting, Placement, Random
from bench.affinity.setup import Setup
from bench.affinity.trace import Request, character, faster
from forebay.rules.affinity import Sessions, prefer

WARM_UP = 0.1
"""Share of the requests that comes before anything is measured: the caches are empty at first."""
FLOOD = 3.0
AFTER_SECONDS = 300.0
Progress = Callable[[float], None]


def placements(addresses: int) -> dict[str, Callable[[Setup, int], list[Placement]]]:
    """By name: what makes one gateway's placement each; a Service has no gateways."""

    def each(kind: type[Forebay] | type[Random]) -> Callable[[Setup, int], list[Placement]]:
        return lambda setup, seed: [kind(random.Random(seed + n)) for n in range(setup.gateways)]

    return {
        "forebay": each(Forebay),
        "least prompt tokens waiting": each(LeastWaiting),
        "least loaded": each(LeastLoaded),
        "random": each(Random),
        "ClientIP, an address each": lambda _, seed: [ClientIP(random.Random(seed), None)],
        f"ClientIP, {addresses} addresses": lambda _, seed: [ClientIP(random.Random(seed), addresses)],
    }


def capacity(requests: Sequence[Request], setup: Setup, seed: int, progress: Progress) -> float:
    """Requests a second that the pool answers, chosen by load alone, when more wait than it can serve: 100 %."""
    patient = Setup(setup.replicas, setup.gateways, setup.limits, setup.times, 1e9, setup.live_tokens)
    placed: list[Placement] = [LeastLoaded(random.Random(seed))]
    found = Pool(patient, placed, seed).run(faster(requests, FLOOD), progress)
    ends = sorted(one.ended or 0.0 for one in found)
    begin, end = len(ends) // 5, 4 * len(ends) // 5
    return (end - begin) / (ends[end] - ends[begin])


def figures(played: Sequence[Played]) -> dict[str, Any]:
    """Of what came after the warm-up. Seconds to the first token are None where so many were refused."""
    counted = played[int(len(played) * WARM_UP) :]
    served = [one for one in counted if one.first_token is not None]
    waits = sorted(one.first_token for one in served if one.first_token is not None)

    def percentile(share: float) -> float | None:
        place = int(len(counted) * share)
        return round(waits[place], 3) if place < len(waits) else None

    prompts = sum(one.request.prompt for one in served)
    return {
        "requests": len(counted),
        "first_token_p50": percentile(0.50),
        "first_token_p95": percentile(0.95),
        "hit_share": round(sum(one.cached for one in served) / prompts, 4),
        "refused_share": round(1 - len(served) / len(counted), 4),
    }


def moves(requests: Sequence[Request], setup: Setup, seed: int, progress: Progress) -> dict[str, Any]:
    """Sessions that a scale step by one replica moves, at the middle of the requests.

    Of those that a gateway remembers, and by hashing alone; and the share of requests that the new replica gets.
    """
    placed = [Forebay(random.Random(seed)) for _ in range(setup.gateways)]
    middle = requests[len(requests) // 2].at
    pool = Pool(setup, placed, seed)
    new = pool.grow(middle)
    found = pool.run(requests, progress)
    after = [j for j in found if j.first is not None and middle <= j.request.at < middle + AFTER_SECONDS]
    fewer = tuple(name for name in pool.replicas if name != new)
    more = (*fewer, new)
    ids = sorted({request.session for request in requests})
    then = _remembered(found, middle, new)
    later = _remembered(found, requests[-1].at, None)
    return {
        "ideal": round(1 / len(more), 4),
        "hash_up": _share(ids, lambda s: prefer(s, fewer)[0], lambda s: prefer(s, more)[0]),
        "hash_down": _share(ids, lambda s: prefer(s, more)[0], lambda s: prefer(s, fewer)[0]),
        "remembered_up": _moved(then, middle, fewer, more),
        "remembered_down": _moved(later, requests[-1].at, more, fewer),
        "new_replica_share": round(sum(j.replica == new for j in after) / len(after), 4),
    }


def _remembered(played: Sequence[Played], now: float, without: str | None) -> Sessions:
    """What a gateway knows at some time."""
    sessions = Sessions()
    told = [(j.first, j) for j in played if j.first is not None and j.first <= now and j.replica != without]
    for first, one in sorted(told, key=lambda item: item[0]):
        sessions.serve(one.request.session, one.replica, one.request.prompt, first)
    return sessions


def _moved(sessions: Sessions, now: float, before: tuple[str, ...], after: tuple[str, ...]) -> float:
    fresh = [session for session in sessions if sessions.cached(session, 1, now)]
    return _share(fresh, lambda s: sessions.homes(s, before, now)[0], lambda s: sessions.homes(s, after, now)[0])


def _share(sessions: Sequence[int], before: Callable[[int], str], after: Callable[[int], str]) -> float:
    return round(sum(before(session) != after(session) for session in sessions) / max(1, len(sessions)), 4)


def measure(
    requests: Sequence[Request], setup: Setup, loads: Sequence[int], addresses: int, seed: int,
    begin: Callable[[str], Progress],
) -> dict[str, Any]:  # fmt: skip
    """Everything. `begin` is told of each part and returns what hears of its progress."""
    full = capacity(requests, setup, seed, begin("what the pool can serve"))
    trace = character(requests)
    results: dict[int, dict[str, Any]] = {}
    for load in loads:
        played = faster(requests, full * load / 100 / trace["requests_per_second"])
        results[load] = {}
        for name, make in placements(addresses).items():
            pool = Pool(setup, make(setup, seed), seed)
            results[load][name] = figures(pool.run(played, begin(f"{name} at {load} %")))
    played = faster(requests, full * loads[0] / 100 / trace["requests_per_second"])
    return {
        "trace": trace,
        "replicas": setup.replicas,
        "gateways": setup.gateways,
        "slots_per_replica": pool.slots,
        "kv_tokens": setup.limits.kv_tokens,
        "prefill_tokens_per_second": setup.times.prefill_tokens_per_second,
        "max_wait_seconds": setup.max_wait,
        "seed": seed,
        "capacity_requests_per_second": round(full, 3),
        "loads": results,
        "moves": moves(played, setup, seed, begin("a scale step")),
    }
