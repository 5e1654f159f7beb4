"""The scaling bench: traces are what they say, equal seeds give equal figures, the oracle keeps its promise."""

import random
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from xml.etree import ElementTree

import pytest

from bench.scaling.__main__ import main
from bench.scaling.baselines import Hpa, Kpa, RayServe, SkyServe, Static
from bench.scaling.capped import capped
from bench.scaling.fidelity import compare
from bench.scaling.load import CHARACTERS, DAY, STEP, Load, arrivals, generated
from bench.scaling.oracle import OVERFLOW, oracle, plan
from bench.scaling.ours import Forebay
from bench.scaling.play import Setup, play
from bench.scaling.recorded import recorded
from forebay.replay.scaler import ScalerView

OFFICE = next(kind for kind in CHARACTERS if kind.name == "office")


@pytest.fixture(scope="module")
def morning() -> Load:
    return generated(OFFICE, 1, seed=3).part(6 * 3600, 10 * 3600)


@pytest.mark.slow
def test_generated_gaps_have_the_variation_that_is_asked_for() -> None:
    for cv in (1.0, 2.0, 8.0):
        times = list(arrivals([5.0] * 200, cv, random.Random(1)))
        gaps = [after - before for before, after in pairwise(times)]
        assert len(times) == pytest.approx(5 * 200 * STEP, rel=0.05)
        assert pstdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.15)


@pytest.mark.slow
def test_a_generated_trace_has_a_day_a_demand_and_a_seed(morning: Load) -> None:
    again = generated(OFFICE, 1, seed=3).part(6 * 3600, 10 * 3600)
    assert (again.at, again.seconds, again.priority) == (morning.at, morning.seconds, morning.priority)
    hours = morning.demand(3600.0)
    assert hours[3] > 2 * hours[0]


def test_every_request_runs_leaves_or_is_refused(morning: Load) -> None:
    for cloud in (True, False):
        found = play(morning, Setup(cold_start=120.0, cloud=cloud), Static(1))
        assert sum(found.requests) == len(morning.at)
        assert (sum(found.overflowed) > 0) == cloud
        assert (sum(found.refused) > 0) != cloud
        assert found.replica_seconds == pytest.approx(morning.span)


def test_a_budget_caps_what_leaves_and_a_rule_that_knows_it_needs_it_less(morning: Load) -> None:
    setup = Setup(cold_start=120.0)
    free, *rows = capped(morning, setup, play(morning, setup, Forebay(1, 16), morning.first(setup.capacity)))
    assert free["overflow"] > 0
    assert [row["cloud_cost_day"] <= free["cloud_cost_day"] for row in rows] == [True] * 4
    for blind, knowing in (rows[:2], rows[2:]):
        assert knowing["gpu_hours_day"] >= blind["gpu_hours_day"]
        assert knowing["late"] <= blind["late"]


def test_more_replicas_leave_less(morning: Load) -> None:
    shares = [play(morning, Setup(), Static(size), size).overflow_share for size in (1, 2, 4, 8)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_a_play_is_exact_for_a_seed(morning: Load) -> None:
    first, second = (play(morning, Setup(), Forebay(1, 16)) for _ in range(2))
    assert first == second


def test_a_replica_serves_only_after_its_cold_start(morning: Load) -> None:
    fast, slow = (play(morning, Setup(cold_start=seconds), Hpa()).overflow_share for seconds in (0.0, 600.0))
    assert slow > fast


def test_the_oracle_asks_ahead_and_bridges_what_is_shorter_than_a_start() -> None:
    assert plan([1] * 10 + [2] + [1] * 3 + [2] + [1] * 10, 300.0) == [(0.0, 1), (300.0, 2), (900.0, 1), (1500.0, 0)]
    assert plan([1] * 10 + [2] + [1] * 9 + [2], 300.0)[:5] == [
        (0.0, 1),
        (300.0, 2),
        (660.0, 1),
        (900.0, 2),
        (1260.0, 0),
    ]


def test_the_oracle_holds_the_load_with_fewer_gpu_hours_than_a_fixed_size(morning: Load) -> None:
    setup = Setup(cold_start=300.0)
    _, best = oracle(morning, setup)
    fixed = next(
        found for size in range(1, 17) if (found := play(morning, setup, Static(size), size)).overflow_share <= OVERFLOW
    )
    assert best.overflow_share <= OVERFLOW
    assert best.replica_seconds < fixed.replica_seconds


def seen(now: float, demand: int, size: int) -> ScalerView:
    return ScalerView(
        now=now, pool="p", size=size, ready=size, starting=0, ending=0, running=demand, queued=0, overflowing=0,
        lost_per_second=0.0, service_seconds=10.0, capacity=10, arrivals_per_second=demand / 10,
        cold_start_seconds=300.0, last_request=now,
    )  # fmt: skip


def test_the_hpa_follows_at_once_upwards_and_after_five_minutes_downwards() -> None:
    hpa = Hpa(load=0.8)
    assert hpa.decide(seen(0, 32, 2)) == 4
    assert hpa.decide(seen(15, 8, 4)) == 4
    assert [hpa.decide(seen(15 * look, 8, 4)) for look in range(2, 22)][-3:] == [4, 1, 1]
    assert Hpa(load=0.8).decide(seen(0, 17, 2)) == 2  # within the tolerance


def test_skyserve_waits_for_what_holds_and_ray_serve_for_its_delays() -> None:
    sky, ray = SkyServe(load=1.0), RayServe(load=0.4)
    assert [sky.decide(seen(20 * look, 30, 1)) for look in range(15)] == [1] * 14 + [3]
    assert [ray.decide(seen(10 * look, 8, 1)) for look in range(4)] == [1, 1, 1, 2]


def test_knative_panics_at_twice_what_is_ready_and_does_not_shrink_then() -> None:
    kpa = Kpa(load=1.0)
    assert kpa.decide(seen(0, 10, 1)) == 1
    assert kpa.decide(seen(6, 40, 1)) == 4
    assert kpa.decide(seen(12, 5, 4)) == 4
    assert [kpa.decide(seen(12 + 6 * look, 5, 4)) for look in range(1, 12)][-1] == 2


def test_recorded_traces_are_read_where_there_are_any(tmp_path: Path) -> None:
    assert recorded(tmp_path) == []
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.6805900,374,44"]
    (tmp_path / "azure-llm-2023-conv.csv").write_text("\n".join([*rows, "2023-11-16 18:15:50.6805900,396,109"]))
    rates = ["start_s,m_small,m_mid,m_large,deepseek_r1", "0,10,0,20,1", "600,20,10,20,", "1200,0,10,20,"]
    (tmp_path / "servegen-aggregate-rps-14d.csv").write_text("\n".join(rates))
    found = {load.name: load for load, _ in recorded(tmp_path)}
    conversation = found["azure-conversation"]
    assert list(conversation.at) == [0.0, 4.0]
    assert (conversation.prompt[1], conversation.output[1]) == (396, 109)
    assert 1.5 < found["servegen-small"].demand(600.0)[1] / found["servegen-small"].demand(600.0)[0] < 2.5
    assert max(found["servegen-small"].at) < 1200


@pytest.mark.slow
def test_the_command_writes_a_table_a_file_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(tmp_path / "b.json"), "--svg", str(tmp_path / "b.svg")]
    assert main(["--only", "reasoning", "--quick", "--cold-starts", "300", "--jobs", "1", *files]) == 0
    assert "Cost / that of the best tuned baseline" in capsys.readouterr().out
    assert "forebay" in (tmp_path / "b.json").read_text()
    drawn = ElementTree.fromstring((tmp_path / "b.svg").read_text())
    assert len(drawn.findall("{*}circle")) >= 14


def test_a_trace_of_days_is_cut_where_it_is_asked_to_be(morning: Load) -> None:
    part = morning.part(3600, 7200, "an hour")
    assert part.name == "an hour"
    assert part.at[0] >= 0
    assert part.span < 3600 < DAY


def test_the_quick_model_is_near_the_replay(morning: Load) -> None:
    found = compare(morning.part(0, 900), Setup(), 2)
    assert found["requests"][0] == found["requests"][1]
    here, there = found["replica-hours"]
    assert here == pytest.approx(there, rel=0.15)
