"""What a sidecar tells the operator of its engine, and what it makes of what the operator has learnt."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from forebay.resources.reasons import CapacityBound
from forebay.resources.report import LengthReport
from forebay.resources.table import LearntEntry, RoutingTable, decode, encode
from forebay.router.engine_monitor import EngineMonitor
from forebay.router.http.client import ConnectionPool as Connections
from testing.fleet import Pool, fleet

RECORDED = Path(os.environ.get("FOREBAY_DATA", "/nonexistent")) / "vllm" / "metrics-saturated.txt"
LABELS = 'engine="{}",model_name="m"'
# The shape of vLLM 0.32's own, written by hand: one engine, or one of several data-parallel ones.
METRICS = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{@} 8.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{@} 0.5
# TYPE vllm:inter_token_latency_seconds histogram
vllm:inter_token_latency_seconds_bucket{@,le="0.01"} 1900.0
vllm:inter_token_latency_seconds_bucket{@,le="+Inf"} 2000.0
vllm:inter_token_latency_seconds_count{@} 2000.0
vllm:inter_token_latency_seconds_sum{@} 11.5
vllm:request_prompt_tokens_bucket{@,le="10.0"} 0.0
vllm:request_prompt_tokens_bucket{@,le="20.0"} 3.0
vllm:request_prompt_tokens_bucket{@,le="+Inf"} 4.0
vllm:request_prompt_tokens_count{@} 4.0
vllm:request_prompt_tokens_sum{@} 75.0
vllm:request_generation_tokens_bucket{@,le="5.0"} 4.0
vllm:request_generation_tokens_bucket{@,le="+Inf"} 4.0
vllm:request_generation_tokens_count{@} 4.0
vllm:request_generation_tokens_sum{@} 20.0
vllm:cache_config_info{@,kv_cache_size_tokens="5000"} 1.0
"""


async def _report(text: str) -> Any:
    engine = EngineMonitor(("127.0.0.1", 1), Connections(), lambda: None)
    engine.take(text)
    return engine.report()


@pytest.mark.parametrize("ranks", [1, 2])
def test_totals_are_summed_over_ranks_and_shares_are_not(ranks: int) -> None:
    text = "".join(METRICS.replace("@", LABELS.format(rank)) for rank in range(ranks))
    report = uvloop.run(_report(text))
    assert report is not None
    assert (report.running, report.kv_usage, report.kv_tokens) == (8 * ranks, 0.5, 5000 * ranks)
    assert (report.tokens_total, report.token_seconds_total) == (2000 * ranks, 11.5 * ranks)
    assert report.prompts == LengthReport(totals=((10, 0), (20, 3 * ranks), (50, 4 * ranks)), tokens=75 * ranks)
    assert report.answers == LengthReport(totals=((5, 4 * ranks), (12, 4 * ranks)), tokens=20 * ranks)


def test_an_older_engine_has_another_name_for_the_time_between_tokens() -> None:
    older = METRICS.replace("inter_token_latency_seconds", "time_per_output_token_seconds")
    report = uvloop.run(_report(older.replace("@", LABELS.format(0))))
    assert (report.tokens_total, report.token_seconds_total) == (2000, 11.5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('block_size="16",num_gpu_blocks="32768"', 524_288),  # vLLM up to 0.23
        ('block_size="16",num_gpu_blocks="32768",kv_cache_size_tokens="500000"', 500_000),
        ('kv_cache_size_tokens="None",num_gpu_blocks="10",block_size="16"', 160),
        ('block_size="16",num_gpu_blocks="None",num_gpu_blocks_override="7"', None),
        ('mamba_block_size="8",num_gpu_blocks="10"', None),
        ('gpu_memory_utilization="0.9"', None),
    ],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_cache_is_read_from_whichever_label_is_there(labels: str, expected: int | None, ranks: int) -> None:
    text = "".join(
        METRICS.replace("@", LABELS.format(rank)).replace('kv_cache_size_tokens="5000"', labels)
        for rank in range(ranks)
    )
    report = uvloop.run(_report(text))
    assert report.kv_tokens == (expected and expected * ranks)


def test_an_engine_that_speculates_is_measured_by_tokens_and_not_by_steps() -> None:
    """402 tokens of two answers, in 85 steps after their first."""
    text = METRICS.replace("2000.0", "85.0") + (
        "vllm:generation_tokens_total{@} 402.0\nvllm:time_to_first_token_seconds_count{@} 2.0\n"
    )
    report = uvloop.run(_report(text.replace("@", LABELS.format(0))))
    assert (report.tokens_total, report.token_seconds_total) == (400, 11.5)


def test_a_recorded_engine_is_understood() -> None:
    """FOREBAY_DATA=folder with vllm/metrics-saturated.txt: 8 run, 4 have ended, 1,959 tokens in 11.5 s of waiting."""
    if not RECORDED.exists():
        pytest.skip("FOREBAY_DATA names no folder with vllm/metrics-saturated.txt")
    report = uvloop.run(_report(RECORDED.read_text()))
    assert (report.running, report.tokens_total, report.kv_tokens) == (8, 1959, 524_288)
    assert report.token_seconds_total == pytest.approx(11.503931)
    assert (report.prompts.totals[-1][1], report.prompts.tokens, report.answers.tokens) == (4, 48, 20)


def test_what_was_learnt_comes_with_the_table_and_a_smaller_cache_runs_fewer(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            side = f.side("chat-0")
            await f.until(lambda: side.engine.kv_tokens == 41_408)
            mine = msgspec.structs.replace(side.entry, slots_per_replica=None)

            def told(learnt: LearntEntry | None) -> int:
                known = side.context.table.table
                table = RoutingTable(
                    generation=known.generation + 1,
                    gateway_addresses=known.gateway_addresses,
                    pools=(msgspec.structs.replace(mine, learnt=learnt),),
                )
                side.context.table.take(decode(encode(table)))
                return side.admission.slots

            assert told(None) == 41_408 // 2048
            assert told(LearntEntry(slots=20, bound=CapacityBound.LATENCY, kv_tokens=41_408)) == 20
            assert side.slots.capacity.bound is CapacityBound.LATENCY
            assert told(LearntEntry(slots=20, kv_tokens=82_816)) == 10
            assert side.slots.weight(9_000, 1) == 2  # a slot of ten has room for 4,140

    uvloop.run(story())


def test_back_pressure_cuts_slots_and_not_capacity(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=6)}) as f:
            side = f.side("chat-0")
            side.slots.cut()
            report = side.report()
            assert (report.slots, report.capacity) == (3, 6)
            side.slots.cut()
            assert side.report().slots == 1
            for slots in (2, 3, 4, 5, 6, 6, 6):
                await f.ask(2)
                assert side.report().slots == slots, "each answer gives one back"

    uvloop.run(story())


def test_a_sidecar_counts_tokens_of_what_ran(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            await f.ask(50)
            side, engine = f.side("chat-0"), f.engines["chat-0"]
            side.engine.take(engine.telemetry.render().decode())
            read = side.report().engine
            assert read is not None
            assert read.tokens_total == 49  # the first token has nothing before it
            assert read.token_seconds_total == pytest.approx(49 * 0.002, rel=0.9)
            assert read.answers.tokens == 50
            assert read.read_at > 1_700_000_000

    uvloop.run(story())
