"""One node: a sleeping process that holds a network and a mount namespace; containerd, kubelet, kube-proxy enter it.

Ending those processes takes every mount, link and packet rule of the node along.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import process
from e2e.cluster.paths import (
    BRIDGE,
    HOST_IP,
    LOGS,
    MAX_NODES,
    PAUSE_IMAGE,
    PKI,
    POD_NET,
    RUN,
    STATE,
    node_ip,
    pod_net,
    veth,
)
from e2e.cluster.shell import ClusterError, ok, run, until
from e2e.cluster.tools import kubernetes

CGROUP = Path("/sys/fs/cgroup")
BIND_MOUNTS = {"varlib": "/var/lib/kubelet", "varcni": "/var/lib/cni"}


@dataclass(frozen=True, slots=True)
class Node:
    """Node `number`, from 1."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def state(self) -> Path:
        return STATE / self.name

    @property
    def run(self) -> Path:
        return RUN / self.name

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def records(self) -> list[Path]:
        return [self.run / f"{name}.pid" for name in ("kubelet", "proxy", "containerd", "hold")]

    @property
    def up(self) -> bool:
        """Whether all its processes run."""
        return all(process.recorded(record) for record in self.records)

    def start(self, archives: Iterable[Path]) -> None:
        """Make the namespaces, start the three programs, import images."""
        for folder in ("kubelet", "containerd", "pods", "varlib", "varcni", "net.d"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True)
        for target in BIND_MOUNTS.values():
            Path(target).mkdir(parents=True, exist_ok=True)
        holder = self._hold()
        self._connect(holder)
        _cgroups(self.name)
        self._configure()
        inside = ["nsenter", "--target", str(holder), "--net", "--mount"]
        self._spawn("containerd", [*inside, "containerd", "--config", self.state / "containerd.toml"])
        until(["ctr", "-a", self.socket, "version"], f"containerd of {self.name}", 30)
        for archive in archives:
            self.load(archive)
        self.start_kubelet()
        self._spawn(
            "proxy",
            [
                *inside, kubernetes(), "kube-proxy", "--kubeconfig", PKI / "proxy.conf",
                "--hostname-override", self.name, "--bind-address", node_ip(self.number),
                "--proxy-mode", "iptables", "--cluster-cidr", POD_NET, "--oom-score-adj", "0",
                "--iptables-localhost-nodeports=false", "--conntrack-max-per-core", "0",
                "--conntrack-tcp-timeout-established", "0s", "--conntrack-tcp-timeout-close-wait", "0s",
            ],
        )  # fmt: skip

    def start_kubelet(self) -> None:
        """In the node's namespaces, which are there."""
        self._spawn(
            "kubelet",
            [
                *self.inside, kubernetes(), "kubelet", "--config", self.state / "kubelet.yaml",
                "--kubeconfig", PKI / f"kubelet-{self.name}.conf", "--root-dir", self.state / "kubelet",
                "--cert-dir", self.state / "kubelet" / "pki", "--hostname-override", self.name,
                "--node-ip", node_ip(self.number),
            ],
        )  # fmt: skip

    def stop_kubelet(self) -> None:
        """The node's pods go on; nobody reports on them any more."""
        process.end([self.run / "kubelet.pid"], seconds=3)

    @property
    def inside(self) -> list[str | Path]:
        """What a command begins with that is to run in the node's namespaces."""
        return ["nsenter", "--target", str(process.recorded(self.run / "hold.pid")), "--net", "--mount"]

    def cut_off(self, off: bool) -> None:
        """Take the node's network away, or give it back."""
        run("ip", "link", "set", veth(self.number), "down" if off else "up")

    def load(self, archive: Path) -> None:
        """Import an image archive, unless this very file was imported before."""
        stamp = self.state / f".{archive.name}"
        identity = f"{archive.stat().st_mtime_ns} {archive.stat().st_size}"
        if stamp.exists() and stamp.read_text() == identity:
            return
        run("ctr", "-a", self.socket, "-n", "k8s.io", "images", "import", archive)
        stamp.write_text(identity)

    def stop_pods(self) -> None:
        """Kill every container, so that nothing outlives the namespaces."""
        ctr = ["ctr", "-a", str(self.socket), "-n", "k8s.io"]
        if not ok(*ctr, "version", timeout=5):
            return
        tasks = run(*ctr, "task", "ls", "-q", check=False).split()
        for task in tasks:
            ok(*ctr, "task", "kill", "-s", "SIGKILL", task, timeout=10)
        if tasks:
            time.sleep(0.3)
            ok(*ctr, "task", "rm", "-f", *tasks, timeout=30)
        if containers := run(*ctr, "container", "ls", "-q", check=False).split():
            ok(*ctr, "container", "rm", *containers, timeout=30)

    def shims(self) -> list[int]:
        """Shims of this very node: by their command and by the mount namespace that the node had."""
        namespace = self.run / "mnt"
        if not namespace.exists():
            return []
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                same = str((folder / "ns/mnt").readlink()) == namespace.read_text()
            except OSError:
                continue  # it ended meanwhile
            if same and b"containerd-shim" in command and str(self.socket).encode() in command:
                found.append(int(folder.name))
        return found

    def remove_cgroups(self) -> None:
        """Their processes must have ended."""
        for root in {*CGROUP.glob(f"*/forebay-{self.name}"), *CGROUP.glob(f"forebay-{self.name}")}:
            for folder, _, _ in os.walk(root, topdown=False):
                ok("rmdir", folder)

    def _spawn(self, name: str, command: list[str | Path]) -> None:
        process.spawn(self.run / f"{name}.pid", LOGS / f"{self.name}-{name}.log", command)

    def _hold(self) -> int:
        record = self.run / "hold.pid"
        own = Path("/proc/self/ns/net").readlink()
        pid = process.spawn(
            record, LOGS / f"{self.name}-hold.log",
            ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity"],
        )  # fmt: skip
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}/ns/net").readlink() == own or Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            if time.monotonic() > end:
                raise ClusterError(f"{self.name} could not get namespaces of its own; is this root?")
            time.sleep(0.02)
        (self.run / "mnt").write_text(str(Path(f"/proc/{pid}/ns/mnt").readlink()))
        return pid

    def _connect(self, holder: int) -> None:
        link = veth(self.number)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        run("ip", "link", "set", link, "master", BRIDGE, "up")
        others = [n for n in range(1, MAX_NODES + 1) if n != self.number]
        commands = [
            "ip link set lo up",
            f"ip addr add {node_ip(self.number)}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {HOST_IP}",
            *(f"ip route add {pod_net(n)} via {node_ip(n)}" for n in others),
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            *(f"mount --bind {self.state / name} {target}" for name, target in BIND_MOUNTS.items()),
            "mount -t tmpfs tmpfs /var/log",
        ]
        run("nsenter", "--target", str(holder), "--net", "--mount", "sh", "-ec", "\n".join(commands))

    def _configure(self) -> None:
        (self.state / "containerd.toml").write_text(
            _CONTAINERD.format(state=self.state, run=self.run, pause=PAUSE_IMAGE)
        )
        network = {
            "cniVersion": "0.4.0",
            "name": "forebay",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.run / "ipam"),
                        "ranges": [[{"subnet": pod_net(self.number)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (self.state / "net.d" / "10-forebay.conflist").write_text(json.dumps(network))
        (self.state / "kubelet.yaml").write_text(
            _KUBELET.format(
                ip=node_ip(self.number), pki=PKI, run=self.run, name=self.name, state=self.state, dns=HOST_IP,
                driver="cgroupfs",
            )
        )  # fmt: skip


def _cgroups(name: str) -> None:
    """The kubelet's cgroupRoot must exist before it starts."""
    if (CGROUP / "cgroup.controllers").exists():  # v2: one folder
        folder = CGROUP / f"forebay-{name}"
        folder.mkdir(exist_ok=True)
        controllers = (CGROUP / "cgroup.controllers").read_text().split()
        for where in (CGROUP, folder):
            for controller in controllers:
                ok("sh", "-c", f"echo +{controller} > {where}/cgroup.subtree_control")
        return
    for controller in ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"):
        if (CGROUP / controller).is_dir():
            (CGROUP / controller / f"forebay-{name}").mkdir(exist_ok=True)
    cpuset = CGROUP / "cpuset"
    for file in ("cpus", "mems"):
        if (cpuset / f"cpuset.{file}").exists():
            (cpuset / f"forebay-{name}" / f"cpuset.{file}").write_text((cpuset / f"cpuset.{file}").read_text())


_CONTAINERD = """version = 2
root = "{state}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/net.d"
"""

_KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {ip}
authentication: {{x509: {{clientCAFile: {pki}/ca.crt}}}}
containerRuntimeEndpoint: unix://{run}/containerd.sock
cgroupDriver: {driver}
cgroupRoot: /forebay-{name}
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [{dns}]
clusterDomain: cluster.local
resolvConf: ""
podLogsDir: {state}/pods
volumePluginDir: {state}/kubelet/exec
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
"""
