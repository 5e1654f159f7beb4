"""Gateways as a budget sees them, with real books and journals in memory; and an operator's pass over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from forebay.resources.money_ledger import AccountReport, PeriodEntry
from forebay.rules.budget.book import AccountBook, AccountKey, BookNote
from forebay.rules.budget.issuer import IssueTerms, Speaker, issue
from forebay.rules.budget.journal import JournalWriter, read_journal

BUDGET = "default"
KEY = AccountKey(BUDGET, 0)
_numbers = count()


@dataclass(eq=False)
class Pod:
    """One gateway: its account's name, its book, what of it outlives its process."""

    key: AccountKey = KEY
    there: bool = True
    billed: int = 0  # by the provider, in truth
    journal: bytearray = field(default_factory=bytearray)
    true_costs: dict[int, int] = field(default_factory=dict)  # of what is open
    missed: list[int] = field(default_factory=list)  # worst cases that found no room
    worst: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        self.start_journal()

    def start_journal(self) -> None:
        self.id = f"pod-{next(_numbers)}"
        self._writer = JournalWriter()
        self.journal[:] = self._writer.head(b"0123456789abcdef")
        self.book = AccountBook(self._note)

    def _note(self, item: BookNote) -> None:
        self.journal += self._writer.records(item)

    def begin(self, worst: int, cost: int) -> int | None:
        """Send a request, if there is room."""
        self.worst, self.quiet = max(self.worst, worst), False
        number = self.book.reserve([[self.key]], worst)
        if number is None:
            self.missed.append(worst)
            return None
        self.true_costs[number] = cost
        self.missed.clear()
        return number

    def settle(self, number: int) -> None:
        cost = self.true_costs.pop(number)
        self.billed += cost
        self.book.settle(number, cost)

    def kill(self) -> None:
        """The process dies and comes back in the same pod: what was open has been billed, in whatever part."""
        self.billed += sum(self.true_costs.values())
        self.true_costs.clear()
        content = read_journal(bytes(self.journal))
        self.book = AccountBook(self._note)
        for item in content.notes:
            self.book.replay(item)
        self._writer = JournalWriter(content.keys)
        self.book.settle_open()
        self.missed.clear()

    def lose_journal(self) -> None:
        """The node has rebooted: the process is gone, and all it knew."""
        self.billed += sum(self.true_costs.values())
        self.true_costs.clear()
        self.missed.clear()
        self.start_journal()

    def hear(self, period: PeriodEntry) -> None:
        """A ledger arrives, perhaps an old one."""
        if (entry := period.account(self.id)) is not None:
            self.book.learn(self.key, entry.granted, entry.limit)

    def report(self) -> AccountReport:
        account = self.book.account(self.key)
        return AccountReport(
            budget=BUDGET, start=0, id=self.id, granted=account.granted, returned=account.returned,
            spent=account.spent, reserved=account.reserved, wanted=sum(self.missed), worst=self.worst,
            least=min(self.missed, default=0), idle=self.quiet, closed=account.closed,
        )  # fmt: skip

    @property
    def exposed(self) -> int:
        """Billed, and what is open at its worst case."""
        return self.billed + sum(begun.worst for begun in self.book.open.values())


def run_pass(
    period: PeriodEntry,
    pods: Sequence[Pod],
    amount: int,
    reports: Mapping[str, AccountReport] | None = None,
    ceiling: int | None = None,
) -> PeriodEntry:
    """A pass of an operator that hears all pods, or has heard what `reports` say."""
    speakers = {
        pod.id: Speaker(pod.id, pod.id, pod.report() if reports is None else reports.get(pod.id), True)
        for pod in pods
        if pod.there
    }
    return issue(period, speakers, (), IssueTerms(amount, amount if ceiling is None else ceiling))
