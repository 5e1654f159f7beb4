"""One request from its arrival to its answer: a table of courses, and what holds for every course."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forebay.resources.reasons import Capability, Priority, Reason
from forebay.resources.table import ModelEntry, QueueEntry
from forebay.resources.terms import CloudUse, GapAction, Modality, OverflowTo, Permission, Tier
from forebay.rules.affinity import NOBODY, Choice
from forebay.rules.facts import CloudTarget, FleetView, PolicyView, PoolView, RequestFacts
from forebay.rules.lifecycle import LACK_OF_A_SLOT, MAX_FAILED, MAX_SENT, MAX_TRIES, RECONSIDER_SECONDS, Lifecycle
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
    Step,
    WaitForSlot,
)

ACME = CloudTarget("default", "acme", ModelEntry(name="large", context_tokens=100_000))
BRAVO = CloudTarget("default", "bravo", ModelEntry(name="small", context_tokens=32_000))
POLICY = PolicyView("default", {Tier.PRIMARY: (ACME, BRAVO), Tier.SECONDARY: (BRAVO, ACME)})
DEADLINE = 600.0
ANY = RequestFacts()
HIGH = RequestFacts(priority=Priority.HIGH)
NAMED = RequestFacts(model="chat")
ANSWERED, FAULT, PRESSED = AttemptOutcome.ANSWERED, AttemptOutcome.FAULT, AttemptOutcome.PRESSED


@dataclass
class Pools:
    """A fleet of pools with named replicas: `slots` by replica. Implements rules.steps.LiveFleet."""

    slots: dict[str, dict[str, int]] = field(default_factory=lambda: {"chat": {"chat-0": 1, "chat-1": 1}})
    policy: PolicyView | None = POLICY
    queues: dict[str, QueueEntry] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    retries: int = 100
    homes: dict[str, Choice] = field(default_factory=dict)
    starting: int = 0
    liar: bool = False  # the view has slots that no replica has

    def view(self, course: Lifecycle, now: float) -> FleetView:
        views = []
        for name, slots in self.slots.items():
            left = {replica: free for replica, free in slots.items() if (replica, 0) not in course.excluded}
            free = 9 if self.liar else sum(left.values())
            views.append(
                PoolView(name, (name, "served"), frozenset(Capability), serving=len(left), free=free, free_high=free,
                         starting=self.starting, queued=self.queued(name), substitute=Permission.ALLOWED)
            )  # fmt: skip
        return FleetView(tuple(views), {"default": self.policy} if self.policy else {})

    def choose(self, pool: str, course: Lifecycle, now: float) -> Choice:
        if pool in self.homes and not course.home_waited:
            return self.homes[pool]
        able = [name for name, free in self.slots.get(pool, {}).items() if free and (name, 0) not in course.excluded]
        return Choice(able[0]) if able else NOBODY

    def queue(self, pool: str) -> QueueEntry | None:
        return self.queues.get(pool, QueueEntry()) if pool in self.slots else None

    def queued(self, pool: str) -> int:
        return self.waiting.get(pool, 0)

    def home(self, pool: str, session: int, now: float) -> str:
        return next(iter(self.slots[pool]), "")

    def may_retry(self, pool: str, now: float) -> bool:
        self.retries -= 1
        return self.retries >= 0


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
    assert not step.final and step.demand == ()


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


# What holds for every course.

FACTS = st.builds(
    RequestFacts,
    model=st.sampled_from(["auto", "chat", "served", "unknown"]),
    priority=st.sampled_from(Priority),
    inputs=st.sampled_from([frozenset({Modality.TEXT}), frozenset({Modality.IMAGE})]),
    cloud=st.sampled_from(CloudUse),
    stored_state=st.booleans(),
)
POLICIES = st.none() | st.builds(
    PolicyView,
    st.just("default"),
    targets=st.fixed_dictionaries(dict.fromkeys(Tier, st.sampled_from([(), (ACME,), (ACME, BRAVO, ACME, BRAVO)]))),
    gap=st.sampled_from(GapAction),
    low=st.sampled_from(OverflowTo),
)
TERMINAL = (Reject, Done)


@st.composite
def fleets(draw: st.DrawFn) -> Pools:
    names = draw(st.sampled_from([("chat",), ("chat", "sort")]))
    slots = {n: {f"{n}-{i}": draw(st.integers(0, 1)) for i in range(draw(st.integers(0, 3)))} for n in names}
    entry = QueueEntry(max_wait_seconds=draw(st.integers(0, 5)), cold_start_wait_seconds=draw(st.integers(0, 5)))
    homes = {n: Choice("", f"{n}-0", 1.0) for n in names if slots[n] and draw(st.booleans())}
    return Pools(
        slots, draw(POLICIES), dict.fromkeys(names, entry), retries=draw(st.integers(0, 5)), homes=homes,
        liar=draw(st.booleans()),
    )  # fmt: skip


@dataclass
class Walk:
    """One course to its end, with a world that does what it likes."""

    data: st.DataObject
    it: Lifecycle
    fleet: Pools
    now: float = 0.0
    steps: list[Step] = field(default_factory=list)
    demand: list[DemandEvent] = field(default_factory=list)
    failed: int = 0

    def to_its_end(self) -> None:
        self.take(self.it.start(self.fleet, self.now))
        while not isinstance(self.steps[-1], TERMINAL):
            assert len(self.steps) < 1000
            self.now += self.data.draw(st.sampled_from([0.0, 0.0, 0.3, 2.0]))
            for slots in self.fleet.slots.values():
                for replica in slots:
                    slots[replica] = self.data.draw(st.integers(0, 1))
            self.take(self.after(self.steps[-1]))

    def take(self, step: Step) -> None:
        assert not isinstance(step, Dispatch | SendToProvider | WaitForSlot) or self.now < self.it.deadline
        self.steps.append(step)
        self.demand += step.demand

    def after(self, step: Step) -> Step:
        draw, it, fleet = self.data.draw, self.it, self.fleet
        match step:
            case Dispatch(pool, replica):
                outcome = draw(st.sampled_from(AttemptOutcome))
                self.failed += outcome in (FAULT, PRESSED)
                return it.attempt_ended(AttemptResult(outcome, pool, (replica, 0)), fleet, self.now)
            case SendToProvider():
                result = ProviderResult(draw(st.booleans()), draw(st.booleans()), "0.1")
                self.failed += not result.taken and result.sent
                return it.provider_ended(result, fleet, self.now)
            case WaitForSlot():
                return self.after_a_wait(step)
            case LocateState():
                others = draw(st.none() | st.just(frozenset({("chat-0", 0)})))
                return it.state_located(others, fleet, self.now)
        raise AssertionError(step)

    def after_a_wait(self, step: WaitForSlot) -> Step:
        how = self.data.draw(st.sampled_from(["over", "over", "granted", "full"]))
        if how == "granted" and self.now < self.it.deadline:
            return self.it.slot_granted(f"{step.pool}-0", self.now)
        if how == "full":
            return self.it.queue_full(3, self.fleet, self.now)
        self.now = max(self.now, step.reconsider_at)
        return self.it.wait_over(self.fleet, self.now)


@given(st.data(), FACTS, fleets(), st.sampled_from([0.0, 1.0, 20.0, 600.0]), st.booleans())
def test_every_course_ends_once_and_counts_its_demand_once(
    data: st.DataObject, facts: RequestFacts, fleet: Pools, deadline: float, repeated: bool
) -> None:
    it = Lifecycle(facts, 7, 0.0, deadline, previous="resp_1", repeated=repeated)
    walk = Walk(data, it, fleet)
    walk.to_its_end()
    assert [isinstance(step, TERMINAL) for step in walk.steps].count(True) == 1
    assert it.abandoned(walk.now).demand == ()
    found = Counter(event.kind for event in walk.demand)
    assert found[DemandKind.ASKED] <= 1 - repeated
    assert found[DemandKind.REJECTED] + found[DemandKind.EXPIRED] <= found[DemandKind.ASKED]
    assert found[DemandKind.LEFT] == found[DemandKind.CAME_BACK]
    assert 0 <= found[DemandKind.OVERFLOWED] - found[DemandKind.NOT_OVERFLOWED] <= 1 - repeated
    assert found[DemandKind.GAP_WAIT] == found[DemandKind.GAP_WAIT_OVER]
    assert all(event.reason in LACK_OF_A_SLOT for event in walk.demand if event.kind is DemandKind.OVERFLOWED)
    sent = [step for step in walk.steps if isinstance(step, Dispatch | SendToProvider)]
    assert len(sent) == it.tries <= MAX_TRIES
    assert walk.failed == it.failed <= MAX_SENT


@given(st.data(), FACTS, fleets())
def test_a_client_that_leaves_at_any_step_leaves_nothing_counted_as_under_way(
    data: st.DataObject, facts: RequestFacts, fleet: Pools
) -> None:
    it = Lifecycle(facts, 7, 0.0, 600.0, previous="resp_1")
    walk = Walk(data, it, fleet)
    walk.take(it.start(fleet, 0.0))
    for _ in range(data.draw(st.integers(0, 6))):
        if not isinstance(walk.steps[-1], TERMINAL):
            walk.take(walk.after(walk.steps[-1]))
    walk.demand += it.abandoned(walk.now).demand
    found = Counter(event.kind for event in walk.demand)
    assert found[DemandKind.LEFT] == found[DemandKind.CAME_BACK]
    assert found[DemandKind.GAP_WAIT] == found[DemandKind.GAP_WAIT_OVER]
    assert found[DemandKind.ASKED] <= 1


@pytest.mark.parametrize("reason", sorted(LACK_OF_A_SLOT))
def test_a_lack_of_a_slot_is_a_reason_of_the_rule(reason: Reason) -> None:
    assert reason in Reason
