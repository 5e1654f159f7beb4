"""Fuzz what reads bytes from strangers: `python -m bench.fuzz [--seconds N] [--target NAME]`.

Each target runs in a process of its own. An input that breaks something goes to tests/router/corpus, where
tests/router/test_corpus.py plays it, and the exit status is 1.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.fuzz.seeds import MOST_BYTES, dictionary, seeds
from bench.fuzz.targets import TARGETS
from bench.packages import fetched
from e2e.cluster.paths import CACHE, REPO

LOCK = Path(__file__).parent / "requirements.lock"
FOUND = REPO / "tests/router/corpus"


@dataclass(frozen=True)
class Outcome:
    """What one target's run came to."""

    executions: int
    per_second: int
    edges: int
    crashes: int


def fuzz(name: str, seconds: int, packages: Path) -> Outcome:
    """Run one target; tells what it finds on the way."""
    print(f"{name}: {seconds} s", flush=True)
    corpus = CACHE / "fuzz-corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        words, first, log, broken = (Path(folder) / part for part in ("words", "seeds", "log", "broken"))
        words.write_text(dictionary())
        for where in (first, broken):
            where.mkdir()
        for index, seed in enumerate(seeds(name)):
            (first / str(index)).write_bytes(seed)
        command = [sys.executable, "-m", "bench.fuzz.one", name, f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}",
                   "-timeout=10", f"-dict={words}", f"-artifact_prefix={broken}/", "-print_final_stats=1",
                   corpus, first]  # fmt: skip
        with log.open("wb") as output:
            status = subprocess.run(
                command,
                cwd=REPO,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPO, packages)))},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + 300,
                check=False,
            ).returncode
        text = log.read_text(errors="replace")
        crashes = [_keep(name, found) for found in sorted(broken.iterdir())]
    if status != 0:
        print(text[-4000:])
        print("\n".join(f"{name}: broken by {path.relative_to(REPO)}" for path in crashes), flush=True)
    executions, per_second = (_last(rf"stat::{what}:\s+(\d+)", text) for what in _STATS)
    return Outcome(executions, per_second, _last(r"cov: (\d+)", text), max(len(crashes), int(status != 0)))


def _keep(name: str, found: Path) -> Path:
    data = found.read_bytes()
    kept = FOUND / name / hashlib.sha1(data).hexdigest()
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    return kept


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


_STATS = ("number_of_executed_units", "average_exec_per_sec")


def main() -> int:
    """Fuzz, and print one table."""
    options = argparse.ArgumentParser(prog="bench.fuzz", description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--seconds", type=int, default=60, help="for all targets together")
    options.add_argument("--target", choices=list(TARGETS), help="this one only")
    arguments = options.parse_args()
    chosen = [arguments.target] if arguments.target else list(TARGETS)
    packages = fetched(LOCK, "fuzz")
    each = max(1, arguments.seconds // len(chosen))
    outcomes = {name: fuzz(name, each, packages) for name in chosen}
    print(f"\n{'target':<12}{'executions':>12}{'per second':>12}{'edges':>8}{'crashes':>9}")
    for name, it in outcomes.items():
        print(f"{name:<12}{it.executions:>12,}{it.per_second:>12,}{it.edges:>8,}{it.crashes:>9}")
    return int(any(it.crashes for it in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
