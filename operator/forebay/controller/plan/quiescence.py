"""Which fleets need no pass: nothing has changed, nothing is under way, and nothing will happen by time alone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forebay.controller.cluster.report_client import rotating
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.observe.quiet_sidecars import sidecars_are_quiet
from forebay.controller.plan.plan import Plan
from forebay.controller.report.statuses import NUMBERS_SECONDS
from forebay.controller.sizing.sizing import Sizing
from forebay.resources.report import GatewayReport, Report
from forebay.resources.terms import ScalingMode

LOOK_SECONDS: Final = 300.0
"""A fleet at rest gets no pass for so long. What nobody tells of, as a token that is to be changed, is seen then."""


@dataclass(frozen=True, slots=True)
class Quiescent:
    """A fleet at rest: as long as this holds, a pass would find what the last one found."""

    changes: int  # of the cache, in this namespace
    said: Mapping[str, Report]  # the gateways' reports, word for word
    addresses: Mapping[str, str]  # of the gateways, by pod
    until: float  # Unix seconds

    def holds(self, changes: int, now: float) -> bool:
        """Whether only the gateways could still say something new."""
        return changes == self.changes and now < self.until


def quiescent(fleet: ObservedFleet, planned: Plan, memory: FleetMemory, changes: int) -> Quiescent | None:
    """What a fleet's rest depends on; None while there is something to do or to wait for."""
    busy = (
        any(batch.actions for batch in planned.batches)
        or planned.again is not None
        or planned.bids
        or memory.failures
        or rotating(fleet.token)
    )
    written = max((item.written for item in memory.pools.values()), default=0.0)
    if busy or fleet.now - written < NUMBERS_SECONDS:  # numbers may have changed since, and wait for their turn
        return None
    if not all(_still(pool, planned.sizings.get(pool.name)) for pool in fleet.pools):
        return None
    said = {pod.name: fleet.heard[pod.name].report for pod in fleet.gateways if pod.counts and pod.name in fleet.heard}
    if (
        not said
        or len(said) < sum(not pod.failed for pod in fleet.gateways)
        or not all(_spoken_for(fleet, pool, said) for pool in fleet.pools)
    ):
        return None
    return Quiescent(
        changes, said, {pod.name: pod.address for pod in fleet.gateways if not pod.failed}, fleet.now + LOOK_SECONDS
    )


def _still(pool: ObservedPool, sizing: Sizing | None) -> bool:
    """Neither demand nor a clock will move it, and all its routers were heard of."""
    if pool.spec is None or sizing is None:
        return pool.spec is None
    numbers, memory, scaling = sizing.numbers, sizing.memory, pool.spec.scaling
    moving = numbers.starting or numbers.ending or numbers.silent or pool.create_failure
    latched = memory.spill.latch.on or any(latch.on for latch in memory.held.values()) or sizing.waits
    least = sizing.decision.replicas <= max(scaling.min_replicas, 1) or scaling.mode is not ScalingMode.AUTOMATIC
    sleepy = sizing.decision.replicas > 0 and scaling.idle_seconds_to_zero is not None
    return not (moving or latched or numbers.running) and least and not sleepy


def _spoken_for(fleet: ObservedFleet, pool: ObservedPool, said: Mapping[str, Report]) -> bool:
    """Whether the gateways would tell if anything happened at this pool's sidecars."""
    reports = [report for report in said.values() if isinstance(report, GatewayReport)]
    return not pool.pods or sidecars_are_quiet(
        pool.name, [pod.name for pod in pool.pods], reports, fleet.heard, fleet.now
    )
