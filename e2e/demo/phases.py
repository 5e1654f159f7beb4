"""What the demo sends, when: a ramp past local capacity and back, or a trace."""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Kind = Literal["chat", "sort"]
Who = Literal["interactive", "batch", "stranger"]


@dataclass(frozen=True, slots=True)
class Phase:
    """`seconds` long; `chat` and `sort` requests are kept in flight, a share of them by each client."""

    name: str
    seconds: float
    chat: int
    sort: int


RAMP = (
    Phase("quiet", 6, chat=4, sort=2),
    Phase("chat is full, sorter has room", 12, chat=22, sort=2),
    Phase("every pool is full", 18, chat=44, sort=30),
    Phase("back to quiet", 20, chat=3, sort=2),
)
"""Chat grows from 1 to 3 replicas of 8 slots, sorter from 1 to 2: at the peak 40 slots stand against 74 requests."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `at` is seconds after the start, for a trace; `prompt_tokens` and `max_tokens` are its lengths."""

    kind: Kind
    who: Who
    priority: str
    prompt_tokens: int
    max_tokens: int
    at: float = 0.0


def asks(kind: Kind, rng: random.Random) -> Iterator[Ask]:
    """An endless seeded mix: interactive clients ask for High half of the time, a stranger always does."""
    while True:
        who: Who = rng.choices(("interactive", "batch", "stranger"), (5, 4, 1))[0]
        wish = {"interactive": rng.choice(("High", "Normal")), "batch": "Normal", "stranger": "High"}[who]
        if kind == "sort":
            yield Ask(kind, who, wish, rng.randint(20, 200), rng.randint(60, 120))
        else:
            yield Ask(kind, who, wish, rng.randint(50, 600), rng.randint(210, 300))


def trace(path: Path, rng: random.Random) -> list[Ask]:
    """A trace with columns time (seconds or a date), prompt tokens, output tokens; a header line is optional.

    Raises ValueError with the line's number for one that does not parse.
    """
    rows: list[Ask] = []
    start: float | None = None
    for number, row in enumerate(csv.reader(path.read_text().splitlines()), 1):
        try:
            at, prompt, output = _seconds(row[0]), int(float(row[1])), int(float(row[2]))
        except (ValueError, IndexError) as error:
            if number == 1:
                continue  # the header
            raise ValueError(f"{path}:{number}: expected time,prompt tokens,output tokens, got {row!r}") from error
        start = at if start is None else start
        who: Who = rng.choices(("interactive", "batch", "stranger"), (5, 4, 1))[0]
        rows.append(Ask("chat", who, rng.choice(("High", "Normal")), prompt, max(1, output), at - start))
    if not rows:
        raise ValueError(f"{path}: no requests in it")
    return rows


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()[:26]).timestamp()
