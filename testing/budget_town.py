"""A budget in simulated time: real gateways' accounts and journals, an operator's real passes, a provider that bills.

What is simulated is time, who hears whom, and what requests cost. The provider's bill is the judge.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP, Object
from forebay.controller.manifests.common import Owner
from forebay.controller.observe.memory import FleetMemory, LastReport
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.actions import Apply, Note, Touch
from forebay.controller.plan.plan_budgets import plan_budgets
from forebay.controller.report.budgets_report import BudgetFacts, budget_facts, budget_status, budget_verdict
from forebay.controller.report.conditions import Verdict
from forebay.controller.report.statuses import worth_writing
from forebay.resources import names
from forebay.resources.money_ledger import LedgerEntry, decode_ledger, encode_words
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.policy_budget import PolicyBudget
from forebay.resources.reasons import Priority, Reason
from forebay.resources.report import GatewayReport
from forebay.resources.table import BudgetEntry
from forebay.router.cloud.budgets import GatewayBudgets, NoMoneyError
from forebay.rules.budget.picodollars import picodollars

POLICY = "default"
NOON = 1_796_040_000.0  # 2026-11-30 12:00 UTC, a Monday
TOUCHED_SECONDS = 0.4
"""Until a touched pod's kubelet has brought a ConfigMap."""
SYNC_SECONDS = 60.0
"""Until it has by itself."""


def policy_of(**budget: Any) -> PolicySpec:
    """A policy with one priced model and this budget, as users write it."""
    target = {"provider": "acme", "model": "big"}
    model = {"name": "big", "inputPrice": "4", "outputPrice": "20"}
    provider = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [model]}
    spec = {"providers": [provider], "primary": [target], "secondary": [target], "budget": budget}
    return PolicySpec.model_validate(spec)


@dataclass(eq=False)
class Door:
    """A gateway's pod, and what runs in it. `heard`: the operator reaches it; `there`: its pod exists."""

    name: str
    budgets: GatewayBudgets
    started: float
    folder: Path | None = None
    heard: bool = True
    there: bool = True
    running: bool = True
    last_words: str = ""
    address: str = "10.0.0.1"
    open: dict[int, int] = field(default_factory=dict)  # true costs, by reservation


@dataclass
class Town:
    """All of it. `now` is Unix seconds; `skew` of a gateway's clock is in seconds, by name."""

    spec: PolicySpec
    folder: Path | None = None
    now: float = NOON
    operator: bool = True
    doors: list[Door] = field(default_factory=list)
    live: Object | None = None
    memory: FleetMemory = field(default_factory=FleetMemory)
    notes: list[tuple[float, Note]] = field(default_factory=list)
    writes: int = 0
    billed: int = 0
    refused: dict[Reason, int] = field(default_factory=dict)
    status: PolicyStatus = field(default_factory=PolicyStatus)
    written: PolicyStatus = field(default_factory=PolicyStatus)  # what the API server has of it
    written_at: float = 0.0
    verdict: Verdict | None = None
    skew: dict[str, float] = field(default_factory=dict)
    next_pass: float = 0.0
    departed: tuple[str, ...] = ()  # last words of pods that are gone
    _arrivals: list[tuple[float, str]] = field(default_factory=list)
    _made: int = 0
    _nudged: bool = False

    # Gateways.

    def add(self, count: int = 1) -> list[Door]:
        """So many gateways start."""
        return [self._start(f"gateway-{self._made}") for _ in range(count)]

    def _start(self, name: str) -> Door:
        folder = None
        if self.folder is not None:
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
        door = Door(name, self._budgets(name, folder), self.now, folder)
        self._made += 1
        self.doors.append(door)
        self._bring(door)
        return door

    def _budgets(self, name: str, folder: Path | None) -> GatewayBudgets:
        return GatewayBudgets(None, folder, lambda: self.now + self.skew.get(name, 0.0), self._nudge)

    def _nudge(self) -> None:
        self._nudged = True

    def kill(self, door: Door) -> None:
        """Its container is killed and starts again in the same pod; what was open is billed in full."""
        assert door.folder is not None
        self._end_open(door)
        door.budgets.journal.close()
        door.budgets = self._budgets(door.name, door.folder)
        self._bring(door)

    def lose(self, door: Door, *, lives_on: bool = False) -> None:
        """Its pod is gone without a word; the process may live on, and spend what it holds."""
        door.there = False
        if not lives_on:
            self._end_open(door)
            door.running = False

    def drain(self, door: Door, *, seen: bool = True) -> None:
        """It ends in order: its streams do, then its last words are in the pod's status, then the pod is gone.

        `seen`: a pass comes in between.
        """
        for number in list(door.open):
            self.settle(door, number)
        door.budgets.close()
        rows = tuple(row for row in door.budgets.report() if row.granted or row.spent)
        door.running, door.last_words = False, encode_words(rows).decode()
        if not seen:
            door.there = False
            self.departed = (*self.departed, door.last_words)
            self.doors.remove(door)

    def _end_open(self, door: Door) -> None:
        self.billed += sum(door.open.values())
        door.open.clear()

    # Requests.

    def send(self, door: Door, worst: int, cost: int, priority: Priority = Priority.NORMAL, request: str = "") -> int:
        """Send a request to the provider, which bills at once; its number, or 0: refused."""
        budget = self.spec.budget
        terms = BudgetEntry(high=bool(budget and budget.reserved_for_high_percent))
        try:
            number = door.budgets.reserve(POLICY, terms, priority, worst, request or f"{self.now}")
        except NoMoneyError as lack:
            self.refused[lack.reason] = self.refused.get(lack.reason, 0) + 1
            return 0
        door.open[number] = cost
        return number

    def settle(self, door: Door, number: int) -> None:
        """It is over."""
        cost = door.open.pop(number)
        self.billed += cost
        door.budgets.settle(number, cost)

    def serve(self, door: Door, worst: int, cost: int, priority: Priority = Priority.NORMAL) -> bool:
        """One request that is over at once."""
        number = self.send(door, worst, cost, priority)
        if number:
            self.settle(door, number)
        return bool(number)

    # Time.

    def run(self, seconds: float, step: float = 0.2) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end - 1e-3:
            self.now = min(end, self.now + step)
            self.tick()

    def tick(self) -> None:
        """What is due now."""
        while self._arrivals and self._arrivals[0][0] <= self.now:
            _, name = heappop(self._arrivals)
            for door in self.doors:
                if door.name == name and door.there and door.running:
                    self._bring(door)
        if self.operator and (self.now >= self.next_pass or self._nudged):
            self.look()

    def look(self) -> None:
        """One pass of the operator."""
        self._nudged = False
        fleet = self.fleet()
        done = plan_budgets(fleet, self.memory)
        for action in done.actions:
            if isinstance(action, Apply):
                self._apply(action)
            elif isinstance(action, Touch):
                heappush(self._arrivals, (self.now + TOUCHED_SECONDS, action.pod))
        self.memory = replace_fields(
            self.memory, budget_written=done.written, budget_touched=done.touched, heard=fleet.heard
        )
        facts = self.facts(fleet, done.ledgers)
        self.status, self.verdict = (
            PolicyStatus(budget=budget_status(facts, self.written.budget)),
            budget_verdict(facts),
        )
        new, live = (item.model_dump(mode="json", by_alias=True) for item in (self.status, self.written))
        if worth_writing(new, live, self.now - self.written_at):
            self.written, self.written_at = self.status, self.now
        self.next_pass = self.now + (5.0 if done.again is None else done.again)
        self.doors = [door for door in self.doors if not door.last_words or door.there]
        for door in self.doors:
            if door.last_words:
                door.there = False

    def facts(self, fleet: ObservedFleet, ledgers: Any) -> BudgetFacts:
        assert self.spec.budget is not None
        return budget_facts(fleet, POLICY, self.spec.budget, ledgers, "")

    def fleet(self) -> ObservedFleet:
        """What the operator sees."""
        heard = {}
        pods = []
        for door in self.doors:
            if not door.there:
                continue
            pods.append(
                Pod(door.name, f"uid-{door.name}", door.address, ready=door.running, last_words=door.last_words)
            )
            if door.heard and door.running and door.address:
                report = GatewayReport(
                    replica=door.name, version="1", started=door.started, generation=1, hash="", ready=True,
                    account=door.budgets.account, budgets=door.budgets.report(),
                )  # fmt: skip
                heard[door.name] = LastReport(report, self.now)
            elif door.name in self.memory.heard:
                heard[door.name] = self.memory.heard[door.name]
        policy = ObservedPolicy(Owner(names.POLICY_KIND, POLICY, "uid"), 1, self.spec, status=self.written)
        live = {} if self.live is None else {(CONFIG_MAP.kind, names.BUDGET_CONFIGMAP): self.live}
        return ObservedFleet(
            "team", self.now, policies=(policy,), gateways=tuple(pods), heard=heard, live=live,
            last_words=self.departed,
        )  # fmt: skip

    def _apply(self, action: Apply) -> None:
        version = str(int((self.live or {"metadata": {"resourceVersion": "0"}})["metadata"]["resourceVersion"]) + 1)
        metadata = {**action.obj["metadata"], "uid": "uid-ledgers", "resourceVersion": version}
        self.live = {**action.obj, "metadata": metadata}
        self.writes += 1
        self.notes += [(self.now, note) for note in action.notes]
        for door in self.doors:
            heappush(self._arrivals, (self.now + SYNC_SECONDS, door.name))

    def _bring(self, door: Door) -> None:
        for ledger in self.ledgers():
            door.budgets.take(ledger)

    def ledgers(self) -> Iterable[LedgerEntry]:
        """Those that the API server has."""
        return [decode_ledger(text) for text in ((self.live or {}).get("data") or {}).values()]

    @property
    def ledger(self) -> LedgerEntry:
        """The policy's own."""
        return next(item for item in self.ledgers() if item.budget == POLICY)

    def change(self, **budget: Any) -> None:
        """Somebody changes the budget."""
        assert self.spec.budget is not None
        before = self.spec.budget.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        made = PolicyBudget.model_validate({**before, **budget})
        self.spec = self.spec.model_copy(update={"budget": made})
        self.next_pass = self.now

    @property
    def amount(self) -> int:
        assert self.spec.budget is not None
        return picodollars(self.spec.budget.amount)

    def told(self) -> list[str]:
        """Reasons of the Events."""
        return [note.reason.value for _, note in self.notes]
