"""Merging the user's podTemplate into forebay's own, and refusing what would break a replica. Pure."""

from typing import Any, Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.plan.drift import first_difference
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
    """`own` with the user's partial template merged in. Raises TemplateRefusedError."""
    template: Object = _merge(own, user, _WHERE)
    try:
        _check_labels(own, template)
        _check_router(own, template)
        _check_engine(own, template)
        _check_pod(own, template)
    except (TypeError, AttributeError, KeyError) as error:
        raise TemplateRefusedError(f"{_WHERE} is not a PodTemplateSpec: a list, map or name is out of place") from error
    return template


def _merge(own: Any, user: Any, path: str, key: str = "") -> Any:
    if isinstance(own, dict):
        if not isinstance(user, dict):
            raise TemplateRefusedError(f"{path} must be a map")
        if any(name.startswith("$") for name in user):
            raise TemplateRefusedError(f"{path} holds a patch directive ($patch and the like); only plain fields merge")
        said = {name: value for name, value in user.items() if value is not None}
        both = {name: _merge(own[name], said.pop(name), f"{path}.{name}", name) for name in own if name in said}
        kept = {name: value for name, value in own.items() if name not in user or name in both}
        return {**kept, **both, **{name: _without_nulls(value) for name, value in said.items()}}
    if isinstance(own, list):
        if not isinstance(user, list):
            raise TemplateRefusedError(f"{path} must be a list")
        return _merge_list(own, user, path, _MERGE_KEYS[key]) if key in _MERGE_KEYS else _without_nulls(user)
    if isinstance(user, (dict, list)):
        raise TemplateRefusedError(f"{path} must be a single value")
    if isinstance(own, int) and not isinstance(user, int):
        raise TemplateRefusedError(f"{path} must be {'true or false' if isinstance(own, bool) else 'a number'}")
    return user


def _merge_list(own: list[Any], user: list[Any], path: str, key: str) -> list[Any]:
    """Ours first and in our order, then what the user adds."""
    if not all(isinstance(item, dict) and isinstance(item.get(key), (str, int)) for item in user):
        raise TemplateRefusedError(f"every entry of {path} needs {key!r}, by which it is merged")
    added = {item[key]: item for item in user}
    if len(added) != len(user):
        raise TemplateRefusedError(f"two entries of {path} have the same {key!r}")
    ours = [_merge_item(item, added.pop(item[key], None), f"{path}[{item[key]}]") for item in own]
    return [*ours, *map(_without_nulls, added.values())]


def _without_nulls(user: Any) -> Any:
    """null in the user's template takes a field away; where there is none of ours it says nothing."""
    if isinstance(user, dict):
        return {name: _without_nulls(value) for name, value in user.items() if value is not None}
    return [_without_nulls(item) for item in user] if isinstance(user, list) else user


def _merge_item(own: Any, user: Any, path: str) -> Any:
    return own if user is None else _merge(own, user, path)


def _check_labels(own: Object, template: Object) -> None:
    labels = template.get("metadata", {}).get("labels", {})
    for label, value in own["metadata"]["labels"].items():
        if labels.get(label) != value:
            raise TemplateRefusedError(
                f"{_WHERE} sets or removes the label {label}, by which forebay finds its pods: choose another label"
            )


def _check_router(own: Object, template: Object) -> None:
    ours = _container(own, "initContainers", names.CONTAINER_ROUTER)
    router = _container(template, "initContainers", names.CONTAINER_ROUTER)
    for field in _ROUTER_OWN:
        if (path := first_difference({field: ours[field]}, router)) is not None or _more(ours[field], router[field]):
            raise TemplateRefusedError(
                f"{_WHERE} changes {path or field} of the container router, which forebay sets: remove it"
            )
    if _container(template, "containers", names.CONTAINER_ROUTER):
        raise TemplateRefusedError(f"{_WHERE} puts router into containers: the router is an init container")


def _more(ours: Any, theirs: Any) -> bool:
    """A command, arguments or a probe must not grow; ports and mounts may."""
    if isinstance(ours, dict):
        return set(ours) != set(theirs) or any(_more(ours[key], theirs[key]) for key in ours)
    return bool(ours != theirs) and isinstance(ours, list) and all(isinstance(item, str) for item in ours)


def _check_engine(own: Object, template: Object) -> None:
    ours = _container(own, "containers", names.CONTAINER_ENGINE)
    engine = _container(template, "containers", names.CONTAINER_ENGINE)
    if engine.get("lifecycle", {}).get("preStop") != ours["lifecycle"]["preStop"]:
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


def _check_pod(own: Object, template: Object) -> None:
    spec, ours = template["spec"], own["spec"]
    if spec.get("terminationGracePeriodSeconds", _USUAL_GRACE) < ours["terminationGracePeriodSeconds"]:
        raise TemplateRefusedError(
            f"{_WHERE} sets terminationGracePeriodSeconds below drainSeconds + 30, so that running requests would be "
            "cut: lower engine.drainSeconds instead"
        )
    if spec.get("hostNetwork"):
        raise TemplateRefusedError(f"{_WHERE} sets hostNetwork, which opens the engine to the node: remove it")
    if spec.get("restartPolicy", "Always") != "Always":
        raise TemplateRefusedError(f"{_WHERE} sets restartPolicy: a replica is always restarted, remove it")
    for name in _VOLUMES_OWN:
        mine = [volume for volume in ours["volumes"] if volume["name"] == name]
        if mine != [volume for volume in spec.get("volumes", ()) if volume["name"] == name]:
            raise TemplateRefusedError(f"{_WHERE} changes the volume {name}, which is forebay's: choose another name")


def _router_ports(own: Object) -> list[Object]:
    ports: list[Object] = _container(own, "initContainers", names.CONTAINER_ROUTER)["ports"]
    return ports


def _container(template: Object, field: str, name: str) -> Object:
    found: list[Object] = [item for item in template["spec"].get(field) or () if item.get("name") == name]
    return found[0] if found else {}
