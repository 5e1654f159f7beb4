"""The batch alone: no clock, no I/O."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.simulator.batch import Batch, Limits, Sequence, ServiceTime

sequences = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), max_size=25)


def run(batch: Batch, members: list[Sequence]) -> tuple[list[Sequence], float]:
    """Step until nothing is left; returns who finished, in order, and when."""
    for member in members:
        batch.add(member)
    ended: list[Sequence] = []
    now = 0.0
    for _ in range(100_000):
        step = batch.begin(now)
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
    ended, _ = run(Batch(Limits(max_num_seqs=seats, kv_tokens=memory), ServiceTime()), members)
    assert sorted(map(id, ended)) == sorted(map(id, members))
    assert all(member.made == member.output for member in members)


def test_more_running_means_slower_tokens_and_more_throughput() -> None:
    alone = run(Batch(Limits(), ServiceTime()), [Sequence(100, 100, 0.0)])[1]
    together = run(Batch(Limits(), ServiceTime()), [Sequence(100, 100, 0.0) for _ in range(32)])[1]
    assert alone < together < 32 * alone


def test_the_queue_is_bounded() -> None:
    batch = Batch(Limits(max_queued=1), ServiceTime())
    assert batch.add(Sequence(1, 1, 0.0))
    assert not batch.add(Sequence(1, 1, 0.0))


def test_memory_that_ends_preempts_the_newest() -> None:
    old, new = Sequence(40, 60, 0.0), Sequence(40, 60, 0.0)
    batch = Batch(Limits(kv_tokens=128), ServiceTime())
    ended, _ = run(batch, [old, new])
    assert ended == [old, new]
    assert (old.preemptions, new.preemptions > 0) == (0, True)


def test_a_client_that_leaves_frees_its_place() -> None:
    batch = Batch(Limits(max_num_seqs=1), ServiceTime())
    first, second = Sequence(1, 100, 0.0), Sequence(1, 1, 0.0)
    batch.add(first)
    batch.add(second)
    batch.begin(0.0)
    batch.remove(first)
    assert batch.begin(0.0).begun == [second]
