"""The fleet that a trace is played on: pools, policies and gateways as the routing table has them, engines, prices."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from forebay.resources.entries import policy_entry, pool_entry
from forebay.resources.fields import Money
from forebay.resources.names import DEFAULT_POLICY
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec, Scaling
from forebay.resources.table import ModelEntry, PolicyEntry, PoolEntry, ProviderEntry, TargetEntry
from forebay.rules import route
from forebay.rules.capacity import TYPICAL_TOKENS
from forebay.rules.facts import PolicyView
from forebay.simulator.batch import BatchLimits, ServiceTime

COLD_START_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class PoolSetup:
    """One pool. Seconds; `cold_start` is from wanted to serving, `live_tokens` the p90 that the memory bound is from.

    `slow` stretches every step of its engines, as the simulator's own setting does.
    """

    entry: PoolEntry
    scaling: Scaling = field(default_factory=Scaling)
    replicas: int = 1  # the first size
    limits: BatchLimits = field(default_factory=BatchLimits)
    times: ServiceTime = field(default_factory=ServiceTime)
    slow: float = 1.0
    live_tokens: int = TYPICAL_TOKENS
    cold_start: float = COLD_START_SECONDS
    gpus: int = 1
    gpu_hour_price: Money | None = None

    @classmethod
    def of(
        cls,
        name: str,
        spec: PoolSpec,
        *,
        limits: BatchLimits | None = None,
        times: ServiceTime | None = None,
        slow: float = 1.0,
        live_tokens: int = TYPICAL_TOKENS,
        cold_start: float = COLD_START_SECONDS,
    ) -> "PoolSetup":
        """What a custom resource says; of its engine it says less than a replay needs."""
        entry = pool_entry(name, "replay", spec)
        usual = limits or BatchLimits()
        if entry.max_num_seqs is not None:
            usual = replace(usual, max_num_seqs=entry.max_num_seqs)
        return cls(
            entry=entry,
            scaling=spec.scaling,
            replicas=spec.replicas,
            limits=usual,
            times=times or ServiceTime(),
            slow=slow,
            live_tokens=live_tokens,
            cold_start=cold_start,
            gpus=max(1, spec.engine.gpus),
            gpu_hour_price=spec.gpu_hour_price,
        )

    @property
    def name(self) -> str:
        """Name of the pool."""
        return self.entry.name

    @property
    def gpu_hour(self) -> Decimal | None:
        """US dollars for one GPU for one hour."""
        return None if self.gpu_hour_price is None else Decimal(self.gpu_hour_price)


@dataclass(frozen=True, slots=True)
class CloudTime:
    """How fast every provider answers; seconds."""

    first_token: float = 0.6
    per_token: float = 0.015

    def answer(self, tokens: int) -> float:
        """The whole answer."""
        return self.first_token + self.per_token * max(0, tokens - 1)


@dataclass(frozen=True, slots=True)
class FleetSetup:
    """All of it. `exact`: engines run step by step (hours), else by whole requests (weeks)."""

    pools: tuple[PoolSetup, ...]
    policies: tuple[PolicyEntry, ...] = ()
    gateways: int = 2
    cloud: CloudTime = CloudTime()
    exact: bool = False
    gpus: int | None = None  # None: as many as are asked for

    def __post_init__(self) -> None:
        if not self.pools or self.gateways < 1:
            raise ValueError("a fleet needs at least one pool and one gateway")
        if len({pool.name for pool in self.pools}) != len(self.pools):
            raise ValueError("two pools of the fleet have the same name")

    def may_overflow(self, pool: PoolSetup) -> bool:
        """Whether a Normal request of this pool may leave when it is full."""
        name = pool.entry.policy or DEFAULT_POLICY
        policy = next((item for item in self.policies if item.name == name), None)
        return route.may_overflow(None if policy is None else PolicyView.of(policy), pool.entry.cloud)


def policy_of(name: str, spec: PolicySpec) -> PolicyEntry:
    """What a custom resource says."""
    return policy_entry(name, spec)


def simple_policy(
    primary: tuple[str, str] = ("4", "20"), secondary: tuple[str, str] = ("0.15", "0.6"), name: str = "default"
) -> PolicyEntry:
    """A provider each for both tiers, at these prices for a million input and output tokens, without limits."""
    tiers = {"primary": primary, "secondary": secondary}
    return PolicyEntry(
        name=name,
        providers=tuple(_provider(tier, *prices) for tier, prices in tiers.items()),
        primary=(TargetEntry(provider="primary", model="primary-model"),),
        secondary=(TargetEntry(provider="secondary", model="secondary-model"),),
    )


def _provider(name: str, input_price: str, output_price: str) -> ProviderEntry:
    model = ModelEntry(name=f"{name}-model", input_price=input_price, output_price=output_price)
    return ProviderEntry(name=name, base_url="https://unused", models=(model,), max_concurrent_requests=10_000)


def models_of(policies: Iterable[PolicyEntry]) -> dict[str, ModelEntry]:
    """Every model of every provider, by what a decision calls it: provider/model."""
    return {f"{p.name}/{m.name}": m for policy in policies for p in policy.providers for m in p.models}
