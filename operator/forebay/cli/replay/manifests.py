"""The fleet that is asked about: pools and policies as they would be applied."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml
from pydantic import BaseModel, ValidationError

from forebay import engines
from forebay.cli.problem import Problem
from forebay.replay import FleetSetup, PoolSetup, TraceRequest, policy_of
from forebay.resources.names import DEFAULT_POLICY, POLICY_KIND, POOL_KIND
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import CapacityBound
from forebay.resources.table import LearntEntry, PolicyEntry
from forebay.rules.hardware import GPUS, EngineEstimate, engine
from forebay.simulator.batch import BatchLimits, ServiceTime

LIVE_SHARE: Final = 0.9
"""The percentile of live tokens that memory is divided by, as the operator learns it."""
Spec = TypeVar("Spec", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class FleetManifests:
    """The fleet to play on, and what of it was assumed: name, value, and where it comes from or how to change it."""

    setup: FleetSetup
    assumptions: tuple[tuple[str, str, str], ...]


def fleet_of(
    files: Sequence[Path],
    requests: Sequence[TraceRequest],
    *,
    gpu: str | None,
    cold_start: float | None,
    gateways: int,
    gpus: int | None,
    exact: bool,
) -> FleetManifests:
    """All pools and policies of these files. Raises Problem."""
    found = [(path, document) for path in files for document in _documents(path)]
    pools = [
        _pool(path, document, requests, gpu, cold_start) for path, document in found if document["kind"] == POOL_KIND
    ]
    if not pools:
        raise Problem(f"{files[0]} holds no {POOL_KIND}: give the manifest that you would apply", 2)
    policies = tuple(_policy(path, document) for path, document in found if document["kind"] == POLICY_KIND)
    wanted = {pool.entry.policy or DEFAULT_POLICY for pool, _ in pools}
    assumed = [row for _, rows in pools for row in rows]
    if absent := sorted(wanted - {policy.name for policy in policies}):
        assumed.append(("policy", f"no {', '.join(absent)}", "nothing leaves without one; give it with --policy"))
    if gpus is not None:
        assumed.append(("GPUs", str(gpus), "for all pools together; change with --gpus"))
    try:
        setup = FleetSetup(tuple(pool for pool, _ in pools), policies, gateways=gateways, exact=exact, gpus=gpus)
    except ValueError as error:
        raise Problem(f"{', '.join(map(str, files))}: {error}", 2) from None
    return FleetManifests(setup, tuple(assumed))


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Problem(f"cannot read {path}: {str(error).splitlines()[0]}", 2) from None
    yield from (item for item in documents if isinstance(item, dict) and item.get("kind") in (POOL_KIND, POLICY_KIND))


def _checked(kind: type[Spec], path: Path, document: dict[str, Any]) -> tuple[str, Spec]:
    """Name and spec."""
    metadata = document.get("metadata")
    name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
    if not name:
        raise Problem(f"{path}: a {document['kind']} has no metadata.name: give it one", 2)
    try:
        return name, kind.model_validate(document.get("spec"))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(("spec", *map(str, wrong["loc"])))
        raise Problem(f"{path}: {name}: {where}: {wrong['msg']}", 2) from None


def _policy(path: Path, document: dict[str, Any]) -> PolicyEntry:
    name, spec = _checked(PolicySpec, path, document)
    if "gap" in document["spec"]:  # else Reject would turn into Cloud without a word
        raise Problem(f"{path}: {name}: spec.gap is now called spec.onCapabilityGap: rename it", 2)
    return policy_of(name, spec)


def _pool(
    path: Path, document: dict[str, Any], requests: Sequence[TraceRequest], gpu: str | None, cold_start: float | None
) -> tuple[PoolSetup, list[tuple[str, str, str]]]:
    name, spec = _checked(PoolSpec, path, document)
    if spec.scaling.min_replicas > spec.scaling.max_replicas:
        raise Problem(f"{path}: {name}: spec.scaling: minReplicas is above maxReplicas", 2)
    start = engines.of(spec.engine.type).start_seconds if cold_start is None else cold_start
    known = None if gpu is None else _engine(gpu, spec)
    live = live_tokens(requests)
    limits, times = BatchLimits(), ServiceTime()
    if known is not None:
        limits, times = replace(limits, kv_tokens=known.kv_tokens), ServiceTime.of(known)
    pool = PoolSetup.of(name, spec, limits=limits, times=times, live_tokens=live, cold_start=start)
    if known is not None and spec.capacity.slots_per_replica is None:
        target = spec.capacity.time_per_output_token_milliseconds
        slots = known.slots(live, target / 1000 if target else None)
        learnt = LearntEntry(slots=slots, bound=CapacityBound.TABLE, kv_tokens=known.kv_tokens)
        pool = replace(pool, entry=msgspec.structs.replace(pool.entry, learnt=learnt))
    source = f"{gpu} and {spec.model.name}, by the table of docs/simulator.md" if known else (
        "Llama-3.1-8B on an RTX 4090, as recorded; say --gpu for another"
    )  # fmt: skip
    return pool, [
        (f"engine of {name}", f"{1000 * times.step(8, 8 * live, 0):.1f} ms a token at 8 running", source),
        (f"cache of {name}", f"{limits.kv_tokens:,} tokens", f"live tokens of a request (p90 of the trace): {live:,}"),
        (f"cold start of {name}", f"{start:g} s", "from wanted to serving; change with --cold-start"),
    ]


def _engine(gpu: str, spec: PoolSpec) -> EngineEstimate:
    found = engine(gpu, spec.model.name, spec.engine.gpus)
    if found is None:
        raise Problem(
            f"{spec.model.name} on {spec.engine.gpus} x {gpu} is not in the table, or does not fit: known GPUs are "
            f"{', '.join(sorted(GPUS))}; or leave --gpu out",
            2,
        )
    return found


def live_tokens(requests: Sequence[TraceRequest]) -> int:
    """p90 of what a request holds in the cache when it ends."""
    held = sorted(request.prompt + request.output for request in requests)
    return max(1, held[min(len(held) - 1, int(len(held) * LIVE_SHARE))])
