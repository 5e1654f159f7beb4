"""The command as a person types it, without a cluster."""

import gzip
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from forebay.cli.profile.log_lines import zstd
from tests.cli.command import forebay
from tests.cli.profile import logs

REPO = Path(__file__).resolve().parents[3]
POOL = REPO / "examples" / "vllm" / "pool.yaml"


def profile(*arguments: str, stdin: bytes = b"") -> CompletedProcess[bytes]:
    return forebay("profile", *arguments, stdin=stdin, columns=160)


def data(*arguments: str, stdin: bytes = b"") -> Any:
    done = profile(*arguments, "-o", "json", stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A day of requests, an hour apart, and one line that is none."""
    path = tmp_path / "requests.jsonl"
    lines = [logs.openai(timestamp=logs.BEGIN + hour * 3600, capability=("extraction", "reasoning")[hour % 4 == 3])
             for hour in range(25)]  # fmt: skip
    path.write_text("\n".join([*lines, "not a request"]) + "\n")
    return path


def test_it_answers_in_words(log: Path) -> None:
    done = profile(str(log))
    said = done.stdout.decode()
    assert done.returncode == 0
    for words in ("25 requests from requests.jsonl, read as OpenAI-style requests", "left out: 1 (line 26",
                  "local share 76 %", "all cloud", "local-first", "the cloud is cheaper"):  # fmt: skip
        assert words in said, words
    assert done.stderr == b""


def test_it_answers_in_data(log: Path) -> None:
    found = data(str(log))
    assert found["log"]["requests"] == 25
    assert found["localShare"]["value"] == 0.76
    assert found["localFirst"]["replicas"] == 0
    assert found["breakEvenTokens"]["electricity"] < found["breakEvenTokens"]["owned"]
    assert yaml.safe_load(profile(str(log), "-o", "yaml").stdout) == found


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_a_pipe_says_the_same_as_a_file(log: Path, pack: Any) -> None:
    piped = data("-", stdin=pack(log.read_bytes()))
    filed = data(str(log))
    assert piped["log"].pop("source") == "standard input"
    assert piped["log"].pop("packing") in ("", "gzip", "zstd")
    del filed["log"]["source"], filed["log"]["packing"]
    assert piped == filed


def test_a_pool_is_taken_from_its_manifest(log: Path) -> None:
    found = data(str(log), "--pool", str(POOL))["assumptions"]
    assert "qwen-7b (Qwen/Qwen2.5-7B-Instruct): classification, extraction, general; 32,768" in found["pool"]
    assert "$1.2 a GPU and hour" in found["rented"]


def test_options_win_over_the_manifest(log: Path) -> None:
    found = data(str(log), "--pool", str(POOL), "--capabilities", "reasoning", "--gpu-hour-price", "3", "--slots", "7")
    assert found["localShare"]["value"] == 0.24
    assert "$3 a GPU and hour" in found["assumptions"]["rented"]
    assert "7 requests at a time" in found["assumptions"]["a replica"]


def test_prices_may_be_ones_own(log: Path, tmp_path: Path) -> None:
    table = tmp_path / "prices.csv"
    table.write_text("provider,model,input,output\nacme,dear,4000000,20000000\n")
    found = data(str(log), "--prices", str(table))
    assert found["allCloud"]["value"] == pytest.approx(25 * (120 * 4 + 45 * 20) * 730 / 24, rel=1e-3)
    assert found["localFirst"]["replicas"] == 1


@pytest.mark.parametrize("name", logs.EVERY)
def test_words_never_leave_the_log(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log"
    path.write_text(f"{logs.EVERY[name]}\n" * 3 + f'{{"{logs.SECRET}": "{logs.SECRET}"\n')
    page = tmp_path / "page.html"
    for output in ("table", "json"):
        done = profile(str(path), "--html", str(page), "-o", output)
        assert done.returncode == 0, done.stderr.decode()
        for text in (done.stdout, done.stderr, page.read_bytes()):
            assert logs.SECRET.encode() not in text


def test_the_page_says_what_the_terminal_says(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = profile(str(log), "--html", str(page))
    assert f"wrote {page}" in done.stderr.decode().replace("\n", "")
    text = page.read_text()
    for words in ("What local is worth", "25 requests from requests.jsonl", "the claim: 10M", "76 %", "this log:",
                  "list price, LiteLLM"):  # fmt: skip
        assert words in text, words
    assert text.count("<svg") > 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere",), "cannot read /nowhere: No such file or directory"),
        (("LOG", "--format", "csv"), "there is no format 'csv'"),
        (("LOG", "--capabilities", "cooking"), "--capabilities cooking: take some of classification"),
        (("LOG", "--displaced", "hal-9000"), "there is no price for 'hal-9000'"),
        (("LOG", "--pool", str(POOL.with_name("policy.yaml"))), "holds no LocalModelPool"),
        (("LOG", "--prices", "/nowhere"), "cannot read prices from /nowhere"),
        (("LOG", "--html", "/nowhere/page.html"), "cannot write /nowhere/page.html"),
    ],
)
def test_what_goes_wrong_is_one_sentence(log: Path, arguments: tuple[str, ...], said: str) -> None:
    done = profile(*(str(log) if word == "LOG" else word for word in arguments))
    assert done.returncode in (1, 2)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_manifest_that_is_wrong_says_where(log: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "pool.yaml"
    wrong.write_text("kind: LocalModelPool\nspec: {model: {name: m}, capabilities: [cooking]}\n")
    done = profile(str(log), "--pool", str(wrong))
    assert b"spec.capabilities.0" in done.stderr
