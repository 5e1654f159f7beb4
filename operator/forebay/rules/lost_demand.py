"""From counters that routers report to what a pool lost in the last seconds. Pure transitions, one history a pool."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import reduce
from typing import Final

from forebay.resources.reasons import Reason
from forebay.resources.report import GatewayReport, PoolDemand, SidecarReport

LOST_WINDOW_SECONDS: Final = 30.0
SERVICE_WINDOW_SECONDS: Final = 300.0
SERVICE_SECONDS_UNKNOWN: Final = 5.0  # until the first request has finished


@dataclass(frozen=True, slots=True)
class Count:
    """Totals of one router process, or what they grew by."""

    lost: int = 0
    overflowed: int = 0
    finished: int = 0
    service_seconds: float = 0.0
    by_reason: Mapping[Reason, int] = field(default_factory=dict)
    cost: Decimal = Decimal(0)  # US dollars of what overflowed

    def since(self, before: "Count") -> "Count":
        """What was added since `before`."""
        return Count(
            self.lost - before.lost,
            self.overflowed - before.overflowed,
            self.finished - before.finished,
            self.service_seconds - before.service_seconds,
            {reason: n - before.by_reason.get(reason, 0) for reason, n in self.by_reason.items()},
            self.cost - before.cost,
        )

    def plus(self, other: "Count") -> "Count":
        """Both together."""
        both = {reason: self.by_reason.get(reason, 0) + n for reason, n in other.by_reason.items() if n}
        return Count(
            self.lost + other.lost,
            self.overflowed + other.overflowed,
            self.finished + other.finished,
            self.service_seconds + other.service_seconds,
            {**self.by_reason, **both},
            self.cost + other.cost,
        )

    @property
    def backwards(self) -> bool:
        """Whether a total fell, so that the process must have started again."""
        return self.lost < 0 or self.finished < 0 or self.overflowed < 0 or self.cost < 0


@dataclass(frozen=True, slots=True)
class CountedStep:
    """What all routers added since the look before, `span` seconds ago."""

    time: float
    count: Count
    span: float = 0.0


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of each router process as last read, and the recent steps. Times are Unix seconds."""

    since: float
    last: Mapping[str, tuple[float, Count]] = field(default_factory=dict)
    steps: tuple[CountedStep, ...] = ()
    recent: Count = field(default_factory=Count)  # all steps together
    ever: Count = field(default_factory=Count)  # all totals as last read
    looked: float = 0.0

    def advance(
        self, pool: str, gateways: Iterable[GatewayReport], sidecars: Iterable[SidecarReport], now: float
    ) -> "Counters":
        """Take in the latest reports; a router that is gone is forgotten."""
        read = {
            **{report.replica: (report.started, _of_gateway(pool, report)) for report in gateways},
            **{report.replica: (report.started, _of_sidecar(report)) for report in sidecars},
        }
        grown = [self._grown(router, started, count) for router, (started, count) in read.items()]
        step = CountedStep(now, _sum(grown), now - (self.looked or self.since))
        kept = (item for item in self.steps if now - item.time < SERVICE_WINDOW_SECONDS)
        steps = (*kept, step) if step.count != Count() else tuple(kept)
        # A router that did not answer this time keeps its last totals, or its next answer would count twice.
        known = {router: seen for router, seen in self.last.items() if router not in read}
        last = {**_newest(known), **read}
        recent, ever = _sum(item.count for item in steps), _sum(count for _, count in last.values())
        return replace(self, last=last, steps=steps, recent=recent, ever=ever, looked=now)

    def lost_per_second(self, now: float) -> float:
        """Requests per second that found no slot, over LOST_WINDOW_SECONDS."""
        window = min(LOST_WINDOW_SECONDS, max(now - self.since, 1.0))
        recent = (item for item in self.steps if now - item.time < LOST_WINDOW_SECONDS)
        # After minutes of blindness one look shows what was lost in all of them: only the window's share is recent.
        return sum(item.count.lost * min(1.0, LOST_WINDOW_SECONDS / max(item.span, 1.0)) for item in recent) / window

    def service_seconds(self) -> float:
        """Mean duration of a request lately, else since the routers began, else a guess."""
        for count in (self.recent, self.ever):
            if count.finished > 0:
                return count.service_seconds / count.finished
        return SERVICE_SECONDS_UNKNOWN

    def cost_per_hour(self, now: float) -> float:
        """US dollars an hour that overflow costs, over SERVICE_WINDOW_SECONDS."""
        window = min(SERVICE_WINDOW_SECONDS, max(now - self.since, 60.0))
        return float(self.recent.cost) * 3600 / window

    def cost_per_request_hour(self) -> float | None:
        """US dollars that one request at a time, leaving for an hour, costs; None while no price is known."""
        for count in (self.recent, self.ever):
            if count.overflowed > 0 and count.cost > 0:
                return float(count.cost / count.overflowed) * 3600 / max(self.service_seconds(), 0.001)
        return None

    def latest(self, now: float) -> Count:
        """What the look at `now` added."""
        return next((item.count for item in self.steps[-1:] if item.time == now), Count())

    def overflowed_since(self, time: float) -> Count:
        """What overflowed after `time`."""
        return _sum(step.count for step in self.steps if step.time > time)

    def _grown(self, router: str, started: float, count: Count) -> Count:
        before = self.last.get(router)
        if before is None or before[0] != started:
            # A process that began while nobody looked has counted since its own beginning.
            return count if started >= self.since else Count()
        grown = count.since(before[1])
        return count if grown.backwards else grown


def _newest(known: Mapping[str, tuple[float, Count]]) -> dict[str, tuple[float, Count]]:
    """Bound the memory of routers that are gone."""
    return dict(sorted(known.items(), key=lambda item: item[1][0])[-256:])


def _of_gateway(pool: str, report: GatewayReport) -> Count:
    seen = next((item for item in report.pools if item.pool == pool), PoolDemand(pool=pool))
    lost = seen.overflowed_total + seen.rejected_total + seen.expired_total
    return Count(
        lost=lost,
        overflowed=seen.overflowed_total,
        by_reason=dict(seen.overflow_by_reason),
        cost=seen.overflow_cost_total,
    )


def _of_sidecar(report: SidecarReport) -> Count:
    return Count(finished=report.finished_total, service_seconds=report.service_seconds_total)


def _sum(counts: Iterable[Count]) -> Count:
    return reduce(Count.plus, counts, Count())
