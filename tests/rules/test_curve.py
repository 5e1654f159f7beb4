"""A curve from windows: it finds the engine's, whatever else the windows hold."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.curve import BINS, REACH, Bins, Curve, Window, fit, latency_bound, seen

BASE, EACH, FULL, FILL = 0.020, 0.0004, 0.010, 0.004


def true(running: float, fill: float) -> float:
    return BASE + EACH * running + FULL * fill


def windows(count: int, *, noise: float = 0.0, wild: float = 0.0, most: float = 80.0, seed: int = 1) -> list[Window]:
    """What an engine shows; a share of the windows is wild: two to twenty times too long."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        running = rng.uniform(1, most)
        fill = min(1.0, FILL * running * rng.uniform(0.8, 1.2))
        seconds = true(running, fill) * rng.lognormvariate(0, noise)
        found.append(Window(running, fill, seconds * (rng.uniform(2, 20) if rng.random() < wild else 1)))
    return found


def binned(found: Iterable[Window]) -> Bins:
    bins: Bins = ()
    for window in found:
        bins = seen(bins, window)
    return bins


def learnt(*args: int, **more: float) -> Curve:
    curve = fit(binned(windows(*args, **more)))  # type: ignore[arg-type]
    assert curve is not None
    return curve


def test_a_quiet_engine_is_found() -> None:
    curve = learnt(2000)
    assert curve.base == pytest.approx(BASE, rel=0.02)
    assert curve.seconds(60) == pytest.approx(true(60, 60 * FILL), rel=0.02)
    assert curve.error < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_wild_windows_move_the_bound_by_a_few_requests(seed: int) -> None:
    curve = learnt(2000, noise=0.1, wild=0.05, seed=seed)
    exact = (0.045 - BASE) / (EACH + FULL * FILL)  # 56.8
    bound = curve.most_within(0.045)
    assert bound == pytest.approx(exact, rel=0.08)


def test_the_bound_is_beyond_or_below_the_most_that_was_seen_never_that_itself() -> None:
    curve = learnt(2000, most=30)
    assert curve.most == pytest.approx(30, rel=0.2)
    assert curve.most_within(0.024) == pytest.approx(9, abs=1)
    assert curve.most_within(0.045) == pytest.approx(57, abs=3)


def test_what_is_far_beyond_anything_seen_is_not_said() -> None:
    """Else a quiet week would bound a pool by its own quietness."""
    curve = learnt(2000, most=9)
    assert curve.most_within(0.045) is None
    assert REACH * curve.most < 57


def test_a_full_cache_fills_no_further() -> None:
    curve = Curve(0.02, 0.0004, 0.01, fill_per_request=0.05, most=100, windows=100, error=0)
    assert curve.seconds(50) == pytest.approx(0.02 + 0.02 + 0.01)
    assert curve.most_within(0.05) == 50


@pytest.mark.parametrize(
    ("curve", "wished", "target"),
    [
        (Curve(0.020, 0.0001, 0.0, 0.0, 50, 100, 0), 0.03, 0.03),
        (Curve(0.020, 0.0001, 0.0, 0.0, 50, 100, 0), None, 0.05),
        (Curve(0.060, 0.0001, 0.0, 0.0, 50, 100, 0), None, 0.1202),  # twice what a token takes alone
    ],
)
def test_without_a_target_of_the_pools_own_there_is_one_that_any_engine_can_meet(
    curve: Curve, wished: float | None, target: float
) -> None:
    assert curve.target(wished) == pytest.approx(target)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (windows(30), "too few"),
        ([replace(window, running=20.0) for window in windows(500)], "all at one load"),
        (windows(500, most=2.5), "too narrow"),
    ],
)
def test_there_is_no_curve_without_a_slope_to_see(found: list[Window], why: str) -> None:
    assert fit(binned(found)) is None, why


def test_an_engine_too_slow_at_the_one_load_it_has_runs_fewer_until_more_is_known() -> None:
    bins = binned([Window(20.0, 0.5, 0.080)] * 100)
    assert latency_bound(bins, None, 0.040) == 10
    assert latency_bound(bins, None, 0.100) is None
    assert latency_bound(bins, None, None) is None
    assert latency_bound(bins[:0], None, 0.040) is None


@given(st.lists(st.tuples(st.floats(0.1, 4000), st.floats(0, 1), st.floats(1e-4, 100)), max_size=300))
def test_whatever_is_seen_bins_are_bounded_and_the_curve_rises(found: list[tuple[float, float, float]]) -> None:
    bins = binned(Window(*numbers) for numbers in found)
    assert len(bins) <= BINS
    curve = fit(bins)
    if curve is not None:
        assert min(curve.base, curve.per_request, curve.per_fill) >= 0
        targets = [0.001, 0.01, 0.1, 1.0, 10.0]
        bounds = [bound for target in targets if (bound := curve.most_within(target)) is not None]
        assert bounds == sorted(bounds)
        assert all(bound >= 1 for bound in bounds)


def test_a_new_load_does_not_make_an_engine_forget_the_old_ones() -> None:
    bins = binned(windows(2000))
    for window in [Window(2.0, 2 * FILL, true(2, 2 * FILL))] * 20_000:
        bins = seen(bins, window)
    curve = fit(bins)
    assert curve is not None
    assert curve.seconds(60) == pytest.approx(true(60, 60 * FILL), rel=0.02)
