"""The same cluster through kind, where a Docker daemon runs and can pull images. The CI of this repo has no such place:
it is kept small, and its commands are those of kind's own quick start."""

import shutil
from pathlib import Path

from e2e.cluster.paths import CACHE, REPO
from e2e.cluster.shell import ok, run, say, step

NAME = "forebay"
NODE_IMAGE = "kindest/node:v1.34.0"
KUBECONFIG = CACHE / "kind.conf"
_CONFIG = """kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane}, {role: worker}, {role: worker}]
"""


def usable() -> bool:
    """Whether Docker runs, kind is installed and the node image is there or can be pulled."""
    if not (shutil.which("kind") and shutil.which("docker") and ok("docker", "info", timeout=10)):
        return False
    return ok("docker", "image", "inspect", NODE_IMAGE) or ok("docker", "pull", NODE_IMAGE, timeout=300)


def up() -> None:
    """Create the cluster unless it exists."""
    if NAME in run("kind", "get", "clusters", check=False).split():
        say("the kind cluster is up already")
        return
    with step("creating a kind cluster"):
        command = ("kind", "create", "cluster", "--name", NAME, "--image", NODE_IMAGE, "--kubeconfig", KUBECONFIG)
        run(*command, "--config", "-", stdin=_CONFIG)


def down() -> None:
    """Delete the cluster."""
    run("kind", "delete", "cluster", "--name", NAME)


def image(name: str) -> None:
    """Build the product's image from the repo's Dockerfile and load it into the nodes."""
    with step("building the image with Docker"):
        run("docker", "build", "-t", name, REPO, timeout=1200)
        run("kind", "load", "docker-image", name, "--name", NAME)


def kubeconfig() -> Path:
    """For kubectl."""
    return KUBECONFIG
