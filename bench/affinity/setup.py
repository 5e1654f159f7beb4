"""The pool that is measured."""

from dataclasses import dataclass, field

from forebay.simulator.batch import BatchLimits, ServiceTime


@dataclass(frozen=True, slots=True)
class Setup:
    """Replicas of the order of a 70B model on four 80 GB GPUs with an 8-bit cache: 900,000 tokens of it, and 2,048
    prompt tokens in 0.27 s. `max_wait` in seconds; `live_tokens` is the p90 of the requests.
    """

    replicas: int = 8
    gateways: int = 2
    limits: BatchLimits = field(default_factory=lambda: BatchLimits(kv_tokens=900_000, max_batched_tokens=2048))
    times: ServiceTime = field(default_factory=lambda: ServiceTime(0.016, 0.00018, 2.0e-8, 7530.0))
    max_wait: float = 30.0
    live_tokens: int = 27_000
