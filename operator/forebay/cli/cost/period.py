"""What a fleet did over a period, wherever that was counted. Money is US dollars, times Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.resources.usage import LOCAL
from forebay.rules.cost import Price


@dataclass(frozen=True, slots=True)
class Moment:
    """Means over some seconds."""

    seconds: float
    replicas: float
    slots: float
    running: float
    queued: float
    overflowing: float  # at a provider for lack of a slot


@dataclass(frozen=True, slots=True)
class PoolUse:
    """One pool. Tokens are what its engines counted; `gpus` are those of one replica."""

    name: str
    gpus: int = 0
    gpu_hour_price: float | None = None
    gpu_hours: float = 0.0  # of all replicas, whether they had work or not
    prompt_tokens: float = 0.0
    generation_tokens: float = 0.0
    moments: tuple[Moment, ...] = ()

    @property
    def hardware(self) -> float | None:
        """What its GPUs cost; None where nobody said what one costs."""
        if not self.gpu_hours:
            return 0.0
        return None if self.gpu_hour_price is None else self.gpu_hours * self.gpu_hour_price


@dataclass(frozen=True, slots=True)
class Use:
    """Requests of one client, priority and capability at one destination. `seconds` are of service."""

    pool: str
    destination: str
    client: str
    priority: str
    capability: str
    requests: float
    seconds: float
    input_tokens: float
    output_tokens: float
    dollars: float

    @property
    def local(self) -> bool:
        """Whether it was served in the cluster."""
        return self.destination == LOCAL


@dataclass(frozen=True, slots=True)
class BilledPeriod:
    """A fleet over a period. `displaced` is the cloud model that would have answered for each pool, with its price."""

    namespace: str
    begin: float
    end: float
    source: str
    pools: tuple[PoolUse, ...]
    uses: tuple[Use, ...]
    displaced: Mapping[str, Price] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """How long it is."""
        return max(self.end - self.begin, 0.0) / 3600

    def pool(self, name: str) -> PoolUse | None:
        """One pool."""
        return next((pool for pool in self.pools if pool.name == name), None)
