"""forebay-simulator: start one simulated vLLM, or a simulated provider (`--role cloud`)."""

import os
import signal
import sys


def main(argv: list[str] | None = None) -> int:
    """Run one simulator. Returns the exit status."""
    # As process 1 of a container a program gets SIGTERM only once it has a handler: have one before the long imports.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from forebay.simulator.process import run  # noqa: PLC0415
    from forebay.simulator.settings import read  # noqa: PLC0415

    return run(read(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
