"""The pool that is asked about: from a LocalModelPool's manifest, or from a few numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from forebay.cli.problem import Problem
from forebay.resources.names import POOL_KIND
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import Capability

CONTEXT_FLAG: Final = "--max-model-len"
SEQUENCES_FLAG: Final = "--max-num-seqs"


@dataclass(frozen=True, slots=True)
class Pool:
    """One model on replicas with so many slots each. The defaults: a 7B on one GPU of 80 GB, cautiously.

    `token_seconds` is the time for a token of the answer when every slot is taken, `prefill` prompt tokens a second.
    """

    name: str = "a 7B model"
    capabilities: frozenset[Capability] = frozenset(
        {Capability.CLASSIFICATION, Capability.EXTRACTION, Capability.GENERAL}
    )
    context_tokens: int = 32_768
    slots: int = 32
    gpus: int = 1
    token_seconds: float = 0.025
    prefill: float = 8_000.0
    gpu_hour_price: float | None = None

    def seconds(self, prompt: int, output: int) -> float:
        """How long a request holds a slot."""
        return prompt / self.prefill + output * self.token_seconds


def from_manifest(path: Path, otherwise: Pool) -> Pool:
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


def _of(document: dict[str, Any], path: Path, otherwise: Pool) -> Pool:
    try:
        spec = PoolSpec.model_validate(document.get("spec"))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise Problem(f"{path}: spec.{where}: {wrong['msg']}", 2) from None
    args = spec.engine.args
    context = spec.model.context_tokens or _flag(args, CONTEXT_FLAG)
    sequences = _flag(args, SEQUENCES_FLAG)
    target = spec.capacity.time_per_output_token_milliseconds
    return replace(
        otherwise,
        name=f"{document.get('metadata', {}).get('name', path.name)} ({spec.model.name})",
        capabilities=frozenset(spec.capabilities),
        context_tokens=context or otherwise.context_tokens,
        slots=spec.capacity.slots_per_replica or min(sequences or otherwise.slots, otherwise.slots),
        gpus=spec.engine.gpus or 1,
        token_seconds=target / 1000 if target else otherwise.token_seconds,
        gpu_hour_price=float(spec.gpu_hour_price) if spec.gpu_hour_price else None,
    )


def _flag(args: Sequence[str], name: str) -> int | None:
    """A whole number that follows a flag, joined with `=` or not."""
    for place, arg in enumerate(args):
        flag, _, value = arg.partition("=")
        if flag == name:
            text = value or (args[place + 1] if place + 1 < len(args) else "")
            return int(text) if text.isdigit() else None
    return None
