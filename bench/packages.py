"""Packages that only a bench needs: pinned, fetched once, kept in the cache."""

import hashlib
import subprocess
import sys
from pathlib import Path

from e2e.cluster.paths import CACHE


def fetched(lock: Path, name: str) -> Path:
    """A folder for PYTHONPATH with what `lock` pins. Raises CalledProcessError when it cannot be fetched."""
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    folder = CACHE / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}-{version}"
    if not (folder / ".ready").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade",
                   "--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", folder,
                   "-r", lock]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / ".ready").touch()
    return folder
