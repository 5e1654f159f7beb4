"""Programs in images made without a registry."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.cluster import images

SPAWNS = """
import multiprocessing

def main():
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=print, args=("child",))
    child.start()
    child.join()
    return child.exitcode
"""


def test_a_program_may_spawn_processes(tmp_path: Path) -> None:
    """They load the program's file again, which must not begin the program again."""
    (tmp_path / "spawns.py").write_text(SPAWNS)
    images._scripts(tmp_path, {"tool": "spawns"})
    tool = tmp_path / "usr/local/bin/tool"
    assert os.access(tool, os.X_OK)
    done = subprocess.run(
        [sys.executable, tool], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "child\n"), done.stderr
