"""What `cost` prints, and where its figures come from."""

import io

import msgspec
import pytest
from rich.console import Console

from forebay.cli.cost import from_summary
from forebay.cli.cost.bill import By, total
from forebay.cli.cost.bill import bill_rows as bill_lines
from forebay.cli.cost.command import duration
from forebay.cli.cost.phrases import as_data, dollars, report, screen, short, signed
from forebay.cli.problem import Problem
from forebay.resources.summary import Minute, PriceRow
from forebay.resources.usage import LOCAL, UsageRow
from forebay.rules.cost import Price
from tests.cli.test_top import CHAT, FLEET, ROW

HOME = UsageRow(
    pool="chat", destination=LOCAL, client="batch", priority="Normal", capability="general", requests=500,
    seconds=57_600.0, input_tokens=400_000,
)  # fmt: skip
BUSY = msgspec.structs.replace(
    CHAT, gpu_seconds=7200.0, prompt_tokens=420_000, generation_tokens=150_000,
    minutes=tuple(Minute(at, 2, 16, 16, 3, 4) for at in range(60)),
)  # fmt: skip
PRICES = (
    PriceRow(policy="default", tier="Primary", provider="acme", model="large", input_price="4", output_price="20"),
    PriceRow(policy="default", tier="Secondary", provider="bravo", model="small", input_price="1", output_price="4"),
)
SPILLED = msgspec.structs.replace(ROW, seconds=14_400.0)  # four at a time for an hour
WHOLE = msgspec.structs.replace(FLEET, pools=(BUSY,), usage=(SPILLED, HOME), prices=PRICES, since=FLEET.time - 3600)


def period() -> from_summary.BilledPeriod:
    return from_summary.period(WHOLE, None, from_summary.displaced_models({"chat": "default"}, PRICES, ()))


def shown() -> str:
    out = io.StringIO()
    console = Console(file=out, width=200)
    for part in screen(period(), By.POOL):
        console.print(part, soft_wrap=True)
    return out.getvalue()


def test_the_bill_on_a_terminal() -> None:
    text = shown()
    assert text.startswith("demo, 2027-01-15 07:01 to 2027-01-15 08:01 UTC (60 min), by pool; counted by the operator")
    row = next(line.split() for line in text.splitlines() if line.startswith("chat "))
    assert row == ["chat", "500", "12", "429.0k", "152.0k", "$2.40", "$0.0760", "$1.10", "-$1.38"]
    assert "chat, one more (1 GPU) over 60 min: 100% of what overflowed would have stayed" in text
    assert "chat, one less (1 GPU) over 60 min: 50% of what ran would have left" in text
    assert "small at $1 / $4 a million tokens in / out (policy default, secondary)" in text


def test_the_displaced_model_is_the_policys_first_secondary_with_a_price() -> None:
    bare = msgspec.structs.replace(PRICES[1], input_price=None)
    assert from_summary.displaced_models({"chat": "default"}, [PRICES[0], bare], ())["chat"].model == "large"
    shipped = (Price("bravo", "small", 9.0, 9.0),)
    assert from_summary.displaced_models({"chat": "default"}, [PRICES[0], bare], shipped)["chat"].input == 9.0
    assert from_summary.displaced_models({"chat": "other"}, PRICES, ()) == {}


def test_the_report_loads_nothing_and_has_every_split() -> None:
    html = report(period())
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html
    for by in By:
        assert f"By {by}" in html
    assert "One replica more or less" in html


def test_data_has_the_same_figures() -> None:
    data = as_data(period(), By.CLIENT)
    assert data["total"]["hardware"] == pytest.approx(total(bill_lines(period(), By.POOL)).hardware)
    assert {line["name"] for line in data["lines"]} == {"batch"}
    assert [item["replicas"] for item in data["replicaMoreOrLess"]] == [1, -1]


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)])
def test_periods(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "5", "1y", "-2h", "1.5h"])
def test_periods_that_make_no_sense(text: str) -> None:
    with pytest.raises(Problem, match="write 90m"):
        duration(text)


def test_figures_are_short() -> None:
    assert [dollars(value) for value in (None, 0.0, 0.00123, 12.345, 12345.6, -2.0)] == [
        "?", "$0.00", "$0.0012", "$12.35", "$12,346", "-$2.00",
    ]  # fmt: skip
    assert [signed(1.0), signed(-1.0), signed(None)] == ["+$1.00", "-$1.00", "?"]
    assert [short(950), short(1500), short(2.5e6), short(3e9)] == ["950", "1.5k", "2.5M", "3.0G"]
