"""The gateway's share of budgets: what the mounted ledgers grant it, what its journal remembers, what it says of both.

Nothing here is asked before a request leaves for a provider: what is served locally never looks at money.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Final

from forebay.resources.money_ledger import HIGH, AccountReport, LedgerEntry, PeriodEntry, decode_ledger, encode_words
from forebay.resources.reasons import NO_MONEY, Priority, Reason
from forebay.resources.table import BudgetEntry, TableError
from forebay.router import metrics
from forebay.router.cloud.money_journal import MoneyJournal
from forebay.rules.budget.book import AccountKey
from forebay.rules.budget.picodollars import in_dollars

LOOK_SECONDS: Final = 0.2
MISSED_SECONDS: Final = 3.0
"""How long a request that found no room is wanted: it is asked again within this, or has gone."""
IDLE_SECONDS: Final = 60.0
RATE_SECONDS: Final = 600.0
TERMINATION_LOG: Final = Path("/dev/termination-log")
LONGEST_WORDS: Final = 4096
"""Bytes that a kubelet takes of it."""
MOST_MISSED: Final = 1_000


class NoMoneyError(Exception):
    """No account has room for a request; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(slots=True)
class _Asked:
    """What requests have asked of one account lately. Times are Unix seconds."""

    missed: dict[str, tuple[int, float]] = field(default_factory=dict)  # by request: its worst case, and when
    worst: int = 0
    last: float = 0.0
    rate: float = 0.0  # picodollars a second
    settled: float = 0.0  # when that was reckoned

    def take(self, request: str, worst: int, now: float) -> None:
        self.missed.pop(request, None)
        self.worst = worst if now - self.last > IDLE_SECONDS else max(self.worst, worst)
        self.last = now

    def miss(self, request: str, worst: int, now: float) -> None:
        self.take(request, worst, now)
        if len(self.missed) < MOST_MISSED:
            self.missed[request] = (worst, now)

    def cost(self, amount: int, now: float) -> None:
        self.rate = self.rate * exp(-(now - self.settled) / RATE_SECONDS) + amount / RATE_SECONDS
        self.settled = now

    def waiting(self, now: float) -> list[int]:
        self.missed = {name: item for name, item in self.missed.items() if now - item[1] < MISSED_SECONDS}
        return [worst for worst, _ in self.missed.values()]


class GatewayBudgets:
    """All budgets that one gateway pays from. `unix` is its clock, `nudge` tells the operator that money is wanted."""

    def __init__(
        self, folder: Path | None, journal_folder: Path | None, unix: Callable[[], float], nudge: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.journal = MoneyJournal(journal_folder)
        self.ledgers: dict[str, LedgerEntry] = {}
        self.problem = ""
        self.closing = False
        self._unix = unix
        self._nudge = nudge
        self._asked: dict[AccountKey, _Asked] = {}
        self._stamp: object = None

    @property
    def account(self) -> str:
        """What its accounts are called in ledgers."""
        return self.journal.name

    # Ledgers.

    async def watch(self) -> None:
        """Look at the mounted ledgers for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Take over the mounted ledgers if they changed. Cheap: called every 0.2 s."""
        if self.folder is None:
            return
        try:
            files = sorted(path for path in self.folder.iterdir() if path.suffix == ".json")
            stamp = [(path.name, path.stat().st_mtime_ns, path.stat().st_ino) for path in files]
            if stamp == self._stamp:
                return
            texts = [path.read_bytes() for path in files]
        except OSError:
            return  # not there yet, or just swapped
        self._stamp, self.problem = stamp, ""
        for text in texts:
            try:
                self.take(decode_ledger(text))
            except TableError as error:
                self.problem = str(error)

    def take(self, ledger: LedgerEntry) -> None:
        """Take a ledger, unless it is older than the one that is known."""
        known = self.ledgers.get(ledger.budget)
        if known is not None and ledger.version < known.version:
            return
        self.ledgers[ledger.budget] = ledger
        book = self.journal.book
        for period in ledger.periods:
            if (entry := period.account(self.account)) is not None:
                try:
                    book.learn(AccountKey(ledger.budget, period.start), entry.granted, entry.limit)
                except OSError as error:
                    self.problem = f"the journal cannot be written: {error}"
        if self.closing:
            self.close()
        book.forget(self._known)
        self._asked = {key: item for key, item in self._asked.items() if self._known(key)}
        self.journal.tidy()

    def _known(self, key: AccountKey) -> bool:
        ledger = self.ledgers.get(key.budget)
        return ledger is not None and ledger.period(key.start) is not None

    # Requests.

    def reserve(self, policy: str, terms: BudgetEntry, priority: Priority, worst: int | None, request: str) -> int:
        """Put a request's worst case aside; the number to settle it by. Raises NoMoneyError."""
        if worst is None:  # it has no price, and never fits
            raise NoMoneyError(Reason.BUDGET_SPENT)
        now = self._unix()
        names = (policy, policy + HIGH) if terms.high and priority is Priority.HIGH else (policy,)
        found = [(name, period) for name in names if (period := self._period(name, now)) is not None]
        if not found or self.closing:
            self._nudge()
            raise NoMoneyError(Reason.BUDGET_HELD)
        keys = [AccountKey(name, period.start) for name, period in found]
        try:
            number = self.journal.book.reserve([keys], worst, force=not terms.enforced)
        except OSError as error:
            self.problem = f"the journal cannot be written: {error}"
            raise NoMoneyError(Reason.BUDGET_HELD) from None
        if number is not None:
            for key in self.journal.book.open[number].keys:
                self._of(key).take(request, worst, now)
            return number
        reasons = [_why(period, worst, now) for _, period in found]
        wanted = next((key for key, why in zip(keys, reasons, strict=True) if why is Reason.BUDGET_HELD), None)
        for key in keys if wanted is None else [wanted]:
            self._of(key).miss(request, worst, now)
        if wanted is not None:
            self._nudge()
        raise NoMoneyError(max(reasons, key=NO_MONEY.index))

    def settle(self, number: int, cost: int) -> None:
        """A request is over and has cost so much."""
        begun, now = self.journal.book.open.get(number), self._unix()
        if begun is not None and self.journal.book.settle(number, cost):
            for key in begun.keys:
                self._of(key).cost(cost, now)

    def _period(self, budget: str, now: float) -> PeriodEntry | None:
        ledger = self.ledgers.get(budget)
        return None if ledger is None else ledger.at(now)

    def _of(self, key: AccountKey) -> _Asked:
        return self._asked.setdefault(key, _Asked())

    # Reports.

    def close(self) -> None:
        """No request is paid any more: the next report is the last word, once nothing is open.

        What is closed stays so in a further run of this pod, whatever ledgers still grant it.
        """
        self.closing = True
        try:
            self.journal.book.close(self._keys())
        except OSError as error:
            self.problem = f"the journal cannot be written: {error}"

    def _keys(self) -> list[AccountKey]:
        """Of its own accounts, and of all that ledgers speak of."""
        spoken = (
            AccountKey(ledger.budget, period.start) for ledger in self.ledgers.values() for period in ledger.periods
        )
        return list(dict.fromkeys((*self.journal.book.accounts, *spoken)))

    def report(self) -> tuple[AccountReport, ...]:
        """For the operator."""
        now = self._unix()
        return tuple(self._row(key, now) for key in self._keys())

    def _row(self, key: AccountKey, now: float) -> AccountReport:
        account, asked = self.journal.book.account(key), self._asked.get(key) or _Asked()
        waiting = asked.waiting(now)
        idle = not waiting and now - asked.last > IDLE_SECONDS
        rate = 0.0 if idle else asked.rate * exp(-(now - asked.settled) / RATE_SECONDS)
        ledger = self.ledgers.get(key.budget)
        return AccountReport(
            budget=key.budget, start=key.start, id=self.account, granted=account.granted, returned=account.returned,
            spent=account.spent, reserved=account.reserved, wanted=sum(waiting), worst=asked.worst,
            least=min(waiting, default=0), version=ledger.version if ledger else 0,
            per_hour=int(rate * 3600), idle=idle,
            closed=account.closed,
        )  # fmt: skip

    def say_last_words(self, path: Path = TERMINATION_LOG) -> None:
        """Where the kubelet takes them into the pod's status from, once nothing is open any more."""
        self.close()
        rows = sorted(self.report(), key=lambda row: row.granted - row.spent, reverse=True)
        while len(words := encode_words(tuple(rows))) > LONGEST_WORDS:
            rows.pop()
        if rows and path.exists():
            with suppress(OSError):
                path.write_bytes(words)

    def refresh_metrics(self) -> None:
        """Set the gauges."""
        now = self._unix()
        for gauge in (metrics.BUDGET_SPENT, metrics.BUDGET_RESERVED, metrics.BUDGET_ROOM):
            gauge.clear()
        for name, ledger in self.ledgers.items():
            if (period := ledger.at(now)) is not None:
                account = self.journal.book.account(AccountKey(name, period.start))
                metrics.BUDGET_SPENT.labels(name).set(float(in_dollars(account.spent)))
                metrics.BUDGET_RESERVED.labels(name).set(float(in_dollars(account.reserved)))
                metrics.BUDGET_ROOM.labels(name).set(float(in_dollars(account.room)))
        metrics.BUDGET_BEYOND.set(float(in_dollars(self.journal.book.beyond)))


def _why(period: PeriodEntry, worst: int, now: float) -> Reason:
    """Why a request that may cost so much finds no room."""
    if worst > period.amount or (period.short and worst >= period.short):
        return Reason.BUDGET_SPENT
    return Reason.BUDGET_PACED if period.paced_until > now else Reason.BUDGET_HELD
