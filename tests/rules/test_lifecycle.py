"""One request from its arrival to its answer: a table of courses."""

import pytest
from msgspec.structs import replace

from forebay.resources.reasons import Priority, Reason
from forebay.resources.table import QueueEntry
from forebay.resources.terms import GapAction, Modality
from forebay.rules.affinity import Choice
from forebay.rules.facts import PolicyView, RequestFacts
from forebay.rules.lifecycle import MAX_FAILED, MAX_SENT, RECONSIDER_SECONDS, Lifecycle
from forebay.rules.steps import (
    AttemptOutcome,
    AttemptResult,
    Demand,
    DemandEvent,
    DemandKind,
    Dispatch,
    Done,
    LocateState,
    ProviderResult,
    Reject,
    SendToProvider,
    WaitForSlot,
)
from tests.rules.live_fleet import ACME, BRAVO, Pools

DEADLINE = 600.0
ANY = RequestFacts()
HIGH = RequestFacts(priority=Priority.HIGH)
NAMED = RequestFacts(model="chat")
ANSWERED, FAULT, PRESSED = AttemptOutcome.ANSWERED, AttemptOutcome.FAULT, AttemptOutcome.PRESSED


FULL = {"chat": {"chat-0": 0, "chat-1": 0}}
ROOM_ELSEWHERE = {"chat": {"chat-0": 0}, "sort": {"sort-0": 2}}


def course(facts: RequestFacts = ANY, **more: object) -> Lifecycle:
    return Lifecycle(facts, 7, 0.0, DEADLINE, **more)  # type: ignore[arg-type]


def ended(outcome: AttemptOutcome, replica: str = "chat-0", problem: str = "reset") -> AttemptResult:
    return AttemptResult(outcome, "chat", (replica, 0), problem)


def kinds(demand: Demand) -> list[str]:
    return [event.kind for event in demand]


def test_a_free_slot_is_taken_at_once_and_an_answer_is_demand_once() -> None:
    it, fleet = course(), Pools()
    step = it.start(fleet, 0.0)
    assert step == Dispatch("chat", "chat-0")
    done = it.attempt_ended(ended(ANSWERED), fleet, 3.0)
    assert done == Done((DemandEvent(DemandKind.ASKED, "chat"),))


def test_what_a_library_sends_once_more_is_no_new_demand() -> None:
    it, fleet = course(repeated=True), Pools()
    it.start(fleet, 0.0)
    assert it.attempt_ended(ended(ANSWERED), fleet, 3.0) == Done()


def test_a_failed_replica_is_left_out_and_another_is_tried() -> None:
    it, fleet = course(), Pools()
    it.start(fleet, 0.0)
    assert it.attempt_ended(ended(FAULT), fleet, 1.0) == Dispatch("chat", "chat-1")
    assert it.excluded == {("chat-0", 0)}


def test_a_fault_beyond_the_retry_budget_is_told_and_is_no_demand() -> None:
    it, fleet = course(), Pools(retries=0)
    it.start(fleet, 0.0)
    step = it.attempt_ended(ended(FAULT), fleet, 1.0)
    assert isinstance(step, Reject) and (step.status, step.reason, step.demand) == (503, Reason.REPLICA_FAILED, ())
    assert "pool chat failed before it answered (reset)" in step.text and step.retry_after


def test_enough_faults_give_up_on_replicas_but_not_on_providers() -> None:
    it = course(HIGH)
    fleet = Pools(slots={"chat": {f"chat-{n}": 1 for n in range(6)}})
    step = it.start(fleet, 0.0)
    for _ in range(MAX_FAILED):
        assert isinstance(step, Dispatch)
        step = it.attempt_ended(ended(FAULT, step.replica), fleet, 1.0)
    assert isinstance(step, SendToProvider) and step.reason is Reason.REPLICA_FAILED
    assert step.demand == ()  # a fault is no lack of a slot
    step = it.provider_ended(ProviderResult(taken=False, sent=True), fleet, 2.0)
    assert isinstance(step, Reject) and step.reason is Reason.REPLICA_FAILED and it.failed == MAX_SENT


@pytest.mark.parametrize("facts", [ANY, HIGH])
@pytest.mark.parametrize("replicas", [1, 2, 6])
def test_what_fails_where_others_are_served_is_tried_on_replicas_and_leaves_for_no_provider(
    facts: RequestFacts, replicas: int
) -> None:
    it, fleet = course(facts), Pools(slots={"chat": {f"chat-{n}": 1 for n in range(replicas)}})
    step, tried = it.start(fleet, 0.0), 0
    while isinstance(step, Dispatch):
        tried += 1
        step = it.attempt_ended(replace(ended(FAULT, step.replica), own_fault=tried == 1), fleet, 1.0)
    assert isinstance(step, Reject) and (step.status, step.reason) == (503, Reason.REPLICA_FAILED)
    assert tried == min(replicas, MAX_FAILED)


def test_what_is_final_is_tried_nowhere_else() -> None:
    it, fleet = course(), Pools()
    it.start(fleet, 0.0)
    step = it.attempt_ended(replace(ended(FAULT), final=True), fleet, 1.0)
    assert isinstance(step, Reject) and (step.status, step.reason) == (503, Reason.REPLICA_FAILED)


def test_when_all_that_ran_have_failed_it_no_start_of_others_is_waited_for() -> None:
    queues = {"chat": QueueEntry(cold_start_wait_seconds=60)}
    it, fleet = course(), Pools(slots={"chat": {"chat-0": 1}}, policy=None, queues=queues)
    it.start(fleet, 0.0)
    step = it.attempt_ended(ended(FAULT), fleet, 1.0)
    assert isinstance(step, Reject) and (step.status, step.reason) == (503, Reason.REPLICA_FAILED)


def test_enough_back_pressure_counts_as_a_wait_that_is_over() -> None:
    it, fleet = course(), Pools(slots={"chat": {"chat-0": 9}}, policy=None)
    step = it.start(fleet, 0.0)
    for _ in range(MAX_FAILED):
        assert isinstance(step, Dispatch)
        step = it.attempt_ended(replace(ended(PRESSED), retry_after=4.0), fleet, 1.0)
    assert isinstance(step, Reject) and step.status == 429 and it.held_off == 4.0


def test_an_engine_that_finds_it_too_long_makes_a_gap_of_it_once() -> None:
    it, fleet = course(), Pools()
    it.start(fleet, 0.0)
    step = it.attempt_ended(ended(AttemptOutcome.TOO_LONG), fleet, 1.0)
    assert isinstance(step, SendToProvider) and step.reason is Reason.CONTEXT_LENGTH_GAP and step.pool is None
    assert step.demand == ()


def test_a_refused_slot_is_no_fault_and_is_decided_anew() -> None:
    it, fleet = course(), Pools()
    it.start(fleet, 0.0)
    fleet.slots = ROOM_ELSEWHERE
    step = it.attempt_ended(ended(AttemptOutcome.REFUSED, problem="Full"), fleet, 1.0)
    assert step == Dispatch("sort", "sort-0") and it.failed == 0


def test_a_late_attempt_ends_the_request() -> None:
    it, fleet = course(), Pools()
    it.start(fleet, 0.0)
    step = it.attempt_ended(ended(AttemptOutcome.LATE), fleet, 5.0)
    assert isinstance(step, Reject) and (step.status, step.reason) == (503, Reason.DEADLINE_EXCEEDED)


def test_high_leaves_when_full_and_its_overflow_is_counted_and_comes_back() -> None:
    it, fleet = course(HIGH), Pools(slots=FULL)
    step = it.start(fleet, 0.0)
    assert isinstance(step, SendToProvider) and step.target is ACME and step.pool == "chat"
    assert kinds(step.demand) == ["Left", "Overflowed", "Wanted"]
    step = it.provider_ended(ProviderResult(taken=False, sent=True), fleet, 1.0)
    assert isinstance(step, SendToProvider) and step.target is BRAVO
    assert kinds(step.demand) == ["CameBack", "NotOverflowed", "Left", "Overflowed", "Wanted"]
    step = it.provider_ended(ProviderResult(taken=True, cost="0.5"), fleet, 2.0)
    assert isinstance(step, Done) and kinds(step.demand) == ["CameBack", "Asked"]
    assert step.demand[0].cost == "0.5"


def test_no_provider_takes_it_so_it_queues() -> None:
    it, fleet = course(HIGH), Pools(slots=FULL)
    it.start(fleet, 0.0)
    it.provider_ended(ProviderResult(taken=False), fleet, 1.0)
    step = it.provider_ended(ProviderResult(taken=False), fleet, 1.0)
    assert isinstance(step, WaitForSlot) and step.until == 31.0


def no_money(reason: Reason) -> ProviderResult:
    return ProviderResult(taken=False, no_money=reason)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Reason.BUDGET_SPENT, Reason.BUDGET_SPENT, Reason.BUDGET_SPENT),
        (Reason.BUDGET_HELD, Reason.BUDGET_SPENT, Reason.BUDGET_HELD),
        (Reason.BUDGET_SPENT, Reason.BUDGET_PACED, Reason.BUDGET_PACED),
        (Reason.BUDGET_HELD, Reason.BUDGET_PACED, Reason.BUDGET_HELD),
    ],
)
def test_without_money_it_waits_as_if_there_were_no_cloud_and_is_asked_again(
    first: Reason, second: Reason, said: Reason
) -> None:
    it, fleet = course(HIGH), Pools(slots=FULL)
    it.start(fleet, 0.0)
    it.provider_ended(no_money(first), fleet, 0.0)
    step = it.provider_ended(no_money(second), fleet, 0.0)
    assert isinstance(step, WaitForSlot)
    assert (it.facts.no_money, it.tries, it.failed) == (said, 0, 0)
    again = it.wait_over(fleet, step.reconsider_at)
    assert isinstance(again, SendToProvider) and again.target is ACME
    it.provider_ended(no_money(first), fleet, 1.0)
    it.provider_ended(no_money(second), fleet, 1.0)
    it.wait_over(fleet, 31.0)
    it.provider_ended(no_money(first), fleet, 31.0)
    end = it.provider_ended(no_money(second), fleet, 31.0)
    assert isinstance(end, Reject) and (end.status, end.reason) == (429, said)


def test_a_provider_that_failed_says_more_than_one_that_is_too_dear() -> None:
    it, fleet = course(HIGH), Pools(slots=FULL)
    it.start(fleet, 0.0)
    it.provider_ended(ProviderResult(taken=False), fleet, 0.0)
    step = it.provider_ended(no_money(Reason.BUDGET_SPENT), fleet, 0.0)
    assert isinstance(step, WaitForSlot)
    assert (it.facts.cloud_failed, it.facts.no_money) == (True, None)


def test_normal_queues_while_another_pool_has_room_and_takes_the_slot_that_comes() -> None:
    it, fleet = course(NAMED), Pools(slots=ROOM_ELSEWHERE)
    step = it.start(fleet, 2.0)
    assert step == WaitForSlot("chat", "", 32.0, 2.0 + RECONSIDER_SECONDS, 32.0, "chat-0", 10.0)
    assert it.slot_granted("chat-0", 2.5) == Dispatch("chat", "chat-0")
    assert it.waited == 0.5


def test_a_wait_is_reconsidered_and_ends_where_it_was_to_end() -> None:
    it, fleet = course(NAMED), Pools(slots=ROOM_ELSEWHERE, policy=None)
    now, step = 0.0, it.start(fleet, 0.0)
    while isinstance(step, WaitForSlot):
        assert step.until == 30.0 and now < step.reconsider_at <= now + RECONSIDER_SECONDS
        now = step.reconsider_at
        step = it.wait_over(fleet, now)
    assert now == 30.0 and isinstance(step, Reject) and (step.status, step.reason) == (429, Reason.NO_POLICY)
    assert kinds(step.demand) == ["Asked", "Expired"] and it.waited == 30.0


def test_a_wait_that_finds_all_pools_full_meanwhile_leaves() -> None:
    it, fleet = course(NAMED), Pools(slots=ROOM_ELSEWHERE)
    it.start(fleet, 0.0)
    fleet.slots = {"chat": {"chat-0": 0}, "sort": {"sort-0": 0}}
    step = it.wait_over(fleet, 1.0)
    assert isinstance(step, SendToProvider) and step.reason is Reason.ALL_POOLS_FULL and step.target is BRAVO


def test_a_full_queue_is_told_with_its_length() -> None:
    it, fleet = course(NAMED), Pools(slots=ROOM_ELSEWHERE)
    it.start(fleet, 0.0)
    step = it.queue_full(512, fleet, 0.0)
    assert isinstance(step, Reject) and step.text == "512 Normal requests wait for pool chat already"
    assert (step.status, step.reason, kinds(step.demand)) == (429, Reason.QUEUE_FULL, ["Asked", "Rejected"])


def test_a_session_waits_for_its_home_once_then_takes_any_slot() -> None:
    it, fleet = course(), Pools(homes={"chat": Choice("", "chat-9", 1.5)})
    step = it.start(fleet, 0.0)
    assert step == WaitForSlot("chat", "chat-9", 1.5, 1.5, 1.5)
    assert it.wait_over(fleet, 1.5) == Dispatch("chat", "chat-0")
    assert it.waited == 0.0  # it waited by choice


def test_a_full_queue_at_home_is_a_wait_that_is_over() -> None:
    it, fleet = course(), Pools(homes={"chat": Choice("", "chat-9", 1.5)})
    it.start(fleet, 0.0)
    assert it.queue_full(9, fleet, 0.0) == Dispatch("chat", "chat-0")


def test_a_client_that_comes_back_keeps_its_age_in_the_queue() -> None:
    it, fleet = course(NAMED), Pools(slots=ROOM_ELSEWHERE)
    it.since = -20.0
    step = it.start(fleet, 0.0)
    assert isinstance(step, WaitForSlot) and (step.until, step.deadline) == (30.0, 10.0)


def test_nobody_runs_here_so_the_pool_is_woken_while_it_waits() -> None:
    fleet = Pools(slots={"chat": {}}, queues={"chat": QueueEntry(cold_start_wait_seconds=60)})
    step = course(NAMED).start(fleet, 0.0)
    assert isinstance(step, WaitForSlot) and step.until == 60.0 and kinds(step.demand) == ["Wanted"]


def test_who_waits_at_a_gap_is_no_demand_for_slots() -> None:
    policy = PolicyView("default", gap=GapAction.QUEUE)
    it = course(RequestFacts(inputs=frozenset({Modality.IMAGE})))
    fleet = Pools(policy=policy, queues={"chat": QueueEntry(cold_start_wait_seconds=1)})
    step = it.start(fleet, 0.0)
    assert isinstance(step, WaitForSlot) and kinds(step.demand) == ["GapWait"]
    step = it.wait_over(fleet, 1.0)
    assert isinstance(step, Reject) and kinds(step.demand) == ["GapWaitOver"] and step.status == 400


def test_a_gap_found_after_a_fault_is_not_waited_at() -> None:
    fleet = Pools(policy=PolicyView("default", gap=GapAction.QUEUE))
    it = course()
    it.start(fleet, 0.0)
    assert it.attempt_ended(ended(FAULT), fleet, 1.0) == Dispatch("chat", "chat-1")
    step = it.attempt_ended(ended(AttemptOutcome.TOO_LONG, "chat-1"), fleet, 2.0)
    assert isinstance(step, Reject)
    assert (step.status, step.reason) == (400, Reason.CONTEXT_LENGTH_GAP)


def test_stored_state_is_found_or_told() -> None:
    facts = RequestFacts(stored_state=True)
    it, fleet = course(facts, previous="resp_1"), Pools()
    assert it.start(fleet, 0.0) == LocateState("resp_1")
    step = it.state_located(frozenset({("chat-0", 0)}), fleet, 0.1)
    assert step == Dispatch("chat", "chat-1")
    lost = course(facts, previous="resp_1")
    lost.start(fleet, 0.0)
    step = lost.state_located(None, fleet, 0.1)
    assert isinstance(step, Reject) and (step.status, step.reason) == (404, Reason.STATE_NOT_FOUND)


def test_a_client_that_leaves_leaves_nothing_counted_as_under_way() -> None:
    it, fleet = course(HIGH), Pools(slots=FULL)
    it.start(fleet, 0.0)
    assert kinds(it.abandoned(1.0, "0.25").demand) == ["CameBack"]
    assert it.abandoned(1.0).demand == ()


def test_slots_that_no_replica_has_end_in_the_queue_and_then_in_an_answer() -> None:
    it, fleet = course(NAMED), Pools(slots=FULL, liar=True, policy=None)
    now, step = 0.0, it.start(fleet, 0.0)
    while isinstance(step, WaitForSlot):
        now = step.reconsider_at
        step = it.wait_over(fleet, now)
    assert isinstance(step, Reject) and step.status == 429 and now == 30.0
