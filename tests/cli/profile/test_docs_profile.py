"""What docs/profile.md says is so, and what it tells people to type works."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

from bench.profile.claim import drawing
from forebay.cli.prices import asked, shipped
from forebay.cli.profile.formats_text import FORMATS
from forebay.cli.profile.log_lines import zstd
from forebay.cli.report import short
from forebay.rules.cost import BasisName, Hardware, MonthlyDemand, basis, break_even
from tests.cli.command import forebay
from tests.cli.profile import logs

REPO = Path(__file__).resolve().parents[3]
PAGE = (REPO / "docs" / "profile.md").read_text()
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_work(line: str, tmp_path: Path) -> None:
    before, _, command = line.rpartition("|")
    text = (logs.openai() + "\n").encode() * 3
    (tmp_path / "requests.jsonl").write_bytes(text)
    (tmp_path / "requests.jsonl.zst").write_bytes(zstd.compress(text))
    (tmp_path / "prices.csv").write_text("model,input,output\ngpt-5.4-mini,1,2\n")
    (tmp_path / "examples").symlink_to(REPO / "examples")
    piped = b""
    if before.startswith("zcat"):
        piped = gzip.decompress(gzip.compress((logs.litellm() + "\n").encode()))
    elif before:
        assert before.startswith("kubectl logs")
        piped = (logs.forebay() + "\n").encode()
    words = shlex.split(command)
    assert words[:3] == ["kubectl", "forebay", "profile"]
    done = forebay(*words[2:], stdin=piped, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    if "--html" in words:
        assert (tmp_path / words[words.index("--html") + 1]).stat().st_size > 10_000


def test_its_table_of_the_claim_is_what_the_rule_says() -> None:
    (table,) = re.findall(r"<!-- claim -->\n(.*?)<!-- end -->", PAGE, re.S)
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == 6
    for model, *points in rows:
        usd = asked(model, shipped()).of(750_000, 250_000)
        found = [
            break_even(basis(name, Hardware()), MonthlyDemand(1e6, usd, usd), 32)
            for name in (BasisName.ELECTRICITY, BasisName.OWNED, BasisName.RENTED)
        ]
        assert points == [short(point or 0) for point in found]


def test_its_picture_is_up_to_date() -> None:
    assert (REPO / "docs" / "break-even.svg").read_text() == drawing(), (
        "run: .venv/bin/python -m bench.profile.claim > docs/break-even.svg"
    )


def test_it_lists_every_format() -> None:
    for form in FORMATS:
        assert f"`{form.name}`" in PAGE


def test_its_defaults_are_the_codes() -> None:
    hardware = Hardware()
    for option, value in (("gpu-price", hardware.gpu_price), ("months", hardware.months), ("watts", hardware.watts),
                          ("kwh-price", hardware.kwh_price), ("people", hardware.people_month),
                          ("gpu-hour-price", hardware.gpu_hour_price)):  # fmt: skip
        assert f"`--{option}` {value:,g}" in PAGE
    assert shipped()[0].as_of in PAGE


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPO / "docs" / link).exists(), link
