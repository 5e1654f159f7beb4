"""forebay-router: gateway or sidecar; `forebay-router drain` is the preStop hook of both."""

import argparse
import os
import signal
import sys

from forebay.resources import names
from forebay.sockets import LOOPBACKS


def _drain(arguments: list[str]) -> int:
    """Tell the router of this pod to stop admission. Quick to start: nothing heavy is imported."""
    import http.client  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="forebay-router drain")
    parser.add_argument("--health-port", type=int, default=names.PORT_HEALTH)
    port = parser.parse_args(arguments).health_port
    problem: OSError | None = None
    for host in LOOPBACKS:  # a pod of a cluster without IPv4 may lack the first
        connection = http.client.HTTPConnection(host, port, timeout=30)
        try:
            connection.request("POST", names.PATH_DRAIN)
            return 0 if connection.getresponse().status == 200 else 1
        except OSError as error:
            problem = problem or error
    print(f"the router on port {port} does not answer: {problem}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    """Run a router until SIGTERM. Returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["drain"]:
        return _drain(arguments[1:])
    # As process 1 of a container a program gets SIGTERM only once it has a handler: have one before the long imports.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from forebay.router.flags import settings  # noqa: PLC0415 - drain must start quickly

    chosen = settings(arguments)
    from forebay.router.process import run  # noqa: PLC0415 - flags that make no sense are told quickly

    return run(chosen)


if __name__ == "__main__":
    sys.exit(main())
