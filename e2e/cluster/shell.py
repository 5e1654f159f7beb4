"""Running programs: one place that quotes, times out and says what failed."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class ClusterError(RuntimeError):
    """Something the person at the keyboard must know; one sentence."""


def run(
    *command: str | Path, check: bool = True, env: Mapping[str, str] | None = None, stdin: str | None = None,
    cwd: Path | None = None, timeout: float = 600,
) -> str:  # fmt: skip
    """Run to the end and return its output. Raises ClusterError with the last lines when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, text=True, capture_output=True, env=env, cwd=cwd, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed; run: make cluster-install") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)} did not end within {timeout:.0f} s") from error
    if check and done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ClusterError(f"{' '.join(words)} failed ({done.returncode}):\n{tail}")
    return done.stdout


def ok(*command: str | Path, timeout: float = 60) -> bool:
    """Whether a command succeeds; its output is dropped."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, capture_output=True, timeout=timeout, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def say(text: str) -> None:
    """One line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


@contextmanager
def step(text: str, log: Path | None = None) -> Iterator[None]:
    """Say what is going on, every 15 s how long it has taken, and how long it took."""
    begun, done = time.monotonic(), threading.Event()

    def tick() -> None:
        while not done.wait(15):
            say(f"  … {text}: {time.monotonic() - begun:.0f} s" + (f" (log: {log})" if log else ""))

    say(text)
    threading.Thread(target=tick, daemon=True).start()
    try:
        yield
    finally:
        done.set()
    elapsed = time.monotonic() - begun
    if elapsed >= 2:
        say(f"  done in {elapsed:.0f} s")


def until(condition: Sequence[str | Path], what: str, seconds: float, pause: float = 0.1) -> None:
    """Repeat a command until it succeeds. Raises ClusterError after `seconds`."""
    end = time.monotonic() + seconds
    while not ok(*condition, timeout=30):
        if time.monotonic() > end:
            raise ClusterError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(pause)


def warn(text: str) -> None:
    """To the terminal's error stream."""
    print(text, file=sys.stderr, flush=True)
