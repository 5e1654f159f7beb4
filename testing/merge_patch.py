"""JSON merge patches (RFC 7386), and the three-way patch that kubectl and Argo CD make of them for custom resources.

The API server knows no merge keys for custom resources on that way: a list is one value, as a whole.
"""

from typing import Any

from forebay.controller.cluster.kubernetes_api import Object


def three_way_patch(last: Object, wanted: Object, live: Any) -> Object:
    """What changes `live` into what `wanted` says: its values where they differ, and null for what only `last` had."""
    patch = _removed(last, wanted)
    for key, value in wanted.items():
        have = live.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            if below := three_way_patch(last.get(key) or {}, value, have):
                patch[key] = below
        elif value != have:
            patch[key] = value
    return patch


def _removed(last: Object, wanted: Object) -> Object:
    return {key: None for key in last if key not in wanted}


def merged(live: Any, patch: Any) -> Any:
    """The patch applied."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
