"""The summary for people who look: what the operator knows of its fleets, kept ready for whoever asks.

All that is added up is gone when the operator restarts; the summary says since when it counts. Prometheus keeps more.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from forebay import __version__
from forebay.controller.observe.observe import ObservedFleet, ObservedPool
from forebay.controller.report.usage_totals import OVERFLOW, FleetTotals, PoolTotals
from forebay.controller.sizing.sizing import Sizing
from forebay.resources import names
from forebay.resources.pool import PoolSpec
from forebay.resources.summary import FleetSummary, PoolSummary, Summary, encode, price_rows


@dataclass(frozen=True, slots=True)
class Known:
    """The last look at one fleet, and what was added up until then. Of the look, no more than the summary shows: there
    is one for each fleet, for as long as the operator runs."""

    bare: FleetSummary  # without sizes and without what was added up
    sizings: Mapping[str, Sizing]
    tally: FleetTotals


@dataclass(slots=True)
class Summaries:
    """What is known of every fleet; made into a page only when somebody asks."""

    _known: dict[str, Known] = field(default_factory=dict)

    def take(self, fleet: ObservedFleet, sizings: Mapping[str, Sizing]) -> None:
        """Take in one pass over a fleet; one without pools and policies is forgotten."""
        if not fleet.owners:
            self._known.pop(fleet.namespace, None)
            return
        before = self._known.get(fleet.namespace)
        tally = before.tally if before is not None else FleetTotals.begun(fleet.now)
        tally = tally.advance(fleet).with_sizes(sizings, fleet.now)
        self._known[fleet.namespace] = Known(bare(fleet, tally), sizings, tally)

    def page(self) -> bytes:
        """All fleets as JSON."""
        fleets = tuple(fleet_summary(known) for known in self._known.values())
        return encode(Summary(version=__version__, time=time.time(), fleets=fleets))


def fleet_summary(known: Known) -> FleetSummary:
    """What people see of one fleet."""
    tally, sizings = known.tally, known.sizings
    pools = tuple(_with_tally(pool, sizings.get(pool.name), tally.pools[pool.name]) for pool in known.bare.pools)
    return msgspec.structs.replace(known.bare, pools=pools, usage=tuple(tally.usage.total.listed()))


def bare(fleet: ObservedFleet, tally: FleetTotals) -> FleetSummary:
    """What is known of a fleet before anything is added up."""
    return FleetSummary(
        namespace=fleet.namespace,
        time=fleet.now,
        since=tally.since,
        gateways=sum(pod.counts for pod in fleet.gateways),
        pools=tuple(_bare_pool(pool) for pool in fleet.pools),
        prices=tuple(
            row for policy in fleet.policies if policy.spec is not None for row in price_rows(policy.name, policy.spec)
        ),
    )


def _bare_pool(pool: ObservedPool) -> PoolSummary:
    spec = pool.spec
    return PoolSummary(
        name=pool.name,
        policy=_policy(spec),
        gpus=spec.engine.gpus if spec is not None else 0,
        gpu_hour_price=spec.gpu_hour_price if spec is not None else None,
    )


def _with_tally(bare: PoolSummary, sizing: Sizing | None, tally: PoolTotals) -> PoolSummary:
    tokens, demand = tally.engine.total.values, tally.demand.total.values
    summary = msgspec.structs.replace(
        bare,
        gpu_seconds=round(tally.gpu_seconds, 1),
        prompt_tokens=tokens.get("prompt", 0),
        generation_tokens=tokens.get("generation", 0),
        requests=demand.get("requests", 0),
        rejected=demand.get("rejected", 0),
        expired=demand.get("expired", 0),
        overflow_by_reason={
            name.removeprefix(OVERFLOW): n for name, n in demand.items() if name.startswith(OVERFLOW) and n > 0
        },
        minutes=(*tally.minutes, tally.running.minute()) if tally.running.looks else tally.minutes,
    )
    return summary if sizing is None else _with_size(summary, sizing)


def _policy(spec: PoolSpec | None) -> str:
    reference = spec.cloud_fallback_policy_ref if spec is not None else None
    return reference.name if reference is not None else names.DEFAULT_POLICY


def _with_size(summary: PoolSummary, sizing: Sizing) -> PoolSummary:
    numbers, decision = sizing.numbers, sizing.decision
    return msgspec.structs.replace(
        summary,
        ready=numbers.ready,
        desired=decision.replicas,
        starting=numbers.starting,
        ending=numbers.ending,
        slots=numbers.slots,
        running=numbers.running,
        queued=numbers.queued,
        overflowing=numbers.overflowing,
        demand=round(decision.demand, 2),
        capacity=decision.capacity or 0,
        size_reason=decision.reason.value,
    )
