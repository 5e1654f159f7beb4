"""A small world of a budget: a ledger, operators with copies of it, gateways with journals. Every step it can take.

The parts are the real ones; a mutant replaces one of them. Money is in units, one a request.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

from msgspec.structs import astuple
from msgspec.structs import replace as changed

from forebay.resources.money_ledger import AccountEntry, PeriodEntry
from forebay.rules.budget import account as accounts
from forebay.rules.budget import ledger
from forebay.rules.budget.account import Account

UNITS = 2
MOST_GRANTED = 2
"""In one account, so that the world is finite."""
Said = tuple[int, int, bool]
"""What a gateway last told: returned, spent, closed for good."""


EMPTY = Account()
UNSAID: Said = (0, 0, False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a mutant may have otherwise."""

    fits: Callable[[Account, int], bool] = accounts.fits
    restrict: Callable[[PeriodEntry, str, int], PeriodEntry] = ledger.restrict
    close: Callable[[PeriodEntry, str, int | None], PeriodEntry] = ledger.close
    grant: Callable[[PeriodEntry, str, int], PeriodEntry] = ledger.grant
    restart: Callable[[Account], Account] = lambda account: Account(
        returned=account.returned, spent=account.spent + account.reserved, closed=account.closed
    )
    compares: bool = True  # a write fails where somebody wrote since the copy was made


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway: its account, what it told last, whether its pod is there, and what it has been billed in truth."""

    account: Account = EMPTY
    said: Said = UNSAID
    there: bool = True
    billed: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """`stale`: copies of the ledger that operators still have, where a write does not compare. Where it does, a write
    by an old copy fails, and one by a new copy is as if it had been read just now: copies then make no difference."""

    period: PeriodEntry
    doors: tuple[Door, ...]
    stale: frozenset[PeriodEntry] = frozenset()

    @property
    def billed(self) -> int:
        """By the provider, at worst: what is open may cost its unit."""
        return sum(door.billed + door.account.reserved for door in self.doors)


def first(doors: int = 2) -> World:
    period = PeriodEntry(start=0, end=1, amount=UNITS)
    for number in range(doors):
        period = ledger.enter(period, str(number), "")
    return World(period, (Door(),) * doors)


def steps(world: World, rules: Rules) -> Iterator[World]:
    """Every world that may be next."""
    for number, door in enumerate(world.doors):
        for next_door in _gateway(door, world.period.account(str(number)), rules):
            yield replace(world, doors=_put(world.doors, number, next_door))
    for period in _operator(world.period, world, rules):
        yield replace(world, period=period, stale=frozenset() if rules.compares else frozenset({world.period}))
    for old in world.stale:
        for period in _operator(old, world, rules):
            yield replace(world, period=period, stale=frozenset())


@cache
def _gateway(door: Door, entry: AccountEntry | None, rules: Rules) -> tuple[Door, ...]:
    return tuple(_doors(door, entry, rules))


def _doors(door: Door, entry: AccountEntry | None, rules: Rules) -> Iterator[Door]:
    account = door.account
    if entry is not None:
        learnt = accounts.learn(account, entry.granted, entry.limit)
        yield replace(door, account=accounts.give_back(learnt))
    if rules.fits(account, 1):
        yield replace(door, account=accounts.begin(account, 1))
    if account.reserved:
        for cost in (0, 1):
            yield replace(door, account=accounts.settle(account, 1, cost), billed=door.billed + cost)
    if door.there:
        done = account.closed and not account.reserved
        yield replace(door, said=(account.returned, account.spent if done else 0, done))
        yield replace(door, account=rules.restart(account), billed=door.billed + account.reserved)
        yield replace(door, account=accounts.close(account))
        yield replace(door, there=False)  # its process may live on


def _operator(period: PeriodEntry, world: World, rules: Rules) -> Iterator[PeriodEntry]:
    for number, door in enumerate(world.doors):
        name = str(number)
        entry = period.account(name)
        if entry is None:
            continue
        returned, spent, closed = door.said
        heard = ledger.take_back(period, name, 0, returned, spent)
        yield heard
        if closed:
            yield rules.close(heard, name, spent)
        elif not door.there:
            yield rules.close(heard, name, None)
        else:
            if entry.granted < MOST_GRANTED:
                yield rules.grant(period, name, 1)
            for limit in range(min(1, entry.held)):
                yield rules.restrict(period, name, limit)


T = TypeVar("T")


def _put(row: tuple[T, ...], number: int, item: T) -> tuple[T, ...]:
    return (*row[:number], item, *row[number + 1 :])


def explore(rules: Rules) -> tuple[int, World | None]:
    """All worlds that can be reached, until one has been billed too much: how many were seen, and that one."""
    begin = first()
    seen, frontier = {begin}, [begin]
    while frontier:
        later = []
        for world in frontier:
            for found in map(_same, steps(world, rules)):
                if found in seen:
                    continue
                if found.billed > UNITS:
                    return len(seen), found
                seen.add(found)
                later.append(found)
        frontier = later
    return len(seen), None


def _same(world: World) -> World:
    """One of the worlds that differ in nothing that any rule asks for: which gateway is which, how what is gone is
    divided, what people read."""
    period = world.period
    entries = {int(item.id): changed(item, spent=0) for item in period.accounts}
    rows = sorted(
        (
            (door if number in entries else replace(door, said=UNSAID), entries.get(number))
            for number, door in enumerate(world.doors)
        ),
        key=lambda row: (_order(row[0].account), row[0].said, row[0].there, () if row[1] is None else _order(row[1])),
    )
    kept = tuple(changed(entry, id=str(number)) for number, (_, entry) in enumerate(rows) if entry is not None)
    gone = period.closed_spent + period.written_off
    period = changed(period, accounts=kept, closed_spent=gone, written_off=0)
    return replace(world, period=period, doors=tuple(door for door, _ in rows))


@cache
def _order(item: Account | AccountEntry) -> tuple[int, ...]:
    return tuple(-1 if value is None else value for value in astuple(item) if not isinstance(value, str))


def refunds(period: PeriodEntry, name: str, word: int | None) -> PeriodEntry:
    """Mutant: the lease of a lost gateway comes back, but for what it last said that it had spent."""
    return ledger.close(period, name, 0 if word is None else word)


def takes_at_once(period: PeriodEntry, name: str, limit: int) -> PeriodEntry:
    """Mutant: what is asked back counts as returned before the gateway has obeyed."""
    entry = period.account(name)
    if entry is None or entry.held <= limit:
        return period
    rest = tuple(item for item in period.accounts if item is not entry)
    return changed(period, accounts=(*rest, changed(entry, returned=entry.granted - limit, limit=limit)))


def grants_more(period: PeriodEntry, name: str, more: int) -> PeriodEntry:
    """Mutant: a grant looks at the amount alone."""
    return changed(ledger.grant(changed(period, amount=UNITS * 9), name, more), amount=period.amount)
