"""`python -m bench.scaling.fidelity`: how far the quick model is from `forebay.replay`, on some hours of a trace.

The replay runs the routers' own rules and engines that batch; here a request takes as long as its tokens do at a usual
load. Both play the same requests with the same scaler.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.scaling.load import CHARACTERS, PREFILL_TOKENS_PER_SECOND, Load, generated
from bench.scaling.ours import Forebay
from bench.scaling.play import Setup, play
from forebay.replay.play import play as replay
from forebay.replay.setup import FleetSetup, PoolSetup, simple_policy
from forebay.replay.trace import TraceRequest
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import Priority
from forebay.simulator.batch import BatchLimits, ServiceTime

STEP_SECONDS: Final = 0.044
"""Of an engine's step: 60 ms a token, with the prompts of others that are read in between."""
PRIORITIES: Final = (Priority.HIGH, Priority.NORMAL, Priority.LOW)


def requests(load: Load) -> list[TraceRequest]:
    """The load as the replay takes it."""
    return [
        TraceRequest(at, prompt, output, priority=PRIORITIES[priority], session=str(number))
        for number, (at, prompt, output, priority) in enumerate(
            zip(load.at, load.prompt, load.output, load.priority, strict=True)
        )
    ]


def compare(load: Load, setup: Setup, first: int, step: float = STEP_SECONDS) -> dict[str, tuple[float, float]]:
    """Each figure as the quick model has it, and as the replay does."""
    quick = play(load, setup, Forebay(setup.minimum, setup.maximum), first)
    spec = PoolSpec.model_validate(
        {
            "model": {"name": "m"},
            "engine": {"type": "Simulated", "gpus": 2},
            "capacity": {"slotsPerReplica": setup.slots, "highReservedPercent": 100 * setup.reserved // setup.slots},
            "scaling": {"minReplicas": setup.minimum, "maxReplicas": setup.maximum},
            "overflow": {"substitute": "Allowed"},
            "replicas": first,
        }
    )
    times = ServiceTime(base=step, per_kv_token=0.0, prefill_tokens_per_second=PREFILL_TOKENS_PER_SECOND)
    pool = PoolSetup.of("pool", spec, limits=BatchLimits(kv_tokens=400_000), times=times, cold_start=setup.cold_start)
    fleet = FleetSetup(pools=(pool,), policies=(simple_policy(),))
    full: Any = replay(requests(load), fleet, Forebay(setup.minimum, setup.maximum))
    fates = list(full.fates)
    local = [fate.seconds - fate.waited for fate in fates if fate.local]
    hours = sum(full.gpu_seconds.values()) / pool.gpus / 3600
    return {
        "requests": (len(load.at), len(fates)),
        "seconds of a request that runs here": (load.service_seconds, fmean(local)),
        "replica-hours": (quick.replica_seconds / 3600, hours),
        "requests that left, %": (100 * quick.overflow_share, 100 * sum(fate.left for fate in fates) / len(fates)),
        "changes of size": (quick.ups + quick.downs, len(full.changes)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of both side by side."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.fidelity", description=__doc__)
    parser.add_argument("--hours", type=float, nargs=2, default=[6.0, 10.0], metavar=("FROM", "UNTIL"))
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    kind = next(kind for kind in CHARACTERS if kind.name == "office")
    load = generated(kind, 1, chosen.seed).part(chosen.hours[0] * 3600, chosen.hours[1] * 3600)
    setup = Setup(cold_start=300.0)
    table = Table(title=f"office, hours {chosen.hours[0]:g} to {chosen.hours[1]:g}, forebay's rule, 300 s cold start")
    for title in ("", "here", "replay"):
        table.add_column(title, justify="right" if title else "left")
    for name, (here, there) in compare(load, setup, load.first(setup.capacity)).items():
        table.add_row(name, f"{here:.4g}", f"{there:.4g}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
