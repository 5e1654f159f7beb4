"""Cluster, image, chart, examples: everything up to the point where requests can be sent. Safe to run again."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from e2e.cluster import __main__ as cluster
from e2e.cluster import images, tools
from e2e.cluster.paths import IMAGE, REPO, SERVICE_NET
from e2e.cluster.shell import ClusterError, run, say, step

NAMESPACE = "demo"
SYSTEM_NAMESPACE = "forebay-system"
RELEASE = "forebay"
EXAMPLES = REPO / "examples" / "simulated"
PROBES = 6
KEYS = {"interactive": "sk-interactive-demo", "batch": "sk-batch-demo", "stranger": "sk-nobody-knows"}


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet that answers. `door` is the base URL without /v1; `smallest` the minimum size of each pool."""

    kubeconfig: Path
    namespace: str
    door: str
    smallest: dict[str, int] = field(default_factory=dict)


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """kubectl against the cluster."""
    base = (tools.kubernetes(), "kubectl", "--kubeconfig", cluster.kubeconfig())
    return run(*base, *arguments, stdin=stdin, check=check)


def helm(*arguments: str) -> str:
    """helm against the cluster."""
    return run(tools.helm(), "--kubeconfig", cluster.kubeconfig(), *arguments)


def install(nodes: int = 2) -> Fleet:
    """Bring everything up and wait until the fleet serves."""
    cluster.up(nodes, gpus=8)
    cluster.build_images()
    install_chart()
    apply_examples()
    wait_ready(NAMESPACE)
    return fleet(NAMESPACE)


def install_chart(*extra: str) -> None:
    """helm upgrade --install, and a restart where the image's content changed under the same tag."""
    repository, _, tag = IMAGE.rpartition(":")
    with step("helm upgrade --install forebay"):
        helm(
            "upgrade", "--install", RELEASE, str(REPO / "charts" / "forebay"), "-n", SYSTEM_NAMESPACE,
            "--create-namespace", "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
            "--set", f"cloud.allowedNetworks={{{SERVICE_NET}}}",  # the simulated providers are in the cluster
            "--set-string", f"podAnnotations.image-content={images.content()}", "--take-ownership",
            "--wait", "--timeout", "120s", *extra,
        )  # fmt: skip


def apply_examples(namespace: str = NAMESPACE) -> None:
    """The namespace (Pod Security: baseline is enough for the engines, restricted holds too) and the examples."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    with step("kubectl apply -f examples/simulated"):
        kubectl("apply", "-n", namespace, "-f", str(EXAMPLES))


def wait_ready(namespace: str, seconds: int = 180) -> None:
    """Until pools, gateways and the simulated providers serve and the routers have their table."""
    with step("waiting for the pools to be Ready"):
        for kind in ("localmodelpools", "cloudfallbackpolicies"):
            for condition in ("Ready", "RoutingProgrammed"):
                _wait(namespace, kind, condition, seconds)
        _wait(namespace, "deployments", "Available", seconds)
        for kind in ("deployments", "statefulsets"):
            for name in kubectl("get", kind, "-n", namespace, "-o", "name").split():
                kubectl("rollout", "status", name, "-n", namespace, f"--timeout={seconds}s")
        # Status may still be of before a cluster's end: what counts is that both pools answer.
        _answers(_door(namespace), seconds)


def _wait(namespace: str, kind: str, condition: str, seconds: int) -> None:
    kubectl("wait", "-n", namespace, kind, "--all", f"--for=condition={condition}", f"--timeout={seconds}s")


def fleet(namespace: str) -> Fleet:
    """The fleet of a namespace as it is."""
    door = _door(namespace)
    pools = json.loads(kubectl("get", "localmodelpools", "-n", namespace, "-o", "json"))["items"]
    smallest = {pool["metadata"]["name"]: pool["spec"]["scaling"]["minReplicas"] for pool in pools}
    say(f"the fleet's door: {door}")
    return Fleet(cluster.kubeconfig(), namespace, door, smallest)


def _door(namespace: str) -> str:
    address = kubectl("get", "service", "forebay", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
    return f"http://{address}"


def _answers(door: str, seconds: float) -> None:
    """Until requests for each pool have been served locally, several times in a row."""
    end, good = time.monotonic() + seconds, 0
    with httpx.Client(timeout=10, trust_env=False) as client:
        while good < PROBES:
            if time.monotonic() > end:
                raise ClusterError(f"the fleet at {door} does not serve locally within {seconds:.0f} s")
            good = good + 1 if all(_local(client, door, model) for model in ("qwen-7b", "qwen-1.5b")) else 0
            time.sleep(0 if good else 0.5)


def _local(client: httpx.Client, door: str, model: str) -> bool:
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    try:
        answer = client.post(f"{door}/v1/chat/completions", json=body)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.headers.get("x-forebay-reason") == "LocalCapacity"
