"""The product's image without a registry: Python from Debian packages, the locked wheels, our code; a layer each."""

import compileall
import hashlib
import os
import py_compile
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from e2e.cluster import oci
from e2e.cluster.paths import CACHE, IMAGE, PAUSE_IMAGE, REPO
from e2e.cluster.shell import ClusterError, run, step
from e2e.cluster.tools import PAUSE

IMAGES = CACHE / "images"
LAYERS = CACHE / "layers"
BASE_PACKAGES = ("python3", "ca-certificates")
ENGINE_PACKAGES = (*BASE_PACKAGES, "libstdc++6", "libnuma1", "util-linux", "dash")  # it asks lscpu, by a shell
SCRIPTS = {
    "forebay-operator": "forebay.controller",
    "forebay-router": "forebay.router",
    "forebay-simulator": "forebay.simulator",
}
SOURCE = REPO / "operator" / "forebay"
USER = "65532"
PYTHON = "3.11"  # Debian 12's
_QUIET = ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pause() -> Path:
    """The archive of the pause image that every pod needs."""
    out = IMAGES / "pause.tar"
    if not out.exists():
        IMAGES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=IMAGES) as scratch:
            folder = Path(scratch) / "root"
            folder.mkdir()
            shutil.copy2(PAUSE, folder / "pause")
            oci.write(
                out, PAUSE_IMAGE, [oci.layer(folder, Path(scratch) / "layer.tar")], oci.Config(command=("/pause",))
            )
    return out


def built() -> list[Path]:
    """Product images that were built before."""
    return sorted(IMAGES.glob("forebay-*.tar"))


def product(name: str = IMAGE, source: Path = SOURCE) -> Path:
    """Build the product's image from the package at `source` as an archive.

    Layers whose inputs are unchanged are taken from the cache.
    """
    if os.uname().machine != "x86_64":
        raise ClusterError("building without a registry is known for x86-64 only; use Docker here")
    IMAGES.mkdir(parents=True, exist_ok=True)
    lock = (REPO / "requirements.lock").read_bytes()
    layers = [
        _base_layer("base", BASE_PACKAGES),
        _layer("wheels", lock + "\n".join(PLATFORMS).encode(), _wheels),
        _layer("code", _code_key(source), lambda root: _code(root, source)),
    ]
    config = oci.Config(
        env=("PYTHONPATH=/opt/forebay/lib:/opt/forebay/app", *_QUIET),
        command=("forebay-operator",),
        user=f"{USER}:{USER}",
        workdir="/tmp",
    )
    return _archive(f"forebay-{name.rpartition(':')[2]}", name, layers, config)


def engine(name: str, packages: str) -> Path:
    """Build an image that runs the vLLM whose packages a pod mounts at `packages`, with Debian's Python."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    program = {"vllm": "vllm.entrypoints.cli.main"}
    layers = [
        _base_layer("engine-base", ENGINE_PACKAGES),
        _layer("engine", (str(program) + _SCRIPT).encode(), lambda root: _scripts(root, program)),
    ]
    config = oci.Config(env=(f"PYTHONPATH={packages}", *_QUIET), command=("vllm",), workdir="/tmp")
    return _archive("vllm", name, layers, config)


def content(name: str = IMAGE) -> str:
    """Identity of what was built last under this name, so that a Deployment can follow it; "none" before."""
    stamp = IMAGES / f"forebay-{name.rpartition(':')[2]}.key"
    return stamp.read_text() if stamp.exists() else "none"


def _archive(stem: str, name: str, layers: list[Path], config: oci.Config) -> Path:
    """Written unless it was written from these very layers and this config before."""
    key = hashlib.sha256("".join([*(layer.name for layer in layers), name, str(config)]).encode()).hexdigest()[:12]
    out, stamp = IMAGES / f"{stem}.tar", IMAGES / f"{stem}.key"
    if not (out.exists() and stamp.exists() and stamp.read_text() == key):
        oci.write(out, name, layers, config)
        stamp.write_text(key)
    return out


def _base_layer(name: str, packages: tuple[str, ...]) -> Path:
    key = "\n".join(packages).encode() + _BASE_SCRIPT.encode()
    return _layer(name, key, lambda root: _base(root, packages))


def _layer(name: str, key: bytes, make: Callable[[Path], None]) -> Path:
    LAYERS.mkdir(parents=True, exist_ok=True)
    out = LAYERS / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}.tar"
    if not out.exists():
        with step(f"image: {name}"), tempfile.TemporaryDirectory(dir=LAYERS) as scratch:
            folder = Path(scratch) / "root"
            folder.mkdir()
            make(folder)
            oci.layer(folder, out)
    return out


def _base(root: Path, packages: tuple[str, ...]) -> None:
    """Debian packages, downloaded with their needs and unpacked without running any of their scripts."""
    run("bash", "-euo", "pipefail", "-c", _BASE_SCRIPT, "base", root, *packages)
    (root / "etc" / "passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\nforebay:x:{USER}:{USER}::/tmp:/bin/sh\n")
    (root / "etc" / "group").write_text(f"root:x:0:\nforebay:x:{USER}:\n")
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))


def _wheels(root: Path) -> None:
    target = root / "opt/forebay/lib"
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--require-hashes", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms,
        "--target", target, "-r", REPO / "requirements.lock",
    )  # fmt: skip
    shutil.rmtree(target / "bin", ignore_errors=True)
    _compile(target)


def _code(root: Path, source: Path) -> None:
    target = root / "opt/forebay/app/forebay"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(target)
    _scripts(root, {script: f"{module}.__main__" for script, module in SCRIPTS.items()})


def _scripts(root: Path, modules: dict[str, str]) -> None:
    """Programs by name: each calls a module's `main`, and not again in a process that it spawns. No shell is needed."""
    binaries = root / "usr/local/bin"
    binaries.mkdir(parents=True)
    for script, module in modules.items():
        path = binaries / script
        path.write_text(_SCRIPT.format(module=module))
        path.chmod(0o755)


def _compile(folder: Path) -> None:
    """Bytecode beside the source: containers have read-only root file systems. Needs a Python of that version."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(folder, quiet=2, stripdir=str(folder), invalidation_mode=mode)


def _code_key(source: Path) -> bytes:
    digest = hashlib.sha256(Path(__file__).read_bytes())  # the scripts are made here
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return digest.digest()


_SCRIPT = """#!/usr/bin/python3
import sys

from {module} import main

if __name__ == "__main__":
    sys.exit(main())
"""
_BASE_SCRIPT = r"""
out=$1; shift; t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir -p "$t"/archives/partial "$out"; : > "$t/status"
ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || apt-get -qq update
apt-get -qq -o Dir::State::status="$t/status" -o Dir::Cache::archives="$t/archives" -o APT::Install-Recommends=false \
  -o Debug::NoLocking=1 -o APT::Sandbox::User=root --download-only -y install "$@" >/dev/null
mkdir -p "$out"/usr/{bin,sbin,lib,lib64}; for d in bin sbin lib lib64; do ln -sfn usr/$d "$out/$d"; done
for d in "$t"/archives/*.deb; do dpkg-deb --fsys-tarfile "$d" | tar -x -C "$out" --keep-directory-symlink; done
rm -rf "$out"/usr/share/{doc,man,locale,info,lintian}
mkdir -p "$out"/{tmp,proc,sys,dev,etc,root}; chmod 1777 "$out/tmp"
"""
