"""What holds for every course of a request, whatever the world does."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import NO_MONEY, Priority
from forebay.resources.table import QueueEntry
from forebay.resources.terms import CloudUse, GapAction, Modality, OverflowTo, Tier
from forebay.rules.affinity import Choice
from forebay.rules.facts import PolicyView, RequestFacts
from forebay.rules.lifecycle import LACK_OF_A_SLOT, MAX_SENT, MAX_TRIES, Lifecycle
from forebay.rules.steps import (
    AttemptOutcome,
    AttemptResult,
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
from testing.examples import examples
from tests.rules.live_fleet import ACME, BRAVO, Pools

FAULT, PRESSED = AttemptOutcome.FAULT, AttemptOutcome.PRESSED
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
    too_dear: int = 0  # providers that were not asked for lack of money
    served: bool = False

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
                self.served |= outcome in (AttemptOutcome.ANSWERED, AttemptOutcome.BROKEN)
                return it.attempt_ended(AttemptResult(outcome, pool, (replica, 0)), fleet, self.now)
            case SendToProvider():
                if draw(st.booleans()):
                    self.too_dear += 1
                    lack = ProviderResult(taken=False, no_money=draw(st.sampled_from(NO_MONEY)))
                    return it.provider_ended(lack, fleet, self.now)
                result = ProviderResult(draw(st.booleans()), draw(st.booleans()), "0.1")
                self.failed += not result.taken and result.sent
                self.served |= result.taken
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


@examples(5)
@given(st.data(), FACTS, fleets(), st.sampled_from([0.0, 1.0, 20.0, 600.0]), st.booleans())
def test_every_course_ends_once_and_counts_its_demand_once(
    data: st.DataObject, facts: RequestFacts, fleet: Pools, deadline: float, repeated: bool
) -> None:
    it = Lifecycle(facts, 7, 0.0, deadline, previous="resp_1", repeated=repeated)
    walk = Walk(data, it, fleet)
    walk.to_its_end()
    assert it.abandoned(walk.now).demand == ()
    found = Counter(event.kind for event in walk.demand)
    assert found[DemandKind.ASKED] <= 1 - repeated
    if walk.served:
        assert found[DemandKind.ASKED] == 1 - repeated
    assert found[DemandKind.REJECTED] + found[DemandKind.EXPIRED] <= found[DemandKind.ASKED]
    assert found[DemandKind.LEFT] == found[DemandKind.CAME_BACK]
    assert 0 <= found[DemandKind.OVERFLOWED] - found[DemandKind.NOT_OVERFLOWED] <= 1 - repeated
    assert found[DemandKind.GAP_WAIT] == found[DemandKind.GAP_WAIT_OVER]
    assert all(event.reason in LACK_OF_A_SLOT for event in walk.demand if event.kind is DemandKind.OVERFLOWED)
    sent = [step for step in walk.steps if isinstance(step, Dispatch | SendToProvider)]
    assert len(sent) - walk.too_dear == it.tries <= MAX_TRIES
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
