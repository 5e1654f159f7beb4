"""Records of processes: a stale one never ends a stranger."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.cluster import process


def sleeper(tmp: Path, name: str = "x") -> tuple[Path, int]:
    record = tmp / f"{name}.pid"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    return record, process.spawn(record, tmp / f"{name}.log", command)


def test_a_recorded_process_is_found_and_ended(tmp_path: Path) -> None:
    record, pid = sleeper(tmp_path)
    assert process.recorded(record) == pid
    process.end([record])
    assert process.start_time(pid) is None
    assert not record.exists()


def test_a_record_of_another_start_time_ends_nobody(tmp_path: Path) -> None:
    record, pid = sleeper(tmp_path)
    mine = process.start_time(pid)
    stale = tmp_path / "stale.pid"
    stale.write_text(f"{pid} {(mine or 0) - 1}\n")
    assert process.recorded(stale) is None
    process.end([stale])
    assert process.start_time(pid) == mine
    process.end([record])


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    record = tmp_path / "stubborn.pid"
    ready = tmp_path / "ready"
    ignore = "import signal,time,pathlib; signal.signal(15, signal.SIG_IGN)"
    code = f"{ignore}; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    pid = process.spawn(record, tmp_path / "log", [sys.executable, "-c", code])
    while not ready.exists():
        os.sched_yield()
    process.end([record], seconds=0.2)
    assert process.start_time(pid) is None


def test_garbage_in_a_record_is_nobody(tmp_path: Path) -> None:
    for text in ("", "x y", "1", "999999999 1"):
        (tmp_path / "r.pid").write_text(text)
        assert process.recorded(tmp_path / "r.pid") is None


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.start_time(child.pid) is None
    child.wait()
