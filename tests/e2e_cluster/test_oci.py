"""Image archives: reproducible, and as the OCI layout wants them."""

import hashlib
import json
import tarfile
from pathlib import Path

from e2e.cluster import oci


def folder(tmp: Path, name: str) -> Path:
    made = tmp / name
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "tool").write_text("x")
    return made


def test_layers_are_reproducible(tmp_path: Path) -> None:
    one = oci.layer(folder(tmp_path, "a"), tmp_path / "a.tar").read_bytes()
    two = oci.layer(folder(tmp_path, "b"), tmp_path / "b.tar").read_bytes()
    assert one == two


def test_every_blob_is_named_by_its_content_and_reachable(tmp_path: Path) -> None:
    layer = oci.layer(folder(tmp_path, "a"), tmp_path / "a.tar")
    oci.write(tmp_path / "image.tar", "example.dev/x:1", [layer], oci.Config(command=("tool",), user="65532"))
    with tarfile.open(tmp_path / "image.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "example.dev/x:1"
    manifest = json.loads(files["blobs/sha256/" + entry["digest"][7:]])
    config = json.loads(files["blobs/sha256/" + manifest["config"]["digest"][7:]])
    assert config["config"]["Cmd"] == ["tool"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
