"""JSON schemas for kubeconform, which has none and would download them: of kubernetes-validate, and of CRDs."""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

TEMPLATE: Final = "{{.ResourceKind}}{{.KindSuffix}}.json"
"""How kubeconform is to look for the schema of an object."""
_REFERENCE: Final = "/api/_definitions.json#/$defs/"
_HERE: Final = "#/$defs/"
Object = dict[str, Any]


def write(folder: Path, version: str, objects: Iterable[Object], crds: Iterable[Object]) -> None:
    """Schemas of the kinds of these objects, as Kubernetes of a version (`1.34`) or a CRD has them, no field more.

    A kind that neither knows gets none.
    """
    shipped = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = json.loads((shipped / "_definitions.json").read_text())["$defs"]
    for name in {_file(obj["apiVersion"], obj["kind"]) for obj in objects}:
        if (shipped / name).exists():
            schema = json.loads((shipped / name).read_text().replace(_REFERENCE, _HERE))
            del schema["$id"]
            (folder / name).write_text(json.dumps({**schema, "$defs": _needed(schema, definitions)}))
    for crd in crds:
        spec = crd["spec"]
        for served in spec["versions"]:
            name = _file(f"{spec['group']}/{served['name']}", spec["names"]["kind"])
            (folder / name).write_text(json.dumps(closed(served["schema"]["openAPIV3Schema"])))


def closed(schema: Any) -> Any:
    """The schema of a CRD, in which a field that is not named is an error."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: closed(value) for name, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        said["additionalProperties"] = False
    return said


def _file(api_version: str, kind: str) -> str:
    """As `TEMPLATE` names it: of a group the first word."""
    group, _, version = api_version.rpartition("/")
    return "-".join(filter(None, (kind.lower(), group.partition(".")[0], version))) + ".json"


def _needed(schema: Object, definitions: Object) -> Object:
    """The definitions that a schema refers to, and those that these refer to."""
    found: Object = {}
    wanted = set(_references(schema))
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = definitions[name]
            wanted |= set(_references(found[name]))
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for name, value in schema.items():
            if name == "$ref" and isinstance(value, str):
                yield value.removeprefix(_HERE)
            else:
                yield from _references(value)
