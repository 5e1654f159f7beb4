"""podTemplate: what merges, and what is refused with a sentence a person can act on."""

import contextlib
import copy
import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models as kubernetes_models

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.merge import TemplateRefusedError, merged, overlaid
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
    env = {item["name"]: item["value"] for item in engine["env"]}
    assert (env["HF_HOME"], env["A"], env["HOME"]) == ("/elsewhere", "1", "/tmp")
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
        ({"spec": {"containers": [{"name": "engine", "lifecycle": 1}]}}, "must be a map"),
        ({"spec": {"containers": [{"name": "engine", "lifecycle": None}]}}, "preStop"),
        ({"spec": {"containers": [{"name": "engine", "startupProbe": None}]}}, "startupSeconds"),
        ({"spec": {"initContainers": [{"name": "router", "livenessProbe": None}]}}, "livenessProbe"),
        ({"spec": {"initContainers": [{"name": "router", "image": None}]}}, "image"),
        ({"spec": {"terminationGracePeriodSeconds": None}}, "engine.drainSeconds"),
        ({"metadata": {"labels": None}}, "the label"),
        ({"metadata": None}, "label app.kubernetes.io/name"),
        ({"spec": None}, "is not a PodTemplateSpec"),
        ({"spec": {"volumes": None}}, "volume table"),
        ({"spec": {"containers": None}}, "preStop"),
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


def test_null_takes_a_field_away_wherever_it_stands() -> None:
    user = {
        "metadata": {"annotations": None},
        "spec": {
            "securityContext": {"runAsUser": None, "fsGroup": None},
            "enableServiceLinks": None,
            "containers": [{"name": "engine", "securityContext": None, "workingDir": None}],
            "initContainers": [{"name": "router", "securityContext": {"runAsUser": None, "runAsGroup": None}}],
            "nodeSelector": {"gone": None, "kept": "x"},
        },
    }
    template = merged(OWN, user)
    assert "annotations" not in template["metadata"]
    assert template["spec"]["securityContext"] == {
        "seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True, "runAsGroup": 65532,
    }  # fmt: skip
    assert "enableServiceLinks" not in template["spec"]
    assert {"securityContext", "workingDir"}.isdisjoint(container(template, "containers", "engine"))
    rights = container(template, "initContainers", "router")["securityContext"]
    assert rights["runAsNonRoot"] and {"runAsUser", "runAsGroup"}.isdisjoint(rights)
    assert template["spec"]["nodeSelector"] == {"kept": "x"}


def members(model: str, *others: str) -> list[str]:
    """The fields of a type of core/v1 of which one may be set."""
    every = getattr(kubernetes_models, model).attribute_map.values()
    return sorted(set(every) - set(others))


BOUNDS = ("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold",
          "terminationGracePeriodSeconds", "timeoutSeconds")  # fmt: skip
UNIONS: dict[str, tuple[list[str], Callable[[Object], Object], Callable[[Object], Object]]] = {
    # Where the union stands: its members, a template that holds one, and how to find it there again.
    "volumes": (
        members("V1Volume", "name"),
        lambda one: {"spec": {"volumes": [{"name": "x", **one}]}},
        lambda template: without(template["spec"]["volumes"][0], "name"),
    ),
    "env": (
        members("V1EnvVar", "name"),
        lambda one: in_container({"env": [{"name": "X", **one}]}),
        lambda template: without(of_container(template)["env"][0], "name"),
    ),
    "valueFrom": (
        members("V1EnvVarSource"),
        lambda one: in_container({"env": [{"name": "X", "valueFrom": one}]}),
        lambda template: of_container(template)["env"][0]["valueFrom"],
    ),
    "resourceClaims": (
        members("V1PodResourceClaim", "name"),
        lambda one: {"spec": {"resourceClaims": [{"name": "x", **one}]}},
        lambda template: without(template["spec"]["resourceClaims"][0], "name"),
    ),
    "volumeMounts": (
        ["subPath", "subPathExpr"],
        lambda one: in_container({"volumeMounts": [{"mountPath": "/x", "name": "x", **one}]}),
        lambda template: without(of_container(template)["volumeMounts"][0], "mountPath", "name"),
    ),
    **{
        probe: (
            members("V1Probe", *BOUNDS),
            partial(lambda name, one: in_container({name: {"periodSeconds": 3, **one}}), probe),
            partial(lambda name, template: without(of_container(template)[name], "periodSeconds"), probe),
        )
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    },
    **{
        hook: (
            members("V1LifecycleHandler"),
            partial(lambda name, one: in_container({"lifecycle": {name: one}}), hook),
            partial(lambda name, template: of_container(template)["lifecycle"][name], hook),
        )
        for hook in ("preStop", "postStart")
    },
}


def without(obj: Object, *fields: str) -> Object:
    return {name: value for name, value in obj.items() if name not in fields}


def in_container(fields: Object) -> Object:
    return {"spec": {"containers": [{"name": "c", **fields}]}}


def of_container(template: Object) -> Object:
    found: Object = template["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("union", UNIONS)
def test_a_member_of_a_union_takes_the_place_of_every_other(union: str) -> None:
    kinds, made, found = UNIONS[union]
    assert len(kinds) > 1
    for ours, theirs in itertools.product(kinds, kinds):
        one = found(overlaid(made({ours: {"a": 1}}), made({theirs: {"b": 2}})))
        assert set(one) == {theirs}, f"{ours} and {theirs}"
        assert one[theirs]["b"] == 2
        assert ours == theirs or "a" not in one[theirs]


@pytest.mark.parametrize("union", UNIONS)
def test_what_says_no_member_of_a_union_leaves_ours(union: str) -> None:
    kinds, made, found = UNIONS[union]
    for ours in kinds:
        assert found(overlaid(made({ours: {"a": 1}}), made({}))) == {ours: {"a": 1}}


SEVERAL_POINTERS = {  # types with several objects as fields that do not exclude each other
    "V1Affinity", "V1Container", "V1Lifecycle", "V1PodAffinity", "V1PodAntiAffinity", "V1NodeAffinity", "V1PodSpec",
    "V1PodSecurityContext", "V1SecurityContext", "V1PodAffinityTerm", "V1TopologySpreadConstraint",
    "V1PersistentVolumeClaimSpec", "V1PersistentVolumeClaimTemplate", "V1PodTemplateSpec", "V1ObjectMeta",
    "V1EphemeralContainer", "V1ContainerRestartRule", "V1WeightedPodAffinityTerm", "V1EvictionResponder",
}  # fmt: skip
IN_LISTS = {  # unions whose lists are replaced as a whole, so that nothing of ours is beside them
    "V1VolumeProjection", "V1EnvFromSource", "V1DownwardAPIVolumeFile",
}  # fmt: skip


def test_no_union_of_a_pod_is_left_out() -> None:
    """Every type below PodSpec of which two fields are objects is a union above, or is known to be none."""
    covered = {"V1Volume", "V1EnvVarSource", "V1Probe", "V1LifecycleHandler"}
    suspects = {name for name in below("V1PodSpec") if objects_of(name) > 1}
    assert suspects <= covered | SEVERAL_POINTERS | IN_LISTS, suspects - covered - SEVERAL_POINTERS - IN_LISTS


def objects_of(model: str) -> int:
    return sum(hasattr(kubernetes_models, kind) for kind in getattr(kubernetes_models, model).openapi_types.values())


def below(model: str) -> set[str]:
    """The types that are reachable from one."""
    found, left = {model}, [model]
    while left:
        kinds = getattr(kubernetes_models, left.pop()).openapi_types.values()
        for kind in (match for text in kinds for match in re.findall(r"V1\w+", text)):
            if hasattr(kubernetes_models, kind) and kind not in found:
                found.add(kind)
                left.append(kind)
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"type": "RuntimeDefault"}, {"type": "Unconfined"}, {"type": "Unconfined"}),
        ({"type": "Localhost", "localhostProfile": "p"}, {"type": "RuntimeDefault"}, {"type": "RuntimeDefault"}),
        ({"type": "Localhost", "localhostProfile": "p"}, {"localhostProfile": "q"},
         {"type": "Localhost", "localhostProfile": "q"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("profile", ["seccompProfile", "appArmorProfile"])
def test_a_profile_of_another_type_keeps_nothing_of_ours(
    profile: str, ours: Object, theirs: Object, expected: Object
) -> None:
    template = overlaid(
        {"spec": {"securityContext": {profile: ours}}}, {"spec": {"securityContext": {profile: theirs}}}
    )
    assert template["spec"]["securityContext"][profile] == expected


@pytest.mark.parametrize(
    ("theirs", "requests", "limits"),
    [
        ({}, {"cpu": "1", "memory": "4Gi"}, {"memory": "8Gi", "nvidia.com/gpu": "1"}),
        ({"limits": {"cpu": "500m"}}, {"memory": "4Gi"}, {"memory": "8Gi", "nvidia.com/gpu": "1", "cpu": "500m"}),
        ({"limits": {"cpu": 2}}, {"cpu": "1", "memory": "4Gi"}, {"memory": "8Gi", "nvidia.com/gpu": "1", "cpu": 2}),
        ({"requests": {"memory": "9Gi"}}, {"cpu": "1", "memory": "9Gi"}, {"nvidia.com/gpu": "1"}),
        ({"requests": None, "limits": {"memory": None}}, None, {"nvidia.com/gpu": "1"}),
        ({"limits": {"memory": "lots"}}, {"cpu": "1", "memory": "4Gi"}, {"memory": "lots", "nvidia.com/gpu": "1"}),
    ],
)
def test_a_request_of_ours_is_never_above_a_limit_of_the_users(
    theirs: Object, requests: Object | None, limits: Object
) -> None:
    ours = {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}}
    merged_resources = of_container(overlaid(in_container({"resources": ours}), in_container({"resources": theirs})))
    assert merged_resources["resources"].get("requests") == requests
    assert merged_resources["resources"].get("limits") == limits


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
