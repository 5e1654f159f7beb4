"""podTemplate: what merges, and what is refused with a sentence a person can act on."""

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.merge import TemplateRefusedError, merged
from forebay.controller.manifests.template import pod_template
from tests.controller.fleets import IMAGES, spec

OWN = pod_template("chat", spec(), IMAGES)


def container(template: Object, field: str, name: str) -> Object:
    return next(item for item in template["spec"][field] if item["name"] == name)


def test_what_users_need_merges_without_a_field_of_ours() -> None:
    user = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"x": "y"}},
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": "pull"}],
            "nodeSelector": {"gpu": "a100"},
            "terminationGracePeriodSeconds": 900,
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [
                {
                    "name": "engine",
                    "env": [{"name": "A", "value": "1"}, {"name": "HF_HOME", "value": "/elsewhere"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "resources": {"requests": {"cpu": 4}},
                },
                {"name": "helper", "image": "busybox"},
            ],
            "initContainers": [
                {"name": "router", "resources": {"limits": {"memory": "1Gi"}}},
                {"name": "load", "image": "loader"},
            ],
        },
    }
    template = merged(OWN, user)
    engine = container(template, "containers", "engine")
    assert template["metadata"]["labels"] == {**OWN["metadata"]["labels"], "team": "a"}
    assert {item["name"]: item["value"] for item in engine["env"]}.items() >= {
        "HF_HOME": "/elsewhere",
        "A": "1",
    }.items()
    assert {mount["mountPath"] for mount in engine["volumeMounts"]} >= {"/data", "/cache", "/dev/shm"}
    assert engine["command"] == ["forebay-simulator"]
    assert [item["name"] for item in template["spec"]["initContainers"]] == ["router", "load"]
    router = container(template, "initContainers", "router")
    assert router["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    assert template["spec"]["runtimeClassName"] == "nvidia"
    assert template["spec"]["terminationGracePeriodSeconds"] == 900


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"metadata": {"labels": {"forebay.dev/pool": "x"}}}, "label forebay.dev/pool"),
        ({"spec": {"initContainers": [{"name": "router", "image": "mine"}]}}, "changes image of the container router"),
        ({"spec": {"initContainers": [{"name": "router", "args": ["--role=gateway"]}]}}, "args"),
        ({"spec": {"initContainers": [{"name": "router", "command": ["forebay-router", "x"]}]}}, "command"),
        (
            {"spec": {"initContainers": [{"name": "router", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]}},
            "life",
        ),
        ({"spec": {"initContainers": [{"name": "router", "ports": [{"containerPort": 8080, "name": "x"}]}]}}, "ports"),
        ({"spec": {"initContainers": [{"name": "router", "livenessProbe": {"periodSeconds": 99}}]}}, "livenessProbe"),
        ({"spec": {"containers": [{"name": "router", "image": "x"}]}}, "the router is an init container"),
        ({"spec": {"containers": [{"name": "engine", "livenessProbe": {}}]}}, "livenessProbe"),
        ({"spec": {"containers": [{"name": "engine", "startupProbe": {"periodSeconds": 9}}]}}, "startupSeconds"),
        ({"spec": {"containers": [{"name": "engine", "lifecycle": {"preStop": {"exec": {}}}}]}}, "preStop"),
        ({"spec": {"containers": [{"name": "engine", "ports": [{"containerPort": 8082}]}]}}, "uses port 8082"),
        ({"spec": {"terminationGracePeriodSeconds": 5}}, "engine.drainSeconds"),
        ({"spec": {"hostNetwork": True}}, "hostNetwork"),
        ({"spec": {"restartPolicy": "Never"}}, "restartPolicy"),
        ({"spec": {"volumes": [{"name": "token", "emptyDir": {}}]}}, "volume token"),
        ({"spec": {"containers": "engine"}}, "engine.podTemplate.spec.containers must be a list"),
        ({"spec": {"containers": [{"image": "x"}]}}, "needs 'name'"),
        ({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}, "two entries"),
        ({"spec": []}, "engine.podTemplate.spec must be a map"),
        ({"spec": {"$patch": "replace"}}, "patch directive"),
        ({"spec": {"serviceAccountName": {"a": 1}}}, "must be a single value"),
        ({"spec": {"terminationGracePeriodSeconds": "long"}}, "must be a number"),
        ({"spec": {"containers": [{"name": "engine", "lifecycle": None}]}}, "preStop"),
        ({"spec": {"containers": [{"name": "engine", "startupProbe": None}]}}, "startupSeconds"),
        ({"spec": {"terminationGracePeriodSeconds": None}}, "engine.drainSeconds"),
        ({"metadata": None}, "label app.kubernetes.io/name"),
        ({"spec": None}, "is not a PodTemplateSpec"),
        ({"spec": {"volumes": None}}, "volume table"),
        *(
            ({"spec": {"initContainers": [{"name": "router", field: None}]}}, f"changes {field}")
            for field in (
                "image",
                "command",
                "args",
                "ports",
                "restartPolicy",
                "startupProbe",
                "lifecycle",
                "volumeMounts",
            )
        ),
    ],
)
def test_what_would_break_a_replica_is_refused(user: dict[str, Any], says: str) -> None:
    with pytest.raises(TemplateRefusedError, match=says.replace("(", r"\(")) as caught:
        merged(OWN, user)
    assert "engine.podTemplate" in str(caught.value)


@pytest.mark.parametrize("field", ["runAsUser", "runAsGroup", "fsGroup", "runAsNonRoot", "seccompProfile"])
def test_null_takes_a_field_away(field: str) -> None:
    """Of the pod or of a container, ours or the user's: what is null is not there, as in a merge patch."""
    away = {"securityContext": {field: None}}
    containers = [{"name": "engine", **away}, {"name": "helper", "image": "i", "securityContext": {field: None}}]
    user = {"spec": {**away, "containers": containers, "initContainers": [{"name": "router", **away}]}}
    spec = merged(OWN, user)["spec"]
    parts = [spec, *spec["containers"], *spec["initContainers"]]
    assert all(field not in part["securityContext"] for part in parts)
    assert spec["securityContext"] == {k: v for k, v in OWN["spec"]["securityContext"].items() if k != field}


def test_null_lets_one_kind_of_volume_take_the_place_of_another() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "c"}}
    volumes = merged(OWN, {"spec": {"volumes": [{"name": "tmp", "emptyDir": None, **claim}]}})["spec"]["volumes"]
    assert {"name": "tmp", **claim} in volumes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "containers", "initContainers", "env", "labels", "lifecycle", "ports", "volumes"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


def holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(item is None or holds_null(item) for item in value.values())
    return isinstance(value, list) and any(map(holds_null, value))


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), json_values))
def test_any_json_is_either_merged_or_refused(user: dict[str, Any]) -> None:
    before = copy.deepcopy(OWN)
    with contextlib.suppress(TemplateRefusedError):
        assert not holds_null(merged(OWN, user))
    assert before == OWN
