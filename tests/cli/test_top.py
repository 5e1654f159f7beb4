"""What `top` shows of two summaries."""

import io
from decimal import Decimal

import msgspec
import pytest
from rich.console import Console

from forebay.cli.running.top import View, local_dollars_an_hour, meter, screen, spark
from forebay.resources.summary import FleetSummary, Minute, PoolSummary, Summary
from forebay.resources.usage import UsageRow

ROW = UsageRow(
    pool="chat", destination="acme/large", client="batch", priority="High", capability="general", requests=12,
    seconds=30.0, input_tokens=9000, output_tokens=2000, dollars="0.0760",
)  # fmt: skip
CHAT = PoolSummary(
    name="chat", ready=2, desired=3, starting=1, slots=16, running=16, queued=5, overflowing=3, demand=24.2,
    capacity=7, size_reason="DemandAboveCapacity", gpus=1, gpu_hour_price="1.20", requests=300,
    overflow_by_reason={"HighPriorityOverflow": 12, "AllPoolsFull": 30},
    minutes=tuple(Minute(at, 2, 16, at, 0, 0) for at in range(17)),
)  # fmt: skip
FLEET = FleetSummary(
    namespace="demo", time=1_800_000_060.0, since=1_799_990_000.0, gateways=2, pools=(CHAT,), usage=(ROW,)
)
NOW = Summary(version="0.1", time=FLEET.time, fleets=(FLEET,))


def before(**pool: object) -> Summary:
    earlier = msgspec.structs.replace(CHAT, **pool)
    row = msgspec.structs.replace(ROW, dollars="0.0700")
    fleet = msgspec.structs.replace(FLEET, time=FLEET.time - 60, pools=(earlier,), usage=(row,))
    return msgspec.structs.replace(NOW, time=fleet.time, fleets=(fleet,))


def shown(view: View) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(screen(view))
    return out.getvalue()


def test_one_look_shows_slots_queue_overflow_and_money() -> None:
    text = shown(View(NOW, None, "demo"))
    for words in ("2/3", "██████████ 16/16", "HighPriorityOverflow", "3 GPUs, $3.60 an hour", "cloud: $0.0760"):
        assert words in text, text


def test_two_looks_show_rates() -> None:
    earlier = before(overflow_by_reason={"HighPriorityOverflow": 6, "AllPoolsFull": 30})
    rows = {line.split()[0]: line.split() for line in shown(View(NOW, earlier, "demo")).splitlines() if line.strip()}
    assert rows["HighPriorityOverflow"][1:3] == ["12", "6.0"]
    assert rows["AllPoolsFull"][1:3] == ["30", "0.0"]
    assert "$0.36 an hour now" in " ".join(rows["cloud:"])


def test_a_pool_without_a_price_says_so() -> None:
    bare = msgspec.structs.replace(FLEET, pools=(msgspec.structs.replace(CHAT, gpu_hour_price=None),))
    assert local_dollars_an_hour(bare) is None
    assert local_dollars_an_hour(FLEET) == Decimal("3.60")
    assert "no price (spec.gpuHourPrice)" in shown(View(msgspec.structs.replace(NOW, fleets=(bare,)), None, ""))


def test_other_namespaces_are_left_out() -> None:
    assert shown(View(NOW, None, "elsewhere")).startswith("namespace elsewhere has no pool")


def test_why_there_is_no_newer_look_is_shown() -> None:
    assert "the API server is gone" in shown(View(NOW, None, "", "the API server is gone"))


@pytest.mark.parametrize(
    ("running", "slots", "bar"), [(0, 8, "·" * 10), (4, 8, "█████·····"), (9, 8, "█" * 10), (0, 0, "·" * 10)]
)
def test_the_meter(running: int, slots: int, bar: str) -> None:
    assert meter(running, slots).plain == f"{bar} {running}/{slots}"


def test_the_spark_line_is_full_where_nothing_can_run_and_somebody_waits() -> None:
    assert spark([Minute(1, 0, 0, 0, 0, 0), Minute(2, 0, 0, 0, 2, 0), Minute(3, 1, 8, 4, 0, 0)]) == "▁█▅"
