"""The operator's own copy of what it watches, by kind, namespace and name. Fed by lists, watches and own writes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from forebay.controller.cluster import POD, Kind, Object

Key = tuple[str, str]
_NO_REVISION: Final = 0


class Cache:
    """Objects by kind, namespace and name; an older version never replaces a newer one.

    Watches and the answers to our own writes arrive in any order. `metadata.resourceVersion` says which is newer.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, Object]]] = defaultdict(lambda: defaultdict(dict))
        self._gone: dict[str, dict[Key, int]] = defaultdict(dict)
        self._changes: Counter[str] = Counter()

    def put(self, obj: Object) -> bool:
        """Keep an object unless a newer version is known. Returns whether anything changed."""
        kind, (namespace, name), revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind][namespace].get(name)
        if known is not None and _revision(known) >= revision:
            return False
        if self._gone[kind].get((namespace, name), _NO_REVISION) >= revision:
            return False
        self._gone[kind].pop((namespace, name), None)
        self._objects[kind][namespace][name] = _trimmed(obj)
        self._changes[namespace] += 1
        return True

    def remove(self, obj: Object) -> bool:
        """Forget a deleted object. Returns whether it was known."""
        kind, (namespace, name), revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind][namespace].get(name)
        if known is None or _revision(known) > revision:
            return False
        self._drop(kind, namespace, name)
        self._gone[kind][namespace, name] = revision
        return True

    def replace(self, kind: Kind, objects: Iterable[Object], revision: str) -> set[str]:
        """Take over a full list made at `revision`. Returns the namespaces in which something changed."""
        listed = {_key(obj): obj for obj in objects}
        at = int(revision or 0)
        missing = [obj for obj in self.of(kind.kind) if _key(obj) not in listed and _revision(obj) <= at]
        for obj in missing:
            self._drop(kind.kind, *_key(obj))
        self._gone[kind.kind].clear()
        changed = [obj for obj in listed.values() if self.put(obj)]
        return {namespace_of(obj) for obj in (*missing, *changed)}

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self._objects[kind][namespace].get(name)

    def of(self, kind: str, namespace: str = "") -> Iterator[Object]:
        """All objects of a kind, in one namespace or everywhere, by name."""
        for where in [namespace] if namespace else sorted(self._objects[kind]):
            for _, obj in sorted(self._objects[kind][where].items()):
                yield obj

    def changes(self, namespace: str) -> int:
        """How often anything in this namespace has changed: the same number means the same objects."""
        return self._changes[namespace]

    def _drop(self, kind: str, namespace: str, name: str) -> None:
        del self._objects[kind][namespace][name]
        self._changes[namespace] += 1


def namespace_of(obj: Object) -> str:
    """Namespace of an object; empty for what belongs to the cluster."""
    return str(obj["metadata"].get("namespace", ""))


def _key(obj: Object) -> Key:
    return namespace_of(obj), str(obj["metadata"]["name"])


def _revision(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion") or _NO_REVISION)


def _trimmed(obj: Object) -> Object:
    """Without managed fields, which are long and which nobody reads; of a pod, only what its status says."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if obj["kind"] != POD.kind:
        return {**obj, "metadata": metadata}
    status = obj.get("status") or {}
    kept = {key: status[key] for key in _OF_A_POD if key in status}
    return {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": metadata, "status": kept}


_OF_A_POD: Final = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses")
"""There are ten times as many pods as anything else, and their specs are long."""
