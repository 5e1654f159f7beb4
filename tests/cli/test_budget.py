"""What `kubectl forebay budget` says of policies, and that it says no more than the status knows."""

import io
import re
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from forebay.cli.problem import Problem
from forebay.cli.running.advice import NEXT
from forebay.cli.running.budget import as_data, named, show
from forebay.cli.running.budget_state import budget_states, dollars
from forebay.cli.running.fleet_objects import policy_of
from forebay.resources.reasons import CONDITION_REASONS, ConditionReason, ConditionType
from tests.cli.objects import paying, policy

NOW = datetime.fromisoformat("2027-01-15T07:20:00Z").timestamp()
LATER = datetime.fromisoformat("2027-02-01T00:00:00Z").timestamp()
WORDS = [word for word in CONDITION_REASONS[ConditionType.BUDGET_AVAILABLE] if word is not ConditionReason.PENDING]


def shown(*objects: dict[str, Any], where: str = "team", now: float = NOW) -> str:
    out = io.StringIO()
    show(Console(file=out, width=200), tuple(map(policy_of, objects)), where, now)
    return out.getvalue()


def data(*objects: dict[str, Any], now: float = NOW) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = as_data(tuple(map(policy_of, objects)), now)["budgets"]
    return found


def row(text: str) -> dict[str, str]:
    """The first row of the table, by its columns."""
    head, first = (re.split(r" {2,}", line.strip()) for line in text.splitlines()[:2])
    return dict(zip(head, first, strict=True))


def test_every_figure_of_the_status_is_in_the_table() -> None:
    found = row(shown(paying(spec={"reservedForHighPercent": 10}, lost="2.25")))
    assert found["POLICY"] == "default"
    assert found["AMOUNT"] == "$500.00"
    assert found["SPENT"] == "$412.11 82 %"
    assert found["IN FLIGHT"] == "$1.50"
    assert found["LEASED"] == "$8.00"
    assert found["LOST"] == "$2.25"
    assert found["LEFT"] == "$79.89", "what is left is never rounded up"
    assert found["FOR HIGH"] == "$50.00"
    assert found["UNTIL"] == "2027-02-01 00:00 UTC"


@pytest.mark.parametrize("word", WORDS)
def test_each_state_has_its_meaning_the_operators_words_and_what_to_do(word: ConditionReason) -> None:
    text = shown(paying(word=word.value))
    assert f"{word}: {word.meaning}" in text
    assert "$412.11 of $500 are spent, until 2027-02-01T00:00:00Z" in text
    assert ("next: " in text, f"next: {NEXT.get(word)}" in text) == (word in NEXT, word in NEXT)
    (found,) = data(paying(word=word.value))
    assert found["condition"]["reason"] == word
    assert found["next"] == NEXT.get(word, "")


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ((), "namespace team has no policy: nothing of it goes to a provider"),
        ((policy(),), "policy default has no budget: nothing bounds what requests cost at its providers; set"),
        ((policy(), policy("other")), "no policy of namespace team has a budget: nothing bounds"),
    ],
)
def test_where_nothing_has_a_budget_it_says_so_in_one_sentence(objects: tuple[Any, ...], says: str) -> None:
    text = shown(*objects)
    assert text.startswith(says)
    assert text.count("\n") == 1
    assert data(*objects) == []


def test_a_spec_that_is_not_understood_is_not_taken_for_one_without_a_budget() -> None:
    strange = policy()
    strange["spec"]["providers"] = "none"
    text = shown(strange)
    assert "the spec of policy default is not understood" in text
    assert "no budget" not in text


def test_a_policy_without_one_is_left_out_beside_one_that_has_one() -> None:
    text = shown(policy("free"), paying("dear"))
    assert "dear" in text
    assert "free" not in text


def test_a_budget_that_the_operator_has_not_looked_at_has_no_figures() -> None:
    fresh = paying()
    del fresh["status"]["budget"]
    fresh["status"]["conditions"] = []
    text = shown(fresh)
    assert row(text)["STATE"] == "not known"
    assert row(text)["AMOUNT"] == "$500.00", "that is what the spec says"
    assert {row(text)[name] for name in ("SPENT", "LEASED", "LEFT", "UNTIL")} == {"-"}
    assert "the operator has not said anything of this budget yet" in text
    (found,) = data(fresh)
    assert (found["status"], found["condition"]) == (None, None)


def test_figures_of_a_period_that_has_ended_are_not_told_as_those_of_the_one_that_runs() -> None:
    text = shown(paying(word="Spent"), now=LATER)
    assert row(text)["STATE"] == "not known"
    assert {row(text)[name] for name in ("SPENT", "LEFT", "UNTIL")} == {"-"}
    assert "the status is of the period that ended at 2027-02-01 00:00 UTC, and last said Spent" in text
    assert data(paying(word="Spent"), now=LATER)[0]["status"] is None
    assert row(shown(paying(word="Spent"), now=LATER - 1))["STATE"] == "Spent"


def test_a_status_of_an_older_spec_says_so() -> None:
    older = paying(spec={"amount": "800"})
    older["metadata"]["generation"] = 2
    older["status"]["observedGeneration"] = 1
    text = shown(older)
    assert "this is about generation 1; the policy is at 2" in text
    assert "the figures are those of an amount of $500" in text
    assert row(text)["AMOUNT"] == "$500.00"


def test_a_budget_without_a_ledger_tells_the_condition_alone() -> None:
    waiting = paying(word="Held")
    del waiting["status"]["budget"]
    text = shown(waiting)
    assert row(text)["STATE"] == "Held"
    assert row(text)["SPENT"] == "-"
    assert f"next: {NEXT[ConditionReason.BUDGET_HELD]}" in text


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (
            ("19", "17", "23"),
            "it is spent on about 2027-01-19 (2027-01-17 to 2027-01-23), if days go on as the last 14",
        ),
        (("19", "17", ""), "it is spent on about 2027-01-19 (2027-01-17 to the period's end), if"),
        (("19", "19", "19"), "it is spent on about 2027-01-19, if"),
        (("", "27", ""), "it lasts until the period's end, though in one case of ten it is spent by 2027-01-27, if"),
        (("", "", ""), "it lasts until the period's end, if"),
    ],
)
def test_the_forecast_is_told_with_its_interval(days: tuple[str, ...], says: str) -> None:
    told = dict(
        zip(("likely", "earliest", "latest"), (f"2027-01-{day}" if day else "" for day in days), strict=True), days=14
    )
    text = shown(paying(forecast=told))
    assert f"forecast: {says}" in text
    assert data(paying(forecast=told))[0]["status"]["forecast"] == told
    high = shown(paying(forecast=told, spec={"reservedForHighPercent": 10}))
    assert f"forecast: {says.replace('it ', 'the part for all ', 1)}" in high


def test_nothing_is_foretold_where_nothing_can_be() -> None:
    assert "forecast: none; it takes three whole days of costs" in shown(paying())
    told = {"likely": "2027-01-19", "earliest": "2027-01-17", "latest": "", "days": 14}
    for policy_ in (paying(word="Spent"), paying(spec={"pacing": {}})):
        assert "forecast" not in shown(policy_)
    assert "forecast" not in shown(paying(forecast=told), now=LATER)


def test_the_terms_are_told_in_words() -> None:
    spec = {
        "amount": "70", "period": "Week", "timeZone": "Europe/Berlin", "reservedForHighPercent": 15,
        "pacing": {"burstPercent": 30}, "enforcement": "Advisory",
    }  # fmt: skip
    text = shown(paying(spec=spec, amount="70"))
    for words in (
        "$70 a week, days of Europe/Berlin", "$10.50 of it only for High", "paced: 30 % at any time",
        "enforcement is Advisory: nothing is refused",
    ):  # fmt: skip
        assert words in text


def test_namespaces_are_named_where_there_are_several() -> None:
    text = shown(paying(), paying(namespace="other"), where="")
    assert text.startswith("NAMESPACE")
    assert "default in other" in text


def test_one_policy_can_be_asked_for_and_another_name_is_a_problem() -> None:
    found = (policy_of(paying("a")), policy_of(paying("b")))
    assert named(found, "b", "team") == (found[1],)
    assert named(found, "", "team") == found
    with pytest.raises(Problem, match=r"c is no policy of namespace team \(policies: a, b\)"):
        named(found, "c", "team")
    with pytest.raises(Problem, match=r"c is no policy of this cluster \(policies: none\)"):
        named((), "c", "")


@pytest.mark.parametrize(
    ("amount", "up", "down"),
    [
        ("0", "$0.00", "$0.00"), ("500", "$500.00", "$500.00"), ("1.001", "$1.01", "$1.00"),
        ("0.000000000001", "$0.0001", "$0.0000"), ("0.12345", "$0.1235", "$0.1234"), ("-3.2", "-$3.20", "-$3.20"),
        ("999999.999", "$1000000.00", "$999999.99"), ("-0.5", "-$0.5000", "-$0.5000"),
    ],
)  # fmt: skip
def test_money_is_rounded_against_whoever_hopes(amount: str, up: str, down: str) -> None:
    assert dollars(amount) == up
    assert dollars(amount, down=True) == down


def test_an_amount_of_nothing_has_no_share() -> None:
    text = shown(paying(word="Spent", spec={"amount": "0"}, amount="0", spent="0", left="0"))
    assert row(text)["SPENT"] == "$0.00"


def test_a_reason_of_a_newer_operator_is_told_as_it_is() -> None:
    (state,) = budget_states([policy_of(paying(word="SomethingNew"))], NOW)
    assert state.reason == "SomethingNew"
    assert "SomethingNew: SomethingNew" in shown(paying(word="SomethingNew"))
