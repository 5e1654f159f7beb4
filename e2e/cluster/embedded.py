"""The embedded cluster: the control plane as plain processes of this machine, every node in namespaces of its own."""

import base64
import json
import os
import re
import shutil
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from e2e.cluster import images, process
from e2e.cluster.controlplane import apiserver_flags
from e2e.cluster.node import CGROUP, Node
from e2e.cluster.paths import (
    API_PORT,
    API_SERVER_IN_CLUSTER,
    BRIDGE,
    HOST_IP,
    KUBECONFIG,
    LOGS,
    MAX_NODES,
    PKI,
    RUN,
    SERVICE_NET,
    STATE,
    node_ip,
    pod_net,
    veth,
)
from e2e.cluster.pki import Authority, server_names
from e2e.cluster.shell import ClusterError, ok, run, say, step, until
from e2e.cluster.tools import kubernetes

SYSCTLS = (
    "kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory", "vm.panic_on_oom",
    "kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
)  # fmt: skip
ETCD = "http://127.0.0.1:2379"
CONTROL = ("etcd", "apiserver", "kcm", "scheduler", "dns")
NOT_ENFORCED = "NetworkPolicies are accepted but not enforced by this cluster's network plugin"


def up(nodes: int = 2, gpus: int = 8) -> None:
    """Start it, or do nothing when it runs. Half-finished remains of an earlier start are ended first."""
    if os.geteuid() != 0:
        raise ClusterError("a cluster with nodes needs root: network and mount namespaces, cgroups")
    wanted = [Node(number) for number in range(1, nodes + 1)]
    if running(wanted):
        say(f"the cluster is up already ({nodes} nodes)")
        return
    if leftovers():
        down()
    archives = [images.pause()]
    with step(f"starting Kubernetes with {nodes} nodes"):
        _prepare()
        _network(nodes)
        _control_plane()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start([*archives, *images.built()]), wanted))
        _wait_ready(wanted, gpus)
    say(f"kubeconfig: {KUBECONFIG}")
    say(NOT_ENFORCED)


def running(nodes: list[Node]) -> bool:
    """Whether every process that belongs to a cluster with these nodes is there."""
    control = all(process.recorded(RUN / f"{name}.pid") for name in CONTROL)
    return control and all(node.up for node in nodes) and ok(*_kubectl("get", "--raw", "/readyz"))


def started() -> list[Node]:
    """Nodes that have a folder of their own in RUN."""
    return [Node(number) for number in range(1, MAX_NODES + 1) if (RUN / f"node{number}").exists()]


def load(archive: Path) -> None:
    """Import an image archive on every node."""
    for node in started():
        node.load(archive)


def down() -> None:
    """End everything and take back what was changed on this machine; the state folder stays."""
    with step("ending the cluster"):
        nodes = started()
        process.end((node.run / "kubelet.pid" for node in nodes), seconds=3)
        process.end((node.run / "proxy.pid" for node in nodes), signal.SIGKILL)
        process.end((RUN / f"{name}.pid" for name in CONTROL if name != "etcd"), signal.SIGKILL)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Node.stop_pods, nodes))
        for node in nodes:
            for pid in node.shims():
                os.kill(pid, signal.SIGKILL)
        process.end([RUN / "etcd.pid", *(node.run / "containerd.pid" for node in nodes)], seconds=10)
        process.end((node.run / "hold.pid" for node in nodes), signal.SIGKILL)
        for number in range(1, MAX_NODES + 1):
            Node(number).remove_cgroups()
            ok("ip", "link", "del", veth(number))
        ok("ip", "link", "del", BRIDGE)
        saved = RUN / "sysctl.was"
        if saved.exists():
            ok("sysctl", "-q", "-p", saved)
        shutil.rmtree(RUN, ignore_errors=True)
        for folder in ("/var/lib/kubelet", "/var/lib/cni"):
            ok("rmdir", folder)
    if left := leftovers():
        raise ClusterError("the cluster left something behind:\n  " + "\n  ".join(left))


def purge() -> None:
    """down, and forget all objects and certificates."""
    down()
    shutil.rmtree(STATE, ignore_errors=True)


def leftovers() -> list[str]:
    """What of the cluster is on this machine: processes, mounts, links, routes, cgroups, run files."""
    found = [f"process {record}" for record in RUN.rglob("*.pid") if process.recorded(record)]
    found += [f"process {pid}: a container's shim" for node in started() for pid in node.shims()]
    mounts = Path("/proc/mounts").read_text()
    found += [f"mount {line.split()[1]}" for line in mounts.splitlines() if str(STATE) in line or str(RUN) in line]
    links = run("ip", "-o", "link", "show", check=False)
    found += [
        f"link {name}" for name in re.findall(r"^\d+: ([^:@]+)", links, re.M) if name == BRIDGE or name in _veths()
    ]
    found += [f"cgroup {path}" for path in {*CGROUP.glob("*/forebay-node*"), *CGROUP.glob("forebay-node*")}]
    if RUN.exists():
        found.append(f"folder {RUN}")
    return found


def _veths() -> set[str]:
    return {veth(number) for number in range(1, MAX_NODES + 1)}


def _prepare() -> None:
    for folder in (STATE / "etcd", LOGS, RUN):
        folder.mkdir(parents=True, exist_ok=True)
    (STATE / "etcd").chmod(0o700)
    saved = RUN / "sysctl.was"
    if not saved.exists():
        # The kubelet sets these for the whole machine.
        saved.write_text("".join(run("sysctl", name, check=False) for name in SYSCTLS))
    authority = Authority(PKI, f"https://{HOST_IP}:{API_PORT}")
    names = server_names("127.0.0.1", HOST_IP, API_SERVER_IN_CLUSTER)
    authority.certificate("apiserver", "/CN=kube-apiserver", names)
    authority.certificate("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet")
    authority.kubeconfig("admin", "/O=system:masters/CN=admin")
    authority.kubeconfig("kcm", "/CN=system:kube-controller-manager")
    authority.kubeconfig("scheduler", "/CN=system:kube-scheduler")
    authority.kubeconfig("proxy", "/CN=system:kube-proxy")
    for number in range(1, MAX_NODES + 1):
        authority.kubeconfig(f"kubelet-node{number}", f"/O=system:nodes/CN=system:node:node{number}")


def _network(nodes: int) -> None:
    """One bridge that only this machine has, and routes to pods and Services over the nodes."""
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{HOST_IP}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    run("ip", "route", "add", SERVICE_NET, "via", node_ip(1))
    for number in range(1, nodes + 1):
        run("ip", "route", "add", pod_net(number), "via", node_ip(number))


def _control_plane() -> None:
    binary, etcd = kubernetes(), ETCD
    _spawn(
        "etcd", binary, "etcd", "--data-dir", STATE / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
        "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:2380",
    )  # fmt: skip
    start_apiserver()
    _spawn(
        "kcm", binary, "kube-controller-manager", "--kubeconfig", PKI / "kcm.conf", "--leader-elect=false",
        "--bind-address=127.0.0.1", "--use-service-account-credentials", "--root-ca-file", PKI / "ca.crt",
        "--service-account-private-key-file", PKI / "sa.key",
        "--cluster-signing-cert-file", PKI / "ca.crt", "--cluster-signing-key-file", PKI / "ca.key",
    )  # fmt: skip
    _spawn(
        "scheduler", binary, "kube-scheduler", "--kubeconfig", PKI / "scheduler.conf", "--leader-elect=false",
        "--bind-address=127.0.0.1",
    )  # fmt: skip
    corefile = STATE / "Corefile"
    corefile.write_text(_COREFILE.format(bind=HOST_IP, kubeconfig=KUBECONFIG))
    _spawn("dns", binary, "dns", corefile)


def start_apiserver() -> None:
    """Start it and wait until it is ready."""
    authority = Authority(PKI, f"https://{HOST_IP}:{API_PORT}")
    _spawn("apiserver", kubernetes(), *apiserver_flags(authority, ETCD, HOST_IP, API_PORT, SERVICE_NET))
    until(_kubectl("get", "--raw", "/readyz"), "the API server's readiness", 60)


def stop_apiserver() -> None:
    """Kill it, as a machine does that loses its power."""
    process.end([RUN / "apiserver.pid"], signal.SIGKILL)


def forget_history() -> int:
    """Compact etcd to its present revision, so that no watch can go on from an older one. Returns the revision."""
    at = int(_etcd("range", {"key": base64.b64encode(b"x").decode()})["header"]["revision"])
    _etcd("compaction", {"revision": str(at), "physical": True})
    return at


def _etcd(call: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{ETCD}/v3/kv/{call}", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _spawn(name: str, *command: str | Path) -> None:
    process.spawn(RUN / f"{name}.pid", LOGS / f"{name}.log", command)


def _wait_ready(nodes: list[Node], gpus: int) -> None:
    for node in nodes:
        until(_kubectl("get", "node", node.name), f"{node.name} registering", 60)
        _give_gpus(node, gpus)
    for node in nodes:
        until(_kubectl("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=5s"), f"{node.name} Ready", 60)
    until(_kubectl("get", "serviceaccount", "default"), "the default service account", 60)


def _give_gpus(node: Node, gpus: int) -> None:
    """GPUs that exist in the node's status only: the scheduler counts them, nothing uses them."""
    if gpus:
        count = {"nvidia.com/gpu": str(gpus)}
        patch = json.dumps({"status": {"capacity": count, "allocatable": count}})
        end = time.monotonic() + 20
        while not ok(*_kubectl("patch", "node", node.name, "--subresource=status", "--type=merge", "-p", patch)):
            if time.monotonic() > end:
                raise ClusterError(f"could not give {node.name} its simulated GPUs")
            time.sleep(0.3)


def _kubectl(*arguments: str) -> list[str | Path]:
    return [kubernetes(), "kubectl", "--kubeconfig", KUBECONFIG, *arguments]


_COREFILE = """. {{
  bind {bind}
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 2
  }}
}}
"""
