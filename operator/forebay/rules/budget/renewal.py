"""From one period of a budget to the next, and to one of another kind, when somebody changes that. Pure."""

from typing import Final, NamedTuple

from msgspec.structs import replace

from forebay.resources.money_ledger import LedgerEntry, PeriodEntry

KEPT_SECONDS: Final = 3600
"""How long an ended period is kept for streams that settle late."""
DAY: Final = 86_400
KEPT_DAYS: Final = 35


class LostLedger(NamedTuple):
    """What is known of a ledger that is not there any more: what was committed at last, and how much of it closed."""

    committed: int
    closed: int


class Bounds(NamedTuple):
    """Start and end of a period, in Unix seconds."""

    start: int
    end: int


def renewed(
    ledger: LedgerEntry, now: Bounds, following: Bounds, at: float, lost: LostLedger | None = None
) -> LedgerEntry:
    """The ledger with the period that runs at `at`, the one after it, and those that ended a moment ago.

    A period of other bounds ends at once; what has been spent since the new one's start, and what is leased, counts in
    the new one. `lost`: the ledger was, and is built anew from that.
    """
    kept = [item for item in ledger.periods if at < item.end + KEPT_SECONDS]
    current = next((item for item in kept if item.end == now.end and now.start <= item.start <= at), None)
    if current is None:
        begun = next((item for item in kept if item.start <= at < item.end), None)
        if begun is None:
            current = PeriodEntry(start=now.start, end=now.end, amount=0)
            if lost is not None:
                current = replace(current, recovering=lost.committed, written_off=lost.closed)
        else:
            kept = [replace(item, end=int(at)) if item is begun else item for item in kept]
            carried = _since(ledger, now.start) + begun.committed - begun.spent
            current = PeriodEntry(start=int(at), end=now.end, amount=0, closed_spent=carried, carried=carried)
        kept.append(current)
    after = next((item for item in kept if item.start == now.end and item.end == following.end), None)
    if after is None:
        after = PeriodEntry(start=now.end, end=following.end, amount=0)
    past = [item for item in kept if item.end <= at]
    return replace(ledger, periods=(*past, current, after))


def with_days(before: LedgerEntry, after: LedgerEntry, at: float) -> LedgerEntry:
    """What was spent between two ledgers counts for the day of the second one (UTC)."""
    day, known = int(at) // DAY, dict(before.days)
    new = max(0, _spent(after) - _spent(before))
    if new:
        known[day] = known.get(day, 0) + new
    return replace(after, days=tuple(sorted((key, sum_) for key, sum_ in known.items() if key > day - KEPT_DAYS)))


def _spent(ledger: LedgerEntry) -> int:
    """Of all periods, but for what one has taken over from another."""
    return sum(period.spent for period in ledger.periods) - sum(period.carried for period in ledger.periods)


def _since(ledger: LedgerEntry, start: int) -> int:
    return sum(amount for day, amount in ledger.days if day >= start // DAY)
