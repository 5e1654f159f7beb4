"""`kubectl_complete-forebay`: what kubectl, from 1.26 on, asks for completions of `kubectl forebay`.

Its arguments are the words so far, the last one incomplete; it answers with a word a line, then with `:4`, which means
that no files fit.
"""

import contextlib
import os
import sys

NO_FILES = ":4"


def main() -> None:
    """Answer with what the program's own completion for a shell says."""
    words = sys.argv[1:]
    os.environ |= {
        "COMP_WORDS": " ".join(["kubectl-forebay", *words]),
        "COMP_CWORD": str(len(words)),
        "_KUBECTL_FOREBAY_COMPLETE": "complete_bash",
    }
    from forebay.cli.__main__ import app  # noqa: PLC0415 - reads the environment

    with contextlib.suppress(SystemExit):
        app(prog_name="kubectl-forebay")
    print(NO_FILES)
