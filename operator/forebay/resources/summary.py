"""The operator's summary: how every fleet is now, the last hour by minute, and what was used since the operator began.

`kubectl forebay top` and `cost` read it. It holds figures and names, as /metrics does; nothing of requests, no secrets.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from forebay.resources.policy import PolicySpec
from forebay.resources.table import Frozen
from forebay.resources.terms import Tier
from forebay.resources.usage import UsageRow

PATH: Final = "/summary"
SERVICE: Final = "forebay-summary"
"""The Service in the operator's namespace whose proxy subresource the Role `forebay-summary` allows."""
MINUTES: Final = 60


class Minute(Frozen, frozen=True, array_like=True):
    """Means over one minute; `at` is the Unix minute."""

    at: int
    replicas: float  # that serve
    slots: float
    running: float
    queued: float
    overflowing: float  # at a provider for lack of a slot


class PoolSummary(Frozen, frozen=True):
    """One pool. Totals count from the fleet's `since`."""

    name: str
    ready: int = 0
    desired: int = 0
    starting: int = 0
    ending: int = 0
    slots: int = 0
    running: int = 0
    queued: int = 0
    overflowing: int = 0
    demand: float = 0.0
    capacity: int = 0  # slots of one replica that Normal may use
    size_reason: str = ""
    policy: str = ""  # that decides for it
    gpus: int = 0  # of one replica
    gpu_hour_price: str | None = None  # decimal US dollars
    gpu_seconds: float = 0.0  # of all pods that were there
    prompt_tokens: int = 0  # as the engines counted
    generation_tokens: int = 0
    requests: int = 0  # that wanted this pool
    rejected: int = 0  # for lack of a slot or a place
    expired: int = 0  # after waiting in vain
    overflow_by_reason: dict[str, int] = {}
    minutes: tuple[Minute, ...] = ()  # oldest first


class PriceRow(Frozen, frozen=True):
    """A provider model that a policy names, with its prices for a million tokens; decimal US dollars."""

    policy: str
    tier: str  # a word of Tier
    provider: str
    model: str
    input_price: str | None = None
    output_price: str | None = None


class FleetSummary(Frozen, frozen=True):
    """One namespace. Times are Unix seconds."""

    namespace: str
    time: float
    since: float
    gateways: int = 0
    pools: tuple[PoolSummary, ...] = ()
    prices: tuple[PriceRow, ...] = ()
    usage: tuple[UsageRow, ...] = ()


class Summary(Frozen, frozen=True):
    """All fleets that this operator looks after."""

    version: str
    time: float
    fleets: tuple[FleetSummary, ...] = ()


def price_rows(policy: str, spec: PolicySpec) -> Iterator[PriceRow]:
    """The models that a policy's tiers name, in their order."""
    models = {(provider.name, model.name): model for provider in spec.providers for model in provider.models}
    for tier in Tier:
        for target in spec.targets(tier):
            model = models.get((target.provider, target.model))
            if model is not None:
                yield PriceRow(
                    policy=policy, tier=tier, provider=target.provider, model=target.model,
                    input_price=model.input_price, output_price=model.output_price,
                )  # fmt: skip


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Summary).decode
