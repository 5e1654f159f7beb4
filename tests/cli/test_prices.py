"""The table of prices: shipped, dated, replaceable."""

import re
from pathlib import Path

import pytest

from forebay.cli.prices import asked, find, parse, prices, shipped
from forebay.cli.problem import Problem


def test_every_shipped_price_has_a_date_and_a_source() -> None:
    assert 10 <= len(shipped()) <= 30
    for price in shipped():
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", price.as_of), price
        assert price.source
        assert price.output >= price.input > 0


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("gpt-5.6", "gpt-5.6"),
        ("openai/gpt-5.6", "gpt-5.6"),
        ("gpt-5.4-mini-2026-03-17", "gpt-5.4-mini"),
        ("azure/gpt-5.4-mini-20260317", "gpt-5.4-mini"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("groq/openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("gpt-5", None),
        ("qwen-7b", None),
        ("", None),
    ],
)
def test_a_model_is_found_as_logs_spell_it(written: str, found: str | None) -> None:
    price = find(written, shipped())
    assert (price.model if price else None) == found


@pytest.mark.parametrize(
    "text",
    [
        "provider,model,input,output\nacme,big,4,20\n",
        "provider\tmodel\tinput\toutput\tcached\nacme\tbig\t4\t20\t\n",
        "provider,model,input_usd_per_mtok,output_usd_per_mtok,cached_input_usd_per_mtok\nacme,big,4,20,0.4\n",
        "# ours\nmodel,input,output\n\nbig,4,20\n",
    ],
)
def test_a_table_may_be_written_with_tabs_or_commas(text: str) -> None:
    (price,) = parse(text, "t")
    assert (price.model, price.input, price.output) == ("big", 4, 20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no prices"),
        ("model,input\nbig,4\n", "line 2: no column 'output'"),
        ("model,input,output\nbig,4,20\nsmall,four,20\n", "line 3: could not convert"),
        ("model,input,output\nbig,-4,20\n", "line 2: a model needs a name, and prices of at least 0"),
        ("model,input,output\nbig,nan,20\n", "line 2"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_and_what(text: str, said: str) -> None:
    with pytest.raises(Problem, match=said) as caught:
        parse(text, "mine.csv")
    assert "mine.csv" in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot read prices"):
        prices(tmp_path / "none")


def test_an_unknown_model_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(Problem, match=r"no price for 'x'.*gpt-5\.6"):
        asked("x", shipped())
