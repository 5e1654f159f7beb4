"""The generated CRDs: checked in as generated, structural, documented, bounded."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.resources import capacity_status, crd, fields, kubernetes_fields, policy, pool, pool_status, reach
from forebay.resources.fields import Resource

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


def test_nothing_inside_a_list_has_a_default() -> None:
    """A merge patch replaces a list as a whole: what the API server fills in there stays a difference for ever."""
    assert [path for path, schema in all_schemas() if "[]" in path and "default" in schema] == []


def test_a_default_inside_a_list_is_said() -> None:
    said = {path: schema.get("description", "") for path, schema in all_schemas()}
    models = "CloudFallbackPolicy.spec.providers[].models[]"
    assert said["CloudFallbackPolicy.spec.providers[].transport"].endswith(" Default: HTTPS.")
    assert said["CloudFallbackPolicy.spec.providers[].limits.maxConcurrentRequests"].endswith(" Default: 100.")
    assert said[f"{models}.apis"].endswith(" Default: ChatCompletions, Completions, Embeddings, Responses.")


def test_every_field_is_described() -> None:
    for path, schema in all_schemas():
        if path.count(".") >= 1 and not path.endswith("]") and not path.endswith(".metadata"):
            assert schema.get("description"), f"{path} has no description"


def descriptions() -> list[tuple[str, str]]:
    """Each with where it stands: those of the schemas, and those of the printer columns."""
    columns = [
        (f"{c['spec']['names']['kind']} column {column['name']}", column["description"])
        for c in CRDS
        for column in c["spec"]["versions"][0]["additionalPrinterColumns"]
    ]
    return [(path, schema["description"]) for path, schema in all_schemas() if "description" in schema] + columns


def test_every_description_is_whole_sentences() -> None:
    for where, text in descriptions():
        assert len(text.split()) >= 4, f"{where}: {text!r} says nothing without its parent"
        assert text.endswith("."), f"{where}: {text!r} is no sentence"
        for sentence in re.split(r"(?<=[.]) (?=[A-Z0-9])", text):
            assert len(sentence.split()) <= 25, f"{where}: {sentence!r} is too long"


def test_fields_of_one_name_in_different_objects_are_told_apart_by_their_descriptions() -> None:
    found: dict[str, dict[str, str]] = {}
    for module in (fields, policy, pool, pool_status, capacity_status, reach, kubernetes_fields):
        for kind in vars(module).values():
            if not (isinstance(kind, type) and issubclass(kind, Resource) and kind.__module__ == module.__name__):
                continue
            for name, field in kind.model_fields.items():
                others = found.setdefault(name, {})
                assert field.description not in others, f"{kind.__name__}.{name} is described as {others} is"
                others[field.description or ""] = kind.__name__


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
