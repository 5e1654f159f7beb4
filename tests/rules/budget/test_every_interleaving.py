"""Two gateways, two operators, two units: whatever happens in whatever order, no more is billed than the amount."""

from dataclasses import replace

import pytest

from forebay.rules.budget.account import Account
from tests.rules.budget.world import UNITS, Rules, explore, grants_more, refunds, takes_at_once

MUTANTS = {
    "open requests do not count": replace(
        Rules(), fits=lambda account, worst: account.spent + worst <= account.granted - account.returned
    ),
    "a lost gateway is taken at its last report": replace(Rules(), close=refunds),
    "what is asked back counts before it was returned": replace(Rules(), restrict=takes_at_once),
    "a restarted gateway forgets what it spent": replace(Rules(), restart=lambda account: Account()),
    "a restarted gateway forgets what was open": replace(
        Rules(), restart=lambda account: Account(returned=account.returned, spent=account.spent)
    ),
    "writes do not compare": replace(Rules(), compares=False),
    "a grant looks at the amount alone": replace(Rules(), grant=grants_more),
}


@pytest.mark.slow
def test_no_interleaving_bills_more_than_the_amount() -> None:
    seen, wrong = explore(Rules())
    assert wrong is None
    assert seen > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_search_finds_what_is_wrong_with_a_mutant(name: str) -> None:
    _, wrong = explore(MUTANTS[name])
    assert wrong is not None
    assert wrong.billed > UNITS
