"""A HorizontalPodAutoscaler drives a Manual pool through /scale.

There is no metrics server here. But an HPA acts on its own bounds before it looks at any metric, and that is the real
controller, its real rights and the pool's real /scale.
"""

import json
from typing import Any

from e2e.demo.setup import NAMESPACE, Fleet, kubectl
from e2e.scenarios.helpers import get, until
from e2e.scenarios.scaling import notes, pool, pools, ready, size


def hpa(least: int, most: int) -> str:
    target = {"apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool", "name": "manual"}
    metric: dict[str, Any] = {
        "type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    }  # fmt: skip
    return json.dumps({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "manual", "namespace": NAMESPACE},
        "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most, "metrics": [metric]},
    })  # fmt: skip


def test_its_bounds_are_followed_up_and_down(fleet: Fleet) -> None:
    with pools(pool("manual", scaling={"mode": "Manual"})):
        ready("manual")
        try:
            kubectl("apply", "--server-side", "-f", "-", stdin=hpa(2, 3))
            until(lambda: size("manual") == 2, "two replicas", 90)
            ready("manual", 2)
            kubectl("apply", "--server-side", "-f", "-", stdin=hpa(1, 1))
            until(lambda: size("manual") == 1, "one replica", 90)
            seen = next(item for item in get("horizontalpodautoscalers") if item["metadata"]["name"] == "manual")
            able = {item["type"]: item["status"] for item in seen["status"]["conditions"]}
        finally:
            kubectl("delete", "hpa", "manual", "-n", NAMESPACE)
        told = [note.partition(":")[0] for note in notes("manual", "ScaledUp", "ScaledDown")]
        print(f"\n{told}, HPA conditions {able}")
        assert told == ["replicas 1 -> 2", "replicas 2 -> 1"]
        assert able["AbleToScale"] == "True"
