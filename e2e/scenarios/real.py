"""A fleet of a real vLLM: a build for CPUs that is mounted into its pods, with a tiny random model."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.cluster import __main__ as cluster
from e2e.cluster import embedded, images
from e2e.cluster.shell import step
from e2e.demo.setup import EXAMPLES, install_chart, kubectl
from e2e.scenarios.helpers import get, run_forebay, until
from e2e.scenarios.own import FILES, is_ready
from testing.real_engine import ENGINES, ENVIRONMENT, NEWEST

NAMESPACE = "real"
POOL = "tiny"
LEARNING = "learns"
"""The pool of which nothing is said: no slots, no longest batch."""
SLOTS = 4
IMAGE = f"forebay.dev/vllm-openai-cpu:v{NEWEST}"
MOUNT = "/engines"
START_SECONDS = 900
"""On a machine that does other things; half a minute on one that does not."""


def manifest() -> dict[str, Any]:
    """The pool. What differs from one on GPU nodes: image, mount, and the settings of a build for CPUs."""
    engine = {
        "name": "engine",
        "env": [{"name": name, "value": value} for name, value in ENVIRONMENT.items()],
        "resources": {"requests": {"cpu": "1"}},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532},
        "volumeMounts": [{"name": "engines", "mountPath": MOUNT, "readOnly": True}],
    }
    pod = {
        "securityContext": {"fsGroup": 65532},
        "containers": [engine],
        "volumes": [{"name": "engines", "hostPath": {"path": str(ENGINES), "type": "Directory"}}],
    }
    return {
        "apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool", "metadata": {"name": POOL},
        "spec": {
            "model": {
                "name": "random/Tiny", "source": f"{MOUNT}/models/tiny", "servedNames": [POOL], "contextTokens": 1024,
            },
            "capabilities": ["general", "reasoning", "classification", "extraction"],
            "engine": {
                "type": "VLLM", "gpus": 1, "image": IMAGE, "drainSeconds": 120, "startupSeconds": START_SECONDS,
                "args": ["--max-num-seqs", str(SLOTS), "--enforce-eager"],
                "podTemplate": {"spec": pod},
            },
            "capacity": {"slotsPerReplica": SLOTS, "highReservedPercent": 0},
            "scaling": {
                "minReplicas": 1, "maxReplicas": 2,
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 20},
                },
            },
            "queue": {"maxWaitSeconds": 60},
            "overflow": {"substitute": "Allowed"},
        },
    }  # fmt: skip


@contextmanager
def fleet() -> Iterator[tuple[str, float]]:
    """Cluster, chart, providers and pool. Yields the door, and seconds from the pool's creation until it was ready."""
    cluster.up(2, gpus=8)
    cluster.build_images()
    with step("the engine's image to the nodes"):
        embedded.load(images.engine(IMAGE, f"{MOUNT}/vllm-{NEWEST}/lib/python{images.PYTHON}/site-packages"))
    install_chart()
    try:
        _apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        kubectl("apply", "-n", NAMESPACE, *(word for name in FILES for word in ("-f", str(EXAMPLES / name))))
        begun = time.monotonic()
        _apply(manifest())
        with step("waiting for a real vLLM to serve"):
            until(lambda: len(ready()) == 1, "a ready replica", START_SECONDS)
        took = time.monotonic() - begun
        for kind, condition in (("localmodelpools", "Ready"), ("deployments", "Available")):
            kubectl("wait", "-n", NAMESPACE, kind, "--all", f"--for=condition={condition}", "--timeout=180s")
        door = kubectl("get", "service", "forebay", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
        yield f"http://{door}", took
    finally:
        kubectl("delete", "localmodelpools,cloudfallbackpolicies,deployments", "--all", "-n", NAMESPACE, check=False)
        until(lambda: not get("pods", NAMESPACE), "no pod", 240)
        kubectl("delete", "namespace", NAMESPACE, "--timeout=180s", "--wait=true", check=False)


@contextmanager
def learning() -> Iterator[None]:
    """One replica more, in a pool with the chart's defaults."""
    document = manifest()
    document["metadata"]["name"] = LEARNING
    spec = document["spec"]
    spec["model"]["servedNames"] = [LEARNING]
    spec["engine"]["args"] = ["--enforce-eager"]
    spec["scaling"] = {"minReplicas": 1, "maxReplicas": 1}
    del spec["capacity"]
    _apply(document)
    try:
        yield
    finally:
        kubectl("delete", "localmodelpool", LEARNING, "-n", NAMESPACE, check=False)


def capacity_of(pool: str) -> dict[str, Any]:
    """`status.capacity`, empty before there is any."""
    (found,) = (each for each in get("localmodelpools", NAMESPACE) if each["metadata"]["name"] == pool)
    told: dict[str, Any] = found.get("status", {}).get("capacity", {})
    return told


def explained(pool: str) -> str:
    """What `kubectl forebay explain` says."""
    said = run_forebay(cluster.kubeconfig(), "explain", pool, "-n", NAMESPACE)
    assert said.returncode == 0, said.stderr
    return said.stdout


def pods(pool: str = POOL) -> list[dict[str, Any]]:
    """A pool's, ending ones included."""
    return get("pods", NAMESPACE, "-l", f"forebay.dev/pool={pool}")


def ready(pool: str = POOL) -> list[str]:
    """Names of replicas that are ready and not ending."""
    return [p["metadata"]["name"] for p in pods(pool) if "deletionTimestamp" not in p["metadata"] and is_ready(p)]


def _apply(document: dict[str, Any]) -> None:
    kubectl("apply", "--server-side", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(document))
