"""The manifest of the krew plugin, by krew's own rules."""

import re
from pathlib import Path

import yaml

from forebay import __version__

MANIFEST = yaml.safe_load((Path(__file__).resolve().parents[2] / "plugins" / "krew" / "forebay.yaml").read_text())


def test_the_manifest_is_what_krew_accepts() -> None:
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert re.fullmatch(r"[\w-]+", MANIFEST["metadata"]["name"])
    spec = MANIFEST["spec"]
    assert spec["version"] == f"v{__version__}"
    assert 0 < len(spec["shortDescription"]) <= 50
    for platform in spec["platforms"]:
        assert platform["uri"].startswith("https://") and platform["uri"].endswith(".tar.gz")
        assert re.fullmatch(r"[0-9a-f]{64}", platform["sha256"])
        assert platform["bin"] == "kubectl-forebay"
