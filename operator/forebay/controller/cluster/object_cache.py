"""The operator's own copy of what it watches, by kind, namespace and name. Fed by lists, watches and own writes.

Objects are kept as JSON: as Python's objects they take five times the memory, which counts where there are tens of
thousands of them. Who looks at one gets a copy of his own.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Set
from typing import Final, NamedTuple

import msgspec

from forebay.controller.cluster.kubernetes_api import POD, Object, ObjectKind
from forebay.resources import names

Key = tuple[str, str]
_NO_REVISION: Final = 0
MOST_DEPARTED: Final = 64
"""Gateways that are gone and remembered, by namespace."""


class _Kept(NamedTuple):
    """One object."""

    revision: int
    json: bytes

    def read(self) -> Object:
        found: Object = msgspec.json.decode(self.json)
        return found


class ObjectCache:
    """Objects by kind, namespace and name; an older version never replaces a newer one.

    Watches and the answers to our own writes arrive in any order. `metadata.resourceVersion` says which is newer.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, _Kept]]] = defaultdict(lambda: defaultdict(dict))
        self._gone: dict[str, dict[Key, int]] = defaultdict(dict)
        self._changes: Counter[str] = Counter()
        self._departed: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=MOST_DEPARTED))

    def put(self, obj: Object) -> bool:
        """Keep an object unless a newer version is known. Returns whether anything changed."""
        kind, (namespace, name), revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind][namespace].get(name)
        if known is not None and known.revision >= revision:
            return False
        if self._gone[kind].get((namespace, name), _NO_REVISION) >= revision:
            return False
        self._gone[kind].pop((namespace, name), None)
        self._objects[kind][namespace][name] = _Kept(revision, msgspec.json.encode(_trimmed(obj)))
        self._changes[namespace] += 1
        return True

    def remove(self, obj: Object) -> bool:
        """Forget a deleted object. Returns whether it was known."""
        kind, (namespace, name), revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind][namespace].get(name)
        if known is None or known.revision > revision:
            return False
        self._drop(kind, namespace, name, _Kept(revision, msgspec.json.encode(_trimmed(obj))))
        self._gone[kind][namespace, name] = revision
        return True

    def keep(self, kind: ObjectKind, found: Set[Key], revision: str, namespace: str = "") -> set[str]:
        """Forget what a full list, made at `revision`, did not show. Returns the namespaces where there was any."""
        at = int(revision or 0)
        known = self._objects[kind.kind]
        missing = [
            (where, name)
            for where in ([namespace] if namespace else list(known))
            for name, kept in known[where].items()
            if (where, name) not in found and kept.revision <= at
        ]
        for key in missing:
            self._drop(kind.kind, *key)
        gone = self._gone[kind.kind]
        for key in [key for key in gone if namespace in ("", key[0]) and gone[key] <= at]:
            del gone[key]
        return {key[0] for key in missing}

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        known = self._objects[kind][namespace].get(name)
        return known.read() if known is not None else None

    def knows(self, kind: ObjectKind, key: Key, revision: int) -> bool:
        """Whether this version of an object, or a newer one, is here."""
        known = self._objects[kind.kind][key[0]].get(key[1])
        return known is not None and known.revision >= revision

    def any(self, kind: ObjectKind, namespace: str) -> bool:
        """Whether there is one of a kind in a namespace."""
        return bool(self._objects[kind.kind][namespace])

    def namespaces(self, kind: str) -> set[str]:
        """Where there are objects of a kind."""
        return {namespace for namespace, known in self._objects[kind].items() if known}

    def of(self, kind: str, namespace: str = "") -> Iterator[Object]:
        """All objects of a kind, in one namespace or everywhere, by name."""
        for where in [namespace] if namespace else sorted(self._objects[kind]):
            for _, known in sorted(self._objects[kind][where].items()):
                yield known.read()

    def departed(self, namespace: str) -> Iterator[Object]:
        """Pods of gateways that were deleted lately, as they were at last. A pod is gone a moment after its last word,
        which no pass may have seen."""
        for json in self._departed[namespace]:
            yield msgspec.json.decode(json)

    def changes(self, namespace: str) -> int:
        """How often anything in this namespace has changed: the same number means the same objects."""
        return self._changes[namespace]

    def _drop(self, kind: str, namespace: str, name: str, last: _Kept | None = None) -> None:
        known = self._objects[kind][namespace].pop(name)
        self._changes[namespace] += 1
        if kind == POD.kind and _is_gateway((last or known).read()):
            self._departed[namespace].append((last or known).json)


def namespace_of(obj: Object) -> str:
    """Namespace of an object; empty for what belongs to the cluster."""
    return str(obj["metadata"].get("namespace", ""))


def _key(obj: Object) -> Key:
    return namespace_of(obj), str(obj["metadata"]["name"])


def _revision(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion") or _NO_REVISION)


def _is_gateway(pod: Object) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY)


def _trimmed(obj: Object) -> Object:
    """Without managed fields, which are long and which nobody reads; of a pod, only what is read."""
    metadata = obj["metadata"]
    if obj["kind"] != POD.kind:
        return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    status = _chosen(obj.get("status") or {}, _OF_A_PODS_STATUS)
    if "conditions" in status:
        status["conditions"] = [item for item in status["conditions"] or () if item["type"] in _OF_ITS_CONDITIONS]
        if any(item["type"] == "Ready" and item["status"] == "True" for item in status["conditions"]):
            status = {key: value for key, value in status.items() if not key.endswith("Statuses")}
    return {
        "kind": POD.kind,
        "apiVersion": POD.api_version,
        "metadata": _chosen(metadata, _OF_ITS_METADATA)
        | {"annotations": _chosen(metadata.get("annotations") or {}, _OF_ITS_ANNOTATIONS)},
        "spec": _chosen(obj.get("spec") or {}, _OF_A_PODS_SPEC),
        "status": status,
    }


def _chosen(fields: Object, kept: Iterable[str]) -> Object:
    return {key: fields[key] for key in kept if key in fields}


# What pods.py reads. There are ten times as many pods as anything else, and they are long.
_OF_ITS_METADATA: Final = (
    "name", "namespace", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp",
)  # fmt: skip
_OF_ITS_ANNOTATIONS: Final = (names.ANNOTATION_GENERATION,)
_OF_A_PODS_SPEC: Final = ("nodeName", "priority", "schedulingGates")
_OF_A_PODS_STATUS: Final = (
    "phase", "reason", "message", "podIP", "conditions", "containerStatuses", "initContainerStatuses",
)  # fmt: skip
_OF_ITS_CONDITIONS: Final = ("Ready", "PodScheduled")
