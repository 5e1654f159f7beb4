"""The operator's own copy of what it watches, by kind, namespace and name. Fed by lists, watches and own writes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from forebay.controller.cluster import Kind, Object

Key = tuple[str, str]
_NO_REVISION: Final = 0


class Cache:
    """Objects by kind, namespace and name; an older version never replaces a newer one.

    Watches and the answers to our own writes arrive in any order. `metadata.resourceVersion` says which is newer.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._gone: dict[tuple[str, Key], int] = {}

    def put(self, obj: Object) -> bool:
        """Keep an object unless a newer version is known. Returns whether anything changed."""
        kind, key, revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind].get(key)
        if known is not None and _revision(known) >= revision:
            return False
        if self._gone.get((kind, key), _NO_REVISION) >= revision:
            return False
        self._gone.pop((kind, key), None)
        self._objects[kind][key] = _trimmed(obj)
        return True

    def remove(self, obj: Object) -> bool:
        """Forget a deleted object. Returns whether it was known."""
        kind, key, revision = obj["kind"], _key(obj), _revision(obj)
        known = self._objects[kind].get(key)
        if known is None or _revision(known) > revision:
            return False
        del self._objects[kind][key]
        self._gone[kind, key] = revision
        return True

    def replace(self, kind: Kind, objects: Iterable[Object], revision: str) -> set[str]:
        """Take over a full list made at `revision`. Returns the namespaces in which something changed."""
        listed = {_key(obj): obj for obj in objects}
        at = int(revision or 0)
        missing = [obj for key, obj in self._objects[kind.kind].items() if key not in listed and _revision(obj) <= at]
        for obj in missing:
            del self._objects[kind.kind][_key(obj)]
        for gone in [item for item in self._gone if item[0] == kind.kind]:
            del self._gone[gone]
        changed = [obj for obj in listed.values() if self.put(obj)]
        return {namespace_of(obj) for obj in (*missing, *changed)}

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self._objects[kind].get((namespace, name))

    def of(self, kind: str, namespace: str = "") -> Iterator[Object]:
        """All objects of a kind, in one namespace or everywhere, by name."""
        for key in sorted(self._objects[kind]):
            if namespace in ("", key[0]):
                yield self._objects[kind][key]


def namespace_of(obj: Object) -> str:
    """Namespace of an object; empty for what belongs to the cluster."""
    return str(obj["metadata"].get("namespace", ""))


def _key(obj: Object) -> Key:
    return namespace_of(obj), str(obj["metadata"]["name"])


def _revision(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion") or _NO_REVISION)


def _trimmed(obj: Object) -> Object:
    """Without managed fields, which are long and which nobody reads."""
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}
