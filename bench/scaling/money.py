"""What a play costs: replicas by the hour, and what left by the token."""

from dataclasses import dataclass
from typing import Final

from bench.scaling.load import Load
from bench.scaling.play import Outcome
from forebay.rules.marginal_value import BreakEven

GPUS: Final = 2  # of a replica
GPU_HOUR: Final = 2.0  # US dollars; an assumption, about what a rented 80 GB GPU costs


@dataclass(frozen=True, slots=True)
class PricePoint:
    """US dollars a million tokens, of one model on one day."""

    name: str
    model: str
    source: str
    as_of: str
    prompt: float
    output: float

    def tokens(self, prompt: float, output: float) -> float:
        """US dollars."""
        return (prompt * self.prompt + output * self.output) / 1e6


_SOURCE: Final = "litellm 1.102.4 model_prices_and_context_window_backup.json (MIT)"
POINTS: Final = (
    PricePoint("dear", "openai/gpt-5.6", _SOURCE, "2026-10-08", 4.0, 20.0),
    PricePoint("even", "openai/gpt-5.4-mini", _SOURCE, "2026-10-08", 0.75, 4.5),
    PricePoint("cheap", "google/gemini-3.5-flash-lite", _SOURCE, "2026-10-08", 0.3, 2.5),
)


def prices(load: Load, point: PricePoint) -> BreakEven:
    """What forebay is told: a replica's hour, and an hour of one request after the other at the provider."""
    count = max(len(load.at), 1)
    each = point.tokens(sum(load.prompt) / count, sum(load.output) / count)
    return BreakEven(GPUS * GPU_HOUR, each * 3600.0 / load.service_seconds)


def replicas_cost(outcome: Outcome) -> float:
    """US dollars for the GPUs."""
    return outcome.replica_seconds / 3600.0 * GPUS * GPU_HOUR


def cloud_cost(outcome: Outcome, point: PricePoint, priority: int | None = None) -> float:
    """US dollars for what left; of one priority, or of all."""
    chosen = range(3) if priority is None else (priority,)
    return sum(point.tokens(outcome.overflow_prompt[one], outcome.overflow_output[one]) for one in chosen)


def cost(outcome: Outcome, point: PricePoint) -> float:
    """US dollars in all. What was refused costs nothing here; it has its own column."""
    return replicas_cost(outcome) + cloud_cost(outcome, point)
