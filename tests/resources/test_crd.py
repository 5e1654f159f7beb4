"""The generated CRDs: checked in as generated, structural, documented, bounded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.resources import crd

REPO = Path(__file__).resolve().parents[2]
CRDS = [crd.pool_crd(), crd.policy_crd()]


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")


def all_schemas() -> list[tuple[str, dict[str, Any]]]:
    roots = [(c["spec"]["names"]["kind"], c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) for c in CRDS]
    return [item for kind, root in roots for item in schemas(root, kind)]


@pytest.mark.parametrize(("path", "text"), crd.files(REPO).items(), ids=lambda value: getattr(value, "name", ""))
def test_checked_in_files_are_the_generated_ones(path: Path, text: str) -> None:
    assert path.read_text() == text, "run: make crds"


def test_schemas_are_structural() -> None:
    for path, schema in all_schemas():
        assert not {"$ref", "anyOf", "allOf", "title", "$defs"} & set(schema), path
        assert schema.get("type") or schema.get("x-kubernetes-preserve-unknown-fields"), path


def test_every_field_is_described() -> None:
    for path, schema in all_schemas():
        if path.count(".") >= 1 and not path.endswith("]") and not path.endswith(".metadata"):
            assert schema.get("description"), f"{path} has no description"


def test_what_users_write_is_bounded() -> None:
    for path, schema in all_schemas():
        if ".spec" not in path:
            continue
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, f"{path} has no maxLength"
        if schema.get("type") == "array":
            assert "maxItems" in schema and "x-kubernetes-list-type" in schema, f"{path} is not bounded"
        if schema.get("type") == "integer":
            assert "minimum" in schema and "maximum" in schema, f"{path} has no bounds"
        assert schema.get("type") not in ("number", "boolean"), f"{path}: no floats, no bool that may grow"
