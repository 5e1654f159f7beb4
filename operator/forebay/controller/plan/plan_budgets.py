"""What the ledgers of a fleet's budgets should hold, and which gateways are to be told at once. Pure.

Each key of the ConfigMap is the ledger of one budget: of a policy, or of what a policy reserves for High. It is written
by compare-and-swap, at most once a second, and only where more than the spent sums changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.structs import replace

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP
from forebay.controller.manifests.fleet import budget_configmap
from forebay.controller.observe.memory import FleetMemory, Touched
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy
from forebay.controller.plan.actions import Action, Note, Touch
from forebay.controller.plan.desired_vs_live import compare_and_swap, desired_vs_live
from forebay.controller.report import event_messages
from forebay.controller.report.conditions import rfc3339
from forebay.resources import names
from forebay.resources.money_ledger import (
    BEGUN_TOLD,
    HIGH,
    SPENT_TOLD,
    AccountReport,
    LedgerEntry,
    PeriodEntry,
    decode_ledger,
    decode_words,
    encode_ledger,
)
from forebay.resources.policy_budget import PolicyBudget
from forebay.resources.report import GatewayReport
from forebay.resources.table import TableError
from forebay.resources.terms import Weekday
from forebay.rules.budget.issuer import IssueTerms, Speaker, issue, pending, worth_writing
from forebay.rules.budget.periods import paced, paced_until, period_bounds
from forebay.rules.budget.picodollars import picodollars
from forebay.rules.budget.renewal import Bounds, LostLedger, renewed, with_days

FRESH_SECONDS: Final = 15.0
"""A gateway that was not heard for longer is granted nothing."""
WRITE_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 1.0
"""How soon to look again while a gateway waits for money, or for word of it."""
TOUCHES: Final = 5
TOUCH_AGAIN_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """Actions, what to remember, the ledgers as they will be, when to look again, and zones that nobody knows."""

    actions: tuple[Action, ...] = ()
    ledgers: Mapping[str, LedgerEntry] = field(default_factory=dict)
    written: float = 0.0
    touched: Mapping[str, Touched] = field(default_factory=dict)
    again: float | None = None
    unknown_zones: Mapping[str, str] = field(default_factory=dict)


def plan_budgets(fleet: ObservedFleet, memory: FleetMemory) -> BudgetPlan:
    """One pass over all budgets of a fleet."""
    live = fleet.live.get((CONFIG_MAP.kind, names.BUDGET_CONFIGMAP))
    data: Mapping[str, str] = (live or {}).get("data") or {}
    known = _versions(fleet)
    before = {
        found.budget: found
        for text in data.values()
        if (found := _decoded(text)) is not None and found.version >= known.get(found.budget, 0)
    }
    wanted = {item.name: item for item in fleet.policies if item.spec is not None and item.spec.budget is not None}
    if not before and not wanted:
        return BudgetPlan()
    after = {name: ledger for name, ledger in before.items() if _runs_on(ledger, fleet.now)}
    zones: dict[str, str] = {}
    notes: list[Note] = []
    for name, policy in wanted.items():
        assert policy.spec is not None and policy.spec.budget is not None
        try:
            zone = _zone(policy.spec.budget.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            zones[name] = policy.spec.budget.time_zone
            continue
        made = _ledgers(fleet, policy, policy.spec.budget, zone, before)
        told, words = _told(fleet, policy, policy.spec.budget, before, made)
        notes += words
        after |= told
    changed = {name for name in after if name not in before or _changed(before[name], after[name])}
    dropped = set(before) - set(after)
    quick = any(_waits(ledger, fleet) for ledger in after.values())
    if (changed or dropped) and fleet.now - memory.budget_written < WRITE_SECONDS:
        touches, touched = _touches(fleet, memory, before)
        return BudgetPlan(tuple(touches), before, memory.budget_written, touched, AGAIN_SECONDS, zones)
    for name in changed:
        old = before.get(name, LedgerEntry(budget=name))
        version = max(old.version, known.get(name, 0)) + 1
        after[name] = replace(with_days(old, after[name], fleet.now), version=version)
    texts = {f"{name}.json": encode_ledger(ledger) for name, ledger in after.items() if name in changed}
    kept = {f"{name}.json": data[f"{name}.json"] for name in after if name not in changed}
    desired = budget_configmap(fleet.namespace, fleet.owners, {**kept, **texts})
    about = event_messages.object_ref(live) if live else event_messages.owner_ref(fleet.owners[0], fleet.namespace)
    apply = desired_vs_live(desired, fleet, memory, about, notes)
    written = fleet.now if apply is not None and (changed or dropped) else memory.budget_written
    touches, touched = _touches(fleet, memory, after)
    actions: list[Action] = [compare_and_swap(apply, live)] if apply is not None else []
    again = AGAIN_SECONDS if quick or touches else None
    return BudgetPlan((*actions, *touches), after, written, touched, again, zones)


def _ledgers(
    fleet: ObservedFleet, policy: ObservedPolicy, budget: PolicyBudget, zone: tzinfo, before: Mapping[str, LedgerEntry]
) -> dict[str, LedgerEntry]:
    """Those of one policy, after this pass."""
    whole, at = picodollars(budget.amount), fleet.now
    reserved = whole * budget.reserved_for_high_percent // 100
    first = budget.week_start or Weekday.MONDAY
    now = Bounds(*period_bounds(budget.period, zone, at, first))
    following = Bounds(*period_bounds(budget.period, zone, now.end, first))
    found = {}
    for name, amount in ((policy.name, whole - reserved), (policy.name + HIGH, reserved)):
        old = before.get(name)
        if old is None and not amount and name != policy.name:
            continue
        lost = _lost_ledger(fleet, policy, now, name) if old is None else None
        ledger = renewed(old or LedgerEntry(budget=name), now, following, at, lost)
        periods = tuple(_issued(fleet, ledger, period, amount, budget) for period in ledger.periods)
        found[name] = replace(ledger, periods=periods)
    return found


def _issued(
    fleet: ObservedFleet, ledger: LedgerEntry, period: PeriodEntry, amount: int, budget: PolicyBudget
) -> PeriodEntry:
    """One period after this pass."""
    speakers, words = _speakers(fleet, ledger, period)
    if period.end <= fleet.now:  # streams settle; nothing is granted
        return issue(period, speakers, words, IssueTerms(period.amount, 0, ahead=True))
    ceiling, spread = amount, None if ledger.budget.endswith(HIGH) else budget.pacing
    if spread is not None:
        ceiling = paced(amount, spread.burst_percent, period.start, period.end, max(fleet.now, period.start))
    terms = IssueTerms(amount, ceiling, budget.lease.seconds, ahead=period.start > fleet.now)
    made = issue(period, speakers, words, terms)
    until = 0
    least = min((item.said.least for item in speakers.values() if item.said and item.said.least), default=0)
    if spread is not None and least and made.committed + least > ceiling and not terms.ahead:
        until = paced_until(amount, spread.burst_percent, period.start, period.end, made.committed + least)
    elif spread is not None and made.paced_until > fleet.now and made.committed >= ceiling:
        until = made.paced_until
    return replace(made, paced_until=until)


def _speakers(
    fleet: ObservedFleet, ledger: LedgerEntry, period: PeriodEntry
) -> tuple[dict[str, Speaker], list[AccountReport]]:
    """Every gateway that runs, by its account; and the last words of those that do not."""
    found: dict[str, Speaker] = {}
    words = [
        *(item for pod in fleet.gateways if pod.last_words for item in decode_words(pod.last_words)),
        *(item for text in fleet.last_words for item in decode_words(text) if period.account(item.id) is not None),
    ]
    fresh = FRESH_SECONDS if period.recovering is None else 0.0
    for pod in fleet.gateways:
        if not pod.address or pod.failed or (pod.last_words and not pod.ready):
            continue  # nothing runs in it
        last = fleet.heard.get(pod.name)
        if last is None or not isinstance(last.report, GatewayReport):
            own = [item.id for item in period.accounts if item.gateway == pod.name]
            found |= {name: Speaker(name, pod.name, fresh=False) for name in own or [pod.name]}
        elif last.report.account:
            said = next((item for item in last.report.budgets if _about(item, ledger, period)), None)
            name = last.report.account
            found[name] = Speaker(name, pod.name, said, fresh=fleet.now - last.time <= fresh)
    return found, [item for item in words if item.id not in found and _about(item, ledger, period)]


def _about(said: AccountReport, ledger: LedgerEntry, period: PeriodEntry) -> bool:
    return said.budget == ledger.budget and said.start == period.start


def _told(
    fleet: ObservedFleet,
    policy: ObservedPolicy,
    budget: PolicyBudget,
    before: Mapping[str, LedgerEntry],
    made: dict[str, LedgerEntry],
) -> tuple[dict[str, LedgerEntry], list[Note]]:
    """Events that are due, each once a period: what was told stands in the ledger."""
    about = event_messages.owner_ref(policy.owner, fleet.namespace)
    ledger, period = made[policy.name], made[policy.name].at(fleet.now)
    assert period is not None
    others = [item for name in made if name != policy.name and (item := made[name].at(fleet.now)) is not None]
    spent, amount = sum(item.spent for item in (period, *others)), picodollars(budget.amount)
    notes, told = [], list(period.told)
    if BEGUN_TOLD not in told:
        told.append(BEGUN_TOLD)
        past = [item for item in ledger.periods if item.end <= period.start]
        if past:
            notes.append(event_messages.budget_renewed(about, past[-1].spent, past[-1].amount, amount))
    for percent in sorted(budget.alert_percents):
        if amount and percent not in told and spent * 100 >= percent * amount:
            told.append(percent)
            notes.append(event_messages.budget_threshold(about, percent, spent, amount))
    if period.short and all(item.short for item in others) and SPENT_TOLD not in told:
        told.append(SPENT_TOLD)
        notes.append(event_messages.budget_spent(about, spent, amount, period.short))
    lost = sum(_lost(made[name]) - _lost(before[name]) for name in made if name in before)
    if lost > 0:
        notes.append(event_messages.lease_lost(about, lost))
    periods = tuple(replace(item, told=tuple(told)) if item is period else item for item in ledger.periods)
    return {**made, policy.name: replace(ledger, periods=periods)}, notes


def _lost(ledger: LedgerEntry) -> int:
    return sum(period.written_off for period in ledger.periods)


def _lost_ledger(fleet: ObservedFleet, policy: ObservedPolicy, now: Bounds, name: str) -> LostLedger | None:
    """What the policy's status says of this period, of a ledger that is not there; None for one that never was.

    What has been granted since it was written is in gateways' reports; what was closed is only here.
    """
    status = policy.status.budget
    if status is None and not any(item.granted and item.budget == name for item in _reports(fleet)):
        return None
    if status is None or status.period_end != rfc3339(now.end):
        return LostLedger(0, 0)
    if name.endswith(HIGH):
        return LostLedger(picodollars(status.committed_high), picodollars(status.closed_high))
    return LostLedger(picodollars(status.committed), picodollars(status.closed))


def _changed(before: LedgerEntry, after: LedgerEntry) -> bool:
    starts = [period.start for period in before.periods] != [period.start for period in after.periods]
    return starts or any(worth_writing(*pair) for pair in zip(before.periods, after.periods, strict=True))


def _runs_on(ledger: LedgerEntry, now: float) -> bool:
    """Whether a budget that nobody asks for any more is kept: it may come back within its period."""
    return any(period.start <= now < period.end and period.committed for period in ledger.periods)


def _waits(ledger: LedgerEntry, fleet: ObservedFleet) -> bool:
    """Whether a request waits for money that is there, or a gateway has been asked for some."""
    period = ledger.at(fleet.now)
    if period is None or period.short:
        return False
    wanted = any(
        item.wanted and _about(item, ledger, period)
        for last in fleet.heard.values()
        if isinstance(last.report, GatewayReport)
        for item in last.report.budgets
    )
    return pending(period) or (wanted and period.paced_until <= fleet.now)


def _touches(
    fleet: ObservedFleet, memory: FleetMemory, ledgers: Mapping[str, LedgerEntry]
) -> tuple[list[Touch], dict[str, Touched]]:
    """Gateways that do not know yet what they were granted, or are asked for: their kubelets bring it now."""
    touches, touched = [], {}
    for pod in fleet.gateways:
        last = fleet.heard.get(pod.name)
        if pod.terminating or last is None or not isinstance(last.report, GatewayReport):
            continue
        behind = [ledger.version for ledger in ledgers.values() if _is_behind(last.report, ledger)]
        if not behind:
            continue
        version, known = max(behind), memory.budget_touched.get(pod.uid)
        if known is None or known.generation != version:
            known = Touched(version, 0, 0.0)
        if known.times < TOUCHES and fleet.now - known.last >= TOUCH_AGAIN_SECONDS:
            known = Touched(version, known.times + 1, fleet.now)
            touches.append(Touch(pod.name, f"budget-{version}.{known.times}"))
        touched[pod.uid] = known
    return touches, touched


def _is_behind(report: GatewayReport, ledger: LedgerEntry) -> bool:
    said = {item.start: item for item in report.budgets if item.budget == ledger.budget}
    for period in ledger.periods:
        entry, own = period.account(report.account), said.get(period.start, _SAID_NOTHING)
        if entry is None or own.version >= ledger.version:
            continue
        if entry.granted > own.granted or (entry.limit is not None and own.granted - own.returned > entry.limit):
            return True
    return False


_SAID_NOTHING: Final = AccountReport(budget="", start=0, id="")


def _versions(fleet: ObservedFleet) -> dict[str, int]:
    """Versions that gateways have: a ledger below that is an old one that somebody put back, and is as good as lost."""
    found: dict[str, int] = {}
    for item in _reports(fleet):
        found[item.budget] = max(found.get(item.budget, 0), item.version)
    return found


def _reports(fleet: ObservedFleet) -> Iterable[AccountReport]:
    for last in fleet.heard.values():
        if isinstance(last.report, GatewayReport):
            yield from last.report.budgets


def _zone(name: str) -> tzinfo:
    """Raises ZoneInfoNotFoundError or ValueError. UTC needs no data base."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _decoded(text: str) -> LedgerEntry | None:
    try:
        return decode_ledger(text)
    except TableError:
        return None
