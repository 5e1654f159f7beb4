"""Three verbs on a budget's ledger: grant, take back, close. Each leaves what is committed at most at the amount.

They are all that ever moves money, so another store than the API server could stand behind them.
"""

from msgspec.structs import replace

from forebay.resources.money_ledger import MOST_PICODOLLARS, AccountEntry, PeriodEntry


def grant(period: PeriodEntry, account: str, more: int) -> PeriodEntry:
    """Give an account more, as far as there is something left; that lifts its limit."""
    found = period.account(account)
    if found is None:
        return period
    more = min(more, period.left, MOST_PICODOLLARS - found.granted)
    if more <= 0:
        return period
    return _with(period, replace(found, granted=found.granted + more, limit=None))


def take_back(period: PeriodEntry, account: str, granted: int, returned: int, spent: int) -> PeriodEntry:
    """What a gateway says of itself, perhaps long ago. What it was granted is more than is written down where the
    ledger was lost since."""
    found = period.account(account)
    if found is None:
        return period
    given = max(found.granted, granted)
    back = max(found.returned, min(returned, given))
    return _with(period, replace(found, granted=given, returned=back, spent=max(found.spent, spent)))


def close(period: PeriodEntry, account: str, last_word: int | None = None) -> PeriodEntry:
    """An account ends: at what its gateway last said that it had spent, if that was its last word; else in full."""
    found = period.account(account)
    if found is None:
        return period
    spent = found.spent if last_word is None else last_word
    lost = 0 if last_word is not None else max(0, found.held - spent)
    return replace(
        period,
        accounts=tuple(item for item in period.accounts if item is not found),
        closed_spent=period.closed_spent + spent,
        written_off=period.written_off + lost,
    )


def enter(period: PeriodEntry, account: str, gateway: str) -> PeriodEntry:
    """A gateway's account begins, with nothing."""
    if period.account(account) is not None:
        return period
    return replace(period, accounts=(*period.accounts, AccountEntry(id=account, gateway=gateway)))


def restrict(period: PeriodEntry, account: str, limit: int) -> PeriodEntry:
    """Ask for what lies above a limit to be returned; it counts as held until it was."""
    found = period.account(account)
    if found is None or limit >= found.held:
        return period
    return _with(period, replace(found, limit=max(0, limit)))


def _with(period: PeriodEntry, changed: AccountEntry) -> PeriodEntry:
    return replace(period, accounts=tuple(changed if item.id == changed.id else item for item in period.accounts))
