"""Recorded traffic, where a folder with it is at hand: ServeGen's rates, Azure's and Mooncake's requests."""

import csv
import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Final

from bench.scaling.load import (
    CONVERSATION,
    PREFILL_TOKENS_PER_SECOND,
    REASONING,
    STEP,
    TOKEN_SECONDS,
    Lengths,
    Load,
    arrivals,
    priority_of,
)

RATES: Final = "servegen-aggregate-rps-14d.csv"
GAP_CV: Final = 2.0  # of ServeGen's busiest clients, about
DEMAND: Final = 18.0  # mean concurrent requests that the rates are scaled to: one pool, not a whole service
UNCACHED: Final = 0.634  # of Mooncake's prompt tokens: the rest was seen before


def recorded(folder: Path) -> list[tuple[Load, str]]:
    """Every trace that the folder has, and the generated one whose settings it takes if it is too short for its own."""
    found = []
    for name, column, lengths, like in (
        ("servegen-small", "m_small", CONVERSATION, ""),
        ("servegen-mid", "m_mid", CONVERSATION, ""),
        ("servegen-large", "m_large", CONVERSATION, ""),
        ("servegen-r1", "deepseek_r1", REASONING, "reasoning"),
    ):
        if (folder / RATES).is_file():
            found.append((_from_rates(folder / RATES, name, column, lengths), like))
    for name, file, read, like in (
        ("azure-conversation", "azure-llm-2023-conv.csv", _azure, "office"),
        ("azure-code", "azure-llm-2023-code.csv", _azure, "agents"),
        ("mooncake", "mooncake-fast25-conversation.jsonl", _mooncake, "service"),
    ):
        if (folder / file).is_file():
            found.append((_from_requests(folder / file, name, read), like))
    return found


def _from_rates(path: Path, name: str, column: str, lengths: Lengths) -> Load:
    """Requests at the recorded rates of ten minutes, scaled; lengths and gaps are drawn."""
    with path.open() as lines:
        rates = [float(row[column]) for row in csv.DictReader(lines) if row[column]]
    rng = random.Random(name)
    probe = [lengths.draw(rng) for _ in range(20_000)]
    service = fmean(prompt / PREFILL_TOKENS_PER_SECOND + output * TOKEN_SECONDS for prompt, output in probe)
    scale = DEMAND / service / fmean(rates)
    load = Load(name, f"ServeGen's rates of {column}, {len(rates) * STEP / 86_400:.0f} days, scaled to one pool")
    for at in arrivals([rate * scale for rate in rates], GAP_CV, rng):
        load.add(at, *lengths.draw(rng), priority_of(rng))
    return load


def _from_requests(path: Path, name: str, read: Callable[[Path], Iterator[tuple[float, int, int]]]) -> Load:
    """Requests as recorded; priorities are drawn."""
    rng = random.Random(name)
    load = Load(name, f"{path.name}, as recorded")
    for at, prompt, output in read(path):
        load.add(at, prompt, output, priority_of(rng))
    return load


def _azure(path: Path) -> Iterator[tuple[float, int, int]]:
    with path.open() as lines:
        begin: datetime | None = None
        for row in csv.DictReader(lines):
            time = datetime.fromisoformat(row["TIMESTAMP"][:26])
            begin = begin or time
            yield (time - begin).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"])


def _mooncake(path: Path) -> Iterator[tuple[float, int, int]]:
    """Prompts count without what their session has in the cache, about a third: a pool keeps that."""
    with path.open() as lines:
        for line in lines:
            row = json.loads(line)
            yield row["timestamp"] / 1000, round(row["input_length"] * UNCACHED), row["output_length"]
