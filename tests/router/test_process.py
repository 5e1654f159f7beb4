"""A router as a process: it ends when told to, even before it has begun."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        f"import {module}.__main__ as m, sys; print('in', flush=True); sys.exit(m.main(sys.argv[1:]))",
    ]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("pause", [0.0, 0.05, 1.5])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("forebay.simulator", ["--port=0"]),
        (
            "forebay.router",
            [
                "--role=gateway",
                "--table=missing.json",
                "--host=127.0.0.1",
                *(f"--{p}-port=0" for p in ("request", "control", "metrics", "health")),
            ],
        ),
    ],
)
def test_sigterm_ends_it_at_any_moment(module: str, arguments: list[str], pause: float, tmp_path: Path) -> None:
    process = start(module, *arguments)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(pause)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    process.stdout.close()
