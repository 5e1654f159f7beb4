"""A budget with real amounts: whatever happens to gateways, operators and ledger, no more is billed than its amount."""

import hypothesis.strategies as st
from hypothesis import assume, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from forebay.resources.money_ledger import AccountReport, PeriodEntry
from tests.rules.budget.doors import Pod, run_pass

WORST = st.integers(1, 400)
PART = st.integers(0, 100)


class BudgetMachine(RuleBasedStateMachine):
    running = Bundle("running")  # requests: the pod and their number

    @initialize(amount=st.integers(1, 20_000), pods=st.integers(1, 4))
    def begin(self, amount: int, pods: int) -> None:
        self.amount = self.bound = amount
        self.ledger = PeriodEntry(start=0, end=100, amount=amount)
        self.history = [self.ledger]
        self.pods = [Pod() for _ in range(pods)]
        self.gone: list[Pod] = []
        self.copies: list[tuple[PeriodEntry, dict[str, AccountReport]]] = []
        self.deepest = 0
        self.deleted = False  # grants that nobody heard of count twice once they are heard: dearer, never cheaper

    def _write(self, period: PeriodEntry) -> None:
        self.ledger = period
        self.history.append(period)

    @property
    def _live(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.there]

    # Requests.

    @rule(target=running, pod=st.integers(0, 9), worst=WORST, part=PART)
    def send(self, pod: int, worst: int, part: int) -> object:
        found = self.pods[pod % len(self.pods)]
        number = found.begin(worst, worst * part // 100)
        self.deepest = max(self.deepest, worst)
        return multiple() if number is None else (found, number, found.book)

    @rule(request=consumes(running))
    def settle(self, request: tuple[Pod, int, object]) -> None:
        pod, number, book = request
        if pod.book is book:  # else its process is gone
            pod.settle(number)

    @rule(pod=st.integers(0, 9))
    def fall_quiet(self, pod: int) -> None:
        found = self.pods[pod % len(self.pods)]
        found.quiet = True
        found.missed.clear()

    # Words.

    @rule(pod=st.integers(0, 9), back=st.integers(0, 5))
    def deliver(self, pod: int, back: int) -> None:
        """The ledger as it is, or as it was."""
        self.pods[pod % len(self.pods)].hear(self.history[max(0, len(self.history) - 1 - back)])

    @rule()
    def look(self) -> None:
        """An operator reads ledger and reports, and is slow."""
        self.copies.append((self.ledger, {pod.id: pod.report() for pod in self._live}))

    @rule()
    def write_late(self) -> None:
        assume(self.copies)
        read, reports = self.copies.pop()
        made = run_pass(read, self.pods, self.amount, reports)
        if read is self.ledger:
            self._write(made)

    @rule()
    def look_and_write(self) -> None:
        self._write(run_pass(self.ledger, self.pods, self.amount))

    @rule(percent=st.integers(0, 100))
    def pass_with_pacing(self, percent: int) -> None:
        self._write(run_pass(self.ledger, self.pods, self.amount, ceiling=self.amount * percent // 100))

    # What goes wrong.

    @rule(pod=st.integers(0, 9))
    def kill(self, pod: int) -> None:
        self.pods[pod % len(self.pods)].kill()

    @rule(pod=st.integers(0, 9))
    def reboot(self, pod: int) -> None:
        found = self.pods[pod % len(self.pods)]
        assume(found.there)
        found.lose_journal()

    @rule(pod=st.integers(0, 9))
    def lose(self, pod: int) -> None:
        """Its pod is gone from the API; the process may live on, and hears no ledger that names it."""
        self.pods[pod % len(self.pods)].there = False
        if not self._live:
            self.pods.append(Pod())

    @rule(pod=st.integers(0, 9))
    def drain(self, pod: int) -> None:
        found = self.pods[pod % len(self.pods)]
        found.book.close([found.key])

    @rule()
    def delete_the_ledger(self) -> None:
        """What the status says of it is as it was."""
        lost = self.ledger
        self.copies.clear()
        self._write(
            PeriodEntry(start=0, end=100, amount=self.amount, recovering=max(lost.committed, lost.recovering or 0))
        )
        self.deleted = True

    @rule(amount=st.integers(0, 20_000))
    def change_the_amount(self, amount: int) -> None:
        self.amount = amount
        self.bound = max(self.bound, amount)

    # What holds.

    @invariant()
    def no_more_is_billed_than_the_amount(self) -> None:
        assert sum(pod.exposed for pod in self.pods) <= self.bound

    @invariant()
    def no_more_is_committed_than_the_amount(self) -> None:
        assert self.deleted or self.ledger.committed <= self.bound

    @invariant()
    def the_ledger_holds_what_gateways_believe_in(self) -> None:
        for pod in self._live:
            entry = self.ledger.account(pod.id)
            if entry is not None and not self.deleted:
                account = pod.book.account(pod.key)
                assert account.granted <= entry.granted
                assert account.returned >= entry.returned

    @rule(worst=WORST)
    def what_fits_is_served_within_three_passes(self, worst: int) -> None:
        """All hear each other, nobody is killed: then what is left less a request's worth for each is not refused."""
        live = [pod for pod in self._live if not pod.book.account(pod.key).closed]
        assume(live)
        self.deepest = max(self.deepest, worst)
        left = self.amount - self.ledger.closed_spent - self.ledger.written_off
        left -= sum(pod.book.account(pod.key).used for pod in self._live)
        left -= max(0, (self.ledger.recovering or 0) - self.ledger.committed)
        known = {pod.id for pod in self._live}
        left -= sum(item.held for item in self.ledger.accounts if item.id not in known)
        assume(left - len(self._live) * self.deepest >= worst)
        asking = live[0]
        for other in self._live:
            other.missed.clear()
        for _ in range(4):
            if (number := asking.begin(worst, worst)) is not None:
                asking.settle(number)
                return
            self._write(run_pass(self.ledger, self.pods, self.amount))
            assert self.ledger.short == 0
            for pod in self._live:
                pod.hear(self.ledger)
        raise AssertionError("refused although there is money")


BudgetMachine.TestCase.settings = settings(settings(), stateful_step_count=40)
TestBudgetMachine = BudgetMachine.TestCase
