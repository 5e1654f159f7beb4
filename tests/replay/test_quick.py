"""The quick engine does what the simulator's own does."""

from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.replay import Fixed, ReplayResult, play
from forebay.replay.clock import Clock
from forebay.replay.engines import ReplayEngine, Scheduler
from forebay.replay.quick import QuickBatch
from forebay.simulator.batch import Batch, BatchLimits, Sequence, ServiceTime
from testing.examples import examples
from tests.replay.traces import bursty, pool, setup

ROOMY = BatchLimits(max_num_seqs=4, kv_tokens=10_000_000, max_batched_tokens=64)
EVEN = ServiceTime(base=0.01, per_running=0.001, per_kv_token=0.0, prefill_tokens_per_second=1000.0)
Came = list[tuple[float, int, int]]
"""When, prompt, output."""


def told(batch: Scheduler, came: Came, leave: dict[int, float] | None = None) -> list[tuple[str, int, float]]:
    """All that an engine tells, in order."""
    clock, said, numbers = Clock(), [], {}
    engine = ReplayEngine(
        clock,
        batch,
        lambda sequence: said.append(("first", numbers[sequence], round(clock.now, 6))),
        lambda sequence: said.append(("end", numbers[sequence], round(clock.now, 6))),
    )
    for number, (at, prompt, output) in enumerate(came):
        sequence = Sequence(prompt, output, at)
        numbers[sequence] = number
        clock.at(at, lambda sequence=sequence: engine.add(sequence))
        if leave and number in leave:
            clock.at(at + leave[number], lambda sequence=sequence: engine.remove(sequence))
    while clock.step():
        pass
    return said


arrivals = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 200), st.integers(1, 50)), min_size=1, max_size=12
).map(sorted)  # fmt: skip


@given(arrivals)
@examples(1.5)
def test_with_room_for_all_it_tells_the_very_same(came: Came) -> None:
    assert sorted(told(QuickBatch(ROOMY, EVEN), came)) == sorted(told(Batch(ROOMY, EVEN), came))


@given(arrivals, st.dictionaries(st.integers(0, 11), st.floats(0.0, 2.0)))
def test_whoever_is_not_given_up_ends_and_nothing_is_left(came: Came, leave: dict[int, float]) -> None:
    batch = QuickBatch(BatchLimits(max_num_seqs=3, kv_tokens=300, max_batched_tokens=64), EVEN)
    said = told(batch, came, leave)
    ended = [number for word, number, _ in said if word == "end"]
    assert set(range(len(came))) - set(leave) <= set(ended)
    assert len(ended) == len(set(ended))
    assert (batch._kv, len(batch._ends), len(batch._prompts), len(batch._waiting)) == (0, 0, 0, 0)


def figures(outcome: ReplayResult) -> dict[str, float]:
    served = [fate for fate in outcome.fates if fate.local]
    firsts, seconds = sorted(fate.first_token for fate in served), sorted(fate.seconds for fate in served)
    return {
        "local": len(served) / len(outcome.fates),
        "first p50": firsts[len(firsts) // 2],
        "first p95": firsts[int(len(firsts) * 0.95)],
        "seconds": mean(seconds),
        "seconds p95": seconds[int(len(seconds) * 0.95)],
    }


@pytest.mark.slow
def test_a_trace_comes_out_alike() -> None:
    """docs/replay.md has the figures of real traces."""
    quick, exact = (
        figures(play(bursty(4000, 3), setup(pool(slots=16), exact=exact), Fixed(2), 1)) for exact in (False, True)
    )
    for name, value in exact.items():
        assert quick[name] == pytest.approx(value, rel=0.05), name
