"""`kubectl forebay replay`: from a trace and manifests to an answer, or to one sentence that says what is wrong."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from forebay.cli.replay.answer import answer
from forebay.cli.replay.html import html
from forebay.cli.replay.manifests import fleet_of
from forebay.cli.replay.phrases import headline, notices, share
from forebay.cli.replay.series import series
from forebay.cli.replay.show import data
from forebay.replay import Forebay, PlayedMinute, play
from forebay.replay.readers import read
from tests.cli.command import forebay

REPO = Path(__file__).resolve().parents[2]
POOL = REPO / "examples" / "vllm" / "pool.yaml"
POLICY = REPO / "examples" / "vllm" / "policy.yaml"
SIMULATED = REPO / "examples" / "simulated"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Ten minutes, of which the middle ones are more than the pool can serve."""
    rng, at, rows = random.Random(1), 0.0, ["at,prompt,output,priority"]
    while at < 600:
        at += rng.expovariate(12.0 if 120 < at < 480 else 1.0)
        rows.append(f"{at:.3f},{rng.randrange(20, 2000)},{rng.randrange(10, 300)},{rng.choice(('High', 'Normal'))}")
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([*rows, "601,many,1,Normal"]) + "\n")
    return path


@pytest.fixture
def short(trace: Path, tmp_path: Path) -> Path:
    """The first minute of it, for what does not depend on how much comes."""
    header, *rows = trace.read_text().splitlines()
    path = tmp_path / "short.csv"
    path.write_text("\n".join([header, *(row for row in rows if float(row.partition(",")[0]) < 60)]) + "\n")
    return path


@dataclass(frozen=True)
class Said:
    """What the command told, and with which status."""

    status: int
    out: str
    err: str


def replay(*arguments: object) -> Said:
    done = forebay("replay", *map(str, arguments))
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.slow
def test_it_says_size_spill_waits_and_cost(trace: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = replay(trace, "--pool", POOL, "--policy", POLICY, "--out", page, "--cold-start", 60)
    assert said.status == 0, said.err
    assert "qwen-7b with" in said.out
    for word in ("HighPriorityOverflow", "AllPoolsFull", "GPU-HOURS", "FIRST TOKEN", "demand", "$"):
        assert word in said.out, word
    assert "line " in said.out
    assert "many" in said.out
    assert f"wrote {page}" in said.err
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_data_adds_up(trace: Path) -> None:
    said = replay(trace, "--pool", POOL, "--policy", POLICY, "-o", "json")
    found = json.loads(said.out)
    total = found["trace"]["requests"]
    assert sum(found["requests"].values()) == total
    assert sum(row["requests"] for row in found["priorities"]) == total
    assert sum(row["requests"] for row in found["overflow"]) == found["requests"]["cloud"] > 0
    (pool,) = found["pools"]
    assert sum(minute["arrivals"] for minute in pool["minutes"]) == total
    gpus, cloud = float(found["cost"]["gpus"]), float(found["cost"]["cloud"])
    assert gpus == pytest.approx(1.2 * pool["gpuHours"], rel=1e-3)
    assert float(found["cost"]["total"]) == pytest.approx(gpus + cloud)
    assert found["trace"]["skipped"] == 1


def test_the_same_seed_says_the_same(short: Path) -> None:
    first, second = (replay(short, "--pool", POOL, "-o", "json", "--seed", 3).out for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_a_fixed_size_and_another_tempo_are_other_answers(trace: Path) -> None:
    fixed = json.loads(replay(trace, "--pool", POOL, "--size", 3, "-o", "json").out)["pools"][0]
    assert (fixed["leastReplicas"], fixed["mostReplicas"]) == (2, 3)
    slow = json.loads(replay(trace, "--pool", POOL, "--tempo", 0.5, "-o", "json").out)
    assert slow["trace"]["hours"] == pytest.approx(2 * 600 / 3600, rel=0.1)


@pytest.mark.slow
def test_pools_that_stand_in_one_file_are_one_fleet(trace: Path) -> None:
    said = replay(trace, "--pool", SIMULATED / "pools.yaml", "--policy", SIMULATED / "policy.yaml", "-o", "json")
    found = json.loads(said.out)
    assert [pool["name"] for pool in found["pools"]] == ["chat", "sorter"]
    assert found["assumptions"]["cold start of chat"] == "15 s"


@pytest.mark.slow
def test_gpus_may_be_few(trace: Path) -> None:
    found = json.loads(replay(trace, "--pool", POOL, "--gpus", 2, "--cold-start", 30, "-o", "json").out)
    assert max(minute["ready"] for minute in found["pools"][0]["minutes"]) == 2
    assert found["pools"][0]["gpuHours"] <= 2 * found["trace"]["hours"] + 1e-3


def test_the_table_of_gpus_sets_slots_and_speed(short: Path) -> None:
    by_gpu = {}
    for gpu in ("h100", "l4"):
        found = json.loads(replay(short, "--pool", POOL, "--gpu", gpu, "-o", "json").out)
        by_gpu[gpu] = found["pools"][0]["slotsPerReplica"]
    assert by_gpu["h100"] > by_gpu["l4"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("absent.csv", "--pool", POOL), 2, "absent.csv cannot be read"),
        ((POOL, "--pool", POOL), 2, "no trace's"),
        (("{trace}", "--pool", POLICY), 2, "holds no LocalModelPool"),
        (("{trace}", "--pool", "absent.yaml"), 2, "cannot read absent.yaml"),
        (("{trace}", "--pool", POOL, "--pool", POOL), 2, "same name"),
        (("{trace}", "--pool", POOL, "--gpu", "abacus"), 2, "not in the table"),
        (("{trace}", "--pool", POOL, "--out", "/proc/none/page.html"), 1, "cannot write"),
        (("{trace}",), 2, "--pool"),
    ],
)
def test_what_is_wrong_is_one_sentence(short: Path, arguments: tuple[object, ...], status: int, words: str) -> None:
    said = replay(*(str(argument).format(trace=short) for argument in arguments))
    assert said.status == status
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_spec_that_makes_no_sense_is_named_with_its_field(trace: Path, tmp_path: Path) -> None:
    bad = tmp_path / "pool.yaml"
    bad.write_text(POOL.read_text().replace("maxReplicas: 4", "maxReplicas: four"))
    said = replay(trace, "--pool", bad)
    assert said.status == 2
    assert "qwen-7b: spec.scaling.maxReplicas" in said.err


def test_a_policy_of_the_first_release_is_told_the_new_name_of_its_field(trace: Path, tmp_path: Path) -> None:
    old = tmp_path / "policy.yaml"
    old.write_text(POLICY.read_text().replace("spec:\n", "spec:\n  gap: Reject\n", 1))
    said = replay(trace, "--pool", POOL, "--policy", old)
    assert said.status == 2
    assert "default: spec.gap is now called spec.onCapabilityGap: rename it" in said.err


def test_the_page_is_drawn_and_says_what_the_terminal_says(trace: Path) -> None:
    found = read(trace)
    fleet = fleet_of([POOL, POLICY], found.requests, gpu=None, gpus=None, cold_start=60.0, gateways=2, exact=False)
    pool = fleet.setup.pools[0]
    outcome = play(found.requests, fleet.setup, Forebay.of(fleet.setup, pool))
    told = answer("trace.csv", found, fleet.setup, outcome, fleet.assumptions)
    page = html(told)
    assert headline(told) in page.replace("&lt;", "<").replace("&gt;", ">")
    assert page.count("<svg") >= 4
    assert any("make no sense" in notice for notice in notices(told))
    assert json.loads(json.dumps(data(told)))["requests"]["local"] == told.local
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")


def test_lines_are_as_long_as_there_is_room_and_keep_the_peak() -> None:
    minutes = [PlayedMinute("chat", n, looks=1, running=float(n % 7), overflowing=5.0 if n == 500 else 0.0)
               for n in range(1000)]  # fmt: skip
    drawn = series(minutes, 60)
    assert all(len(line.bars()) <= 60 for line in drawn.values())
    assert drawn["peak"].most == max(minute.running + minute.overflowing for minute in minutes)
    assert set(drawn["left"].bars()) == {" "}


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 10, "0 %"), (10, 10, "100 %"), (1, 100_000, "< 0.1 %"), (99_999, 100_000, "> 99.9 %"), (1, 3, "33.3 %"),
     (0, 0, "–")],
)  # fmt: skip
def test_shares_never_round_to_none_or_all(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said
