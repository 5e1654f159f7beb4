"""Long-running programs by pid record. A record holds pid and start time, so a stale one never ends a stranger."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (field 22 of /proc/PID/stat); None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def spawn(record: Path, log: Path, command: Sequence[str | Path]) -> int:
    """Start a program in its own process session, output to `log`, and record it. Returns its pid."""
    record.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(  # the record, not this object, is what ends it
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # not ours to wait for: it outlives this program
    part = record.with_suffix(".part")
    part.write_text(f"{process.pid} {start_time(process.pid)}\n")
    part.rename(record)
    return process.pid


def recorded(record: Path) -> int | None:
    """The pid of a record if that very process still runs."""
    try:
        pid, began = (int(word) for word in record.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if start_time(pid) == began else None


def end(records: Iterable[Path], first: signal.Signals = signal.SIGTERM, seconds: float = 5.0) -> None:
    """End every recorded process: signal all, wait, kill what is left, forget the records."""
    records = list(records)
    alive = {record: pid for record in records if (pid := recorded(record)) is not None}
    for pid in alive.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, first)
    deadline = time.monotonic() + seconds
    while alive and time.monotonic() < deadline:
        _reap(alive.values())
        alive = {record: pid for record, pid in alive.items() if recorded(record) == pid}
        time.sleep(0.03)
    for record, pid in alive.items():
        if recorded(record) == pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for record in records:
        record.unlink(missing_ok=True)
    time.sleep(0.05 if alive else 0)
    _reap(alive.values())


def _reap(pids: Iterable[int]) -> None:
    """Collect those that were started by this very program and have ended."""
    for pid in list(pids):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
