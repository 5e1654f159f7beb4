"""Budgets in simulated time: an operator's passes, gateways' accounts, and the provider's bill as the judge."""

from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from forebay.controller.observe.memory import FleetMemory
from forebay.resources.reasons import ConditionReason, Priority, Reason
from forebay.rules.budget.picodollars import picodollars
from testing.budget_town import NOON, Door, Town, policy_of

CENT = picodollars("0.01")
WORST, COST = 2 * CENT, CENT
MONDAY = datetime.fromtimestamp(NOON, UTC)


def town(tmp_path: Path, doors: int = 3, amount: str = "10", **budget: object) -> Town:
    made = Town(policy_of(amount=amount, **{"period": "Day", **budget}), tmp_path)
    made.add(doors)
    made.run(6)
    return made


def drive(made: Town, seconds: float, per_second: float, seed: int = 1, priority: Priority = Priority.NORMAL) -> int:
    """Requests come to all gateways that run; those that find no money come again each second, ten times."""
    rng, served, waiting = Random(seed), 0, []
    end, due = made.now + seconds, made.now
    while made.now < end:
        made.run(0.2)
        while due < made.now:
            due += rng.expovariate(per_second)
            waiting.append((made.now, 0, rng.random()))
        again = []
        for at, tries, which in waiting:
            if at > made.now:
                again.append((at, tries, which))
                continue
            doors = [door for door in made.doors if door.running]
            if not doors:
                continue
            if made.serve(doors[int(which * len(doors))], WORST, COST, priority):
                served += 1
            elif tries < 10:
                again.append((made.now + 1, tries + 1, which))
        waiting = again
    return served


def spend_all(made: Town, door: Door, most: int = 10_000) -> int:
    """Requests, one after the other, as long as a gateway holds money by itself."""
    return next((number for number in range(most) if not made.serve(door, WORST, COST)), most)


def test_gateways_get_a_first_lease_before_anybody_asks(tmp_path: Path) -> None:
    made = town(tmp_path)
    assert made.ledger.at(made.now) is not None
    assert all(made.serve(door, WORST, COST) for door in made.doors)


def test_a_gateway_that_does_not_start_or_is_not_reached_keeps_nobody_else_from_a_new_budget(tmp_path: Path) -> None:
    made = Town(policy_of(amount="10", period="Day"), tmp_path)
    made.add(3)
    made.doors[0].heard = False
    made.doors[1].address = ""
    made.run(6)
    assert made.serve(made.doors[2], WORST, COST)
    assert not made.serve(made.doors[0], WORST, COST)


def test_a_budget_is_spent_to_its_end_and_no_further(tmp_path: Path) -> None:
    made = town(tmp_path, amount="5")
    drive(made, 200, 5)
    assert made.billed <= made.amount
    assert made.amount - made.billed <= 3 * WORST
    assert made.verdict is not None
    assert made.verdict.reason is ConditionReason.BUDGET_SPENT
    assert made.told() == ["BudgetThreshold", "BudgetThreshold", "BudgetThreshold", "BudgetSpent"] or made.told() == [
        "BudgetThreshold", "BudgetThreshold", "BudgetSpent",
    ]  # fmt: skip
    assert made.refused.get(Reason.BUDGET_SPENT, 0) > 0


def test_nothing_is_called_spent_while_there_is_money(tmp_path: Path) -> None:
    made = town(tmp_path, amount="100")
    drive(made, 120, 20)
    assert Reason.BUDGET_SPENT not in made.refused
    assert made.verdict is not None
    assert made.verdict.reason is ConditionReason.WITHIN_BUDGET


def test_ledgers_are_written_at_most_once_a_second_and_seldom(tmp_path: Path) -> None:
    made = town(tmp_path, amount="200")
    before = made.writes
    drive(made, 600, 10)
    assert made.writes - before < 120
    quiet = made.writes
    made.run(300)
    assert made.writes - quiet <= 3


def test_a_killed_container_goes_on_and_loses_no_more_than_what_was_open(tmp_path: Path) -> None:
    made = town(tmp_path, amount="5")
    for _ in range(5):
        drive(made, 5, 5)
        made.send(made.doors[0], WORST, COST)
        made.kill(made.doors[0])
    drive(made, 200, 5)
    period = made.ledger.at(made.now)
    assert period is not None
    assert made.billed <= made.amount
    assert period.written_off == 0
    assert made.amount - made.billed <= 3 * WORST + 5 * (WORST - COST)


def test_a_lost_gateways_lease_counts_as_spent_whether_it_lives_on_or_not(tmp_path: Path) -> None:
    made = town(tmp_path, amount="20")
    drive(made, 20, 5)
    ghost = made.doors[0]
    made.lose(ghost, lives_on=True)
    made.run(10)
    assert "LeaseLost" in made.told()
    spend_all(made, ghost)
    made.add()
    drive(made, 600, 10)
    period = made.ledger.at(made.now)
    assert period is not None
    assert 0 < period.written_off <= made.amount // 40
    assert made.billed <= made.amount


@pytest.mark.parametrize("seen", [True, False])
def test_a_gateway_that_ends_in_order_gives_its_lease_back(tmp_path: Path, seen: bool) -> None:
    made = town(tmp_path, amount="20")
    drive(made, 20, 5)
    made.drain(made.doors[0], seen=seen)
    made.add()
    made.run(20)
    period = made.ledger.at(made.now)
    assert period is not None
    assert period.written_off == 0
    assert len(period.accounts) == 3
    drive(made, 400, 10)
    assert made.amount - 4 * WORST <= made.billed <= made.amount


def test_words_of_long_ago_do_not_count_in_a_ledger_that_is_built_anew(tmp_path: Path) -> None:
    made = town(tmp_path, amount="20")
    drive(made, 20, 5)
    made.drain(made.doors[0], seen=False)
    made.add()
    made.run(20)
    made.live, made.written = None, type(made.written)()
    made.run(20)
    period = made.ledger.at(made.now)
    assert period is not None
    assert (period.recovering, period.closed_spent) == (None, 0)


def test_what_was_closed_counts_in_a_ledger_that_is_built_anew_whatever_was_granted_since(tmp_path: Path) -> None:
    """A status is a few seconds old: what gateways were granted meanwhile must not stand for what others spent."""
    made = town(tmp_path, amount="20")
    drive(made, 60, 5)
    closed = 0
    for door in (made.doors[0], made.doors[1]):
        made.lose(door)
        made.add()
        made.run(6)
    made.drain(made.doors[2])
    made.run(6)
    closed = (period := made.ledger.at(made.now)) is not None and period.closed
    drive(made, 8, 20)  # grants, and no status
    made.live = None
    made.run(20)
    period = made.ledger.at(made.now)
    assert period is not None
    assert period.recovering is None
    assert period.closed >= closed > 0
    drive(made, 300, 20)
    assert made.billed <= made.amount


def test_without_an_operator_gateways_go_on_with_what_they_hold_and_then_hold(tmp_path: Path) -> None:
    made = town(tmp_path, amount="50")
    drive(made, 60, 2)
    made.operator = False
    served = drive(made, 1800, 0.02, seed=2)
    assert served > 20
    for door in made.doors:
        spend_all(made, door)
    made.refused.clear()
    assert not made.serve(made.doors[0], WORST, COST)
    assert made.refused == {Reason.BUDGET_HELD: 1}
    made.operator = True
    made.run(5)
    assert made.serve(made.doors[0], WORST, COST)


def test_a_restarted_operator_goes_on(tmp_path: Path) -> None:
    made = town(tmp_path, amount="5")
    for seed in range(10):
        drive(made, 20, 3, seed)
        made.memory = type(made.memory)()
    drive(made, 100, 5)
    period = made.ledger.at(made.now)
    assert period is not None
    assert period.written_off == 0
    assert made.amount - 4 * WORST <= made.billed <= made.amount


def test_a_ledger_deleted_by_hand_is_built_anew(tmp_path: Path) -> None:
    made = town(tmp_path, amount="10")
    drive(made, 60, 4)
    lost = made.doors[0]
    made.live = None
    made.lose(lost, lives_on=True)
    made.doors[1].heard = False
    made.run(30)
    held = made.ledger.at(made.now)
    assert held is not None
    assert held.recovering is not None  # until every gateway was heard
    assert made.verdict is not None
    assert made.verdict.reason is ConditionReason.BUDGET_HELD
    made.doors[1].heard = True
    spend_all(made, lost)
    drive(made, 300, 10)
    assert made.billed <= made.amount
    assert made.billed >= made.amount * 0.9


def test_a_ledger_deleted_right_after_it_was_written_leaves_the_status_as_it_was(tmp_path: Path) -> None:
    """Nothing is written for a second then, and the status is what it will be built anew from."""
    made = town(tmp_path, amount="10")
    drive(made, 30, 4)
    made.memory = FleetMemory(budget_written=made.now)
    before, made.live = made.written.budget, None
    made.look()
    assert made.live is None
    assert before is not None
    assert made.written.budget == before


def test_an_old_ledger_that_somebody_puts_back_is_no_ledger(tmp_path: Path) -> None:
    made = town(tmp_path, amount="6")
    drive(made, 20, 4)
    old = made.live
    drive(made, 60, 4)
    made.lose(made.doors[0])
    made.run(10)
    assert old is not None
    assert made.live is not None
    made.live = {**made.live, "data": old["data"]}
    drive(made, 200, 6)
    assert made.amount * 0.9 <= made.billed <= made.amount


def test_a_raised_amount_is_granted_and_a_lowered_one_holds(tmp_path: Path) -> None:
    made = town(tmp_path, amount="4")
    drive(made, 200, 5)
    made.change(amount="6")
    drive(made, 200, 5)
    assert picodollars("5.9") <= made.billed <= picodollars("6")
    made.change(amount="3")
    made.refused.clear()
    drive(made, 20, 5)
    assert made.billed <= picodollars("6")
    assert set(made.refused) == {Reason.BUDGET_SPENT}


def test_a_lowered_amount_takes_back_what_gateways_hold(tmp_path: Path) -> None:
    made = town(tmp_path, amount="100")
    drive(made, 30, 5)
    before = made.billed
    made.change(amount="2")
    drive(made, 100, 5)
    assert made.billed <= max(before + 3 * 8 * WORST, made.amount)


def test_midnight_needs_no_operator(tmp_path: Path) -> None:
    made = town(tmp_path, amount="50")
    made.now = MONDAY.replace(hour=23, minute=58).timestamp()
    drive(made, 60, 3)
    made.operator = False
    made.now = MONDAY.replace(hour=23, minute=59, second=59).timestamp()
    made.run(2)
    assert all(made.serve(door, WORST, COST) for door in made.doors)
    made.operator = True
    made.run(10)
    assert "BudgetRenewed" in made.told()
    yesterday, today, tomorrow = made.ledger.periods
    assert yesterday.end == today.start
    assert today.end == tomorrow.start
    assert tomorrow.spent == 0
    assert sum(period.spent for period in made.ledger.periods) <= made.billed


def test_each_periods_sum_holds_when_clocks_disagree(tmp_path: Path) -> None:
    made = town(tmp_path, amount="3")
    made.skew = {"gateway-0": 300.0, "gateway-1": -300.0}
    made.now = MONDAY.replace(hour=23, minute=50).timestamp()
    drive(made, 1200, 3)
    made.run(4000)
    spent = [period.spent for period in made.ledger.periods]
    assert all(amount <= made.amount for amount in spent)
    assert made.billed <= 2 * made.amount


def test_a_budget_of_another_period_counts_what_its_own_time_has_cost(tmp_path: Path) -> None:
    made = town(tmp_path, amount="10", period="Month")
    drive(made, 100, 4)
    spent = made.billed
    made.change(period="Day")
    drive(made, 400, 10)
    assert spent > 0
    assert made.billed <= made.amount
    assert made.billed >= made.amount * 0.85


def test_a_budget_put_on_a_month_that_was_dear_is_not_over_at_once(tmp_path: Path) -> None:
    made = town(tmp_path, amount="10", period="Month")
    drive(made, 200, 6)
    assert made.billed > picodollars("9")
    made.now += 2 * 86_400
    made.change(period="Day", amount="5")
    assert drive(made, 20, 2) > 20


def test_pacing_lets_no_more_through_than_is_due(tmp_path: Path) -> None:
    made = Town(policy_of(amount="24", period="Day", pacing={"burstPercent": 0}), tmp_path)
    made.now = MONDAY.replace(hour=1).timestamp()
    made.add(2)
    drive(made, 120, 5)
    assert made.billed <= picodollars("1.05")
    assert made.billed >= picodollars("0.9")
    assert made.refused.get(Reason.BUDGET_PACED, 0) > 0
    assert made.verdict is not None
    assert made.verdict.reason is ConditionReason.BUDGET_PACED
    made.now = MONDAY.replace(hour=3).timestamp()
    drive(made, 120, 5)
    assert picodollars("2.8") <= made.billed <= picodollars("3.1")


def test_high_has_what_is_reserved_for_it(tmp_path: Path) -> None:
    made = town(tmp_path, amount="4", reservedForHighPercent=25)
    drive(made, 200, 5)
    assert picodollars("2.9") <= made.billed <= picodollars("3")
    drive(made, 200, 5, priority=Priority.HIGH)
    assert picodollars("3.8") <= made.billed <= picodollars("4")
    assert made.told().count("BudgetSpent") == 1


def test_status_says_where_the_money_is(tmp_path: Path) -> None:
    made = town(tmp_path, amount="10")
    drive(made, 30, 4)
    made.send(made.doors[0], WORST, COST)
    made.look()
    status = made.status.budget
    assert status is not None
    amounts = [picodollars(text) for text in (status.spent, status.leased, status.lost, status.left)]
    assert sum(amounts) == made.amount
    assert picodollars(status.spent) == made.billed
    assert picodollars(status.in_flight) == WORST
    assert (status.period_start, status.period_end) == ("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z")


@pytest.mark.parametrize("seed", [*range(8), 100, 112, 120])
def test_whatever_breaks_the_bill_stays_below_the_amount(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    made = town(tmp_path, doors=4, amount="6")
    for turn in range(30):
        drive(made, 5, 6, seed * 100 + turn)
        door, what = rng.choice(made.doors), rng.randrange(8)
        if what == 0 and door.running and door.there:
            made.send(door, WORST, COST)
            made.kill(door)
        elif what == 1:
            made.lose(door, lives_on=rng.random() < 0.5)
            made.add()
        elif what == 2 and door.running and door.there:
            made.drain(door)
            made.add()
        elif what == 3:
            made.operator = not made.operator
        elif what == 4:
            door.heard = not door.heard
        elif what == 5:
            made.memory = type(made.memory)()
        elif what == 6 and made.operator and rng.random() < 0.3:
            made.look()
            made.live, made.written = None, made.status
    made.operator = True
    for door in made.doors:
        door.heard = True
    drive(made, 120, 6, seed)
    assert made.billed <= made.amount


def test_the_ledgers_days_foretell_when_the_budget_is_spent(tmp_path: Path) -> None:
    """A dollar a day of ten, from Monday, 30 November on: on Friday three whole days are known, in a new month."""
    made = town(tmp_path, doors=1, amount="10", period="Month")
    (door,) = made.doors
    seen = {}
    for _ in range(44):
        made.run(8640, step=1728)
        assert made.serve(door, WORST, 10 * CENT)
        assert made.status.budget is not None
        seen[datetime.fromtimestamp(made.now, UTC).strftime("%a")] = made.status.budget.forecast
    told = seen.pop("Fri")
    assert set(seen.values()) == {None}
    assert told is not None
    assert (told.days, told.likely in ("2026-12-10", "2026-12-11")) == (3, True)
