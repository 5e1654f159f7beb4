"""Merging what users say of pods into forebay's own template, and refusing what would break a replica. Pure.

It merges as `kubectl apply` and strategic merge patches do: maps by field, lists of containers, volumes and the like by
their keys, other lists as a whole. A null removes a field. Of fields that exclude each other, the user's replace ours.
"""

from collections.abc import Sequence
from typing import Any, Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.plan.drift import first_difference, quantity
from forebay.resources import names

# Lists of maps that are merged by a key, as kubectl and strategic merge do; all other lists are replaced.
_MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "resourceClaims": "name",
    "topologySpreadConstraints": "topologyKey",
}
_HANDLERS: Final = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
_ALL_BUT_NAME: Final[frozenset[str] | None] = None
# Fields of which an object has one at a time, by where the object stands; all but its name where none are listed.
_ONE_OF: Final[dict[str, frozenset[str] | None]] = {
    "env": _ALL_BUT_NAME,
    "valueFrom": _ALL_BUT_NAME,
    "volumes": _ALL_BUT_NAME,
    "resourceClaims": _ALL_BUT_NAME,
    "volumeMounts": frozenset({"subPath", "subPathExpr"}),
    "livenessProbe": _HANDLERS,
    "readinessProbe": _HANDLERS,
    "startupProbe": _HANDLERS,
    "preStop": _HANDLERS,
    "postStart": _HANDLERS,
}
# Objects whose `type` says which other fields they may have.
_TYPED: Final = frozenset({"seccompProfile", "appArmorProfile"})
_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
_ROUTER_OWN: Final = (
    "image", "command", "args", "ports", "restartPolicy", "startupProbe", "livenessProbe", "readinessProbe",
    "lifecycle", "volumeMounts",
)  # fmt: skip
_USUAL_GRACE: Final = 30  # what Kubernetes takes where nothing is said
_VOLUMES_OWN: Final = ("table", "token", "clients")
_WHERE: Final = "engine.podTemplate"


class TemplateRefusedError(ValueError):
    """The user's podTemplate cannot be taken; the message says which part, why, and what to do instead."""


def merged(own: Object, user: Object) -> Object:
    """A replica's template with the user's partial one merged in, and checked for what a replica needs. Raises
    TemplateRefusedError."""
    template = overlaid(own, user)
    with _PlainWords(_WHERE):
        _check_labels(own, template, _WHERE)
        _check_router(own, template, "initContainers", _WHERE)
        _check_engine(own, template)
        _check_pod(own, template, _VOLUMES_OWN, "drainSeconds + 30", "lower engine.drainSeconds", _WHERE)
    return template


def merged_gateway(own: Object, before: Object, user: Object, where: str) -> Object:
    """A gateway's template, as it is before, with one more partial one merged in, and checked for what `own` has and a
    gateway needs. Raises TemplateRefusedError that names the field below `where`."""
    template = overlaid(before, user, where)
    with _PlainWords(where):
        _check_labels(own, template, where)
        _check_router(own, template, "containers", where)
        _check_pod(own, template, (*_VOLUMES_OWN, "providers"), "forebay's", "leave it out", where)
    return template


class _PlainWords:
    """What is out of place in a template ends in a sentence, whatever it breaks."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (TypeError, AttributeError, KeyError)):
            raise TemplateRefusedError(
                f"{self._where} is not a PodTemplateSpec: a list, map or name is out of place"
            ) from error


def overlaid(own: Object, user: Object, where: str = _WHERE) -> Object:
    """`own` with a partial template merged in, whatever it says. Raises TemplateRefusedError where the two do not fit;
    the message names the field below `where`."""
    template: Object = _merge(own, user, where)
    return template


def _merge(own: Any, user: Any, path: str, key: str = "") -> Any:
    if isinstance(own, dict):
        if not isinstance(user, dict):
            raise TemplateRefusedError(f"{path} must be a map")
        if any(name.startswith("$") for name in user):
            raise TemplateRefusedError(f"{path} holds a patch directive ($patch and the like); only plain fields merge")
        kept = {name: value for name, value in own.items() if not _replaced(name, own, user, key)}
        if key == "resources":
            kept = _fitting(kept, user)
        said = {name: value for name, value in user.items() if value is not None}
        both = {name: _merge(kept[name], said[name], f"{path}.{name}", name) for name in kept if name in said}
        return {**kept, **{name: _without_nulls(value) for name, value in said.items()}, **both}
    if isinstance(own, list):
        if not isinstance(user, list):
            raise TemplateRefusedError(f"{path} must be a list")
        return _merge_list(own, user, path, key) if key in _MERGE_KEYS else _without_nulls(user)
    if isinstance(user, (dict, list)):
        raise TemplateRefusedError(f"{path} must be a single value")
    if isinstance(own, int) and not isinstance(user, int):
        raise TemplateRefusedError(f"{path} must be {'true or false' if isinstance(own, bool) else 'a number'}")
    return user


def _replaced(name: str, own: Object, user: Object, key: str) -> bool:
    """Whether a field of ours goes: it is taken away, or the user says another one that excludes it."""
    if name in user:
        return user[name] is None
    said = {field for field, value in user.items() if value is not None}
    if key in _TYPED:
        return "type" in said and user["type"] != own.get("type")
    if key not in _ONE_OF or name == "name" or name == _MERGE_KEYS.get(key):
        return False
    members = _ONE_OF[key]
    others = said - {"name"} if members is None else said & members
    return bool(others) and (members is None or name in members)


def _fitting(own: Object, user: Object) -> Object:
    """Our requests and limits without those that the user's would contradict: no request is above its limit."""
    fitting = {
        **own,
        "requests": _bounded(own.get("requests"), user.get("limits"), sign=1),
        "limits": _bounded(own.get("limits"), user.get("requests"), sign=-1),
    }
    return {name: value for name, value in fitting.items() if value or name in own}


def _bounded(ours: Any, theirs: Any, *, sign: int) -> Object:
    theirs = theirs if isinstance(theirs, dict) else {}
    return {
        name: amount
        for name, amount in (ours or {}).items()
        if name not in _COMPUTE or not _above(amount, theirs.get(name), sign)
    }


def _above(amount: Any, bound: Any, sign: int) -> bool:
    """Whether an amount is above a bound, or below it where `sign` is -1; no when either is no quantity."""
    first, second = quantity(amount), quantity(bound)
    return not isinstance(first, str) and not isinstance(second, str) and (first - second) * sign > 0


def _without_nulls(value: Any) -> Any:
    """What the user adds; a null in it takes nothing away."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _merge_list(own: list[Any], user: list[Any], path: str, of: str) -> list[Any]:
    """Ours first and in our order, then what the user adds."""
    key = _MERGE_KEYS[of]
    if not all(isinstance(item, dict) and isinstance(item.get(key), (str, int)) for item in user):
        raise TemplateRefusedError(f"every entry of {path} needs {key!r}, by which it is merged")
    added = {item[key]: item for item in user}
    if len(added) != len(user):
        raise TemplateRefusedError(f"two entries of {path} have the same {key!r}")
    ours = [_merge_item(item, added.pop(item[key], None), f"{path}[{item[key]}]", of) for item in own]
    return [*ours, *_without_nulls([*added.values()])]


def _merge_item(own: Any, user: Any, path: str, of: str) -> Any:
    return own if user is None else _merge(own, user, path, of)


def _check_labels(own: Object, template: Object, where: str) -> None:
    labels = (template.get("metadata") or {}).get("labels") or {}
    for label, value in own["metadata"]["labels"].items():
        if labels.get(label) != value:
            raise TemplateRefusedError(
                f"{where} sets or removes the label {label}, by which forebay finds its pods: choose another label"
            )


def _check_router(own: Object, template: Object, among: str, where: str) -> None:
    ours = _container(own, among, names.CONTAINER_ROUTER)
    router = _container(template, among, names.CONTAINER_ROUTER)
    for field in (field for field in _ROUTER_OWN if field in ours):
        path = first_difference({field: ours[field]}, router)
        if path is not None or _more(ours[field], router[field]):
            raise TemplateRefusedError(
                f"{where} changes {path or field} of the container router, which forebay sets: remove it"
            )
    for other in {"containers", "initContainers"} - {among}:
        if _container(template, other, names.CONTAINER_ROUTER):
            kind = "an init container" if among == "initContainers" else "no init container"
            raise TemplateRefusedError(f"{where} puts router into {other}: the router is {kind}")


def _more(ours: Any, theirs: Any) -> bool:
    """A command, arguments or a probe must not grow; ports and mounts may."""
    if isinstance(ours, dict):
        return set(ours) != set(theirs) or any(_more(ours[key], theirs[key]) for key in ours)
    return bool(ours != theirs) and isinstance(ours, list) and all(isinstance(item, str) for item in ours)


def _check_engine(own: Object, template: Object) -> None:
    ours = _container(own, "containers", names.CONTAINER_ENGINE)
    engine = _container(template, "containers", names.CONTAINER_ENGINE)
    if (engine.get("lifecycle") or {}).get("preStop") != ours["lifecycle"]["preStop"]:
        raise TemplateRefusedError(
            f"{_WHERE} changes the preStop hook of the engine, which drains the replica: remove it, or use a "
            "container of your own"
        )
    if engine.get("startupProbe") != ours["startupProbe"]:
        raise TemplateRefusedError(f"{_WHERE} changes the engine's startupProbe: set engine.startupSeconds instead")
    if "livenessProbe" in engine:
        raise TemplateRefusedError(
            f"{_WHERE} gives the engine a livenessProbe, which would kill a busy engine: remove it"
        )
    for item in template["spec"]["containers"]:
        for port in item.get("ports") or ():
            if port.get("containerPort") in {p["containerPort"] for p in _router_ports(own)}:
                raise TemplateRefusedError(
                    f"{_WHERE} uses port {port['containerPort']} in container {item['name']}: the router listens there"
                )


def _check_pod(own: Object, template: Object, volumes: Sequence[str], grace: str, instead: str, where: str) -> None:
    spec, ours = template["spec"], own["spec"]
    if spec.get("terminationGracePeriodSeconds", _USUAL_GRACE) < ours["terminationGracePeriodSeconds"]:
        raise TemplateRefusedError(
            f"{where} sets terminationGracePeriodSeconds below {grace}, so that running requests would be cut: "
            f"{instead} instead"
        )
    if spec.get("hostNetwork"):
        raise TemplateRefusedError(f"{where} sets hostNetwork, which opens the pod's ports to the node: remove it")
    if spec.get("restartPolicy", "Always") != "Always":
        raise TemplateRefusedError(f"{where} sets restartPolicy: these pods are always restarted, remove it")
    for name in volumes:
        mine = [volume for volume in ours["volumes"] if volume["name"] == name]
        if mine != [volume for volume in spec.get("volumes") or () if volume["name"] == name]:
            raise TemplateRefusedError(f"{where} changes the volume {name}, which is forebay's: choose another name")


def _router_ports(own: Object) -> list[Object]:
    ports: list[Object] = _container(own, "initContainers", names.CONTAINER_ROUTER)["ports"]
    return ports


def _container(template: Object, field: str, name: str) -> Object:
    found: list[Object] = [item for item in template["spec"].get(field) or () if item.get("name") == name]
    return found[0] if found else {}
