"""A small trace generator, and a small fleet, for tests."""

import random
from collections.abc import Iterator

from forebay.replay import FleetSetup, PoolSetup, TraceRequest, simple_policy
from forebay.resources.pool import Behavior, Scaling, ScalingRules
from forebay.resources.reasons import Priority
from forebay.resources.table import PoolEntry, QueueEntry
from forebay.resources.terms import Permission

PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.NORMAL, Priority.NORMAL, Priority.LOW)


def bursty(count: int, seed: int, rate: float = 4.0, session_share: float = 0.0) -> Iterator[TraceRequest]:
    """Requests whose rate swings by a factor of nine, five minutes each way; lengths are log-normal."""
    rng = random.Random(seed)
    at = 0.0
    for _ in range(count):
        at += rng.expovariate(rate * (1.8 if at // 300 % 2 else 0.2))
        session = f"s{rng.randrange(50)}" if rng.random() < session_share else ""
        yield TraceRequest(
            at,
            prompt=20 + int(rng.lognormvariate(6, 1)),
            output=1 + int(rng.lognormvariate(4.5, 0.8)),
            priority=rng.choice(PRIORITIES),
            session=session,
        )


def pool(
    name: str = "chat", *, most: int = 4, slots: int = 8, cold_start: float = 60.0, wait: int = 30,
    down_window: int | None = None, substitute: Permission = Permission.DENIED,
) -> PoolSetup:  # fmt: skip
    """A pool with a price, of one replica at first."""
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_seconds=down_window))
    return PoolSetup(
        PoolEntry(
            name=name,
            served_names=(f"{name}-model",),
            slots_per_replica=slots,
            substitute=substitute,
            queue=QueueEntry(max_wait_seconds=wait, max_requests=200),
        ),
        Scaling(min_replicas=1, max_replicas=most, behavior=behavior),
        cold_start=cold_start,
        gpu_hour_price="2",
    )


def setup(*pools: PoolSetup, cloud: bool = True, exact: bool = False, gateways: int = 2) -> FleetSetup:
    """A fleet."""
    policies = (simple_policy(),) if cloud else ()
    return FleetSetup(pools or (pool(),), policies, gateways=gateways, exact=exact)
