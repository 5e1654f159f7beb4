"""What `explain POOL` tells, and that it is what decisions and Events say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli import console
from forebay.cli.running.budget_state import budget_states
from forebay.cli.running.explain import MOST_LINES, policy_of_pool, pool_as_data, show_pool
from forebay.cli.running.fleet_objects import Fleets, kube_events, policy_of, pool_of
from forebay.cli.running.status import show
from forebay.cli.running.timeline import now_in_words, timeline, why_this_size, why_this_spill
from forebay.resources.reasons import ScaleReason
from tests.cli.objects import condition, decision, event, paying, pool, step

UP, DOWN = "DemandAboveCapacity", "DemandBelowCapacity"


def story(decisions: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = pool_of(pool(scaling={"decisions": decisions}))
    told = timeline(found.status.scaling.decisions, kube_events(events))
    return [(item.time[11:19], item.word) for item in told]


def test_a_decision_and_its_event_are_one_line() -> None:
    decisions = [decision(1, 2, UP, "2027-01-15T07:10:03Z")]
    assert story(decisions, [step(1, 2, UP, "2027-01-15T07:10:04Z")]) == [("07:10:04", "ScaledUp")]


def test_a_decision_outlives_its_event() -> None:
    decisions = [decision(2, 1, DOWN, "2027-01-15T09:00:00Z"), decision(1, 2, UP, "2027-01-15T07:10:03Z")]
    events = [step(2, 1, DOWN, "2027-01-15T09:00:00Z")]
    assert story(decisions, events) == [("07:10:03", "ScaledUp"), ("09:00:00", "ScaledDown")]


def test_the_same_step_on_another_day_is_another_line() -> None:
    decisions = [decision(1, 2, UP, "2027-01-14T07:10:03Z")]
    assert len(story(decisions, [step(1, 2, UP, "2027-01-15T07:10:04Z")])) == 2


def test_steps_within_one_second_keep_their_order() -> None:
    later, first = step(2, 3, UP, "2027-01-15T07:10:04.900000Z"), step(1, 2, UP, "2027-01-15T07:10:04.100000Z")
    told = kube_events([later, first])
    assert [item.note[:15] for item in told] == ["replicas 1 -> 2", "replicas 2 -> 3"]


SIZES = st.permutations([0, 1, 2, 3]).map(lambda them: (them[0], them[1]))
STEPS = st.lists(st.tuples(SIZES, st.sampled_from([UP, DOWN])).map(lambda it: (*it[0], it[1])), max_size=10)


@given(STEPS, st.data())
def test_every_decision_and_every_event_is_told_exactly_once(steps: list[tuple[int, int, str]], data: Any) -> None:
    times = [f"2027-01-15T07:{minute:02}:00Z" for minute in range(len(steps))]
    decisions = [decision(*it, time) for it, time in zip(steps, times, strict=True)]
    kept = data.draw(st.integers(0, len(steps)))
    events = [step(*it, time) for it, time in zip(steps, times, strict=True)][kept:]
    told = story(decisions[::-1], events)
    assert [time for time, _ in told] == [time[11:19] for time in times]


def test_the_words_are_those_of_the_reasons() -> None:
    words = why_this_size(pool_of(pool()))
    assert words[0] == f"WithinCapacity: {ScaleReason.WITHIN_CAPACITY.meaning}"
    assert "capacity 7 slots a replica (Normal): the demand fills 2.0 replicas" in words


def test_a_spill_is_explained_by_the_reasons_of_its_event() -> None:
    note = "requests overflow to the cloud (AllPoolsFull 3, HighPriorityOverflow 2): 16 of 16 slots run, 4 wait"
    spilling = pool_of(pool(overflow={"state": "Active", "running": 2, "total": 5}))
    words = why_this_spill(spilling, kube_events([event("OverflowStarted", note, "2027-01-15T07:12:00Z")]))
    assert words[0] == "requests overflow now; 5 did since the gateways began"
    assert words[1] == f"07:12:00 OverflowStarted: {note}"
    assert [line.partition(":")[0] for line in words[2:]] == ["AllPoolsFull", "HighPriorityOverflow"]
    assert now_in_words(spilling).endswith("requests overflow to the cloud, 2 now")


def test_a_pool_that_never_spilled_has_no_spill_to_explain() -> None:
    assert why_this_spill(pool_of(pool()), ()) == []


def test_a_pool_that_was_not_looked_at_yet_is_explained_too() -> None:
    new = pool_of({"metadata": {"name": "new", "namespace": "team"}, "spec": {"model": {"name": "m"}}})
    assert why_this_size(new)[0].startswith("not decided yet")
    assert now_in_words(new) == "0 of 0 replicas serve, 0 of 0 slots run, 0 wait"


def test_events_of_others_are_not_told() -> None:
    foreign = {**step(1, 2, UP, "2027-01-15T07:10:04Z"), "reportingController": "kubelet"}
    assert kube_events([foreign]) == ()


def test_what_was_in_the_way_of_a_change_is_told_by_its_event_or_by_the_decision_alone() -> None:
    held = {**decision(3, 3, "AtMaximum", "2027-01-15T07:30:00Z"), "wanted": 5}
    note = "replicas stay at 3, demand asks for 5: demand 40.0, capacity 7 a replica (Normal), reason AtMaximum; raise"
    assert story([held], [event("ScaleLimited", note, "2027-01-15T07:30:01Z")]) == [("07:30:01", "ScaleLimited")]
    assert story([held], []) == [("07:30:00", "ScaleLimited")]
    awaits = decision(1, 1, "AwaitsTurn", "2027-01-15T07:30:00Z")
    assert story([awaits], []) == [("07:30:00", "ScaleHeld")]


def test_learnt_capacity_says_what_bounds_it() -> None:
    learnt = pool_of(pool(capacity={"slots": 8, "bound": "Latency"}))
    assert why_this_size(learnt)[-1].startswith("a replica has 8 slots, Latency: with more, a token would take longer")


def test_what_engines_say_they_are_is_told_as_the_operator_judges_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = "an engine does not say its version; supported are 0.11.0 to 0.32.0"
    silent = pool_of(pool(conditions=[condition("EngineUnsupported", "Unknown", "VersionUnknown", words)]))
    show_pool(console.out(), silent, ())
    assert words in capsys.readouterr().out
    assert pool_as_data(silent, ())["engines"] == words
    assert pool_as_data(pool_of(pool(conditions=[])), ())["engines"] == "", "an older operator does not look"


@pytest.mark.parametrize(
    ("word", "because", "advice"),
    [
        ("NoEngine", "no engine of the pool has answered yet", False),
        ("NoMetrics", "their metrics cannot be read", True),
        ("NoCacheSize", "do not say how large their KV cache is", True),
    ],
)
def test_an_unknown_capacity_says_why(
    word: str, because: str, advice: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = pool_of(pool(capacity={"bound": "Unknown", "unknown": word}))
    line = why_this_size(unknown)[-1]
    assert line.startswith("capacity unknown, because ")
    assert because in line
    assert ("slotsPerReplica" in line) == advice
    show(console.out(), Fleets(pools=(unknown,)), "")
    assert because in " ".join(capsys.readouterr().out.split())


def test_a_long_story_shows_its_end_and_says_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    many = kube_events([step(1, 2, UP, f"2027-01-15T07:{n // 60:02}:{n % 60:02}Z") for n in range(MOST_LINES + 5)])
    show_pool(console.out(), pool_of(pool(scaling={})), many)
    text = capsys.readouterr().out
    assert "5 earlier ones are left out" in text
    assert text.count("ScaledUp") == MOST_LINES


def test_a_pools_story_has_the_budget_of_its_policy(capsys: pytest.CaptureFixture[str]) -> None:
    named = pool()
    named["spec"]["cloudFallbackPolicyRef"] = {"name": "dear"}
    assert (policy_of_pool(pool_of(named)), policy_of_pool(pool_of(pool()))) == ("dear", "default")
    states = budget_states([policy_of(paying("dear", word="Paced"))], 1_800_000_000.0)
    show_pool(console.out(), pool_of(named), (), states)
    text = " ".join(capsys.readouterr().out.split())
    assert "what policy dear may spend $500 a month, days of UTC Paced: what is due by now is spent" in text
    assert pool_as_data(pool_of(named), (), states)["budgets"][0]["policy"] == "dear"
    assert pool_as_data(pool_of(named), ())["budgets"] == []
