"""`make bench-classify DATA=requests.jsonl`: judges the classifier; TRAIN=1 writes new weights and their record."""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from e2e.cluster.paths import CACHE, REPO

LOCK: Final = Path(__file__).parent / "train.lock"


def environment() -> Path:
    """Its Python, with numpy and scikit-learn. Made once and kept in the cache."""
    folder = CACHE / f"bench-classify-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not (folder / ".ready").exists():
        print("installing what training needs", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        command = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--require-hashes", "--no-deps", "-r", LOCK]  # fmt: skip
        subprocess.run(command, check=True)
        (folder / ".ready").touch()
    return folder / "bin/python"


def main() -> int:
    """Exit status: 2 without data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", nargs="?", default="", help="labelled requests, a JSON object a line (docs/classifier.md)"
    )
    parser.add_argument("--train", action="store_true", help="write learned.tsv and its record in docs/classifier.md")
    asked = parser.parse_args()
    if not asked.data or not Path(asked.data).is_file():
        print(f"no labelled requests at {asked.data!r}: they are not part of this repository; say make bench-classify "
              "DATA=requests.jsonl (docs/classifier.md has the form)", file=sys.stderr)  # fmt: skip
        return 2
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    paths = {"PYTHONPATH": f"{REPO / 'operator'}{os.pathsep}{REPO}"}
    command = [environment(), "-m", "bench.classify.judge", asked.data, *(["--train"] if asked.train else [])]
    return subprocess.run(command, env=os.environ | threads | paths, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
