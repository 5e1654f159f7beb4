import random

from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.retry_after import LONGEST_SECONDS, SHORTEST_SECONDS, retry_after


@given(st.integers(0, 10_000), st.floats(0, 1000), st.integers())
def test_retry_after_is_within_its_bounds(ahead: int, rate: float, seed: int) -> None:
    assert SHORTEST_SECONDS <= retry_after(ahead, rate, random.Random(seed)) <= LONGEST_SECONDS


def test_who_comes_to_a_longer_queue_is_told_a_later_time() -> None:
    assert 10 <= retry_after(9, 1.0, random.Random(1)) <= 20 <= retry_after(39, 1.0, random.Random(1))
