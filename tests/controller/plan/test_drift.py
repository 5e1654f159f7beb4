"""Drift: what differs, and what only looks as if it did."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.plan.drift import applied_hash, differences, fingerprint, first_difference, stamped


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b"),
        ({"a": []}, {}, None),
        ({"a": {}}, {}, None),
        ({"a": None}, {}, None),
        ({"a": False}, {}, "a"),
        ({"l": ["x", "y"]}, {"l": ["x"]}, "l"),
        ({"l": ["x", "y"]}, {"l": ["x", "z"]}, "l[1]"),
        ({"c": [{"name": "a", "image": "1"}]}, {"c": [{"name": "z"}, {"name": "a", "image": "1"}]}, None),
        ({"c": [{"name": "a", "image": "2"}]}, {"c": [{"name": "a", "image": "1"}]}, "c[a].image"),
        ({"c": [{"name": "b"}]}, {"c": [{"name": "a"}]}, "c[b]"),
        (
            {"m": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]},
            {"m": [{"name": "v", "mountPath": "/b"}, {"name": "v", "mountPath": "/a"}]},
            None,
        ),
        ({"requests": {"cpu": "1000m", "memory": "1Gi"}}, {"requests": {"cpu": "1", "memory": "1024Mi"}}, None),
        ({"limits": {"gpu": 1}}, {"limits": {"gpu": "1"}}, None),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": "1"}}, "limits.cpu"),
        ({"sizeLimit": "1Gi"}, {"sizeLimit": "1024Mi"}, None),
        ({"replicas": 1}, {"replicas": True}, None),
    ],
)
def test_first_difference(desired: dict[str, Any], live: dict[str, Any], path: str | None) -> None:
    assert first_difference(desired, live) == path


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "a", "b", "limits"]), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(["spec", "metadata", "name"]), values, max_size=3)


@given(objects)
def test_an_object_never_differs_from_itself(obj: dict[str, Any]) -> None:
    assert first_difference(obj, obj) is None


@given(objects, objects)
def test_what_others_add_is_no_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert first_difference(ours, {**theirs, **ours}) is None


@given(objects, objects)
def test_comparing_any_two_objects_never_fails(desired: dict[str, Any], live: dict[str, Any]) -> None:
    assert all(isinstance(path, str) for path in differences(desired, live))


@given(objects)
def test_the_fingerprint_ignores_the_order_of_keys(obj: dict[str, Any]) -> None:
    assert fingerprint(obj) == fingerprint(dict(reversed(obj.items())))


def test_a_field_no_longer_wanted_changes_the_stamp() -> None:
    before = stamped({"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}})
    after = stamped({"metadata": {"name": "a"}, "spec": {"x": 1}})
    assert applied_hash(before) != applied_hash(after)
    assert first_difference(after, before) == "metadata.annotations.forebay.dev/applied"
