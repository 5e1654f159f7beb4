"""Requests with the blocks of their prompts: Mooncake's conversations, or generated ones like them."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forebay.rules.affinity import digest
from forebay.simulator.prefix import PREFIX_TOKENS

GRAIN_SECONDS = 3.0
"""The recorded timestamps are whole multiples of this: requests are spread over it."""
OPENING_BLOCKS = 2
"""The first 4 KiB of a conversation, which a session is known by, are its first two blocks."""

TURNS = 1.61
AHEAD_SECONDS = 1800.0
"""Generated conversations began up to so long before the first request, so that the rate is even."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `blocks` are the whole blocks of its prompt; `session` is what a gateway knows it by."""

    at: float
    prompt: int
    output: int
    blocks: tuple[int, ...]
    session: int


def recorded(path: Path, seed: int) -> list[Request]:
    """Mooncake's trace (one JSON object a line: timestamp in ms, input_length, output_length, hash_ids)."""
    rng = random.Random(seed)
    found = []
    with path.open() as lines:
        for line in lines:
            row = json.loads(line)
            at = row["timestamp"] / 1000 + rng.uniform(0, GRAIN_SECONDS)
            found.append(_request(at, row["input_length"], row["output_length"], row["hash_ids"]))
    return sorted(found, key=lambda request: request.at)


def generated(count: int, seed: int, rate: float = 3.4) -> list[Request]:
    """Conversations like the recorded ones: about `count` requests, `rate` of them a second.

    One system prompt for all; 69 % of the conversations have one turn, the others on average 3; a turn comes 122 s
    (median, log-normal) after the one before; first prompts have 5,900 tokens (median, log-normal), answers 280; three
    of four turns go on where the last one ended, the others share only a part of it.
    """
    rng = random.Random(seed)
    fresh = iter(range(1, 1 << 60))
    found: list[Request] = []
    at, end = -AHEAD_SECONDS, count / rate
    while at < end:
        at += rng.expovariate(rate / TURNS)
        blocks, length = [0], min(120_000, int(rng.lognormvariate(8.57, 1.15)) + 600)
        turns = 1 if rng.random() < 0.69 else 2 + int(rng.expovariate(1 / 1.4))
        when = at
        for _ in range(turns):
            blocks += [next(fresh) for _ in range(-(-length // PREFIX_TOKENS) - len(blocks))]
            output = max(1, int(rng.lognormvariate(5.65, 0.65)))
            if 0 <= when < end:
                found.append(_request(when, length, output, blocks))
            when += rng.lognormvariate(4.8, 0.9)
            if rng.random() < 0.25:
                del blocks[max(OPENING_BLOCKS, int(len(blocks) * rng.random())) :]
            length = min(120_000, length + output + int(rng.expovariate(1 / 500)))
    return sorted(found, key=lambda request: request.at)


def faster(requests: Sequence[Request], tempo: float) -> list[Request]:
    """The same requests, `tempo` times as many a second."""
    return [replace(request, at=request.at / tempo) for request in requests]


def character(requests: Sequence[Request]) -> dict[str, float]:
    """What the trace is like: requests, their rate, mean lengths, and how much of the prompts was seen before."""
    seen: set[int] = set()
    again = 0
    for request in requests:
        for block in request.blocks:
            if block not in seen:
                break
            again += PREFIX_TOKENS
        seen.update(request.blocks)
    tokens = sum(request.prompt for request in requests)
    return {
        "requests": len(requests),
        "sessions": len({request.session for request in requests}),
        "requests_per_second": round(len(requests) / (requests[-1].at - requests[0].at), 3),
        "prompt_tokens_mean": round(tokens / len(requests)),
        "output_tokens_mean": round(sum(request.output for request in requests) / len(requests)),
        "seen_before_share": round(again / tokens, 4),
    }


def _request(at: float, prompt: int, output: int, blocks: Sequence[int]) -> Request:
    session = digest(repr(list(blocks[:OPENING_BLOCKS])).encode())
    return Request(at, prompt, output, tuple(blocks[: prompt // PREFIX_TOKENS]), session)
