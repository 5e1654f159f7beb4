"""`kubectl forebay` as a person types it, in the test's own process: another one each time would cost half a second.

That it starts as a process of its own is in test_main.py.
"""

import io
import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from forebay.cli.__main__ import main


def forebay(*words: str, stdin: bytes = b"", columns: int = 200, folder: Path | None = None) -> CompletedProcess[bytes]:
    """What it says, and with which status it ends."""
    said, complained = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(file, "utf-8", write_through=True) for file in (said, complained))
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(folder or Path.cwd()),
        patch.object(sys, "argv", ["kubectl-forebay", *words]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        patch.dict(os.environ, {"COLUMNS": str(columns)}),
    ):
        status = _status()
    return CompletedProcess(words, status, said.getvalue(), complained.getvalue())


def _status() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
