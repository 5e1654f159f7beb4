"""The story of a pool: why it has this size, why it spills, what was decided when. Pure.

It is told from the pool's status, which keeps the last ten decisions, and from the Events, which the API server keeps
for an hour. A decision and the Event that told it become one line. All words are those of `resources.reasons`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from forebay.cli.glossary import meaning
from forebay.cli.running.fleet_objects import KubeEvent, RunningPool
from forebay.resources.pool_status import ReplicaCount
from forebay.resources.reasons import CapacityBound, CapacityUnknown, ConditionType, EventReason, Reason, ScaleReason
from forebay.resources.terms import ScalingMode
from forebay.rules.capacity import UNKNOWN

RESIZE_NOTE: Final = re.compile(r"^replicas (\d+) -> (\d+)\b")
_WHY: Final = re.compile(r"\breason ([A-Z]\w+)")
_REASON: Final = re.compile(r"\b([A-Z][A-Za-z]+) (\d+)\b")
_SAME_SECONDS: Final = 30.0
"""A decision is in the status within so long of its Event."""
_HELD: Final[Mapping[str, EventReason]] = {
    ScaleReason.MAXIMUM: EventReason.SCALE_LIMITED, ScaleReason.REPLICA_UNPLACED: EventReason.REPLICA_UNPLACED,
}  # fmt: skip
_SPILL: Final = (EventReason.OVERFLOW_STARTED, EventReason.OVERFLOW_STOPPED)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the story. `time` is RFC 3339, `word` and `meaning` are of the closed lists, `what` has figures."""

    time: str
    word: str
    meaning: str
    what: str
    warning: bool = False
    count: int = 1


def timeline(decisions: Iterable[ReplicaCount], events: Sequence[KubeEvent]) -> tuple[TimelineEntry, ...]:
    """Decisions and Events in one order, oldest first, each decision once."""
    about_size = [event for event in events if _WHY.search(event.note)]
    alone = [decision for decision in decisions if not any(_tells(event, decision) for event in about_size)]
    told = [*map(_of_event, events), *map(_of_decision, alone)]
    return tuple(sorted(told, key=lambda item: item.time))


def _tells(event: KubeEvent, decision: ReplicaCount) -> bool:
    step, why = RESIZE_NOTE.match(event.note), _WHY.search(event.note)
    changed = decision.from_replicas, decision.to_replicas
    first = decision.reason == ScaleReason.INITIAL  # told with the objects that were created
    sizes = (int(step[1]), int(step[2])) if step else changed if first else (decision.from_replicas,) * 2
    same = sizes == changed and why is not None and why[1] == decision.reason
    return same and abs((_time(event.time) - _time(decision.time)).total_seconds()) <= _SAME_SECONDS


def _of_event(event: KubeEvent) -> TimelineEntry:
    """An Event; what is about the size is explained by its reason, which says more than `ScaledUp`."""
    why = _WHY.search(event.note)
    says = meaning(ScaleReason, why[1]) if why else meaning(EventReason, event.reason)
    return TimelineEntry(event.time, event.reason, says, event.note, event.warning, event.count)


def _of_decision(decision: ReplicaCount) -> TimelineEntry:
    """A decision whose Event is gone, or that had none of its own, as the first size."""
    before, after = decision.from_replicas, decision.to_replicas
    figures = f"demand {decision.demand}, capacity {decision.capacity or 'unknown'}"
    what = f"replicas {before} -> {after}" if before != after else (
        f"replicas stay at {after}, demand asks for {decision.wanted}"
    )  # fmt: skip
    says = meaning(ScaleReason, decision.reason)
    return TimelineEntry(decision.time, _word_of(decision), says, f"{what}: {figures}, reason {decision.reason}")


def _word_of(decision: ReplicaCount) -> EventReason:
    """The word that its Event had."""
    if decision.reason == ScaleReason.INITIAL:
        return EventReason.CREATED
    if decision.from_replicas == decision.to_replicas:
        return _HELD.get(decision.reason, EventReason.SCALE_HELD)
    if decision.reason == ScaleReason.WITHDRAWN:
        return EventReason.REPLICA_WITHDRAWN
    return EventReason.SCALED_UP if decision.to_replicas > decision.from_replicas else EventReason.SCALED_DOWN


def now_in_words(pool: RunningPool) -> str:
    """How the pool is, in one sentence."""
    status, scaling = pool.status, pool.status.scaling
    replicas = f"{status.ready_replicas} of {scaling.desired_replicas} replica{'s' * (scaling.desired_replicas != 1)}"
    serves = f"{replicas} serve{'s' * (scaling.desired_replicas == 1)}"
    parts = [f"{serves}, {status.running} of {status.slots} slots run, {status.queued} wait"]
    if status.overflow.state == "Active":
        parts.append(f"requests overflow to the cloud, {status.overflow.running} now")
    return "; ".join(parts)


def engines_in_words(pool: RunningPool) -> str:
    """Which versions its engines say, beside those that are supported; empty from an operator that does not look."""
    conditions = pool.status.conditions
    return next((item.message for item in conditions if item.type == ConditionType.ENGINE_UNSUPPORTED), "")


def why_this_size(pool: RunningPool) -> list[str]:
    """Why the pool has the size it has, with the arithmetic."""
    scaling = pool.status.scaling
    lines = [f"{scaling.reason or 'not decided yet'}: {meaning(ScaleReason, scaling.reason)}"]
    if pool.spec is not None:
        wanted = pool.spec.scaling
        bounds = f"between {wanted.min_replicas} and {wanted.max_replicas} replicas"
        mode = {
            ScalingMode.AUTOMATIC: f"the operator decides, {bounds}",
            ScalingMode.ADVISORY: f"the operator only advises, {bounds}; it would run {scaling.desired_replicas}",
            ScalingMode.MANUAL: "spec.replicas decides",
        }
        lines.append(f"mode {wanted.mode}: {mode[wanted.mode]}")
    if scaling.capacity:
        full = float(scaling.demand) / scaling.capacity
        lines.append(f"demand {scaling.demand}, requests at a time that run, wait, or left for lack of a slot")
        lines.append(f"capacity {scaling.capacity} slots a replica (Normal): the demand fills {full:.1f} replicas")
    learnt = pool.status.capacity
    if learnt.slots and learnt.bound:
        lines.append(f"a replica has {learnt.slots} slots, {learnt.bound}: {meaning(CapacityBound, learnt.bound)}")
    if unknown := capacity_unknown(pool):
        lines.append(unknown)
    return lines


def capacity_unknown(pool: RunningPool) -> str:
    """That nothing is known of what a replica can run, why, and what to do; empty where something is."""
    word = pool.status.capacity.unknown
    if not word:
        return ""
    says = f"capacity unknown, because {meaning(CapacityUnknown, word)} ({word}): a replica runs {UNKNOWN} requests"
    return says if word == CapacityUnknown.NO_ENGINE else f"{says}; set capacity.slotsPerReplica"


def why_this_spill(pool: RunningPool, events: Sequence[KubeEvent]) -> list[str]:
    """Why requests leave, or last left, by reason; empty when none has."""
    overflow = pool.status.overflow
    last = next((event for event in reversed(events) if event.reason in _SPILL), None)
    if overflow.state != "Active" and not overflow.total and last is None:
        return []
    state = "requests overflow now" if overflow.state == "Active" else "no request overflows now"
    cost = f", for ${overflow.cost}" if float(overflow.cost) else ""
    lines = [f"{state}; {overflow.total} did since the gateways began{cost}"]
    if last is not None:
        lines.append(f"{last.time[11:19]} {last.reason}: {last.note}")
        lines += [f"{word}: {meaning(Reason, word)}" for word, _ in _REASON.findall(last.note) if _is_reason(word)]
    return lines


def _is_reason(word: str) -> bool:
    return meaning(Reason, word) != word


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
