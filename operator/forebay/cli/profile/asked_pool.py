"""The pool that is asked about: from a LocalModelPool's manifest, or from a few numbers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from forebay import engines
from forebay.cli.problem import Problem
from forebay.resources.names import POOL_KIND
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import Capability
from forebay.rules import hardware
from forebay.rules.capacity import high_reserve


@dataclass(frozen=True, slots=True)
class AskedPool:
    """One model on replicas with so many slots each. The defaults: a 7B on one GPU of 80 GB, cautiously.

    `token_seconds` is the time for a token of the answer when every slot is taken, `prefill` prompt tokens a second.
    """

    name: str = "a 7B model"
    model: str = "llama-3.1-8b"
    capabilities: frozenset[Capability] = frozenset(
        {Capability.CLASSIFICATION, Capability.EXTRACTION, Capability.GENERAL}
    )
    context_tokens: int = 32_768
    slots: int = 32
    gpus: int = 1
    token_seconds: float = 0.025
    prefill: float = 8_000.0
    gpu_hour_price: float | None = None
    reserved_percent: int = 10  # of the slots, for High
    gpu: str = ""
    most: int | None = None  # requests in one batch
    target: float | None = None  # seconds a token, as the pool wishes
    fixed: frozenset[str] = frozenset()  # fields that somebody has said, which no table changes

    @property
    def usable(self) -> int:
        """Slots of a replica that Normal may use."""
        return self.slots - high_reserve(self.slots, self.reserved_percent)

    def seconds(self, prompt: int, output: int) -> float:
        """How long a request holds a slot, alone."""
        return prompt / self.prefill + output * self.token_seconds

    def held_up(self, slot: int, mean_prompt: float) -> float:
        """How much longer it takes in this slot: while it runs, as many others come as run beside it (Little's law),
        and each of their prompts holds up everybody's tokens."""
        return slot % self.usable * mean_prompt / self.prefill


def on_hardware(pool: AskedPool, live_tokens: int, held_tokens: float) -> AskedPool:
    """The pool with slots and speed from the table of GPUs and models, where a GPU is named.

    `live_tokens` is what 90 % of its requests hold in the cache at most, `held_tokens` what one holds on average.
    Raises Problem for a GPU or model that the table does not know.
    """
    if not pool.gpu:
        return pool
    engine = hardware.engine(pool.gpu, pool.model, pool.gpus)
    if engine is None:
        raise Problem(
            f"no table says how {pool.model} runs on {pool.gpus} x {pool.gpu}: give --slots, --token-ms and --prefill "
            f"instead, or, where it fits, one of the GPUs {', '.join(hardware.GPUS)} and one of the models "
            f"{', '.join(hardware.MODELS)}",
            2,
        )
    slots = engine.slots(live_tokens, pool.target)
    slots = pool.slots if "slots" in pool.fixed else min(slots, pool.most or slots)
    token = pool.token_seconds if "token_seconds" in pool.fixed else engine.curve(held_tokens).seconds(slots)
    prefill = pool.prefill if "prefill" in pool.fixed else engine.prompt_tokens_per_second
    return replace(pool, slots=slots, token_seconds=token, prefill=prefill)


def from_manifest(path: Path, otherwise: AskedPool) -> AskedPool:
    """The first LocalModelPool of a manifest. What it leaves to the engine is taken from `otherwise`."""
    try:
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise Problem(f"cannot read a pool from {path}: {first}", 2) from None
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == POOL_KIND:
            return _of(document, path, otherwise)
    raise Problem(f"{path} holds no {POOL_KIND}: give the manifest that you would apply", 2)


def _of(document: dict[str, Any], path: Path, otherwise: AskedPool) -> AskedPool:
    try:
        spec = PoolSpec.model_validate(document.get("spec"))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise Problem(f"{path}: spec.{where}: {wrong['msg']}", 2) from None
    args, dialect = spec.engine.args, engines.of(spec.engine.type)
    context = spec.model.context_tokens or dialect.context_limit(args)
    sequences = dialect.batch_limit(args)
    target = spec.capacity.time_per_output_token_milliseconds
    override = spec.capacity.slots_per_replica
    return replace(
        otherwise,
        model=spec.model.source or spec.model.name,
        most=sequences,
        target=target / 1000 if target else None,
        fixed=frozenset({"slots"}) if override else frozenset(),
        name=f"{document.get('metadata', {}).get('name', path.name)} ({spec.model.name})",
        capabilities=frozenset(spec.capabilities),
        context_tokens=context or otherwise.context_tokens,
        slots=override or min(sequences or otherwise.slots, otherwise.slots),
        gpus=spec.engine.gpus or 1,
        reserved_percent=spec.capacity.high_reserved_percent,
        token_seconds=target / 1000 if target else otherwise.token_seconds,
        gpu_hour_price=float(spec.gpu_hour_price) if spec.gpu_hour_price else None,
    )
