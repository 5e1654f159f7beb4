"""Who gets a freed slot while somebody waits."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.rules.offers import NOTICE_TTL_SECONDS, OFFER_SECONDS, SPENT_SECONDS, TAKEN_SECONDS, Offers
from testing.examples import examples

HIGH, NORMAL, LOW = 0, 1, 2


def offers(**words: tuple[list[int], list[list[float]]]) -> Offers:
    made = Offers()
    for gateway, (counts, deadlines) in words.items():
        made.hear(gateway, counts, deadlines, now=0)
    return made


def test_one_freed_slot_wakes_one_waiter_of_one_gateway() -> None:
    state = offers(a=([0, 3, 0], [[], [10.0], []]), b=([0, 3, 0], [[], [9.0], []]))
    made = state.make(1, 1, now=0)
    assert [(offer.gateway, offer.rank) for offer in made] == [("b", NORMAL)]
    assert state.held == 1
    assert state.make(0, 0, now=0) == []


def test_high_comes_before_an_earlier_deadline_elsewhere() -> None:
    state = offers(a=([0, 1, 0], [[], [1.0], []]), b=([1, 0, 0], [[99.0], [], []]))
    assert [offer.gateway for offer in state.make(2, 2, now=0)] == ["b", "a"]


def test_a_slot_of_highs_reserve_is_offered_to_high_only() -> None:
    state = offers(a=([0, 5, 0], [[], [1.0], []]))
    assert state.make(free=0, free_high=2, now=0) == []
    state.hear("b", [1, 0, 0], [[5.0], [], []], now=0)
    assert [(offer.gateway, offer.rank) for offer in state.make(0, 2, now=0)] == [("b", HIGH)]


def test_known_deadlines_order_several_slots_across_gateways() -> None:
    state = offers(a=([0, 3, 0], [[], [1.0, 4.0, 6.0], []]), b=([0, 2, 0], [[], [2.0, 3.0], []]))
    assert [offer.gateway for offer in state.make(9, 9, now=0)] == ["a", "b", "b", "a", "a"]


def test_an_unanswered_offer_goes_to_the_next_gateway_and_keeps_its_age() -> None:
    state = offers(a=([0, 1, 0], [[], [1.0], []]), b=([0, 1, 0], [[], [2.0], []]))
    (first,) = state.make(1, 1, now=1.0)
    assert state.expire(1.0 + OFFER_SECONDS / 2) == []
    (late,) = state.expire(1.0 + OFFER_SECONDS)
    (second,) = state.make(1, 1, now=1.0 + OFFER_SECONDS, since=late.since)
    assert (first.gateway, second.gateway, second.since) == ("a", "b", 1.0)
    assert not state.take(first.id, now=1.1)


def test_a_gateway_that_declined_is_asked_again_after_its_next_word_or_a_while() -> None:
    state = offers(a=([0, 1, 0], [[], [1.0], []]))
    (offer,) = state.make(1, 1, now=0)
    assert state.decline(offer.id, now=0) == 0
    assert state.make(1, 1, now=SPENT_SECONDS / 2) == []
    assert len(state.make(1, 1, now=SPENT_SECONDS)) == 1


def test_a_taken_slot_is_held_for_the_request_on_its_way_and_not_for_ever() -> None:
    state = offers(a=([0, 1, 0], [[], [1.0], []]))
    (offer,) = state.make(1, 1, now=0)
    assert state.take(offer.id, now=0.01)
    assert state.expire(1.0) == []
    assert [late.id for late in state.expire(0.01 + TAKEN_SECONDS)] == [offer.id]
    assert state.admit(offer.id) is None


def test_a_word_that_comes_between_taking_an_offer_and_the_request_leaves_that_waiter_out_already() -> None:
    state = offers(a=([0, 2, 0], [[], [1.0, 2.0], []]))
    (offer,) = state.make(1, 1, now=0)
    assert state.take(offer.id, now=0)
    state.hear("a", [0, 1, 0], [[], [2.0], []], now=0)
    assert len(state.make(1, 1, now=0)) == 1, "the other one waits still"
    assert state.admit(offer.id) is not None
    assert state.words["a"].counts == [0, 1, 0]
    assert state.words["a"].deadlines == [[], [2.0], []]


def test_what_a_lost_gateway_held_is_free_again() -> None:
    state = offers(a=([0, 2, 0], [[], [1.0], []]), b=([0, 1, 0], [[], [9.0], []]))
    state.make(2, 2, now=0)
    state.forget("a")
    assert state.held == 0
    assert [offer.gateway for offer in state.make(2, 2, now=0)] == ["b"]


def test_a_word_that_is_not_repeated_counts_no_more() -> None:
    state = offers(a=([0, 1, 0], [[], [1.0], []]))
    assert state.make(1, 1, now=NOTICE_TTL_SECONDS) == []
    state.expire(NOTICE_TTL_SECONDS)
    assert state.words == {}


class ManyGateways(RuleBasedStateMachine):
    """Random words, answers and deaths; C slots that requests take and give back."""

    @initialize(slots=st.integers(1, 6))
    def begin(self, slots: int) -> None:
        self.state, self.slots, self.running, self.now = Offers(), slots, 0, 0.0

    @property
    def free(self) -> int:
        return self.slots - self.running - self.state.held

    @rule(gateway=st.sampled_from("abc"), counts=st.lists(st.integers(0, 4), min_size=3, max_size=3))
    def word(self, gateway: str, counts: list[int]) -> None:
        self.state.hear(gateway, counts, [[self.now + i for i in range(n)] for n in counts], self.now)

    @rule(gateway=st.sampled_from("abc"))
    def gateway_dies(self, gateway: str) -> None:
        self.state.forget(gateway)

    @rule()
    def offer(self) -> None:
        before = self.free
        made = self.state.make(self.free, self.free, self.now)
        assert len(made) <= before
        assert len({offer.id for offer in made}) == len(made)
        could = sum(sum(w.counts) for w in self.state.words.values() if self.now >= w.spent_until)
        if len(made) < before:
            assert self.state.held >= min(could, self.state.held), "a slot stands idle only when nobody can use it"

    @rule(taken=st.booleans())
    def answer(self, taken: bool) -> None:
        for number in list(self.state.open)[:1]:
            if taken:
                assert self.state.take(number, self.now)
                assert self.state.admit(number) is not None
                self.running += 1
            else:
                assert self.state.decline(number, self.now) is not None

    @rule()
    def finish(self) -> None:
        self.running = max(0, self.running - 1)

    @rule(seconds=st.sampled_from((0.01, 0.06, 0.3, 4.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.state.expire(self.now)
        assert all(offer.expires > self.now for offer in self.state.open.values())

    @invariant()
    def no_slot_is_promised_twice(self) -> None:
        if hasattr(self, "state"):
            assert self.running + self.state.held <= self.slots


ManyGateways.TestCase.settings = examples(2, stateful_step_count=40)
TestManyGateways = ManyGateways.TestCase


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50)), min_size=1, max_size=20), st.integers(1, 20))
def test_offers_follow_rank_and_deadline_across_gateways(waiters: list[tuple[int, float]], slots: int) -> None:
    """With every deadline known, the gateways asked are those of the first waiters overall."""
    state = Offers()
    by_gateway: dict[str, list[list[float]]] = {}
    for at, (rank, deadline) in enumerate(waiters):
        by_gateway.setdefault("abc"[at % 3], [[], [], []])[rank].append(deadline)
    for gateway, ranks in by_gateway.items():
        state.hear(gateway, [len(r) for r in ranks], ranks, now=0)
    made = state.make(slots, slots, now=0)
    expected = sorted((rank, deadline) for rank, deadline in waiters)[: len(made)]
    assert len(made) == min(slots, len(waiters))
    assert [offer.rank for offer in made] == [rank for rank, _ in expected]
