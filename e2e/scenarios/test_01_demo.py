"""make demo on a cluster: it exits 0, and `kubectl get events` alone tells its story."""

import json
import re
from itertools import pairwise
from pathlib import Path

from e2e.demo.__main__ import main
from e2e.demo.checks import single
from e2e.demo.setup import NAMESPACE, Fleet, kubectl

STEP = re.compile(r"replicas (\d+) -> (\d+): demand [\d.]+, capacity \d+.*reason (\w+)")


def test_the_demo_shows_what_it_promises(fleet: Fleet, tmp_path: Path) -> None:
    assert main([]) == 0
    summary = json.loads(Path("demo-summary.json").read_text())
    assert summary["passed"]
    assert len(summary["checks"]) == 11


def test_kubectl_get_events_tells_each_step_with_its_figures(fleet: Fleet) -> None:
    sizes = json.loads(Path("demo-summary.json").read_text())["sizes"]
    listed = kubectl("get", "events", "-n", NAMESPACE, "--no-headers")
    lines = [line for line in listed.splitlines() if "localmodelpool/" in line]
    told = {(line.split("localmodelpool/")[1].split()[0], m[1], m[2]) for line in lines if (m := STEP.search(line))}
    for pool, seen in sizes.items():
        for before, after in (step for pair in pairwise(seen) for step in single(*pair)):
            assert (pool, str(before), str(after)) in told, f"no Event for {pool} {before} -> {after} in:\n{listed}"
