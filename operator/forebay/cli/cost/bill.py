"""The arithmetic of a period: who cost what, what all-cloud would have cost, what a replica more or less would. Pure.

What a pool's GPUs cost is shared out by service time, idle time included; what its engines generated, too. Prompts are
shared out by the routers' estimate of their tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from forebay.cli.cost.period import BilledPeriod, Moment, PoolUse, Use
from forebay.word_enum import WordEnum

NO_POOL: Final = "(no pool)"
"""Requests that no pool could have served."""
IDLE: Final = "(idle)"
"""GPUs of pools that served nobody."""


class By(WordEnum):
    """What the bill is split by."""

    POOL = "pool"
    CAPABILITY = "capability"
    CLIENT = "client"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class BillRow:
    """One line of the bill. None: it cannot be said, for want of a price."""

    name: str
    local_requests: float = 0.0
    cloud_requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    hardware: float | None = 0.0
    cloud: float = 0.0
    all_cloud: float | None = 0.0  # the same requests, had there been no GPU

    def plus(self, other: "BillRow") -> "BillRow":
        """Both together, under this one's name."""
        return BillRow(
            self.name,
            self.local_requests + other.local_requests,
            self.cloud_requests + other.cloud_requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            _both(self.hardware, other.hardware),
            self.cloud + other.cloud,
            _both(self.all_cloud, other.all_cloud),
        )

    @property
    def total(self) -> float | None:
        """What it cost."""
        return None if self.hardware is None else self.hardware + self.cloud

    @property
    def saved(self) -> float | None:
        """Against the cloud alone; negative where the cloud would have been cheaper."""
        return None if self.total is None or self.all_cloud is None else self.all_cloud - self.total


def bill_rows(period: BilledPeriod, by: By) -> tuple[BillRow, ...]:
    """The bill, the dearest first."""
    made: dict[str, BillRow] = {}
    for name, line in (*_used(period, by), *_idle(period, by)):
        made[name] = made.get(name, BillRow(name)).plus(line)
    return tuple(sorted(made.values(), key=lambda line: (-(line.total or line.cloud), line.name)))


def total(of: Iterable[BillRow]) -> BillRow:
    """All lines together."""
    made = BillRow("total")
    for line in of:
        made = made.plus(line)
    return made


def _used(period: BilledPeriod, by: By) -> Iterable[tuple[str, BillRow]]:
    seconds, tokens = _local_sums(period.uses)
    for use in period.uses:
        name = (use.pool or NO_POOL) if by is By.POOL else str(getattr(use, by)) or "-"
        pool = period.pool(use.pool)
        if not use.local or pool is None:
            kind = BillRow(name, input_tokens=use.input_tokens, output_tokens=use.output_tokens)
            where = replace(kind, local_requests=use.requests) if use.local else replace(
                kind, cloud_requests=use.requests, cloud=use.dollars, all_cloud=use.dollars
            )  # fmt: skip
            yield name, where
            continue
        time_share = use.seconds / seconds[use.pool] if seconds[use.pool] else 0.0
        prompt_share = use.input_tokens / tokens[use.pool] if tokens[use.pool] else time_share
        read = pool.prompt_tokens * prompt_share if pool.prompt_tokens else use.input_tokens
        made = pool.generation_tokens * time_share
        price = period.displaced.get(use.pool)
        hardware = None if pool.hardware is None else pool.hardware * time_share
        all_cloud = None if price is None else price.of(read, made)
        yield name, BillRow(name, use.requests, 0.0, read, made, hardware, 0.0, all_cloud)


def _idle(period: BilledPeriod, by: By) -> Iterable[tuple[str, BillRow]]:
    """Pools that cost something and served nobody."""
    busy = {use.pool for use in period.uses if use.local and use.seconds > 0}
    for pool in period.pools:
        if pool.name not in busy and (pool.gpu_hours or by is By.POOL):
            name = pool.name if by is By.POOL else IDLE
            yield name, BillRow(name, hardware=pool.hardware)


def _local_sums(uses: Iterable[Use]) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Service seconds and estimated prompt tokens of each pool's local requests."""
    seconds: dict[str, float] = {}
    tokens: dict[str, float] = {}
    for use in uses:
        if use.local:
            seconds[use.pool] = seconds.get(use.pool, 0.0) + use.seconds
            tokens[use.pool] = tokens.get(use.pool, 0.0) + use.input_tokens
    return seconds, tokens


def _both(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What one replica more (or less) would have done over the moments that were seen."""

    pool: str
    replicas: int  # 1 or -1
    gpus: int
    hours: float  # that were seen
    hardware: float | None  # more dollars for GPUs; negative for less
    cloud: float | None  # more dollars for providers; negative for less
    share: float  # of what overflowed, that would have come home; of what ran, that would have left

    @property
    def net(self) -> float | None:
        """What the fleet would have cost more; negative where it would have been cheaper."""
        return _both(self.hardware, self.cloud)


def one_more(period: BilledPeriod, pool: PoolUse) -> WhatIf:
    """One replica more all the time: its slots take what overflowed at the same time."""
    slots = slots_of_a_replica(pool)
    overflowed = sum(moment.overflowing * moment.seconds for moment in pool.moments)
    home = sum(min(moment.overflowing, slots) * moment.seconds for moment in pool.moments)
    left = [use for use in period.uses if use.pool == pool.name and not use.local]
    spent = sum(use.dollars for use in left)
    saved = min(home * _ratio(spent, sum(use.seconds for use in left)), spent)
    hardware = _hardware(pool, pool.moments)
    return WhatIf(pool.name, 1, pool.gpus, _seen(pool), hardware, -saved, _ratio(home, overflowed))


def one_less(period: BilledPeriod, pool: PoolUse) -> WhatIf:
    """One replica less wherever there was one: what then finds no slot leaves, at the displaced model's price."""
    slots = slots_of_a_replica(pool)
    there = tuple(moment for moment in pool.moments if moment.replicas > 0)
    ran = sum(moment.running * moment.seconds for moment in there)
    leaves = sum(_left_out(moment, slots) * moment.seconds for moment in there)
    price = period.displaced.get(pool.name)
    served = sum(use.seconds for use in period.uses if use.pool == pool.name and use.local)
    cloud = None
    if price is not None:
        cloud = leaves * _ratio(price.of(pool.prompt_tokens, pool.generation_tokens), served)
    hardware = _hardware(pool, there)
    less = None if hardware is None else -hardware
    return WhatIf(pool.name, -1, pool.gpus, _seen(pool), less, cloud, _ratio(leaves, ran))


def slots_of_a_replica(pool: PoolUse) -> float:
    """Mean over the period, of the moments in which any replica served."""
    replicas = sum(moment.replicas * moment.seconds for moment in pool.moments)
    slots = sum(moment.slots * moment.seconds for moment in pool.moments)
    return slots / replicas if replicas else 0.0


def _left_out(moment: Moment, slots: float) -> float:
    """Requests that would have found no slot with one replica less, of those that ran."""
    room = moment.slots - min(slots, moment.slots)
    return min(max(moment.running - room, 0.0), moment.running)


def _seen(pool: PoolUse) -> float:
    return sum(moment.seconds for moment in pool.moments) / 3600


def _hardware(pool: PoolUse, moments: Iterable[Moment]) -> float | None:
    """What one replica costs over these moments."""
    hours = sum(moment.seconds for moment in moments) / 3600 * pool.gpus
    return 0.0 if not hours else None if pool.gpu_hour_price is None else hours * pool.gpu_hour_price


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
