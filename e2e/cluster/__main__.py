"""python -m e2e.cluster COMMAND: install, up, images, status, kubeconfig, kubectl, helm, down, purge, verify."""

import argparse
import os
import sys
from pathlib import Path

from e2e.cluster import embedded, images, kind, tools
from e2e.cluster.paths import IMAGE, KUBECONFIG
from e2e.cluster.shell import ClusterError, run, say, step, warn


def kubeconfig() -> Path:
    """Of the cluster that runs."""
    return kind.kubeconfig() if kind.kubeconfig().exists() and kind.usable() else KUBECONFIG


def build_images() -> None:
    """Build the product's image and bring it to every node."""
    if kind.kubeconfig().exists() and kind.usable():
        kind.image(IMAGE)
        return
    archive = images.product()
    with step("images to the nodes"):
        embedded.load(archive)


def up(nodes: int, gpus: int) -> None:
    """kind where it can be used, else the embedded cluster."""
    if kind.usable():
        kind.up()
    else:
        embedded.up(nodes, gpus)


def status() -> None:
    """What runs."""
    nodes = embedded.started()
    if not nodes or not embedded.running(nodes):
        say("the cluster is down")
        return
    say(f"the cluster is up: {len(nodes)} nodes, kubeconfig {KUBECONFIG}")
    say(embedded.NOT_ENFORCED)
    print(run(tools.kubernetes(), "kubectl", "--kubeconfig", KUBECONFIG, "get", "nodes", "-o", "wide"))


def verify() -> None:
    """Fail when something of an ended cluster is still there."""
    if left := embedded.leftovers():
        raise ClusterError("left behind:\n  " + "\n  ".join(left))
    say("nothing left behind")


def down() -> None:
    """End whichever cluster runs."""
    if kind.kubeconfig().exists() and kind.usable():
        kind.down()
        kind.kubeconfig().unlink()
    else:
        embedded.down()


def main(argv: list[str]) -> int:
    """Run one command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="build and fetch what is needed, cached")
    install.add_argument("--no-system", action="store_true", help="without Debian packages: no root needed")
    start = commands.add_parser("up", help="start the cluster")
    start.add_argument("--nodes", type=int, default=2, choices=range(1, 10))
    start.add_argument("--gpus", type=int, default=8, help="simulated GPUs of each node")
    load = commands.add_parser("load", help="import an image archive on every node")
    load.add_argument("archive", type=Path)
    commands.add_parser("oldest", help="build the control plane of the oldest Kubernetes that the chart allows, cached")
    for name in ("images", "status", "kubeconfig", "down", "purge", "verify"):
        commands.add_parser(name)
    for name in ("kubectl", "helm"):
        commands.add_parser(name, add_help=False, prefix_chars="\0").add_argument("rest", nargs=argparse.REMAINDER)
    if argv[:1] in (["kubectl"], ["helm"]):
        return _pass_on(argv[0], argv[1:])
    chosen = parser.parse_args(argv)
    try:
        match chosen.command:
            case "install":
                tools.install(system=not chosen.no_system)
            case "oldest":
                tools.install_oldest()
            case "up":
                up(chosen.nodes, chosen.gpus)
            case "load":
                embedded.load(chosen.archive)
            case "images":
                build_images()
            case "status":
                status()
            case "kubeconfig":
                print(kubeconfig())
            case "down":
                down()
            case "purge":
                embedded.purge()
            case "verify":
                verify()
    except ClusterError as error:
        warn(f"error: {error}")
        return 1
    return 0


def _pass_on(program: str, arguments: list[str]) -> int:
    try:
        binary = tools.helm() if program == "helm" else tools.kubernetes()
    except ClusterError as error:
        warn(f"error: {error}")
        return 1
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig())}
    words = [str(binary), *(["kubectl"] if program == "kubectl" else []), *arguments]
    os.execve(binary, words, environment)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
