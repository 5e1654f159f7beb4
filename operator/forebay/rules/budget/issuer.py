"""Who is granted how much: from a period of the ledger and what gateways say, the period as it should be. Pure.

A lease is what a gateway needs for `lease_seconds` at its present rate, at most 2 % of the budget beyond what is open;
when less is left than is wanted, what idle gateways hold is asked back. What is lost with gateways halves that share.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from forebay.resources.money_ledger import MOST_PICODOLLARS, AccountEntry, AccountReport, PeriodEntry
from forebay.rules.budget.ledger import close, enter, grant, restrict, take_back

HOUR: Final = 3600
LOW_WATER: Final = 0.6
"""Of its target, below which a lease is topped up."""
SHARE: Final = 50
"""The part of the amount that a lease may have beyond what is open: a fiftieth."""
LOSS: Final = 200
"""The part of the amount that may be written off before leases are halved: a two-hundredth."""
FIRST: Final = 100
"""The part of the amount that all gateways together hold while they are idle, and at a period's begin."""


class Speaker(Struct, frozen=True):
    """A gateway that runs: its account, and what it said of it, if that is not older than it may be.

    `said` is None where it has not spoken of this budget and period. `fresh`: it was heard a moment ago.
    """

    account: str
    gateway: str
    said: AccountReport | None = None
    fresh: bool = True


class IssueTerms(Struct, frozen=True):
    """What a budget's spec and the clock say of a period. `ceiling`: what pacing lets be committed by now; `ahead`: it
    has not begun, and first leases alone are granted."""

    amount: int
    ceiling: int
    lease_seconds: int = 1800
    ahead: bool = False


def issue(
    period: PeriodEntry, speakers: Mapping[str, Speaker], last_words: Sequence[AccountReport], terms: IssueTerms
) -> PeriodEntry:
    """One pass. `speakers` by account; `last_words` of gateways that ended in order."""
    period = replace(period, amount=terms.amount)
    period = _heard(period, speakers, last_words)
    if period.recovering is not None:
        if not all(speaker.fresh for speaker in speakers.values()):
            return period
        lost = max(0, period.recovering - period.committed)
        period = replace(period, recovering=None, written_off=period.written_off + lost)
    if period.left < 0 and not terms.ahead:
        period = _shrink(period, speakers)
    lacks = {name: lack for name, speaker in speakers.items() if (lack := _lack(period, speaker, len(speakers), terms))}
    free = min(period.left, terms.ceiling - period.committed)
    if sum(lacks.values()) > free:
        urgent = {name: need for name in lacks if (need := _urgent(period, speakers[name]))}
        period, free = _hand_out(period, urgent, free)
        if not terms.ahead:
            period = _recall(period, speakers, set(urgent))
        if free > 0 and not urgent:
            period, free = _hand_out(period, _scaled(lacks, speakers, free), free)
    else:
        period, free = _hand_out(period, lacks, free)
    return _told(period, speakers)


def pending(period: PeriodEntry) -> bool:
    """Whether a gateway has been asked for something that it has not returned yet."""
    return any(item.limit is not None and item.held > max(item.limit, item.spent) for item in period.accounts)


def _heard(period: PeriodEntry, speakers: Mapping[str, Speaker], last_words: Sequence[AccountReport]) -> PeriodEntry:
    """Take up what gateways say; close the accounts of those that ended, once the ledger knows them all."""
    if period.recovering is not None:
        spoken = [item.said for item in speakers.values() if item.fresh and item.said is not None]
        for word in (*last_words, *spoken):
            period = enter(period, word.id, speakers[word.id].gateway if word.id in speakers else "")
            period = take_back(period, word.id, word.granted, word.returned, word.spent)
        return period
    for word in last_words:
        if word.closed and not word.reserved:
            period = take_back(period, word.id, word.granted, word.returned, word.spent)
            period = close(period, word.id, word.spent)
    for name, speaker in speakers.items():
        said = speaker.said
        if speaker.fresh and (said is None or not said.closed):
            period = enter(period, name, speaker.gateway)
        if said is not None:
            period = take_back(period, name, said.granted, said.returned, said.spent)
            if said.closed and not said.reserved:
                period = close(period, name, said.spent)
    for item in period.accounts:
        if item.id not in speakers:
            period = close(period, item.id)
    return period


def _lack(period: PeriodEntry, speaker: Speaker, gateways: int, terms: IssueTerms) -> int:
    """What an account is to get; 0 while it has enough, or its gateway was not heard."""
    found = period.account(speaker.account)
    if found is None or not speaker.fresh or (speaker.said is not None and speaker.said.closed):
        return 0
    target = _target(period, speaker.said, gateways, terms)
    has = found.held - found.spent
    if found.limit is not None:
        has = min(has, found.limit - found.spent)
    urgent = _urgent(period, speaker)
    return max(target - has, urgent) if has < target * LOW_WATER or urgent else 0


def _target(period: PeriodEntry, said: AccountReport | None, gateways: int, terms: IssueTerms) -> int:
    first = terms.amount // (FIRST * gateways)
    if said is None or terms.ahead or not said.worst:
        return first
    taken = said.reserved + said.wanted
    if said.idle:
        return min(first, 2 * said.worst) + taken
    share = terms.amount // (SHARE if period.written_off * LOSS <= terms.amount else 2 * SHARE)
    wished = max(taken * 5 // 4, said.per_hour * terms.lease_seconds // HOUR, 8 * said.worst)
    return min(wished, taken + share, taken + max(period.left, 0) // (2 * gateways))


def _urgent(period: PeriodEntry, speaker: Speaker) -> int:
    """What requests wait for."""
    found, said = period.account(speaker.account), speaker.said
    if found is None or said is None or not said.wanted or not speaker.fresh or said.closed:
        return 0
    return max(0, said.reserved + said.wanted - (found.held - found.spent))


def _hand_out(period: PeriodEntry, needs: Mapping[str, int], free: int) -> tuple[PeriodEntry, int]:
    """The least first, each as far as there is something free."""
    for name, need in sorted(needs.items(), key=lambda item: (item[1], item[0])):
        if (more := min(need, free)) > 0:
            period, free = grant(period, name, more), free - more
    return period, free


def _shrink(period: PeriodEntry, speakers: Mapping[str, Speaker]) -> PeriodEntry:
    """The amount was lowered below what is committed: each gateway keeps its part of what is still left."""
    used = sum(item.spent for item in period.accounts)
    open_now = sum(speaker.said.reserved for speaker in speakers.values() if speaker.said is not None)
    left = max(0, period.amount - period.closed_spent - period.written_off - used - open_now)
    for item in period.accounts:
        speaker = speakers.get(item.id)
        if speaker is not None and speaker.said is not None and speaker.fresh:
            keep = speaker.said.reserved + left // len(speakers)
            period = restrict(period, item.id, item.spent + keep)
    return period


def _scaled(lacks: Mapping[str, int], speakers: Mapping[str, Speaker], free: int) -> dict[str, int]:
    """Each its part, unless that is too little for a request."""
    total = sum(lacks.values())
    parts = {name: lack * free // total for name, lack in lacks.items()}
    return {name: part for name, part in parts.items() if part >= _worst(speakers[name])}


def _worst(speaker: Speaker) -> int:
    return speaker.said.worst if speaker.said is not None else 0


def _recall(period: PeriodEntry, speakers: Mapping[str, Speaker], needy: Set[str]) -> PeriodEntry:
    """Ask back what lies idle: all that is not open at an idle gateway, all but one request's worth at a busy one."""
    for item in period.accounts:
        speaker = speakers[item.id]
        if item.id in needy or speaker.said is None or not speaker.fresh:
            continue
        if speaker.said.idle:
            period = restrict(period, item.id, item.spent + speaker.said.reserved)
        elif needy:
            period = restrict(period, item.id, item.spent + speaker.said.reserved + speaker.said.worst)
    return period


def _room(period: PeriodEntry, speaker: Speaker) -> int:
    """What it can still reserve, with what was granted just now."""
    found, said = period.account(speaker.account), speaker.said
    return 0 if found is None or said is None else found.held - found.spent - said.reserved


def _told(period: PeriodEntry, speakers: Mapping[str, Speaker]) -> PeriodEntry:
    """Whether a request no longer fits: nothing is left for it, and nothing will be given back."""
    short = 0 if period.left >= period.short else period.short
    unmet = [
        speaker.said.least
        for speaker in speakers.values()
        if speaker.said is not None and speaker.said.least > _room(period, speaker) and _urgent(period, speaker)
    ]
    if unmet and period.left < min(unmet) and not pending(period):
        short = min(*unmet, short or MOST_PICODOLLARS)
    return replace(period, short=short)


def worth_writing(before: PeriodEntry, after: PeriodEntry) -> bool:
    """Whether more than the spent sums changed, which are for people to read."""
    return _bare(before) != _bare(after)


def _bare(period: PeriodEntry) -> PeriodEntry:
    return replace(period, accounts=tuple(_unspent(item) for item in period.accounts))


def _unspent(item: AccountEntry) -> AccountEntry:
    return replace(item, spent=0)
