"""Files that are made from code and kept in the repository: written, or compared with what they should be."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def main(description: str | None, files: Mapping[Path, str], command: str) -> int:
    """Write the files, with their folders; with `--check` on the command line compare only, and return 1 when one is
    out of date. `command` makes them anew."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when a file is out of date")
    check, stale = parser.parse_args().check, 0
    for file, wanted in files.items():
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted)
            print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
        elif not file.exists() or file.read_text() != wanted:
            stale = 1
            print(f"{file} is out of date; run: {command}", file=sys.stderr)
    return stale
