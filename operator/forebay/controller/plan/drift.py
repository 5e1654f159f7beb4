"""What differs between an object as it should be and as it is. Pure.

Only what the desired object says is compared: defaults that the API server fills in and fields of other owners are none
of our business. A field that we no longer want is noticed by the hash of what was applied last, in an annotation.
"""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.resources import names

# Merge keys of lists of maps, tried in this order.
_KEYS: Final = ("name", "mountPath", "containerPort", "port", "uid", "ip", "topologyKey")
_QUANTITIES: Final = frozenset({"limits", "requests", "sizeLimit", "storage", "capacity"})
_SUFFIXES: Final[dict[str, Decimal | int]] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


def first_difference(desired: Object, live: Object) -> str | None:
    """Path of the first field of `desired` that `live` has otherwise or not at all; None when there is none."""
    return next(differences(desired, live), None)


def differences(desired: Any, live: Any, path: str = "") -> Iterator[str]:
    """Paths of all fields of `desired` that `live` has otherwise, such as `spec.containers[engine].image`."""
    if isinstance(desired, dict) and isinstance(live, dict):
        for key, value in desired.items():
            below = f"{path}.{key}" if path else key
            if key not in live:
                if not _absent(value):
                    yield below
            elif key in _QUANTITIES:
                yield from _quantity_differences(value, live[key], below)
            else:
                yield from differences(value, live[key], below)
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _list_differences(desired, live, path)
    elif desired != live:
        yield path


def fingerprint(obj: Any) -> str:
    """Short hash of any JSON value; equal values have equal hashes, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def stamped(obj: Object) -> Object:
    """The object with the hash of itself in its annotations, as it is to be applied."""
    metadata = obj["metadata"]
    annotations = {**metadata.get("annotations", {}), names.ANNOTATION_APPLIED: fingerprint(obj)}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def applied_hash(obj: Object) -> str:
    """The hash that `stamped` left; empty when there is none."""
    return str((obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_APPLIED, ""))


def _absent(value: Any) -> bool:
    """The API server drops empty maps and lists; they say the same as nothing."""
    return value is None or value in ({}, [])


def _list_differences(desired: list[Any], live: list[Any], path: str) -> Iterator[str]:
    key = _merge_key(desired) if desired else None
    if key is None:
        if len(desired) != len(live):
            yield path
            return
        for index, (want, have) in enumerate(zip(desired, live, strict=True)):
            yield from differences(want, have, f"{path}[{index}]")
        return
    known = {item[key]: item for item in live if _has_key(item, key)}
    for want in desired:
        below = f"{path}[{want[key]}]"
        if want[key] in known:
            yield from differences(want, known[want[key]], below)
        else:
            yield below


def _merge_key(items: list[Any]) -> str | None:
    """The field that tells the items apart, as server-side apply would merge them."""
    for key in _KEYS:
        if all(_has_key(item, key) for item in items):
            values = [item[key] for item in items]
            if len(set(values)) == len(values):
                return key
    return None


def _has_key(item: Any, key: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get(key), (str, int))


def _quantity_differences(desired: Any, live: Any, path: str) -> Iterator[str]:
    if isinstance(desired, dict) and isinstance(live, dict):
        for key, value in desired.items():
            if key not in live or quantity(value) != quantity(live[key]):
                yield f"{path}.{key}"
    elif quantity(desired) != quantity(live):
        yield path


def quantity(value: Any) -> Decimal | str:
    """A quantity as a number, so that 1000m and "1" are the same; what is none, as it is."""
    text = str(value)
    digits = text.rstrip("mkKMGTPEi")
    try:
        return Decimal(digits) * _SUFFIXES[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return text
