"""Installs kubeconform, kube-score and checkov into the cache folder: `python -m testing.linters.install`.

Two are built from Go modules. checkov has a virtual environment of its own: it needs a hundred packages, many in old
versions. What cannot be had is told, and its tests are skipped: the others need none of them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from e2e.cluster import tools
from e2e.cluster.paths import BIN, CACHE
from e2e.cluster.shell import ClusterError, run, say, step

HERE = Path(__file__).resolve().parent
GO: Final = {
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score",
}
CHECKOV = CACHE / "checkov"
LOCK = HERE / "checkov.lock"
SECONDS = 900


def linter(name: str) -> list[str | Path]:
    """The words that start a linter. Raises ClusterError naming the make target when it is not installed."""
    words: list[str | Path] = [BIN / name]
    there = (BIN / name).exists()
    if name == "checkov":
        words = [CHECKOV / "bin" / "python", "-m", "checkov.main"]
        there = _stamp().exists() and _stamp().read_text() == _key()
    if not there:
        raise ClusterError(f"{name} is not installed yet; run: make linters")
    return words


def install() -> None:
    """All three; quick when they are there, safe to interrupt."""
    BIN.mkdir(parents=True, exist_ok=True)
    for name, package in GO.items():
        _try(name, partial(tools.build, name, HERE / "go", BIN / name, "-s -w", package=package))
    _try("checkov", _checkov)


def _checkov() -> None:
    if _stamp().exists() and _stamp().read_text() == _key():
        return
    _stamp().unlink(missing_ok=True)
    shutil.rmtree(CHECKOV, ignore_errors=True)
    log = CACHE / "install-checkov.log"
    run(sys.executable, "-m", "venv", "--without-pip", CHECKOV)
    command: list[str | Path] = [
        sys.executable, "-m", "pip", "--python", CHECKOV / "bin" / "python", "--disable-pip-version-check", "install",
        "--no-deps", "--require-hashes", "--no-compile", "--only-binary=:all:", "--progress-bar=off", "-r", LOCK,
    ]  # fmt: skip
    with step("installing checkov (200 MB; the first time about a minute)", log), log.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=out, env=_environment(), check=False, timeout=SECONDS)
        if done.returncode == 0:  # its first start compiles the bytecode of what it needs
            done = subprocess.run(
                [CHECKOV / "bin" / "python", "-m", "checkov.main", "--version"],
                stdout=out, stderr=out, env=_environment(), check=False, timeout=SECONDS,
            )  # fmt: skip
    if done.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-4:])
        raise ClusterError(f"the end of {log}:\n{tail}")
    _stamp().write_text(_key())


def _try(name: str, install: Callable[[], None]) -> None:
    try:
        install()
    except (ClusterError, subprocess.TimeoutExpired, OSError) as error:
        say(f"{name} is not to be had here: what it finds in manifests will not be tested. {error}")


def _stamp() -> Path:
    return CHECKOV / "installed"


def _key() -> str:
    return hashlib.sha256(sys.version.encode() + LOCK.read_bytes()).hexdigest()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


if __name__ == "__main__":
    install()
