"""What kubeconform, kube-score and checkov find in manifests."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.cluster.shell import ClusterError
from testing.linters import schemas
from testing.linters.install import linter

Object = dict[str, Any]
OPTIONAL: Final = ("container-seccomp-profile", "container-ports-check")
"""Checks of kube-score that it leaves out unless asked."""
BEST: Final = 10  # kube-score's grade where it has nothing to say
SILENT: Final = ("CustomResourceDefinition",)  # checkov has nothing to say of them, and reads them for seconds
SECONDS: Final = 300


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One remark of one linter: `check` is its id with what it says, `on` is SET KIND/NAME, of kube-score with the
    container."""

    tool: str
    check: str
    on: str


def kubeconform(
    sets: Mapping[str, Sequence[Object]], crds: Iterable[Object], version: str, folder: Path, skip: Iterable[str] = ()
) -> set[Finding]:
    """What does not fit the schemas of a version of Kubernetes, `1.34`, or those of the CRDs. A kind that none of them
    has is a remark, too, unless it is to be skipped."""
    known = folder / f"schemas-{version}"
    known.mkdir()
    schemas.write(known, version, (obj for objects in sets.values() for obj in objects), crds)
    words = [*linter("kubeconform"), "-strict", "-output", "json", "-skip", ",".join(skip)]
    words += ["-schema-location", f"{known}/{schemas.TEMPLATE}"]
    answer = _json([*words, *written(sets, folder)])
    return {
        Finding("kubeconform", str(item["msg"]), f"{Path(item['filename']).stem} {item['kind']}/{item['name']}")
        for item in answer["resources"]
    }


def kube_score(sets: Mapping[str, Sequence[Object]], version: str, folder: Path) -> set[Finding]:
    """Of each set, whose objects know one another."""
    words = [*linter("kube-score"), "score", "--output-format", "json", "--kubernetes-version", f"v{version}"]
    words += [f"--enable-optional-test={check}" for check in OPTIONAL]
    return {
        Finding(
            "kube-score",
            f"{check['check']['id']}: {comment['summary']}",
            " ".join(filter(None, (name, comment["path"]))),
        )
        for path in written(sets, folder)
        for scored in _json([*words, path])
        for name in [f"{path.stem} {scored['type_meta']['kind']}/{scored['object_meta']['name']}"]
        for check in scored["checks"]
        if not check["skipped"] and check["grade"] < BEST
        for comment in check["comments"]
    }


def checkov(sets: Mapping[str, Sequence[Object]], folder: Path) -> set[Finding]:
    """All sets in one run, since its start takes most of the time: a NetworkPolicy of one set covers pods of another.
    It asks nobody for anything."""
    words = [*linter("checkov"), "--framework", "kubernetes", "--compact", "--quiet", "--skip-download", "-o", "json"]
    judged = {name: [obj for obj in objects if obj["kind"] not in SILENT] for name, objects in sets.items()}
    files = written(judged, folder)
    answer = _json([*words, *(word for path in files for word in ("-f", path))])
    return {
        Finding("checkov", f"{item['check_id']}: {item['check_name']}", f"{Path(item['file_path']).stem} {kind}/{name}")
        for item in answer["results"]["failed_checks"]
        for kind, _, name in [item["resource"].split(".", 2)]  # the namespace between them
    }


def written(sets: Mapping[str, Sequence[Object]], folder: Path) -> list[Path]:
    """One file for each set."""
    paths = [folder / f"{name}.yaml" for name in sets]
    for path, objects in zip(paths, sets.values(), strict=True):
        path.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return paths


def _json(command: Sequence[str | Path]) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CKV", "BC_"))}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode not in (0, 1):  # 1: there are remarks
        raise ClusterError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return json.loads(done.stdout)
