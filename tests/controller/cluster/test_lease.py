"""Whose a Lease is: by silence on the reader's own clock, because clocks of two nodes need not agree."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.cluster.event_recorder import micro_time
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.cluster.lease import DURATION_SECONDS, SeenLease, Stand, seen, stand

WALL = 1_800_000_000.0


def lease(holder: str, renewed: float = WALL) -> Object:
    word = micro_time(datetime.fromtimestamp(renewed, UTC))
    spec = {"holderIdentity": holder, "renewTime": word, "leaseDurationSeconds": int(DURATION_SECONDS)}
    return {"metadata": {"name": "forebay-operator", "namespace": "kube-system"}, "spec": spec}


@pytest.mark.parametrize(
    ("holder", "silent", "renewed", "expected"),
    [
        ("me", 1000.0, WALL - 1000, Stand.MINE),
        ("", 0.0, WALL, Stand.FREE),
        ("other", 0.0, WALL, Stand.TAKEN),
        ("other", DURATION_SECONDS, WALL, Stand.TAKEN),
        ("other", DURATION_SECONDS + 0.1, WALL, Stand.FREE),
        ("other", 0.0, WALL + 3600, Stand.TAKEN),  # its clock is ahead
        ("other", 0.0, WALL - 120, Stand.TAKEN),  # its clock is behind
        ("other", 0.0, 0.0, Stand.TAKEN),
    ],
)
def test_a_lease_is_free_once_its_holder_was_silent_for_its_duration(
    holder: str, silent: float, renewed: float, expected: Stand
) -> None:
    known = seen(lease(holder, renewed), None, now=100.0)
    assert stand(known, "me", 100.0 + silent) is expected


@given(
    words=st.lists(st.tuples(st.floats(0.1, 40.0), st.integers(0, 2_000_000_000)), min_size=1, max_size=20),
    more=st.floats(0.0, 40.0),
)
def test_whatever_the_holders_clock_says_only_the_time_without_a_new_word_counts(
    words: list[tuple[float, int]], more: float
) -> None:
    now, known, latest, last = 0.0, None, 0.0, None
    for step, renewed in words:
        now += step
        latest = latest if renewed == last else now
        known, last = seen(lease("other", renewed), known, now), renewed
    assert known is not None
    silent = now + more - latest
    assert stand(known, "me", now + more) is (Stand.FREE if silent > DURATION_SECONDS else Stand.TAKEN)


def test_a_word_that_is_read_again_does_not_count_as_a_new_one() -> None:
    first = seen(lease("other"), None, now=10.0)
    again = seen(lease("other"), first, now=20.0)
    renewed = seen(lease("other", WALL + 5), again, now=30.0)
    assert (again.since, renewed.since) == (10.0, 30.0)


def test_what_somebody_wrote_by_hand_does_not_hold_for_ever() -> None:
    known = seen({"metadata": {}, "spec": {"holderIdentity": "ghost"}}, None, now=0.0)
    assert known == SeenLease("ghost", "", DURATION_SECONDS, 0.0)
    assert stand(known, "me", DURATION_SECONDS + 0.1) is Stand.FREE
