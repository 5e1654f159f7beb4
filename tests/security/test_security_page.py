"""What docs/security.md and docs/limits.md say is so."""

import re
from typing import Any

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.paths import REPO
from e2e.cluster.shell import ClusterError, run
from forebay.resources import names
from forebay.resources.crd import schema_of
from forebay.resources.pool import PoolSpec
from tests.contract.bad import REFUSED, TOLD

SECURITY = (REPO / "docs" / "security.md").read_text()
LIMITS = (REPO / "docs" / "limits.md").read_text()


def rules() -> list[dict[str, Any]]:
    try:
        chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", "forebay-system")
    except ClusterError as error:
        pytest.skip(str(error))
    roles = [d for d in yaml.safe_load_all(chart) if d and d["kind"] in ("ClusterRole", "Role")]
    return [rule for role in roles if role["metadata"]["name"].endswith("operator") for rule in role["rules"]]


def row_of(resource: str) -> str:
    """The line of the table about a resource, by its name in the singular or plural."""
    word = "`/status`" if resource.endswith("/status") else resource
    lines = [line for line in SECURITY.splitlines() if line.startswith("|")]
    return next((line for line in lines if word.lower() in line.partition("|")[2].partition("|")[0].lower()), "")


def test_every_right_of_the_operator_is_explained() -> None:
    for rule in rules():
        for resource in rule["resources"]:
            row = row_of(resource)
            assert row, f"docs/security.md does not explain {resource}"
            verbs = row.split("|")[2]
            for verb in rule["verbs"]:
                assert verb in verbs, f"docs/security.md does not explain {verb} of {resource}"


def test_the_command_that_changes_the_token_is_right() -> None:
    (command,) = re.findall(r"```console\n(.*?)```", SECURITY, re.S)
    assert f"kubectl annotate secret {names.CONTROL_TOKEN_SECRET} " in command
    assert f" {names.ANNOTATION_ROTATE}=" in command


def test_the_paths_that_it_names_exist() -> None:
    for path in re.findall(r"`((?:tests|docs|charts)/[\w./]+)`", SECURITY + LIMITS):
        assert (REPO / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)`", LIMITS):
        assert re.search(rf"^{target}:", (REPO / "Makefile").read_text(), re.M), target


def test_the_limits_are_the_schemas() -> None:
    properties = schema_of(PoolSpec)["properties"]
    assert f"| replicas of a pool | {properties['replicas']['maximum']:,} |" in LIMITS
    assert len(REFUSED) + len(TOLD) > 150
