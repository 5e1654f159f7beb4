"""Counters of routers that come, go and restart, as increments of a pool."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import Reason
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport
from forebay.rules.lost_demand import SERVICE_SECONDS_UNKNOWN, Counters

START = 1000.0


def gateway(lost: int, *, started: float = 1.0, name: str = "g", overflowed: int = 0) -> GatewayReport:
    demand = PoolDemand(
        pool="chat",
        rejected_total=lost,
        overflowed_total=overflowed,
        overflow_by_reason={Reason.ALL_POOLS_FULL: overflowed},
    )
    return GatewayReport(replica=name, version="1", started=started, generation=1, hash="", ready=True, pools=(demand,))


def sidecar(finished: int, seconds: float, name: str = "chat-0") -> SidecarReport:
    return SidecarReport(
        pool="chat", replica=name, version="1", started=1.0, generation=1, hash="", state=ReplicaState.SERVING,
        slots=8, running=0, finished_total=finished, service_seconds_total=seconds,
    )  # fmt: skip


def follow(*looks: Iterable[GatewayReport], since: float = START) -> Counters:
    counters = Counters(since)
    for number, reports in enumerate(looks):
        counters = counters.advance("chat", reports, (), since + 5.0 * number)
    return counters


def lost(counters: Counters) -> int:
    return sum(step.count.lost for step in counters.steps)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([[gateway(100)]], 0, id="what was before us does not count"),
        pytest.param([[gateway(100)], [gateway(103)]], 3, id="what was added does"),
        pytest.param([[gateway(100)], [gateway(2, started=1003.0)]], 2, id="a restarted router counts from zero"),
        pytest.param([[gateway(100)], [gateway(1)]], 1, id="a total that fell has begun again"),
        pytest.param([[gateway(100)], [], [gateway(104)]], 4, id="a look without an answer loses nothing"),
        pytest.param(
            [[gateway(5)], [gateway(5), gateway(7, name="h", started=1002.0)]], 7, id="a new router counts from zero"
        ),
        pytest.param([[gateway(5)], [gateway(5), gateway(7, name="h", started=2.0)]], 0, id="an old one does not"),
    ],
)
def test_increments(looks: list[list[GatewayReport]], expected: int) -> None:
    assert lost(follow(*looks)) == expected


def test_the_rate_is_over_thirty_seconds() -> None:
    counters = follow([gateway(0)], [gateway(60)])
    assert counters.lost_per_second(START + 5 + 29) == pytest.approx(60 / 30)
    assert counters.lost_per_second(START + 5 + 31) == 0


def test_service_time_is_the_recent_mean_then_the_one_ever_then_a_guess() -> None:
    assert Counters(START).service_seconds() == SERVICE_SECONDS_UNKNOWN
    ever = Counters(START).advance("chat", (), [sidecar(10, 100.0)], START)
    assert ever.service_seconds() == 10
    recent = ever.advance("chat", (), [sidecar(12, 104.0)], START + 5)
    assert recent.service_seconds() == 2


def test_overflow_is_counted_by_reason() -> None:
    counters = follow([gateway(0)], [gateway(0, overflowed=3)], [gateway(0, overflowed=5)])
    assert counters.overflowed_since(START).by_reason == {Reason.ALL_POOLS_FULL: 5}
    assert counters.overflowed_since(START + 5).overflowed == 2


def test_another_pools_counters_do_not_count() -> None:
    counters = Counters(START)
    for number in range(2):
        counters = counters.advance("sorter", [gateway(10 * number)], (), START + number)
    assert lost(counters) == 0


@given(st.lists(st.integers(0, 50), max_size=20), st.lists(st.booleans(), min_size=20, max_size=20))
def test_every_increment_counts_once_whichever_looks_fail(increments: list[int], answers: list[bool]) -> None:
    counters, total, told = Counters(START).advance("chat", [gateway(0)], (), START), 0, 0
    for number, (more, answered) in enumerate(zip(increments, answers, strict=False), 1):
        total += more
        told = total if answered else told
        reports = [gateway(total)] if answered else []
        counters = counters.advance("chat", reports, (), START + number)
    assert lost(counters) == told


def test_minutes_of_blindness_do_not_count_as_one_moment() -> None:
    before = Counters(START).advance("chat", [gateway(0)], (), START + 5)
    after = before.advance("chat", [gateway(600)], (), START + 605)
    assert after.lost_per_second(START + 605) == pytest.approx(1.0)
