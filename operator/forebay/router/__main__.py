"""forebay-router: gateway or sidecar; `forebay-router drain` is the preStop hook of both."""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from forebay.resources import names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forebay-router", description=__doc__)
    parser.add_argument("--role", choices=("gateway", "sidecar"), required=True)
    parser.add_argument("--table", type=Path, required=True, help="routing table, a JSON file that is watched")
    parser.add_argument("--pool", default="", help="pool of this replica (sidecar)")
    parser.add_argument("--replica", default=os.environ.get("POD_NAME") or socket.gethostname())
    parser.add_argument("--engine-url", default=f"http://127.0.0.1:{names.PORT_ENGINE}", help="engine (sidecar)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104
    for port, default in (
        ("request", names.PORT_REQUEST),
        ("control", names.PORT_CONTROL),
        ("metrics", names.PORT_METRICS),
        ("health", names.PORT_HEALTH),
    ):
        parser.add_argument(f"--{port}-port", type=int, default=default, help=f"default {default}; 0: a free one")
    for name, seconds, what in (
        ("connect", 2.0, "longest wait for a connection to another router or an engine"),
        ("first-token", 60.0, "least patience for the first content byte"),
        ("between-chunks", 30.0, "longest silence within an answer"),
        ("total", 600.0, "longest time for a whole request"),
    ):
        parser.add_argument(f"--{name}-seconds", type=_seconds, default=seconds, help=f"{what}; default {seconds:g}")
    for folder, what in (("token", "control token"), ("clients", "client keys"), ("providers", "provider keys")):
        parser.add_argument(f"--{folder}-dir", type=Path, help=f"folder with the {what}")
    parser.add_argument(
        "--provider-networks",
        default="",
        help="networks (CIDR, by commas) that providers may be in besides public ones",
    )
    parser.add_argument("--access-log", choices=("on", "off"), default="on")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def _drain(arguments: list[str]) -> int:
    """Tell the router of this pod to stop admission. Quick to start: nothing heavy is imported."""
    import http.client  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="forebay-router drain")
    parser.add_argument("--health-port", type=int, default=names.PORT_HEALTH)
    port = parser.parse_args(arguments).health_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", names.PATH_DRAIN)
        return 0 if connection.getresponse().status == 200 else 1
    except OSError as error:
        print(f"the router on port {port} does not answer: {error}", file=sys.stderr)
        return 1


def main(argv: list[str] | None = None) -> int:
    """Run a router until SIGTERM. Returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["drain"]:
        return _drain(arguments[1:])
    # As process 1 of a container a program gets SIGTERM only once it has a handler: have one before the long imports.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    chosen = _parser().parse_args(arguments)
    from forebay.router.context import Ports, Settings, Timeouts  # noqa: PLC0415 - drain must start quickly
    from forebay.router.process import run  # noqa: PLC0415
    from forebay.rules.addresses import networks  # noqa: PLC0415

    provider_networks = tuple(word for word in chosen.provider_networks.split(",") if word)
    try:
        networks(provider_networks)
    except ValueError as error:
        print(f"forebay-router: --provider-networks: {error}", file=sys.stderr)
        return 2
    engine = urlsplit(chosen.engine_url)
    ports = Ports(chosen.request_port, chosen.control_port, chosen.metrics_port, chosen.health_port)
    timeouts = Timeouts(
        chosen.connect_seconds, chosen.first_token_seconds, chosen.between_chunks_seconds, chosen.total_seconds
    )
    if chosen.role == "sidecar" and not chosen.pool:
        print("forebay-router: a sidecar needs --pool", file=sys.stderr)
        return 2
    return run(
        Settings(
            role=chosen.role,
            table=chosen.table,
            replica=chosen.replica,
            host=chosen.host,
            ports=ports,
            timeouts=timeouts,
            pool=chosen.pool,
            engine=(engine.hostname or "127.0.0.1", engine.port or 80),
            token_dir=chosen.token_dir,
            clients_dir=chosen.clients_dir,
            providers_dir=chosen.providers_dir,
            provider_networks=provider_networks,
            access_log=chosen.access_log == "on",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
