"""The table of hardware beside a table of measurements: whole batches of one length, by GPU, model and batch size."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from forebay.rules.hardware import MEASURED, EngineEstimate, HardwareShares, engine

FILE = "argonne-vllm-a100-h100.csv"
GPUS = {"Nvidia A100 GPU": "a100-sxm4-40gb", "Nvidia H100 GPU": "h100"}


@dataclass(frozen=True, slots=True)
class Batch:
    """`size` prompts of `length` tokens at once, each with an answer of as many: `seconds` for all of it."""

    gpu: str
    known: EngineEstimate
    size: int
    length: int
    seconds: float

    def terms(self) -> tuple[float, ...]:
        """What each of the five numbers is multiplied by: the seconds are linear in their inverses or in themselves."""
        bare = replace(self.known, shares=HardwareShares(1.0, 1.0, 0.0, 0.0, 0.0))
        held = 1.5 * self.length  # the prompt, and half of the answer on average
        reading = bare.base_seconds + self.size * held * bare.kv_token_seconds
        layers = self.known.model.layers if self.known.count > 1 else 0
        steps = self.length
        return (
            steps * reading,
            self.size * self.length / bare.prompt_tokens_per_second,
            steps,
            steps * self.size,
            steps * layers,
        )

    def predicted(self, shares: HardwareShares) -> float:
        """Seconds by these shares."""
        weights = (1 / shares.bandwidth, 1 / shares.compute, shares.step, shares.request, shares.layer)
        return sum(a * b for a, b in zip(self.terms(), weights, strict=True))


def batches(folder: Path) -> list[Batch]:
    """What models of the table did without a request having to wait for memory."""
    found = []
    with (folder / FILE).open() as file:
        for row in csv.DictReader(file):
            gpu = GPUS[row["Hardware"]]
            known = engine(gpu, row["Model"], int(row["Num of Hardware"]))
            size, length = int(row["Batch Size"]), int(row["Input Output Length"])
            if known is not None and 2 * size * length <= known.kv_tokens:
                found.append(Batch(gpu, known, size, length, float(row["Latency"])))
    return found


def fitted(found: Sequence[Batch]) -> HardwareShares:
    """The five numbers that come nearest, by least squares of relative errors."""
    rows = [[term / batch.seconds for term in batch.terms()] for batch in found]
    size = len(rows[0])
    normal = [[sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)] for i in
              range(size)]  # fmt: skip
    for i in range(size):
        for j in range(size):
            if j != i:
                factor = normal[j][i] / normal[i][i]
                normal[j] = [a - factor * b for a, b in zip(normal[j], normal[i], strict=True)]
    weights = [normal[i][size] / normal[i][i] for i in range(size)]
    return HardwareShares(1 / weights[0], 1 / weights[1], *weights[2:])


def off(found: Sequence[Batch], shares: HardwareShares = MEASURED) -> tuple[float, float]:
    """Median and p90 of the relative error."""
    errors = sorted(abs(batch.predicted(shares) / batch.seconds - 1) for batch in found)
    return median(errors), errors[int(0.9 * (len(errors) - 1))]
