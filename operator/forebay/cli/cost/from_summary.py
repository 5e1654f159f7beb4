"""A period from the operator's summary: since the operator began, with the last hour by minute."""

from collections.abc import Iterable, Mapping
from typing import Final

from forebay.cli.cost.period import BilledPeriod, Moment, PoolUse, Use
from forebay.cli.prices import find
from forebay.resources.reasons import Priority
from forebay.resources.summary import FleetSummary, PoolSummary, PriceRow
from forebay.rules.cost import Price
from forebay.rules.facts import PolicyView

SOURCE: Final = "the operator, since it began"
MINUTE_SECONDS: Final = 60.0
USUAL_TIER: Final = PolicyView("").tier_for(Priority.NORMAL)
"""Where requests go when local is full, unless a policy says otherwise: Secondary."""


def period(fleet: FleetSummary, gpu_hour_price: float | None, displaced: Mapping[str, Price]) -> BilledPeriod:
    """What the operator counted. `gpu_hour_price` is for pools that name none."""
    return BilledPeriod(
        namespace=fleet.namespace,
        begin=fleet.since,
        end=fleet.time,
        source=SOURCE,
        pools=tuple(_pool(pool, gpu_hour_price) for pool in fleet.pools),
        uses=tuple(
            Use(
                row.pool, row.destination, row.client, row.priority, row.capability, row.requests, row.seconds,
                row.input_tokens, row.output_tokens, float(row.dollars),
            )
            for row in fleet.usage
        ),
        displaced=displaced,
    )  # fmt: skip


def _pool(pool: PoolSummary, gpu_hour_price: float | None) -> PoolUse:
    price = gpu_hour_price if pool.gpu_hour_price is None else float(pool.gpu_hour_price)
    moments = (
        Moment(MINUTE_SECONDS, it.replicas, it.slots, it.running, it.queued, it.overflowing) for it in pool.minutes
    )
    return PoolUse(
        pool.name, pool.gpus, price, pool.gpu_seconds / 3600, pool.prompt_tokens, pool.generation_tokens, tuple(moments)
    )


def displaced_models(
    policies: Mapping[str, str], rows: Iterable[PriceRow], table: tuple[Price, ...]
) -> dict[str, Price]:
    """For each pool the model that would have answered: its policy's first with a price, the usual tier before others.

    `policies` are names by pool. Where the policy names no price, the table's is taken.
    """
    ordered = sorted(rows, key=lambda row: row.tier != USUAL_TIER)
    found = {}
    for pool, policy in policies.items():
        prices = (_price(row, table) for row in ordered if row.policy == policy)
        if (price := next((it for it in prices if it is not None), None)) is not None:
            found[pool] = price
    return found


def _price(row: PriceRow, table: tuple[Price, ...]) -> Price | None:
    if row.input_price is None or row.output_price is None:
        return find(row.model, table)
    source = f"policy {row.policy}, {row.tier.lower()}"
    return Price(row.provider, row.model, float(row.input_price), float(row.output_price), source=source)
