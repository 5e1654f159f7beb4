"""Writes the chart's part of the options, from the table: `make options`; `--check` compares.

That is the operator's environment (templates/_options.tpl) and what values.schema.json says of the values that are
options of the operator. The rest of the schema is written by hand and stays as it is. From schema and values.yaml come
the defaults that templates take where a value is absent (templates/_defaults.tpl), and docs/values.md.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from forebay import generated
from forebay.resources.crd import schema_of
from forebay.resources.kubernetes_fields import GatewaySpec
from forebay.resources.option import Option, Rules, rows
from forebay.resources.options import OperatorOptions

CHART: Final = Path(__file__).parent / "forebay"
SCHEMA: Final = CHART / "values.schema.json"
VALUES: Final = CHART / "values.yaml"
DEFAULTS: Final = CHART / "templates" / "_defaults.tpl"
PAGE: Final = Path(__file__).parents[1] / "docs" / "values.md"
TEMPLATE: Final = CHART / "templates" / "_options.tpl"
OWN_IMAGE: Final = '(include "forebay.image" .)'
WHERE_EMPTY: Final = {"router_image": OWN_IMAGE, "simulator_image": OWN_IMAGE}
"""What Helm takes for a value that is empty."""
FROM_THE_RELEASE: Final = {
    "run_as_user": '{{ include "forebay.user" . | quote }}',
    "service": '{{ include "forebay.name" . | quote }}',
    "instance": "{fieldRef: {fieldPath: metadata.name}}",
    "own_namespace": "{fieldRef: {fieldPath: metadata.namespace}}",
}
"""What the chart says without asking anybody, or in words of its own (templates/_helpers.tpl)."""
EGRESS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {name: {"type": "array", "items": {"type": "object"}} for name in ("to", "ports")},
}
FIELDS: Final = {"gateway_pods": GatewaySpec}
"""What the fields of an option are that is an object."""
TYPES: Final[dict[Any, str]] = {int: "integer", float: "number", bool: "boolean", str: "string"}


def template() -> str:
    """The file with the operator's environment."""
    head = "{{- /* The operator's environment. Generated; run `make options`. */ -}}"
    lines = [line for row in rows(OperatorOptions) if (line := _variable(row))]
    return "\n".join([head, '{{- define "forebay.options" -}}', *lines, "{{- end }}"]) + "\n"


def _variable(row: Option) -> str:
    if (given := FROM_THE_RELEASE.get(row.name)) is not None:
        return f"- {{name: {row.env}, {'valueFrom' if 'fieldRef' in given else 'value'}: {given}}}"
    if not row.value:
        return ""
    value = f".Values.{row.value}"
    if row.type in (tuple[str, ...], tuple[int, ...]):
        value = f'join "," {value}'
    elif row.type == Rules:
        value = f"{value} | default list | toJson"
    elif row.type == dict[str, Any]:
        value = f"{value} | toJson"
    elif row.name in WHERE_EMPTY:
        value = f"{value} | default {WHERE_EMPTY[row.name]}"
    return f"- {{name: {row.env}, value: {{{{ {value} | quote }}}}}}"


def schema(written: str) -> str:
    """The values' schema with the options anew."""
    whole = json.loads(written)
    for row in chart_rows():
        *parents, last = row.value.split(".")
        level = whole
        for parent in parents:
            level = level["properties"].setdefault(
                parent, {"type": "object", "additionalProperties": False, "properties": {}}
            )
        level["properties"][last] = _property(row)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def chart_rows() -> Iterator[Option]:
    """The options that a person sets by a chart value."""
    return (row for row in rows(OperatorOptions) if row.value)


def _property(row: Option) -> dict[str, Any]:
    said: dict[str, Any] = {"description": row.description}
    if row.choices:
        return said | {"enum": list(row.choices)}
    return said | _typed(row)


def _typed(row: Option) -> dict[str, Any]:
    most = {} if row.most is None else {"maxItems": row.most}
    match row.type:
        case kind if kind == tuple[str, ...]:
            said = {"type": "array", "uniqueItems": True, **most, "items": {"type": "string", **_text(row)}}
        case kind if kind == tuple[int, ...]:
            said = {"type": "array", "uniqueItems": True, "items": {"type": "integer", **_bounds(row)}}
        case kind if kind == Rules:
            said = {"type": "array", "items": EGRESS}
        case kind if kind == int | None:
            said = {"type": ["integer", "null"], **_bounds(row)}
        case kind if kind == dict[str, Any]:
            said = _of_crd(schema_of(FIELDS[row.name]))
        case kind:
            said = {"type": TYPES[kind], **(_text(row) if kind is str else _bounds(row))}
    return said


def _of_crd(schema: dict[str, Any]) -> dict[str, Any]:
    """A custom resource's schema as JSON Schema: CEL rules stay with the operator, unknown fields are refused unless
    Kubernetes' own may stand there."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "default"}
    if "items" in made:
        made["items"] = _of_crd(made["items"])
    if "properties" in made:
        made["properties"] = {name: _of_crd(item) for name, item in made["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def _text(row: Option) -> dict[str, Any]:
    form = row.form
    if form.pattern:
        return {"pattern": form.pattern} | ({"maxLength": form.longest} if form.longest else {})
    return {} if row.name in WHERE_EMPTY or not row.default else {"minLength": 1}


def _bounds(row: Option) -> dict[str, Any]:
    bounds = {"minimum": row.least, "maximum": row.most}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def defaults(values: dict[str, Any], schema: dict[str, Any]) -> str:
    """The file with what templates take for values that are absent, as after `helm upgrade --reuse-values` from a chart
    that did not have them. Null is an answer where the schema has it, so such a value is never put back alone."""
    blocks = {
        name: [key for key, of in schema["properties"][name]["properties"].items() if "null" not in _types(of)]
        for name, value in values.items()
        if value and isinstance(value, dict) and "properties" in schema["properties"][name]
    }
    text = yaml.safe_dump(values, sort_keys=False, width=120)
    return (
        DEFAULTS_HEAD
        + f'{{{{- define "forebay.defaults" -}}}}\n{text}{{{{- end }}}}\n'
        + (f'{{{{- define "forebay.blocks" -}}}}\n{yaml.safe_dump(blocks, sort_keys=False, width=120)}{{{{- end }}}}\n')
    )


DEFAULTS_HEAD: Final = """\
{{- /* What templates take for values that are absent. Generated; run `make options`. */ -}}
{{- define "forebay.fill" -}}
{{- $given := .Values }}
{{- $blocks := include "forebay.blocks" . | fromYaml }}
{{- range $name, $value := include "forebay.defaults" . | fromYaml }}
{{- if or (not (hasKey $given $name)) (kindIs "invalid" (get $given $name)) }}
{{- $_ := set $given $name $value }}
{{- else if hasKey $blocks $name }}
{{- $block := get $given $name }}
{{- range $key := get $blocks $name }}
{{- if or (not (hasKey $block $key)) (kindIs "invalid" (get $block $key)) }}
{{- $_ := set $block $key (get $value $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
"""


def _types(schema: dict[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def page(values: dict[str, Any], schema: dict[str, Any]) -> str:
    """docs/values.md: every value with its default and what it is for."""
    lines = [PAGE_HEAD, "| value | type | default | what it is for |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in _page_rows(values, schema, "")]
    return "\n".join(lines) + "\n"


PAGE_HEAD: Final = """\
# Values of the chart

Generated from the chart's schema; run `make options`. The comments in `charts/forebay/values.yaml` say more, with
examples. `helm upgrade --reset-then-reuse-values` keeps what you set and takes the new chart's defaults for the rest;
with `--reuse-values`, values that the older chart did not have are as they stand here.
"""


def _page_rows(values: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    for name, of in schema["properties"].items():
        where = f"{path}.{name}" if path else name
        value = values.get(name) if isinstance(values, dict) else None
        if "properties" in of and name != "global":
            yield from _page_rows(value, of, where)
            continue
        kind = "one of " + ", ".join(f"`{word}`" for word in of["enum"]) if "enum" in of else " or ".join(_types(of))
        shown = "" if value is None else f"`{json.dumps(value)}`"
        yield f"`{where}`", kind, shown, of.get("description", "").replace("\n", " ")


def main() -> int:
    """Write the files, or check that they are up to date."""
    said, values = schema(SCHEMA.read_text()), yaml.safe_load(VALUES.read_text())
    files = {
        TEMPLATE: template(),
        SCHEMA: said,
        DEFAULTS: defaults(values, json.loads(said)),
        PAGE: page(values, json.loads(said)),
    }
    return generated.main(__doc__, files, "make options")


if __name__ == "__main__":
    sys.exit(main())
