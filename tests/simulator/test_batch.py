"""The batch alone: no clock, no I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.simulator.batch import Batch, BatchLimits, Sequence, ServiceTime
from forebay.simulator.prefix import PREFIX_TOKENS, PrefixCache, chain

sequences = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), max_size=25)


def run(batch: Batch, members: list[Sequence], most: int = 1) -> tuple[list[Sequence], float]:
    """Step until nothing is left; returns who finished, in order, and when."""
    for member in members:
        batch.add(member)
    ended: list[Sequence] = []
    now = 0.0
    for _ in range(100_000):
        step = batch.begin(now, most)
        assert len(batch.running) <= batch.limits.max_num_seqs
        assert batch.kv_used <= batch.limits.kv_tokens or len(batch.running) == 1
        if step.seconds is None:
            break
        now += step.seconds
        ended += batch.finish(step)
    return ended, now


@given(sequences, st.integers(1, 8), st.integers(64, 2000))
def test_limits_hold_and_everybody_finishes_once(lengths: list[tuple[int, int]], seats: int, memory: int) -> None:
    members = [Sequence(prompt, output, 0.0) for prompt, output in lengths]
    ended, _ = run(Batch(BatchLimits(max_num_seqs=seats, kv_tokens=memory), ServiceTime()), members)
    assert sorted(map(id, ended)) == sorted(map(id, members))
    assert all(member.made == member.output for member in members)


def test_more_running_means_slower_tokens_and_more_throughput() -> None:
    alone = run(Batch(BatchLimits(), ServiceTime()), [Sequence(100, 100, 0.0)])[1]
    together = run(Batch(BatchLimits(), ServiceTime()), [Sequence(100, 100, 0.0) for _ in range(32)])[1]
    assert alone < together < 32 * alone


def test_what_is_in_flight_is_bounded() -> None:
    batch = Batch(BatchLimits(max_in_flight=2), ServiceTime())
    assert batch.add(Sequence(1, 1, 0.0))
    batch.begin(0.0)
    assert batch.add(Sequence(1, 1, 0.0))
    assert not batch.add(Sequence(1, 1, 0.0))


@pytest.mark.parametrize(("together", "first_step"), [(1, "aa "), (2, "aba ")])
def test_adapters_beyond_the_limit_wait_for_their_turn(together: int, first_step: str) -> None:
    batch = Batch(BatchLimits(max_adapters=together), ServiceTime())
    members = [Sequence(1, 3, 0.0, adapter=name) for name in ("a", "b", "a", "")]
    for member in members:
        batch.add(member)
    step = batch.begin(0.0)
    assert "".join(member.adapter or " " for member in step.begun) == first_step
    assert batch.deferred == len(batch.waiting) == 2 - together
    ended = []
    while step.seconds is not None:
        ended += batch.finish(step)
        step = batch.begin(0.0)
    assert sorted(map(id, ended)) == sorted(map(id, members))


def test_memory_that_ends_preempts_the_newest() -> None:
    old, new = Sequence(40, 60, 0.0), Sequence(40, 60, 0.0)
    batch = Batch(BatchLimits(kv_tokens=128), ServiceTime())
    ended, _ = run(batch, [old, new])
    assert ended == [old, new]
    assert (old.preemptions, new.preemptions > 0) == (0, True)


def test_a_client_that_leaves_frees_its_place() -> None:
    batch = Batch(BatchLimits(max_num_seqs=1), ServiceTime())
    first, second = Sequence(1, 100, 0.0), Sequence(1, 1, 0.0)
    batch.add(first)
    batch.add(second)
    batch.begin(0.0)
    batch.remove(first)
    assert batch.begin(0.0).begun == [second]


@given(sequences, st.integers(1, 8), st.integers(400, 4000))
def test_steps_taken_together_give_what_single_steps_give(
    lengths: list[tuple[int, int]], seats: int, memory: int
) -> None:
    ends = []
    for most in (1, 1000):
        batch = Batch(BatchLimits(max_num_seqs=seats, kv_tokens=memory), ServiceTime())
        members = [Sequence(prompt, output, 0.0) for prompt, output in lengths]
        ended, now = run(batch, members, most)
        assert len(ended) == len(members)
        ends.append((now, batch.preemptions))
    assert abs(ends[0][0] - ends[1][0]) <= 0.02 * ends[0][0]
    assert ends[0][1] == ends[1][1]


@given(st.integers(1, 40), st.floats(0.0, 5.0))
def test_steps_that_somebody_interrupts_end_with_the_one_that_runs(members: int, elapsed: float) -> None:
    batch = Batch(BatchLimits(), ServiceTime())
    for _ in range(members):
        batch.add(Sequence(1, 100, 0.0))
    batch.finish(batch.begin(0.0))
    step = batch.begin(0.0, most=1000)
    whole = step.seconds
    assert step.count == 99
    assert whole is not None
    batch.cut(step, elapsed)
    assert step.seconds is not None
    assert step.seconds >= min(elapsed, whole) - 1e-6
    one_less = batch.times.steps(members, step.kv_tokens, step.count - 1)
    assert one_less < elapsed or step.count == 1


def test_a_long_prompt_is_computed_in_pieces_between_tokens_of_others() -> None:
    batch = Batch(BatchLimits(max_batched_tokens=101), ServiceTime())
    short, long = Sequence(1, 50, 0.0), Sequence(1000, 1, 0.0)
    batch.add(short)
    batch.finish(batch.begin(0.0))
    batch.add(long)
    made = []
    while not long.done:
        step = batch.begin(0.0)
        made.append(step.made)
        batch.finish(step)
    assert made == [[short]] * 9 + [[short, long]]


def test_a_known_beginning_is_not_computed_again() -> None:
    batch = Batch(BatchLimits(), ServiceTime())
    blocks = (1, 2, 3)
    first, again = Sequence(3 * PREFIX_TOKENS, 1, 0.0, blocks), Sequence(3 * PREFIX_TOKENS, 1, 0.0, blocks)
    longer = Sequence(4 * PREFIX_TOKENS + 7, 1, 0.0, (1, 2, 3, 4))
    other = Sequence(2 * PREFIX_TOKENS, 1, 0.0, (9, 2))
    seconds = []
    for member in (first, again, longer, other):
        batch.add(member)
        step = batch.begin(0.0)
        seconds.append(step.seconds or 0.0)
        batch.finish(step)
    assert [member.cached for member in (first, again, longer, other)] == [
        0,
        2 * PREFIX_TOKENS,  # the last token is computed anew, and with it its block
        3 * PREFIX_TOKENS,
        0,
    ]
    assert seconds[1] < seconds[0]
    assert (batch.prefix_queries, batch.prefix_hits) == (12 * PREFIX_TOKENS + 7, 5 * PREFIX_TOKENS)


blocks = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True).map(tuple), min_size=1, max_size=20)


@given(blocks, st.integers(0, 8))
def test_the_prefix_cache_never_forgets_what_is_held_and_never_keeps_more_than_it_may(
    prompts: list[tuple[int, ...]], room: int
) -> None:
    cache, running = PrefixCache(), list[tuple[int, ...]]()
    for prompt in prompts:
        assert cache.missing(prompt) == sum(all(block not in other for other in running) for block in prompt)
        cache.hold(prompt)
        running.append(prompt)
        if len(running) > 3:
            cache.release(running.pop(0))
        cache.trim(room)
        assert cache.idle <= room
        assert cache.held == len({block for other in running for block in other})
        assert all(cache.known(other) == len(other) for other in running)


def test_the_end_of_the_oldest_prompt_goes_first() -> None:
    cache = PrefixCache()
    for prompt in ((1, 2, 3), (7, 8)):
        cache.hold(prompt)
        cache.release(prompt)
    cache.trim(3)
    assert (cache.known((1, 2, 3)), cache.known((7, 8))) == (1, 2)


@given(st.text("ab", max_size=40), st.text("ab", max_size=40), st.integers(1, 8))
def test_equal_hashes_stand_for_equal_beginnings(one: str, other: str, size: int) -> None:
    for place, (a, b) in enumerate(zip(chain(one, size), chain(other, size), strict=False)):
        assert (a == b) == (one[: (place + 1) * size] == other[: (place + 1) * size])
