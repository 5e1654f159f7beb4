"""Writes an OCI image archive from folders, with no daemon and no registry. Layers are tar files named by content."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Config:
    """What the image runs as."""

    env: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""


def layer(folder: Path, out: Path) -> Path:
    """A reproducible tar of a folder's content: sorted, owned by root, dated 1970."""

    def clean(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        return info

    part = out.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(path.name for path in folder.iterdir()):
            tar.add(folder / name, arcname=name, filter=clean)
    part.rename(out)
    return out


def write(out: Path, name: str, layers: Sequence[Path], config: Config) -> None:
    """Write the archive `out` of image `name` (repository:tag)."""
    blobs: dict[str, Path | bytes] = {}
    digests = []
    for path in layers:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        blobs[digest] = path
        digests.append((digest, path.stat().st_size))

    def put(value: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(value, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    settings = {
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *config.env],
        "Cmd": list(config.command),
        "User": config.user,
        "WorkingDir": config.workdir,
    }
    diff_ids = [f"sha256:{digest}" for digest, _ in digests]
    described = put(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": settings}
    )
    manifest = put(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **described},
            "layers": [{"mediaType": LAYER_TYPE, "digest": f"sha256:{d}", "size": size} for d, size in digests],
        }
    )
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest, "annotations": annotations}
    index = {"schemaVersion": 2, "manifests": [entry]}
    part = out.with_suffix(".part")
    with tarfile.open(part, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for digest, blob in blobs.items():
            if isinstance(blob, bytes):
                _add(tar, f"blobs/sha256/{digest}", blob)
            else:
                tar.add(blob, arcname=f"blobs/sha256/{digest}")
    part.rename(out)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
