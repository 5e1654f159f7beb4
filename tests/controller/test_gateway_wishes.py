"""What users say of gateways and of the objects of pools reaches them; what forebay needs stays."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import ROUTER_BYTES, Owner, said_metadata, with_metadata
from forebay.controller.manifests.gateway import GatewayWish, gateway_deployment, gateway_refusal
from forebay.controller.manifests.statefulset import choose_template, statefulset, template_inputs
from forebay.controller.manifests.template import pod_template
from forebay.controller.observe.memory import FleetMemory
from forebay.controller.plan.actions import Apply, WriteStatus
from forebay.controller.plan.plan import plan
from forebay.controller.settings import Settings, SettingsError, load
from forebay.resources import names
from forebay.resources.kubernetes_fields import GatewaySpec, Metadata
from forebay.resources.policy import PolicySpec
from forebay.resources.sizes import BODIES_HELD
from tests.controller.fleets import IMAGES, NAMESPACE, POLICY, SETTINGS, fleet, policy, pool, spec

OWNERS = (Owner(names.POOL_KIND, "chat", "uid-chat"),)
EVERYTHING: dict[str, Any] = {
    "labels": {"team": "a"},
    "annotations": {"owner": "b"},
    "resources": {"limits": {"memory": "2Gi"}},
    "nodeSelector": {"pool": "cpu"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"x": 1}},
    "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
    "priorityClassName": "high",
    "imagePullSecrets": [{"name": "pull"}],
    "env": [{"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}, {"name": "A", "valueFrom": {"fieldRef": {"x": "y"}}}],
    "volumes": [{"name": "ca", "configMap": {"name": "authorities"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    "podTemplate": {"spec": {"runtimeClassName": "gvisor", "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]}},
}


def chart(gateway: Object) -> Settings:
    return replace(SETTINGS, gateway_spec=GatewaySpec.model_validate(gateway))


def own(gateway: Object) -> tuple[tuple[str, PolicySpec], ...]:
    return (("default", PolicySpec.model_validate({"cloud": "Never", "gateway": gateway})),)


def deployment(fleets: Object | None = None, charts: Object | None = None) -> Object:
    policies = () if fleets is None else own(fleets)
    return gateway_deployment(NAMESPACE, OWNERS, policies, chart(charts or {}))


@pytest.mark.parametrize("where", ["chart", "fleet"])
def test_everything_that_can_be_said_reaches_the_pods(where: str) -> None:
    body = deployment(EVERYTHING) if where == "fleet" else deployment(None, EVERYTHING)
    template, usual = body["spec"]["template"], deployment()["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    for metadata in (body["metadata"], template["metadata"]):
        assert metadata["labels"]["team"] == "a" and metadata["annotations"]["owner"] == "b"
    assert usual["metadata"]["labels"].items() <= template["metadata"]["labels"].items()
    for field in ("nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets"):
        assert pod[field] == EVERYTHING[field], field
    assert pod["affinity"] == {**usual["spec"]["affinity"], **EVERYTHING["affinity"]}
    assert [*usual["spec"]["volumes"], *EVERYTHING["volumes"]] == pod["volumes"]
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    assert container["env"][-2:] == EVERYTHING["env"]
    assert container["volumeMounts"][-1] == EVERYTHING["volumeMounts"][0]
    assert pod["runtimeClassName"] == "gvisor" and pod["hostAliases"]


def test_every_field_of_the_block_is_in_the_test_above() -> None:
    assert {field.alias for field in GatewaySpec.model_fields.values()} == {*EVERYTHING, "replicas"}


def test_what_a_fleet_says_goes_before_what_the_chart_says_field_by_field() -> None:
    charts = {"replicas": 4, "labels": {"a": "chart", "b": "chart"}, "priorityClassName": "low",
              "env": [{"name": "X", "value": "1"}], "resources": {"requests": {"cpu": "1"}}}  # fmt: skip
    fleets = {"labels": {"a": "fleet"}, "priorityClassName": "high",
              "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}]}  # fmt: skip
    body = deployment(fleets, charts)
    pod = body["spec"]["template"]["spec"]
    assert body["spec"]["replicas"] == 4
    assert body["metadata"]["labels"].items() >= {"a": "fleet", "b": "chart"}.items()
    assert pod["priorityClassName"] == "high"
    assert pod["containers"][0]["env"][-1] == {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}
    assert pod["containers"][0]["resources"]["requests"]["cpu"] == "1"
    assert deployment({"replicas": 1}, charts)["spec"]["replicas"] == 1
    assert deployment()["spec"]["replicas"] == SETTINGS.gateway_replicas


def test_the_policy_default_alone_says_how_gateways_run() -> None:
    other = PolicySpec.model_validate({"cloud": "Never", "gateway": {"replicas": 7}})
    assert GatewayWish.of([("other", other)], SETTINGS).replicas == SETTINGS.gateway_replicas


RESERVED = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/managed-by", "forebay.dev/pool")


@pytest.mark.parametrize("label", RESERVED)
@pytest.mark.parametrize("kind", [GatewaySpec, Metadata])
def test_reserved_labels_are_refused_by_name(kind: type, label: str) -> None:
    with pytest.raises(ValidationError, match="labels by which forebay finds its objects"):
        kind.model_validate({"labels": {label: "x"}})
    with pytest.raises(SettingsError, match=r"FOREBAY_GATEWAY_PODS.*gateway\.labels"):
        load({"FOREBAY_ROUTER_IMAGE": "r:1", "FOREBAY_GATEWAY_PODS": json.dumps({"labels": {label: "x"}})})


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"metadata": {"labels": {RESERVED[1]: "x"}}}, "the label"),
        ({"spec": {"hostNetwork": True}}, "hostNetwork"),
        ({"spec": {"restartPolicy": "Never"}}, "restartPolicy"),
        ({"spec": {"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds"),
        ({"spec": {"volumes": [{"name": "token", "emptyDir": {}}]}}, "volume token"),
        ({"spec": {"containers": [{"name": "router", "image": "mine"}]}}, "changes image"),
        ({"spec": {"containers": [{"name": "router", "readinessProbe": None}]}}, "readinessProbe"),
        ({"spec": {"initContainers": [{"name": "router", "image": "x"}]}}, "puts router into initContainers"),
        ({"spec": {"containers": None}}, "command|image"),
        ({"spec": {"containers": 1}}, "must be a list"),
        ({"spec": {"$patch": "replace"}}, "patch directive"),
    ],
)
def test_what_would_break_gateways_is_refused_and_the_rest_still_counts(template: Object, says: str) -> None:
    gateway = {"priorityClassName": "high", "podTemplate": template}
    policies = own(gateway)
    refused = gateway_refusal(policies, SETTINGS)
    assert refused.startswith("spec.gateway")
    assert any(word in refused for word in says.split("|"))
    pod = deployment(gateway)["spec"]["template"]["spec"]
    usual = deployment({"priorityClassName": "high"})["spec"]["template"]["spec"]
    assert pod == usual
    assert gateway_refusal(policies[:0], chart(gateway)).startswith("the chart's gateway")


def test_a_refused_template_is_told_in_the_policys_condition() -> None:
    said = PolicySpec.model_validate({**POLICY, "gateway": {"podTemplate": {"spec": {"hostNetwork": True}}}})
    done = plan(fleet(pool(), policies=(policy(spec=said),)), FleetMemory(), SETTINGS)
    (status,) = [
        action.status
        for batch in done.batches
        for action in batch.actions
        if isinstance(action, WriteStatus) and action.name == "default"
    ]
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    assert ready["status"] == "False" and "spec.gateway sets hostNetwork" in ready["message"]


def applied(settings: Settings, **changes: Any) -> dict[tuple[str, str], Object]:
    done = plan(fleet(pool(pool_spec=spec(**changes)), policies=(policy(),)), FleetMemory(), settings)
    actions = (action for batch in done.batches for action in batch.actions)
    return {action.key: action.obj for action in actions if isinstance(action, Apply)}


def test_metadata_reaches_every_object_of_a_pool_and_no_pod() -> None:
    said = {"labels": {"kueue.x-k8s.io/queue-name": "q"}, "annotations": {"note": "x"}}
    before, after = applied(SETTINGS), applied(SETTINGS, metadata=said)
    mine = [("StatefulSet", "chat"), ("Service", "chat"), ("Service", "chat-replicas"), ("ServiceAccount", "chat"),
            ("PodDisruptionBudget", "chat")]  # fmt: skip
    for key in mine:
        metadata = after[key]["metadata"]
        assert metadata["labels"] == {**before[key]["metadata"]["labels"], **said["labels"]}
        assert metadata["annotations"]["note"] == "x"
    assert after[mine[0]]["spec"] == before[mine[0]]["spec"]


@given(st.dictionaries(st.sampled_from(["a", names.LABEL_POOL, names.ANNOTATION_TEMPLATE]), st.text(max_size=2)))
def test_metadata_of_users_never_replaces_ours(said: dict[str, str]) -> None:
    body: Object = {"metadata": {"labels": {names.LABEL_POOL: "chat"}, "annotations": {names.ANNOTATION_TEMPLATE: "t"}}}
    made = with_metadata(body, {"labels": said, "annotations": said})["metadata"]
    assert made["labels"][names.LABEL_POOL] == "chat"
    assert made["annotations"][names.ANNOTATION_TEMPLATE] == "t"


def test_pull_policy_and_secrets_reach_all_pods_of_fleets() -> None:
    settings = replace(SETTINGS, images=replace(IMAGES, pull_policy="Always"), pull_secrets=("pull",))
    objects = applied(settings)
    for name in ("chat", names.GATEWAY):
        assert objects["ServiceAccount", name]["imagePullSecrets"] == [{"name": "pull"}]
    template = objects["StatefulSet", "chat"]["spec"]["template"]["spec"]
    gateway = objects["Deployment", names.GATEWAY]["spec"]["template"]["spec"]
    for container in (*template["initContainers"], *template["containers"], *gateway["containers"]):
        assert container["imagePullPolicy"] == "Always", container["name"]
    own_image = pod_template("chat", spec(engine={"type": "VLLM"}), settings.images)["spec"]["containers"][0]
    assert "imagePullPolicy" not in own_image, "vLLM's image is not ours"


def test_a_router_may_hold_what_it_takes_in() -> None:
    """Every body twice while it is sent on, and the largest ones while they are read."""
    assert ROUTER_BYTES >= 2 * BODIES_HELD + (128 << 20)
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": f"{ROUTER_BYTES >> 20}Mi"}


@pytest.mark.parametrize(
    ("engine", "requests", "limits"),
    [
        ({"gpus": 0, "type": "Simulated"}, {"cpu": "50m", "memory": "64Mi"}, None),
        ({"gpus": 1}, {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "10Gi", "nvidia.com/gpu": "1"},
         {"nvidia.com/gpu": "1"}),
        ({"gpus": 4, "cache": {"perReplica": {"storage": "9Gi"}}},
         {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "4"}, {"nvidia.com/gpu": "4"}),
        ({"gpus": 0, "cache": {"ephemeral": {"sizeLimit": "5Gi"}}},
         {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "5Gi"}, None),
        ({"gpus": 0, "cache": {"ephemeral": {"request": "80Gi"}}},
         {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "80Gi"}, None),
    ],
)  # fmt: skip
def test_an_engine_asks_for_what_it_needs_to_be_placed(engine: Object, requests: Object, limits: Object | None) -> None:
    container = pod_template("chat", spec(engine=engine), IMAGES)["spec"]["containers"][0]
    assert container["resources"]["requests"] == requests
    assert container["resources"].get("limits") == limits


def test_claims_are_kept_or_deleted_as_the_pool_says_and_no_pod_changes() -> None:
    def made(**more: Any) -> tuple[Object, str]:
        pool_spec = spec(engine={"gpus": 1, "cache": {"perReplica": {"storage": "9Gi", **more}}})
        record = choose_template("chat", pool_spec, IMAGES, None).record
        assert record is not None
        body = statefulset(NAMESPACE, OWNERS[0], pool_spec, record, 1)
        return body["spec"], template_inputs(pool_spec)

    usual, said = made(), made(persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"})
    assert "persistentVolumeClaimRetentionPolicy" not in usual[0]
    assert said[0]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Delete"}
    assert said[1] == usual[1], "replicas are not restarted for it"


def test_no_metadata_is_said_by_default() -> None:
    assert said_metadata(spec()) == {}


def test_gateways_of_a_policy_with_a_budget_mount_its_ledgers_and_keep_a_journal_in_memory() -> None:
    def pods(**more: Any) -> tuple[Object, Object]:
        priced = {**POLICY["providers"][0]}
        target = [{"provider": "acme", "model": "large"}]
        spec = {"providers": [priced], "primary": target, "secondary": target, **more}
        made = gateway_deployment("team", OWNERS, [("default", PolicySpec.model_validate(spec))], SETTINGS)
        return made["spec"]["template"], made["spec"]["template"]["spec"]["containers"][0]

    (plain, router), (paid, own) = pods(), pods(budget={"amount": "5"})
    assert not {"budget", "journal"} & {item["name"] for item in plain["spec"]["volumes"]}
    assert not [word for word in router["args"] if "budget" in word or "journal" in word]
    volumes = {item["name"]: item for item in paid["spec"]["volumes"]}
    assert volumes["budget"]["configMap"] == {"name": names.BUDGET_CONFIGMAP, "optional": True}
    assert volumes["journal"]["emptyDir"]["medium"] == "Memory"
    assert {f"--budget-dir={names.BUDGET_DIR}", f"--journal-dir={names.JOURNAL_DIR}"} <= set(own["args"])
    assert plain["metadata"]["annotations"] == paid["metadata"]["annotations"]  # a node with it can be given up
