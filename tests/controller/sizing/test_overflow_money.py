"""From a policy's budget to replicas: over plan() in simulated time, and an edge that does not flap."""

from datetime import UTC
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP
from forebay.controller.manifests.fleet import budget_configmap
from forebay.controller.observe.memory import Latch
from forebay.controller.observe.observe import ObservedPolicy
from forebay.controller.sizing.overflow_money import unpaid
from forebay.resources import names
from forebay.resources.money_ledger import LedgerEntry, PeriodEntry, encode_ledger
from forebay.resources.policy_budget import PolicyBudget
from forebay.rules.budget.outlook import HELD_SECONDS, PAID_AFTER_SECONDS
from forebay.rules.budget.periods import period_bounds
from forebay.rules.budget.picodollars import DOLLAR
from forebay.rules.budget.renewal import DAY
from testing.budget_town import policy_of
from tests.controller.fleets import NOW, policy, spec
from tests.controller.world import Team, World, team, told

BUDGET = PolicyBudget(amount="300")
START, END = period_bounds(BUDGET.period, UTC, NOW)


def ledger(spent: float, amount: float = 300, days: tuple[tuple[int, int], ...] = (), **more: object) -> LedgerEntry:
    """Of the month that runs: so many dollars are spent by a gateway that has ended."""
    fields = {"start": START, "end": END, "amount": int(amount * DOLLAR), "closed_spent": int(spent * DOLLAR), **more}
    return LedgerEntry(budget="default", version=1, periods=(PeriodEntry(**fields),), days=days)  # type: ignore[arg-type]


def paid_by(**budget: object) -> tuple[ObservedPolicy, ...]:
    return (policy(spec=policy_of(**{"amount": "300", **budget})),)


def grown(policies: tuple[ObservedPolicy, ...], spent: float | None) -> Team:
    """A pool of two replicas of ten slots that 16 requests want at a time, after two quiet minutes."""
    one = team("a", {"chat": spec(replicas=2)}, {"chat": lambda seconds: 16.0 if seconds > 120 else 5.0}, policies)
    if spent is not None:
        owners = [item.owner for item in (*one.pools, *policies)]
        made = budget_configmap("a", owners, {"default.json": encode_ledger(ledger(spent))})
        made["metadata"] |= {"uid": "uid-ledgers", "resourceVersion": "7"}
        one.live[CONFIG_MAP.kind, names.BUDGET_CONFIGMAP] = made
    World([one], period=15).run(600)
    return one


def size(one: Team) -> int:
    return one.sizes["chat"][-1][1]


@pytest.mark.parametrize(
    ("policies", "spent", "replicas"),
    [
        pytest.param((policy(),), None, 2, id="no budget"),
        pytest.param(paid_by(), 1.0, 2, id="a budget that lasts"),
        pytest.param(paid_by(), None, 2, id="a budget that begins"),
        pytest.param(paid_by(), 300.0, 3, id="a budget that is spent"),
        pytest.param(paid_by(), 295.0, 3, id="a budget that will be spent long before its end"),
        pytest.param(paid_by(enforcement="Advisory"), 300.0, 2, id="one that only counts"),
        pytest.param(paid_by(amount="0"), None, 3, id="one of nothing"),
        pytest.param(paid_by(amount="900000"), 300.0, 2, id="one without end"),
        pytest.param(paid_by(timeZone="No/Where"), None, 3, id="one in a zone that nobody knows"),
        pytest.param((), None, 3, id="no policy"),
    ],
)
def test_a_pool_grows_as_a_local_only_one_where_its_budget_does_not_last(
    policies: tuple[ObservedPolicy, ...], spent: float | None, replicas: int
) -> None:
    one = grown(policies, spent)
    assert size(one) == replicas
    words = [text for _, text in told(one, "ScaledUp")]
    unpaid_words = "sized as local-only: the budget does not pay for what would leave"
    assert any(unpaid_words in text for text in words) is (replicas == 3 and bool(policies))


@pytest.mark.slow
def test_a_raised_amount_gives_the_replica_back_after_the_quiet_window() -> None:
    one = grown(paid_by(), 300.0)
    one.demand = {"chat": lambda _: 13.0}  # two replicas at 70 %, three at 60 %
    one.policies = paid_by(amount="900000")
    world = World([one], now=NOW + 600, period=30)
    world.run(1700)
    assert size(one) == 3
    world.run(2 * 1800)
    assert size(one) == 2


looks = st.lists(st.tuples(st.floats(0, 310), st.sampled_from([5.0, 60.0, 900.0])), max_size=80)


@given(looks)
def test_it_does_not_flap_whatever_is_spent(found: list[tuple[float, float]]) -> None:
    """A budget that pays again is believed after half an hour, so at most two edges fall into one."""
    latch, now, edges = Latch(), NOW, []
    for spent, seconds in found:
        now += seconds
        after = unpaid(latch, BUDGET, ledger(spent), now)
        edges += [(now, after.on)] if after.on is not latch.on else []
        latch = after
    assert all(at - before >= PAID_AFTER_SECONDS for (before, _), (at, on) in pairwise(edges) if not on)


def test_a_ledger_that_is_missing_for_a_moment_is_nothing() -> None:
    latch = unpaid(Latch(), BUDGET, None, NOW)
    assert not unpaid(latch, BUDGET, None, NOW + HELD_SECONDS - 1).on
    assert unpaid(latch, BUDGET, None, NOW + HELD_SECONDS).on
    assert not unpaid(unpaid(latch, BUDGET, ledger(0), NOW + 10), BUDGET, None, NOW + HELD_SECONDS).on


def test_a_budget_that_is_taken_away_is_no_reason_any_more() -> None:
    latch = unpaid(Latch(), BUDGET, ledger(300), NOW)
    assert latch.on
    assert not unpaid(latch, None, ledger(300), NOW + 5).on


@pytest.mark.parametrize(
    ("wish", "grown_share", "turns", "hours"),
    [
        pytest.param(0.9, 0.2, 0, (0, 0), id="it lasts: the pool never grows for its sake"),
        pytest.param(1.3, 0.2, 20, (150, 300), id="a little short"),
        pytest.param(2.0, 0.2, 30, (400, 550), id="half of what would be spent"),
        pytest.param(5.0, 0.2, 1, (700, 745), id="a fifth of it: sized without the cloud from the first day on"),
    ],
)
def test_over_a_month_the_money_lasts_to_the_end_and_the_edge_is_crossed_less_than_once_a_day(
    wish: float, grown_share: float, turns: int, hours: tuple[int, int]
) -> None:
    """What leaves costs `wish` times the amount in a month, and `grown_share` of that where the pool has grown."""
    latch, spent, known, edges, local, each = Latch(), 0.0, dict[int, int](), 0, 0, 3600
    for at in range(START, END, each):
        after = unpaid(latch, BUDGET, ledger(spent, days=tuple(known.items())), float(at))
        edges, latch, local = edges + (after.on is not latch.on), after, local + after.on
        cost = min(300.0 - spent, wish * 300.0 * each / (END - START) * (grown_share if latch.on else 1.0))
        spent += cost
        known[at // DAY] = known.get(at // DAY, 0) + int(cost * DOLLAR)
        assert spent < 300.0 or at > END - 3 * DAY
    assert edges <= turns
    assert hours[0] <= local <= hours[1]
    assert spent >= 0.89 * 300.0
