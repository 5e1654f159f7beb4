"""A budget holds whatever dies while a load would spend it several times over. The providers' bill is the judge."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from e2e.cluster import embedded
from e2e.demo.setup import SYSTEM_NAMESPACE, kubectl
from e2e.scenarios import own
from e2e.scenarios.bills import POLICY, GatewayEnd, Providers, ends_of_gateways, ledger, policy, priced, verdict
from e2e.scenarios.helpers import OPERATOR, get, until
from e2e.scenarios.own import EXTENT, NAMESPACE, Own, long_or
from e2e.scenarios.streams import flowing, never_silent, none_refused, summary
from forebay.resources import names
from forebay.resources.money_ledger import PeriodEntry, decode_words

WHOLE = Decimal(4)
AT_ONCE, TOKENS = 24, 60
WORST = Decimal("0.007")
"""US dollars: what one of these requests may cost at most, rounded up."""
SLOTS = 2
AWAY_SECONDS = long_or(20, 1800)
DEPLOYMENT = f"deployment/{names.GATEWAY}"


def gateways() -> list[str]:
    """Those that are not ending."""
    found = get("pods", NAMESPACE, "-l", f"{names.LABEL_COMPONENT}={names.COMPONENT_GATEWAY}")
    return sorted(pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"])


def two_gateways() -> None:
    until(lambda: len(gateways()) == 2 and own.ready_gateways() == 2, "two gateways", 90)


def apply(**budget: object) -> None:
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(priced(period="Month", **budget)))


def period() -> PeriodEntry | None:
    """The one that runs, unless the ledger is being built anew."""
    found = ledger()
    now = found.at(time.time()) if found is not None else None
    return now if now is not None and now.recovering is None else None


def accounts() -> dict[str, str]:
    """Accounts that hold money, by the gateway's pod."""
    found = period()
    return {item.gateway: item.id for item in found.accounts if item.held} if found is not None else {}


def leases() -> None:
    until(lambda: set(gateways()) <= set(accounts()), "a lease for each gateway", 90)


@pytest.fixture
def providers(held: Own) -> Iterator[Providers]:
    """The fleet with six slots, slow providers and a budget; each gateway has its first lease."""
    held.settle()
    own.wait_operator()
    own.patch({"capacity": {"slotsPerReplica": SLOTS}})
    made = Providers.find()
    made.slow(8)
    apply(amount=str(WHOLE))
    try:
        until(lambda: bool(policy().get("status", {}).get("budget")), "status.budget", 60)
        kubectl("rollout", "status", DEPLOYMENT, "-n", NAMESPACE, "--timeout=120s")
        two_gateways()
        leases()
        yield made
    finally:
        made.slow(1)
        kubectl("apply", "-n", NAMESPACE, "-f", str(POLICY))
        own.patch({"capacity": {"slotsPerReplica": 8}})


@dataclass
class Story:
    """What breaks, one after the other. Each step says in a line what had been billed when it was over."""

    held: Own
    providers: Providers
    ends: dict[str, GatewayEnd]
    began: float = field(default_factory=time.time)
    amount: Decimal = WHOLE
    pace: Decimal = Decimal(0)  # US dollars a second while there is money, of providers at their usual speed

    def step(self, what: Callable[[], None]) -> None:
        begun, before = time.time(), self.providers.bill()
        what()
        bill, found = self.providers.bill(), period()
        named = (what.__doc__ or what.__name__).rstrip(".")
        book = f"ledger {found.spent / 1e12:.3f} spent, {found.written_off / 1e12:.3f} lost" if found else "no ledger"
        print(f"  {time.time() - self.began:4.0f} s  {named}: {time.time() - begun:.0f} s, bill {bill:.3f} "
              f"(+{bill - before:.3f}); {book}; {[item.reason for item in own.told(begun, NAMESPACE)]}")  # fmt: skip

    def told(self, reason: str, since: float = 0.0) -> list[str]:
        return [item.note for item in own.told(max(since, self.began), NAMESPACE) if item.reason == reason]

    def kill(self) -> None:
        """A gateway's container is killed."""
        victim = gateways()[0]
        before = accounts()[victim]
        own.kill(victim, "router")
        time.sleep(4)
        two_gateways()
        assert accounts()[victim] == before, "its journal is read, and its account goes on"
        assert not decode_words(self.ends[victim].message), "killed, it has had no last word"

    def drain(self) -> None:
        """A gateway's pod is deleted."""
        self._ends_in_order(lambda: kubectl("delete", "pod", gateways()[1], "-n", NAMESPACE, "--wait=false"))

    def roll(self) -> None:
        """Both gateways are rolled."""
        self._ends_in_order(lambda: kubectl("rollout", "restart", DEPLOYMENT, "-n", NAMESPACE))

    def _ends_in_order(self, how: Callable[[], object]) -> None:
        before, since = accounts(), time.time()
        how()
        until(lambda: len(set(before) - set(gateways())) > 0, "one less", 60)
        kubectl("rollout", "status", DEPLOYMENT, "-n", NAMESPACE, "--timeout=120s")
        two_gateways()
        gone = set(before) - set(gateways())
        until(lambda: not gone & set(accounts()), "accounts closed", 60)
        for name in gone:
            end = self.ends[name]
            until(lambda: end.gone > 0, "its end", 30)  # noqa: B023
            said = decode_words(end.message)
            spoke = f"{len(end.message)} bytes of last words, {end.gone - end.said:.2f} s before it was gone"
            print(f"        {name}: {spoke}")
            assert said and all(item.closed and not item.reserved for item in said)
        assert not self.told("LeaseLost", since), "what it had was given back"

    def lose(self) -> None:
        """A gateway's pod is deleted by force."""
        since = time.time()
        victim = gateways()[0]
        kubectl("delete", "pod", victim, "-n", NAMESPACE, "--grace-period=0", "--force")
        until(lambda: victim not in accounts(), "its account closed", 30)
        until(lambda: bool(self.told("LeaseLost", since)), "LeaseLost", 30)
        two_gateways()
        leases()

    def forget(self) -> None:
        """The ledger is deleted."""
        kubectl("delete", "configmap", names.BUDGET_CONFIGMAP, "-n", NAMESPACE)
        until(lambda: period() is not None, "a ledger", 60)

    def operator_away(self) -> None:
        """The operator is away."""
        kubectl("scale", "deployment", "forebay-operator", "-n", SYSTEM_NAMESPACE, "--replicas=0")
        until(lambda: not get("pods", SYSTEM_NAMESPACE, "-l", OPERATOR), "no operator", 60)
        time.sleep(AWAY_SECONDS)
        kubectl("scale", "deployment", "forebay-operator", "-n", SYSTEM_NAMESPACE, "--replicas=1")
        own.wait_operator()

    def api_server_away(self) -> None:
        """The API server is away."""
        embedded.stop_apiserver()
        try:
            time.sleep(30)
        finally:
            embedded.start_apiserver()
        own.wait_operator()
        own.calm()

    def halve(self) -> None:
        """The amount is halved, and spent."""
        assert not self.told("BudgetSpent"), "there was money all the while"
        committed = Decimal(policy()["status"]["budget"]["committed"])
        self.amount = max(WHOLE / 2, round(committed + WHOLE / 10, 2))  # a slow machine comes too late for the half
        apply(amount=str(self.amount))
        self.providers.slow(1)
        before, since = self.providers.bill(), time.monotonic()
        until(lambda: bool(self.told("BudgetSpent")), "BudgetSpent", 120)
        self.pace = (self.providers.bill() - before) / Decimal(time.monotonic() - since)
        found = period()
        assert found is not None
        left = self.amount - self.providers.bill() - Decimal(found.written_off) / 10**12
        print(f"        told as spent with {left:.3f} neither billed nor lost")
        assert left < AT_ONCE * WORST, "told as spent while there was money"

    def move(self) -> None:
        """Another time zone begins another period."""
        before = period()
        apply(amount=str(self.amount), timeZone="Pacific/Kiritimati")
        until(lambda: (found := period()) is not None and before is not None and found.start != before.start, "it", 60)
        time.sleep(5)


def test_the_providers_bill_is_within_the_amount(held: Own, providers: Providers) -> None:
    with ends_of_gateways(held) as ends:
        story = Story(held, providers, ends)
        flow = flowing(held.door, AT_ONCE, TOKENS, priority="High", key=held.interactive)
        with flow as streams:
            time.sleep(5)
            for what in (story.kill, story.roll, story.lose, story.forget, story.operator_away):
                story.step(what)
            if EXTENT != "quick":
                story.step(story.api_server_away)
            story.step(story.halve)
            if EXTENT != "quick":
                story.step(story.drain)
            for what in (story.forget, story.move):
                story.step(what)
    seconds, bill = time.time() - story.began, providers.bill()
    budget = policy()["status"]["budget"]
    amount = story.amount
    unused = 100 * (amount - bill) / amount
    print(
        f"\n{seconds:.0f} s of a load that would cost {story.pace * int(seconds):.2f}: bill {bill:.4f} of "
        f"{amount}, unused {unused:.1f} %\nstatus.budget: {budget}\nBudgetAvailable: {verdict()}\n"
        f"{summary(streams.answers)}"
    )
    for item in own.told(story.began, NAMESPACE):
        if item.reason.startswith(("Budget", "Lease")):
            print(f"  {item.at - story.began:4.0f} s  {item.reason}: {item.note}")
    assert bill <= amount * Decimal("1.01")
    assert bill >= amount * Decimal("0.8"), "what is left is what died with gateways"
    never_silent(streams.answers)
    none_refused(streams.answers)
    assert {answer.destination for answer in streams.answers} > {own.POOL}
