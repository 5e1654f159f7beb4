"""A pool that asks for more GPUs than there are says so, spills, withdraws, and grows at once with a node's GPUs."""

import json

from e2e.demo.setup import Fleet, kubectl
from e2e.scenarios.helpers import until
from e2e.scenarios.scaling import AT_ONCE, GPU, Steady, condition, notes, pool, pools, ready, size, under


def give(node: str, gpus: str) -> None:
    """Change how many GPUs a node says it has."""
    status = json.dumps({"status": {"capacity": {GPU: gpus}, "allocatable": {GPU: gpus}}})
    kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", status)


def gpus_of(node: str) -> str:
    return kubectl("get", "node", node, "-o", f"jsonpath={{.status.allocatable.{GPU.replace('.', chr(92) + '.')}}}")


def test_it_says_so_spills_withdraws_and_grows_with_a_node(fleet: Fleet) -> None:
    node = kubectl("get", "nodes", "-o", "name").split()[0].removeprefix("node/")
    before = gpus_of(node)
    scaling = {"minReplicas": 1, "maxReplicas": 3, "pendingSeconds": 20, "behavior": AT_ONCE}
    with pools(pool("greedy", gpus=5, scaling=scaling)):  # two nodes of eight GPUs, of which others hold some
        ready("greedy")

        def story() -> None:
            until(lambda: size("greedy") == 3, "a third replica asked for", 60)
            until(lambda: bool(notes("greedy", "ReplicaUnplaced")), "an Event about it", 40)
            assert condition("greedy", "GPUsAvailable") == ("False", "Unschedulable")
            until(lambda: size("greedy") == 2, "it withdrawn", 60)
            until(lambda: condition("greedy", "GPUsAvailable") == ("False", "Withdrawn"), "the condition", 15)
            assert notes("greedy", "OverflowStarted")
            give(node, "16")
            until(lambda: size("greedy") == 3, "it asked for again", 60)
            ready("greedy", 3)

        try:
            seen = under(Steady(fleet, "greedy", 9, who="interactive", priority="High"), story)
        finally:
            give(node, before)
        told = notes("greedy", "ScaledUp", "ReplicaUnplaced", "ReplicaWithdrawn", "OverflowStarted")
        print("\n".join(told))
        assert seen["cloud"] > 0
        assert seen["200 greedy"] > 0
        assert any("Insufficient nvidia.com/gpu" in note for note in notes("greedy", "ReplicaUnplaced"))
        assert "replicas 3 -> 2" in notes("greedy", "ReplicaWithdrawn")[0]
