"""What the summary says of a fleet, and that its totals survive routers that restart."""

import itertools
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.observe.memory import LastReport
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.plan.plan import plan
from forebay.controller.report.metrics import Metrics
from forebay.controller.report.summaries import Known, Summaries, bare, fleet_summary
from forebay.controller.report.usage_totals import CounterSums, FleetTotals, ResettableTotal, UsageSums
from forebay.resources.policy import PolicyStatus
from forebay.resources.policy_budget import BudgetForecast, BudgetStatus
from forebay.resources.report import EngineReport, PoolDemand
from forebay.resources.summary import MINUTES, FleetSummary, decode
from forebay.resources.usage import UsageRow
from tests.controller.fleets import NOW, SETTINGS, gateway_report, running_fleet, sidecar_report, spec

ROW = UsageRow(
    pool="chat", destination="acme/large", client="batch", priority="High", capability="general", requests=2,
    seconds=3.5, input_tokens=100, output_tokens=20, dollars="0.0008",
)  # fmt: skip


def heard(dollars: str = "0.0008", requests: int = 2, tokens: int = 1000, **more: object) -> dict[str, LastReport]:
    demand = PoolDemand(
        pool="chat", queued=1, requests_total=9, overflowed_total=2, rejected_total=1,
        overflow_by_reason={"AllPoolsFull": 2},  # type: ignore[dict-item]
    )  # fmt: skip
    row = msgspec.structs.replace(ROW, dollars=dollars, requests=requests)
    engine = EngineReport(age_seconds=1, prompt_tokens_total=tokens, generation_tokens_total=tokens // 4)
    return {
        "gateway-0": gateway_report(0, pools=[demand], usage=(row,), **more),
        "chat-0": sidecar_report(0, running=4, engine=engine),
    }


def looked(*looks: dict[str, LastReport], seconds: float = 5) -> FleetSummary:
    observed, memory = running_fleet(spec(engine={"type": "Simulated", "gpus": 2}, gpuHourPrice="1.20"))
    tally = FleetTotals.begun(observed.now)
    made: FleetSummary | None = None
    for look in looks:
        now = observed.now + seconds
        fresh = {name: LastReport(item.report, now) for name, item in {**observed.heard, **look}.items()}
        observed = replace(observed, heard=fresh, now=now)
        planned = plan(observed, memory, SETTINGS)
        memory = planned.memory
        tally = tally.advance(observed).with_sizes(planned.sizings, observed.now)
        made = fleet_summary(Known(bare(observed, tally), planned.sizings, tally))
    assert made is not None
    return made


def test_it_says_how_a_pool_is_now() -> None:
    pool = looked(heard()).pools[0]
    assert (pool.name, pool.ready, pool.desired, pool.slots, pool.running, pool.queued) == ("chat", 1, 1, 10, 4, 1)
    assert (pool.gpus, pool.gpu_hour_price, pool.capacity) == (2, "1.20", 10)


def test_what_ran_before_the_operator_is_not_counted() -> None:
    first = looked(heard())
    assert first.usage == ()
    assert (first.pools[0].requests, first.pools[0].prompt_tokens) == (0, 0)


def test_what_routers_add_is_counted_exactly() -> None:
    grown = looked(heard(), heard(dollars="0.0010", requests=3, tokens=5000))
    (row,) = grown.usage
    assert (row.requests, row.dollars, row.client) == (1, "0.0002", "batch")
    assert (grown.pools[0].prompt_tokens, grown.pools[0].generation_tokens) == (4000, 1000)


def test_a_router_that_began_after_the_operator_counts_whole() -> None:
    observed, _ = running_fleet()
    again = {"gateway-0": LastReport(msgspec.structs.replace(heard()["gateway-0"].report, started=NOW + 60), NOW)}
    tally = FleetTotals.begun(observed.now).advance(replace(observed, heard=again))
    assert [row.requests for row in tally.usage.total.listed()] == [2]


def test_gpu_time_is_that_of_every_pod() -> None:
    assert looked(heard(), heard(), heard(), seconds=10).pools[0].gpu_seconds == 60  # 30 s, 1 pod, 2 GPUs


def test_minutes_are_means_and_no_more_than_an_hour_is_kept() -> None:
    made = looked(*[heard()] * 90, seconds=60).pools[0].minutes
    assert len(made) == MINUTES + 1
    assert [later.at - earlier.at for earlier, later in itertools.pairwise(made)] == [1] * MINUTES
    assert (made[-1].slots, made[-1].running, made[-1].queued) == (10, 4, 1)


def test_prices_are_those_of_the_policies_targets() -> None:
    rows = {(row.tier, row.provider, row.model, row.input_price) for row in looked(heard()).prices}
    assert rows == {("Primary", "acme", "large", "4"), ("Secondary", "near", "small", None)}


def test_a_fleet_that_is_gone_is_forgotten() -> None:
    observed, memory = running_fleet()
    summaries = Summaries()
    summaries.take(observed, plan(observed, memory, SETTINGS).sizings)
    assert [fleet.namespace for fleet in decode(summaries.page()).fleets] == [observed.namespace]
    summaries.take(ObservedFleet(observed.namespace, observed.now), {})
    assert decode(summaries.page()).fleets == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans()), max_size=30))
def test_a_meter_adds_up_what_processes_did_whatever_restarts(steps: list[tuple[int, int, bool]]) -> None:
    meter = ResettableTotal(0.0, CounterSums())
    totals: dict[int, int] = {}
    births = dict.fromkeys(range(4), 1.0)
    done = 0
    for number, (process, work, restarts) in enumerate(steps, 2):
        if restarts:
            births[process], totals[process] = float(number), 0
        totals[process] = totals.get(process, 0) + work
        done += work
        meter = meter.advance({str(process): (births[process], CounterSums({"n": totals[process]}))})
    assert meter.total.values.get("n", 0) == done


def test_usage_of_two_routers_is_one_row() -> None:
    both = UsageSums.of([ROW]) + UsageSums.of([ROW])
    assert [(row.requests, row.dollars) for row in both.listed()] == [(4, "0.0016")]


def test_metrics_have_the_day_of_a_forecast_and_drop_it_where_the_budget_lasts() -> None:
    observed, _ = running_fleet(spec())

    def told(forecast: BudgetForecast | None) -> str:
        status = PolicyStatus(budget=BudgetStatus(period_end="2027-02-01T00:00:00Z", forecast=forecast))
        metrics.prices(replace(observed, policies=tuple(replace(item, status=status) for item in observed.policies)))
        return metrics.text().decode()

    metrics = Metrics()
    name = "forebay_budget_forecast_timestamp_seconds{"
    assert f'{name}namespace="team",policy="default"}} 1.7999712e+09' in told(BudgetForecast(likely="2027-01-15"))
    for lasts in (BudgetForecast(earliest="2027-01-30"), None):
        assert name not in told(lasts)
    assert "forebay_budget_end_timestamp_seconds{" in told(None)


def test_metrics_have_the_prices_and_drop_those_that_are_gone() -> None:
    observed, _ = running_fleet(spec(engine={"type": "Simulated", "gpus": 2}, gpuHourPrice="1.20"))
    metrics = Metrics()
    metrics.prices(observed)
    text = metrics.text().decode()
    assert 'forebay_pool_gpu_hour_dollars{namespace="team",pool="chat"} 1.2' in text
    assert 'forebay_pool_gpus{namespace="team",pool="chat"} 2.0' in text
    model = 'namespace="team",policy="default",provider="acme",tier="Primary"'
    assert f'forebay_cloud_price_dollars{{model="large",{model},tokens="out"}} 20.0' in text
    metrics.prices(ObservedFleet(observed.namespace, observed.now))
    assert "dollars{" not in metrics.text().decode()
