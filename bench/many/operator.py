"""The operator as a process of its own, with the chart's rights, and what it uses: CPU, memory, calls."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import httpx
import yaml

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, audit_log
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run

SYSTEM = "forebay-system"
USER = f"system:serviceaccount:{SYSTEM}:forebay-operator"
TICKS = os.sysconf("SC_CLK_TCK")


def grant(plane: ControlPlane, *values: str) -> Path:
    """Give the operator's identity the rights that the chart gives it. Returns its kubeconfig."""
    assert plane.authority is not None
    chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", SYSTEM, *values)
    roles = [d for d in yaml.safe_load_all(chart) if d and d["apiVersion"].startswith("rbac.")]
    kubectl = (tools.kubernetes(), "kubectl", "--kubeconfig", plane.kubeconfig)
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    run(*kubectl, "apply", "-f", "-", stdin=yaml.safe_dump(own))
    run(*kubectl, "apply", "-f", "-", stdin=yaml.safe_dump_all(roles))
    return plane.authority.kubeconfig("operator", f"/CN={USER}")


class Process:
    """A running operator. Use as a context manager."""

    def __init__(self, kubeconfig: Path, control_port: int, more: Mapping[str, str] | None = None) -> None:
        self.port, health = _free_port(), _free_port()
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "FOREBAY_ROUTER_IMAGE": "forebay.dev/forebay:bench",
            "FOREBAY_ENGINE_IMAGE": "vllm/vllm-openai:v0.32.0",
            "FOREBAY_METRICS_PORT": str(self.port),
            "FOREBAY_HEALTH_PORT": str(health),
            "FOREBAY_CONTROL_PORT": str(control_port),
            "FOREBAY_WAKE_PORT": str(_free_port()),
            "FOREBAY_LOG_LEVEL": "WARNING",
            "POD_NAME": "forebay-operator-bench",
            "POD_NAMESPACE": SYSTEM,
            "PYTHONPATH": f"{REPO / 'operator'}",
            **(more or {}),
        }
        self._child = subprocess.Popen(
            [sys.executable, "-m", "forebay.controller"], env=environment, stdout=self.log, stderr=self.log, cwd=REPO
        )
        self.began = time.monotonic()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def cpu_seconds(self) -> float:
        """User and system time since it began."""
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self, field: str = "VmRSS") -> float:
        """Resident memory now; `VmHWM`: the most it ever was."""
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
        assert found is not None
        return int(found[1]) / 1024

    def metric(self, name: str) -> dict[str, float]:
        """All series of one metric by their labels; empty while nobody answers."""
        assert self._child.poll() is None, self.tail()
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=20, trust_env=False).text
        except httpx.HTTPError:
            return {}
        return {labels: float(value) for labels, value in re.findall(rf"^{name}(\S*) (\S+)$", text, re.M)}

    def tail(self) -> str:
        """The end of its log."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]


def calls(plane: ControlPlane) -> list[dict[str, object]]:
    """Every call of the operator that the API server has written down."""
    assert plane.authority is not None
    log = audit_log(plane.authority)
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
