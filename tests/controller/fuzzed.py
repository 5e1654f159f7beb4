"""Specs out of the CRDs' own schemas: valid ones, and ones that an older or a careless API server might have stored."""

from typing import Any

from hypothesis import strategies as st

from forebay.resources.crd import Schema
from forebay.resources.fields import DNS_LABEL, MODEL_NAME, MODEL_SOURCE, MONEY, QUANTITY
from forebay.resources.policy import BASE_URL
from forebay.resources.policy_budget import AMOUNT, ZONE
from forebay.resources.reach import HEADER_NAME, PLAIN_TEXT, QUERY_NAME, SCHEME

TEXT = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
"""Anything that JSON can say."""
PER_KEY: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["engine", "router", "helper", "token", "tmp", ""]),
    "image": st.sampled_from(["a:1", "", "forebay:1"]),
    "containerPort": st.sampled_from([8080, 8081, 9000, "8080", None]),
    "mountPath": st.sampled_from(["/dev/shm", "/tmp", "/x", 7]),
    "restartPolicy": st.sampled_from(["Always", "Never"]),
    "terminationGracePeriodSeconds": st.integers(-1, 400),
    "hostNetwork": st.booleans(),
    "$patch": st.just("delete"),
}
"""Values for the fields of a pod template that forebay looks at."""
LISTS = ("containers", "initContainers", "volumes", "env", "ports", "volumeMounts", "imagePullSecrets", "tolerations")
MAPS = ("spec", "metadata", "labels", "annotations", "securityContext", "lifecycle", "livenessProbe", "resources",
        "affinity", "startupProbe", "preStop")  # fmt: skip


LIKE = {
    DNS_LABEL: ["a", "0", "a-b", "x" * 63, "default", "chat"],
    MODEL_NAME: ["m", "0", "Qwen/Qwen2.5-7B", "a" * 253, "a:b@c+d_e"],
    MODEL_SOURCE: ["m", "/models/x", "/0", "a" * 253],
    MONEY: ["0", "1.20", "999999999.999999999", "000000000"],
    AMOUNT: ["0", "500", "999999.999999999", "000000"],
    ZONE: ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Mars/Olympus", "Etc/GMT+12", "+", "localtime"],
    QUANTITY: ["0", "100Gi", "1.5T", "1m", "99999999999999999999999999999Pi"],
    BASE_URL: [
        "https://a.example/v1",
        "http://near:8000",
        "https://[::1]:99999/v1",
        "https://a:b",
        "http://.",
        "https://*",
    ],
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": ["keys", "a.b", "0"],
    r"^[-._a-zA-Z0-9]+$": ["key", "..", "-"],
    HEADER_NAME: ["x-a", "Api-Key", "host", "anthropic_version"],
    QUERY_NAME: ["api-version", "$x", "a.b"],
    PLAIN_TEXT: ["x", "a b", "~", "&=#%"],
    SCHEME: ["", "Bearer", "Key"],
    r"^/": ["/", "/x", "/../..", "/\u00e9 "],
}
"""Strings that match each pattern of the schemas; the odd ones among them."""


def pod_templates() -> st.SearchStrategy[Any]:
    """Partial pod templates: real field names in places where they belong, and in others."""
    leaf = st.one_of(
        *(st.fixed_dictionaries({key: value}) for key, value in PER_KEY.items()), st.fixed_dictionaries({}), JSON
    )

    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        maps = st.dictionaries(st.sampled_from(MAPS), inner, max_size=3)
        lists = st.dictionaries(st.sampled_from(LISTS), st.lists(inner, max_size=3), max_size=2)
        return st.one_of(maps, lists, st.builds(_both, maps, lists), st.builds(_both, leaf, lists))

    return st.recursive(leaf, wider, max_leaves=12)


def _both(one: Any, other: Any) -> Any:
    return {**one, **other} if isinstance(one, dict) and isinstance(other, dict) else other


def valid(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema takes; CEL rules are not looked at."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return pod_templates().filter(lambda value: isinstance(value, dict))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(schema)
        case "array":
            return _lists(schema)
        case "string":
            return _strings(schema)
        case "integer":
            return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
        case other:
            raise NotImplementedError(f"no strategy for {other}")


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: valid(below) for name, below in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _lists(schema: Schema) -> st.SearchStrategy[list[Any]]:
    bounds = {"min_size": schema.get("minItems", 0), "max_size": min(schema.get("maxItems", 4), 4)}
    items = valid(schema["items"])
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        below = schema["items"]
        sure = () if below.get("x-kubernetes-preserve-unknown-fields") else below.get("required", ())
        said = below.get("properties", {})
        free = {key: valid(said[key]) if key in said else TEXT for key in keys if key not in sure}
        items = st.builds(_both, items, st.fixed_dictionaries(free)) if free else items
        return st.lists(items, unique_by=lambda item: tuple(item[key] for key in keys), **bounds)
    if schema.get("x-kubernetes-list-type") == "set":
        return st.lists(items, unique=True, **bounds)
    return st.lists(items, **bounds)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", 40), 40)
    if "pattern" in schema:
        return st.sampled_from(LIKE[schema["pattern"]])
    return st.text(min_size=least, max_size=most)


def broken(spec: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Specs in which one value, somewhere, is replaced by anything."""
    return st.builds(_break, spec, st.lists(st.integers(0, 20), min_size=1, max_size=4), JSON)


def _break(spec: Any, path: list[int], value: Any) -> Any:
    if not path or not isinstance(spec, (dict, list)) or not spec:
        return value
    keys = list(spec) if isinstance(spec, dict) else list(range(len(spec)))
    key = keys[path[0] % len(keys)]
    changed = dict(spec) if isinstance(spec, dict) else list(spec)
    changed[key] = _break(spec[key], path[1:], value)
    return changed
