"""CustomResourceDefinitions out of the pydantic types: `python -m forebay.resources.crd` writes them, --check compares.

Structural schemas: references inlined, optional fields flattened, a description on every field, defaults that the API
server fills in, CEL rules from each type's RULES.
"""

import sys
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from forebay import generated
from forebay.resources.fields import Resource, Rule
from forebay.resources.names import DEFAULT_POLICY, GROUP, POLICY_KIND, POLICY_PLURAL, POOL_KIND, POOL_PLURAL, VERSION
from forebay.resources.policy import PolicySpec, PolicyStatus
from forebay.resources.pool import PoolSpec
from forebay.resources.pool_status import PoolStatus
from forebay.resources.reasons import POLICY_CONDITIONS, POOL_CONDITIONS, ConditionReason, ConditionType

Schema = dict[str, Any]
EPOCH = "1970-01-01T00:00:00Z"

POOL_RULES = (
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name becomes the name of a Service: it must begin with a letter and hold only lower-case letters, "
        "digits and dashes; choose another name",
    ),
    Rule(
        "self.metadata.name.size() <= 40",
        "metadata.name is longer than 40 characters: pods and Services carry it with a suffix; choose a shorter one",
    ),
    Rule(
        "!(self.metadata.name in ['forebay', 'forebay-gateway']) && !self.metadata.name.endsWith('-replicas')",
        "metadata.name is taken by forebay's own Services (forebay, forebay-gateway, *-replicas): choose another name",
    ),
)
POLICY_RULES = (
    Rule(
        f"!has(self.spec.gateway) || self.metadata.name == '{DEFAULT_POLICY}'",
        f"spec.gateway is about all gateways of the namespace and is read from the policy {DEFAULT_POLICY} alone: "
        "move it there",
    ),
)
KEPT_KEYWORDS = (
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "format",
)


def pool_crd() -> Schema:
    """The CRD of LocalModelPool."""
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    columns = [
        _column(
            "Ready", "string", _condition_path("Ready"), "Whether a replica of the pool serves, or none is wanted."
        ),
        _column("Gateways", "string", _condition_path("GatewaysReady"), "Whether the gateways of the fleet serve."),
        _column("Load", "string", ".status.load", "Running requests and slots of the pool."),
        _column("Queued", "integer", ".status.queued", "Requests that wait for the pool at the gateways."),
        _column("Replicas", "integer", ".status.replicas", "Number of the pool's pods that are not terminating."),
        _column("Desired", "integer", ".status.scaling.desiredReplicas", "Number of replicas that are wanted."),
        _column("Spill", "string", ".status.overflow.state", "Whether requests go to the cloud for lack of a slot."),
        _column("Model", "string", ".spec.model.name", "Model that the pool serves.", priority=1),
        _column("Engine", "string", ".status.engineVersion", "Versions that the pool's engines say.", priority=1),
        _column("Why", "string", ".status.scaling.reason", "Why the pool has its present size.", priority=1),
        _column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created."),
    ]
    root = _root(
        "One model served by N vLLM replicas on the cluster's own GPUs.", PoolSpec, PoolStatus, POOL_CONDITIONS
    )
    root["x-kubernetes-validations"] = _rules(POOL_RULES)
    return _crd(POOL_KIND, POOL_PLURAL, "lmp", root, columns, {"status": {}, "scale": scale})


def policy_crd() -> Schema:
    """The CRD of CloudFallbackPolicy."""
    columns = [
        _column("Ready", "string", _condition_path("Ready"), "Whether the gateways can use the policy."),
        _column("Programmed", "string", _condition_path("RoutingProgrammed"), "Whether every gateway has the policy."),
        _column("Pools", "integer", ".status.pools", "Number of pools whose requests the policy decides."),
        _column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created."),
    ]
    description = "Which cloud models stand behind the local fleet, and when they may be used."
    root = _root(description, PolicySpec, PolicyStatus, POLICY_CONDITIONS)
    root["x-kubernetes-validations"] = _rules(POLICY_RULES)
    return _crd(POLICY_KIND, POLICY_PLURAL, "cfp", root, columns, {"status": {}})


def _crd(kind: str, plural: str, short: str, root: Schema, columns: list[Schema], subresources: Schema) -> Schema:
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "subresources": subresources,
        "additionalPrinterColumns": columns,
    }
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [short],
        "categories": ["forebay"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _root(
    description: str, spec: type[Resource], status: type[Resource], conditions: tuple[ConditionType, ...]
) -> Schema:
    status_schema = schema_of(status)
    status_schema["properties"]["conditions"]["default"] = [
        {
            "type": str(condition),
            "status": "Unknown",
            "reason": str(ConditionReason.PENDING),
            "message": "Waiting for the operator",
            "lastTransitionTime": EPOCH,
        }
        for condition in conditions
    ]
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of this object's schema."},
            "kind": {"type": "string", "description": "Kind of this object, in CamelCase."},
            "metadata": {"type": "object"},
            "spec": schema_of(spec),
            # {} so that the Unknown conditions are there from the first read on.
            "status": {**status_schema, "default": {}},
        },
    }


def schema_of(model: type[BaseModel], *, in_list: bool = False) -> Schema:
    """Structural schema of one type. Inside a list it has no defaults, only says them: a merge patch compares a list as
    a whole, so that tools which apply what is in a repository would see a difference for ever."""
    generated = model.model_json_schema(by_alias=True)
    definitions = generated.get("$defs", {})
    properties: Schema = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        alias = field.alias or name
        properties[alias] = _property(generated["properties"][alias], field.annotation, definitions, in_list)
        properties[alias]["description"] = (field.description or "").strip()
        if field.is_required():
            required.append(alias)
        else:
            default = field.get_default(call_default_factory=True, validated_data={})
            if default is not None and in_list:
                properties[alias]["description"] += _said(_plain(default))
            elif default is not None:
                properties[alias]["default"] = _plain(default)
    schema: Schema = {"type": "object", "description": (model.__doc__ or "").strip(), "properties": properties}
    if required:
        schema["required"] = required
    if model.model_config.get("extra") == "allow":
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if rules := getattr(model, "RULES", ()):
        schema["x-kubernetes-validations"] = _rules(rules)
    return schema


def _said(default: Any) -> str:
    """A default that only the operator knows, in words; empty where it is nothing, or a map whose fields say theirs."""
    words = default if isinstance(default, list) else [default]
    if isinstance(default, dict) or words in ([], [""], ["0"], [0]):
        return ""
    return f" Default: {', '.join(map(str, words))}."


def _property(generated: Schema, annotation: Any, definitions: Schema, in_list: bool) -> Schema:
    """One property: nested types by their own annotation, plain ones from what pydantic wrote."""
    nested = _model_in(annotation)
    flat = _flatten(generated, definitions)
    if nested is None:
        schema = _kept(flat)
        if flat.get("type") == "array":
            schema["items"] = _items(flat["items"], definitions)
        return schema
    if flat.get("type") == "array":
        return {**_kept(flat), "items": schema_of(nested, in_list=True)}
    return {**schema_of(nested, in_list=in_list), **_extensions(flat)}


def _items(generated: Schema, definitions: Schema) -> Schema:
    return _kept(_flatten(generated, definitions))


def _kept(flat: Schema) -> Schema:
    kept = {key: value for key, value in flat.items() if key in KEPT_KEYWORDS} | _extensions(flat)
    if isinstance(values := flat.get("additionalProperties"), dict):
        kept["additionalProperties"] = _kept(values)
    return kept


def _extensions(flat: Schema) -> Schema:
    return {key: value for key, value in flat.items() if key.startswith("x-kubernetes-")}


def _flatten(generated: Schema, definitions: Schema) -> Schema:
    """Follow a reference, and drop the null of an optional field: in Kubernetes it is simply absent."""
    own = {key: value for key, value in generated.items() if key not in ("$ref", "anyOf", "allOf")}
    if "$ref" in generated:
        return {**_flatten(definitions[generated["$ref"].rpartition("/")[2]], definitions), **own}
    for alternative in generated.get("anyOf", []):
        if alternative.get("type") != "null":
            return {**_flatten(alternative, definitions), **own}
    return own


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic type inside `X`, `X | None`, `list[X]` or an Annotated of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (list, Union, UnionType) or hasattr(annotation, "__metadata__"):
        return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
    return None


def _plain(default: Any) -> Any:
    """A default as the API server writes it, nested ones in full: CEL rules are checked against it as it stands."""
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(default, Enum):
        return default.value
    if isinstance(default, list):
        return [_plain(item) for item in default]
    return default


def _rules(rules: tuple[Rule, ...]) -> list[Schema]:
    return [{"rule": rule.rule, "message": rule.message, "reason": rule.reason} for rule in rules]


def _column(name: str, kind: str, path: str, description: str, priority: int = 0) -> Schema:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column


def _condition_path(condition: str) -> str:
    return f".status.conditions[?(@.type=='{condition}')].status"


class _Writer(yaml.SafeDumper):
    """YAML without anchors, which Kubernetes tools print badly."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered(crd: Schema) -> str:
    """The file's text."""
    text = yaml.dump(crd, Dumper=_Writer, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated from the types in forebay/resources; run `make crds`.\n{text}"


def files(repo: Path) -> dict[Path, str]:
    """Every generated file with its content: crds/, and the chart's copy, which helm must not remove."""
    result = {}
    for crd in (pool_crd(), policy_crd()):
        name = f"{crd['metadata']['name']}.yaml"
        result[repo / "crds" / name] = rendered(crd)
        kept = {**crd, "metadata": {**crd["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
        result[repo / "charts" / "forebay" / "templates" / "crds" / name] = (
            f'{{{{- include "forebay.fill" . }}}}\n{{{{- if .Values.crds.install }}}}\n{rendered(kept)}{{{{- end }}}}\n'
        )
    return result


def main() -> int:
    """Write or check the files below the current folder."""
    return generated.main(__doc__, files(Path.cwd()), "make crds")


if __name__ == "__main__":
    sys.exit(main())
