"""Recorded runs of vLLM, as LLMServingSim publishes them: requests with the times at which the engine had them."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from forebay.rules.hardware import EngineEstimate, engine

GPUS = {"rtx4090": "rtx-4090", "rtxpro6000": "rtx-pro-6000"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request: tokens, and when it was queued, got its first and its last token, in seconds since the run began."""

    prompt: int
    output: int
    queued: float
    first: float
    last: float

    @property
    def per_token(self) -> float:
        """Mean seconds between its tokens."""
        return (self.last - self.first) / (self.output - 1)


@dataclass(frozen=True, slots=True)
class Second:
    """What the engine's gauges said at a time, seconds since the run began."""

    at: float
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `engines` share its requests (data parallelism); `known` is each of them by the table of hardware."""

    name: str
    gpu: str
    model: str
    engines: int
    max_num_seqs: int
    max_batched_tokens: int
    kv_tokens: int  # of each engine
    known: EngineEstimate
    requests: tuple[Recorded, ...]
    seconds: tuple[Second, ...]


def runs(folder: Path) -> Iterator[Run]:
    """Every run of a folder, by name."""
    for meta in sorted(folder.glob("vllm-run-*-meta.json")):
        yield _run(meta)


def _run(meta: Path) -> Run:
    name = meta.name.removeprefix("vllm-run-").removesuffix("-meta.json")
    facts = json.loads(meta.read_text())
    kwargs = facts["engine_kwargs"]
    gpu, ranks = name.partition("-")[0], int(kwargs["data_parallel_size"])
    known = engine(GPUS[gpu], facts["model"], int(kwargs["tensor_parallel_size"]))
    if known is None:
        raise SystemExit(f"{meta}: the table of hardware has no {facts['model']} on {gpu}")
    if kwargs["enable_expert_parallel"]:  # the ranks hold the experts together, each its share of the weights
        known = replace(known, model=replace(known.model, parameters=known.model.parameters / ranks))
    stem = str(meta).removesuffix("-meta.json")
    recorded = tuple(_requests(Path(f"{stem}-requests.jsonl")))
    return Run(
        name=name,
        gpu=gpu,
        model=facts["model"],
        engines=ranks,
        max_num_seqs=kwargs["max_num_seqs"],
        max_batched_tokens=kwargs["max_num_batched_tokens"],
        kv_tokens=(facts.get("kv_cache") or {}).get("num_kv_tokens") or known.kv_tokens,
        known=known,
        requests=recorded,
        seconds=tuple(_seconds(Path(f"{stem}-timeseries.csv"))),
    )


def _requests(path: Path) -> Iterator[Recorded]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    began = min(line["queued_ts"] for line in lines)
    for line in sorted(lines, key=lambda item: item["queued_ts"]):
        times = (line[key] - began for key in ("queued_ts", "first_token_ts", "last_token_ts"))
        yield Recorded(line["input_toks"], line["output_toks"], *times)


def _seconds(path: Path) -> Iterator[Second]:
    with path.open() as file:
        for row in csv.DictReader(file):
            yield Second(float(row["t"]), int(row["running"]), int(row["waiting"]))
