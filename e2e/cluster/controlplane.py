"""etcd and an API server, without root: what the contract tests talk to. With `controllers` also those that make pods.

with ControlPlane() as plane:
    config.load_kube_config(str(plane.kubeconfig))
"""

import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from e2e.cluster import process
from e2e.cluster.pki import Authority, server_names
from e2e.cluster.shell import ClusterError, ok, until
from e2e.cluster.tools import control_plane, kubernetes

START_SECONDS = 60
ADMISSION = "NodeRestriction"
CONTROLLERS = "statefulset-controller,deployment-controller,replicaset-controller,serviceaccount-controller,"
CONTROLLERS += "resourcequota-controller,garbage-collector-controller,namespace-controller"
"""Those that act on objects alone. The ones for nodes would taint nodes that have no kubelet."""
_AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    users: ["system:serviceaccount:forebay-system:forebay-operator"]
  - level: None
"""
"""Who did what, for the operator alone: verbs and objects, no bodies."""


def apiserver_flags(authority: Authority, etcd: str, bind: str, port: int, services: str) -> list[str]:
    """The smallest set of flags that gives RBAC, Node authorization, logs, exec, service accounts, and an audit log
    of the operator's calls beside the certificates."""
    pki = authority.folder
    policy = pki / "audit-policy.yaml"
    policy.write_text(_AUDIT_POLICY)
    return [
        "kube-apiserver",
        f"--bind-address={bind}",
        f"--advertise-address={bind}",
        f"--secure-port={port}",
        f"--etcd-servers={etcd}",
        f"--service-cluster-ip-range={services}",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        f"--enable-admission-plugins={ADMISSION}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit_log(authority)}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=1",
    ]


def audit_log(authority: Authority) -> Path:
    """What the operator asked of the API server: one JSON object a line."""
    return authority.folder.parent / "audit.log"


class ControlPlane:
    """A context manager; ends what it started, whatever happens. Raises ClusterError when it cannot start."""

    def __init__(self, *, controllers: bool = False, oldest: bool = False, admission: Sequence[str] = ()) -> None:
        """With the components of the oldest Kubernetes that the chart allows, and with more admission plugins."""
        self.folder = Path(tempfile.mkdtemp(prefix="forebay-api-"))
        self.kubeconfig = self.folder / "pki" / "admin.conf"
        self.authority: Authority | None = None
        self._controllers = controllers
        self._components = control_plane(oldest=oldest)
        self._admission = tuple(admission)
        self._records: list[Path] = []
        self._apiserver: list[str | Path] = []

    def restart_apiserver(self) -> None:
        """End the API server and start it again: what it knew of the past is gone, and connections are cut."""
        process.end([self.folder / "apiserver.pid"], seconds=1.0)
        self._spawn("apiserver", self._apiserver)
        self._wait(kubernetes())

    def __enter__(self) -> "ControlPlane":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        binary = kubernetes()
        client, peer, secure = _free_ports(3)
        authority = self.authority = Authority(self.folder / "pki", f"https://127.0.0.1:{secure}")
        authority.certificate("apiserver", "/CN=kube-apiserver", server_names("127.0.0.1", "10.0.0.1"))
        authority.certificate("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet")
        self.kubeconfig = authority.kubeconfig("admin", "/O=system:masters/CN=admin")
        etcd = f"http://127.0.0.1:{client}"
        peers = f"http://127.0.0.1:{peer}"
        self._spawn(
            "etcd",
            [
                binary, "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
                "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peers,
                "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
            ],
        )  # fmt: skip
        flags = apiserver_flags(authority, etcd, "127.0.0.1", secure, "10.0.0.0/16")
        # Where no controller makes service accounts, admission must not ask for them.
        without = [] if self._controllers else ["--disable-admission-plugins=ServiceAccount"]
        more = [f"--enable-admission-plugins={','.join((ADMISSION, *self._admission))}"] if self._admission else []
        self._apiserver = [self._components, *flags, *without, *more]
        self._spawn("apiserver", self._apiserver)
        self._wait(binary)
        if self._controllers:
            self._start_controllers(binary, authority)

    def _start_controllers(self, binary: Path, authority: Authority) -> None:
        pki = authority.folder
        kcm = authority.kubeconfig("kcm", "/O=system:masters/CN=system:kube-controller-manager")
        scheduler = authority.kubeconfig("scheduler", "/CN=system:kube-scheduler")
        ports = _free_ports(2)
        self._spawn(
            "kcm",
            [
                self._components, "kube-controller-manager", "--kubeconfig", kcm, "--leader-elect=false",
                "--bind-address=127.0.0.1", f"--secure-port={ports[0]}", f"--controllers={CONTROLLERS}",
                "--root-ca-file", pki / "ca.crt", "--service-account-private-key-file", pki / "sa.key",
            ],
        )  # fmt: skip
        self._spawn(
            "scheduler",
            [
                self._components, "kube-scheduler", "--kubeconfig", scheduler, "--leader-elect=false",
                "--bind-address=127.0.0.1", f"--secure-port={ports[1]}",
            ],
        )  # fmt: skip
        until(
            [binary, "kubectl", "--kubeconfig", self.kubeconfig, "get", "serviceaccount", "default"],
            "the default service account", START_SECONDS,
        )  # fmt: skip

    def _spawn(self, name: str, command: list[str | Path]) -> None:
        record = self.folder / f"{name}.pid"
        if record not in self._records:
            self._records.append(record)
        process.spawn(record, self.folder / f"{name}.log", command)

    def _wait(self, binary: Path) -> None:
        end = time.monotonic() + START_SECONDS
        while not ok(binary, "kubectl", "--kubeconfig", self.kubeconfig, "get", "namespace", "default"):
            log = self.folder / "apiserver.log"
            if process.recorded(self.folder / "apiserver.pid") is None or time.monotonic() > end:
                tail = "\n".join(log.read_text().splitlines()[-5:])
                raise ClusterError(f"the API server did not start; the end of its log:\n{tail}")
            time.sleep(0.1)

    def _stop(self) -> None:
        process.end(reversed(self._records), seconds=1.0)
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
