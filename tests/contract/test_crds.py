"""Both CRDs on a real API server: defaults come out, and every rule refuses its bad object in its own words."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from forebay.resources import crd, kubernetes_fields, policy, policy_budget, pool, reach
from forebay.resources.fields import Resource, Rule
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from forebay.resources.reasons import POOL_CONDITIONS

pytestmark = pytest.mark.apiserver
REPO = Path(__file__).resolve().parents[2]
GROUP, VERSION, NAMESPACE = "forebay.dev", "v1alpha1", "default"
PLURALS = {"LocalModelPool": "localmodelpools", "CloudFallbackPolicy": "cloudfallbackpolicies"}

POOL: dict[str, Any] = {"model": {"name": "m"}}
PROVIDER: dict[str, Any] = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "big"}]}
TARGET = {"provider": "acme", "model": "big"}
POLICY: dict[str, Any] = {"providers": [PROVIDER], "primary": [TARGET], "secondary": [TARGET]}


def obj(kind: str, spec: dict[str, Any], name: str = "x") -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_pool(**changes: Any) -> dict[str, Any]:
    return obj("LocalModelPool", {**copy.deepcopy(POOL), **changes})


def a_policy(**changes: Any) -> dict[str, Any]:
    return obj("CloudFallbackPolicy", {**copy.deepcopy(POLICY), **changes})


def named(name: str) -> dict[str, Any]:
    return obj("LocalModelPool", POOL, name)


def a_default(**spec: Any) -> dict[str, Any]:
    """A policy `default` of a fleet that keeps everything to itself."""
    return {**obj("CloudFallbackPolicy", {"cloud": "Never", **spec}), "metadata": {"name": "default"}}


def a_provider(**changes: Any) -> dict[str, Any]:
    return a_policy(providers=[{**PROVIDER, **changes}])


KEY = {"name": "keys", "key": "acme"}
TWICE = [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
WRONG = {"provider": "nope", "model": "big"}
BAD: dict[str, dict[str, Any]] = {
    "metadata.name becomes the name of a Service": named("7b"),
    "metadata.name is longer": named("a" * 41),
    "metadata.name is taken": named("forebay"),
    "set exactly one of ephemeral": a_pool(engine={"cache": {"ephemeral": {}, "hostPath": {"path": "/x"}}}),
    "args must not set --host": a_pool(engine={"args": ["--port=1"]}),
    "args must not set the model": a_pool(engine={"args": ["--served-model-name", "x"]}),
    "firstTokenSeconds must not be above": a_pool(timeouts={"firstTokenSeconds": 61, "totalSeconds": 60}),
    "betweenChunksSeconds must not be above": a_pool(timeouts={"betweenChunksSeconds": 61, "silenceSeconds": 60}),
    "minReplicas must not be above": a_pool(scaling={"minReplicas": 3, "maxReplicas": 2}),
    "idleSecondsToZero needs": a_pool(scaling={"idleSecondsToZero": 60}),
    "wakeAfter needs": a_pool(scaling={"wakeAfter": "FirstRequest"}),
    "baseURL must start with https": a_policy(providers=[{**PROVIDER, "baseURL": "http://acme.example/v1"}]),
    "apiKeyHeader and apiKeyPrefix": a_provider(apiKeyPrefix="Key"),
    "headers names a header twice": a_provider(headers=TWICE),
    "headers sets the header that": a_provider(
        apiKeySecretRef=KEY, headers=[{"name": "authorization", "valueSecretRef": KEY}]
    ),
    "query names a parameter twice": a_provider(query=TWICE),
    "tls and proxy are for": a_provider(baseURL="http://near/v1", transport="HTTP", proxy="corp"),
    "set exactly one of value and": a_provider(headers=[{"name": "a"}]),
    "this header looks like": a_provider(headers=[{"name": "x-token", "value": "x"}]),
    "this parameter looks like": a_provider(query=[{"name": "api_key", "value": "x"}]),
    "set only one of caConfigMapRef": a_provider(tls={"caConfigMapRef": KEY, "caSecretRef": KEY}),
    "tls is empty": a_provider(tls={}),
    "primary names a provider": a_policy(primary=[WRONG]),
    "secondary names a provider": a_policy(secondary=[WRONG]),
    "primary and secondary are both": a_policy(primary=[], secondary=[]),
    "overflow.high is Primary": a_policy(primary=[]),
    "overflow.normal is Secondary": a_policy(secondary=[]),
    "budget counts money, and a model in primary": a_policy(budget={"amount": "5"}),
    "budget counts money, and a model in secondary": a_policy(budget={"amount": "5"}),
    "weekStart says when": a_policy(budget={"amount": "5", "weekStart": "Sunday"}),
    "spec.gateway is about": a_policy(gateway={}),
    "this volume is": a_default(gateway={"volumes": [{"name": "tmp"}]}),
    "/etc/forebay and": a_default(gateway={"volumeMounts": [{"name": "a", "mountPath": "/tmp"}]}),
    "this variable is": a_default(gateway={"env": [{"name": "POD_NAMESPACE"}]}),
}
"""One bad object for each rule, by the beginning of the rule's message. The rule about updates has its own test."""
ON_UPDATE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "replicas is only the first size": (a_pool(), a_pool(replicas=3)),
    "cache.perReplica.storage cannot": (
        a_pool(engine={"cache": {"perReplica": {"storage": "10Gi"}}}),
        a_pool(engine={"cache": {"perReplica": {"storage": "20Gi"}}}),
    ),
    "cache.perReplica.storageClassName cannot": (
        a_pool(engine={"cache": {"perReplica": {"storage": "10Gi"}}}),
        a_pool(engine={"cache": {"perReplica": {"storage": "10Gi", "storageClassName": "fast"}}}),
    ),
    "cache.perReplica can be neither": (a_pool(engine={"cache": {"perReplica": {"storage": "10Gi"}}}), a_pool()),
}
"""For each rule about updates an object and the same object changed, by the beginning of the rule's message."""


def all_rules() -> list[Rule]:
    kinds = [
        value
        for module in (pool, policy, policy_budget, reach, kubernetes_fields)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Resource) and value.__module__ == module.__name__
    ]
    return [*crd.POOL_RULES, *crd.POLICY_RULES, *(rule for kind in kinds for rule in kind.RULES)]


def create(api: client.ApiClient, document: dict[str, Any], dry_run: bool = True) -> dict[str, Any]:
    options = {"dry_run": "All"} if dry_run else {}
    custom = client.CustomObjectsApi(api)
    plural = PLURALS[document["kind"]]
    return custom.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, plural, document, **options)


def refusal(api: client.ApiClient, document: dict[str, Any]) -> str:
    with pytest.raises(client.ApiException) as refused:
        create(api, document)
    assert refused.value.status == 422, refused.value.body
    return str(refused.value.body)


def test_each_rule_has_a_bad_object() -> None:
    beginnings = [*BAD, *ON_UPDATE]
    for rule in all_rules():
        assert any(rule.message.startswith(begin) for begin in beginnings), f"no bad object for: {rule.message}"


@pytest.mark.parametrize("begin", BAD)
def test_the_rule_refuses_its_bad_object_in_its_own_words(api: client.ApiClient, begin: str) -> None:
    message = next(rule.message for rule in all_rules() if rule.message.startswith(begin))
    assert message.replace('"', '\\"') in refusal(api, BAD[begin])


@pytest.mark.parametrize("begin", ON_UPDATE)
@pytest.mark.parametrize("forwards", [True, False])
def test_the_rule_about_updates_refuses_the_change_and_nothing_else(
    api: client.ApiClient, begin: str, forwards: bool
) -> None:
    custom, (before, after) = client.CustomObjectsApi(api), ON_UPDATE[begin]
    if begin.startswith("replicas") and not forwards:
        pytest.skip("back to the default is what leaving it out looks like")
    before, after = (before, after) if forwards else (after, before)
    where = (GROUP, VERSION, NAMESPACE, "localmodelpools", "changes")
    stored = create(api, {**before, "metadata": {"name": "changes"}}, dry_run=False)
    try:
        stored["spec"]["queue"]["maxWaitSeconds"] = 7
        stored = custom.replace_namespaced_custom_object(*where, stored)
        with pytest.raises(client.ApiException) as refused:
            custom.replace_namespaced_custom_object(*where, {**stored, "spec": after["spec"]})
        assert begin in str(refused.value.body)
    finally:
        custom.delete_namespaced_custom_object(*where)


def test_replicas_can_be_left_out_of_an_automatic_pool_again(api: client.ApiClient) -> None:
    custom, where = client.CustomObjectsApi(api), (GROUP, VERSION, NAMESPACE, "localmodelpools")
    document = {**a_pool(replicas=2), "metadata": {"name": "leaves"}}
    manager = {"field_manager": "gitops", "_content_type": "application/apply-patch+yaml"}
    custom.patch_namespaced_custom_object(*where, "leaves", document, **manager)
    without = {**a_pool(), "metadata": {"name": "leaves"}}
    assert custom.patch_namespaced_custom_object(*where, "leaves", without, **manager)["spec"]["replicas"] == 1
    with pytest.raises(client.ApiException):
        custom.patch_namespaced_custom_object(*where, "leaves", document, **manager)


@pytest.mark.parametrize("name", ["/models/x", "/mnt/models/Qwen2.5-7B", "Qwen/Qwen2.5-72B-Instruct", "m"])
def test_a_model_is_a_repository_or_a_path(api: client.ApiClient, name: str) -> None:
    create(api, a_pool(model={"name": name}))


def test_what_is_neither_is_told_of_the_field_for_it(api: client.ApiClient) -> None:
    assert "model.source" in refusal(api, a_pool(model={"name": "s3://bucket/-x y"}))


def test_the_first_releases_name_of_a_field_is_refused_where_fields_are_validated(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    old = a_policy(gap="Reject")
    with pytest.raises(client.ApiException) as refused:
        custom.create_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURALS[old["kind"]], old, dry_run="All", field_validation="Strict"
        )
    assert 'unknown field \\"spec.gap\\"' in str(refused.value.body)


def test_replicas_of_an_automatic_pool_cannot_be_scaled_by_hand(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    create(api, named("auto"), dry_run=False)
    with pytest.raises(client.ApiException) as refused:
        custom.patch_namespaced_custom_object_scale(
            GROUP, VERSION, NAMESPACE, "localmodelpools", "auto", {"spec": {"replicas": 3}}
        )
    assert "scaling.mode: Manual" in str(refused.value.body)


def test_replicas_of_a_manual_pool_can_be_scaled(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    create(api, {**a_pool(scaling={"mode": "Manual"}), "metadata": {"name": "manual"}}, dry_run=False)
    scaled = custom.patch_namespaced_custom_object_scale(
        GROUP, VERSION, NAMESPACE, "localmodelpools", "manual", {"spec": {"replicas": 3}}
    )
    assert scaled["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (a_pool(replicas=-1), "greater than or equal to 0"),
        (a_pool(capabilities=[]), "at least 1"),
        (a_pool(capabilities=["poetry"]), "Unsupported value"),
        (a_pool(capabilities=["general", "general"]), "Duplicate value"),
        (a_pool(gpuHourPrice="cheap"), "gpuHourPrice"),
        (a_pool(gpuHourPrice=1.2), "must be of type string"),
        (a_pool(engine={"gpus": 65}), "less than or equal to 64"),
        (a_pool(engine={"podTemplate": "x"}), "must be of type object"),
        (a_pool(scaling={"mode": "Sometimes"}), "Unsupported value"),
        (a_pool(scaling={"pendingSeconds": 9}), "greater than or equal to 10"),
        (a_pool(scaling={"minReplicas": 0, "wakeAfter": "Lunch"}), "Unsupported value"),
        (obj("LocalModelPool", {}), "spec.model: Required value"),
        (a_policy(providers=[]), "is not in providers"),
        (a_policy(providers=[{**PROVIDER, "baseURL": "acme"}]), "baseURL"),
        (a_policy(providers=[PROVIDER, PROVIDER]), "Duplicate value"),
        (a_policy(overflow={"low": "Never"}), "Unsupported value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bounds_enums_and_patterns(api: client.ApiClient, document: dict[str, Any], says: str) -> None:
    assert says in refusal(api, document)


def test_a_pool_gets_the_defaults_that_the_types_have(api: client.ApiClient) -> None:
    stored = create(api, a_pool())["spec"]
    assert stored == PoolSpec.model_validate(POOL).model_dump(mode="json", by_alias=True, exclude_none=True)


def test_a_policy_gets_the_defaults_that_the_types_have(api: client.ApiClient) -> None:
    """Those inside its lists are the operator's to fill in."""
    stored, meant = create(api, a_policy())["spec"], PolicySpec.model_validate(POLICY)
    outside = meant.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert stored == {**outside, **{field: POLICY[field] for field in ("providers", "primary", "secondary")}}
    assert PolicySpec.model_validate(stored) == meant


PRICED: dict[str, Any] = {**PROVIDER, "models": [{"name": "big", "inputPrice": "4", "outputPrice": "20"}]}


@pytest.mark.parametrize(
    "budget",
    [
        {"amount": "0"},
        {"amount": "999999.999999999", "period": "Day", "timeZone": "America/Argentina/Buenos_Aires"},
        {"amount": "500", "period": "Week", "weekStart": "Sunday", "reservedForHighPercent": 90},
        {"amount": "500", "pacing": {}, "enforcement": "Advisory", "alertPercents": []},
        {"amount": "500", "pacing": {"burstPercent": 0}, "lease": {"seconds": 60}, "timeZone": "Etc/GMT+12"},
    ],
)
def test_a_policy_whose_models_have_prices_may_have_a_budget(api: client.ApiClient, budget: dict[str, Any]) -> None:
    stored = create(api, a_policy(providers=[PRICED], budget=budget))["spec"]["budget"]
    meant = PolicySpec.model_validate({**POLICY, "budget": budget}).budget
    assert meant is not None
    assert stored == meant.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_a_fleet_without_providers_says_how_its_gateways_run(api: client.ApiClient) -> None:
    gateway = {
        "replicas": 3,
        "labels": {"team": "a", "app.kubernetes.io/part-of": "b"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "resources": {"limits": {"memory": "2Gi"}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumes": [{"name": "ca", "configMap": {"name": "x", "items": [{"key": "k", "path": "p"}]}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        "podTemplate": {"spec": {"runtimeClassName": "x", "securityContext": {"runAsUser": None}}},
    }
    assert create(api, a_default(gateway=gateway))["spec"]["gateway"] == gateway


def test_a_null_in_a_pod_template_is_kept(api: client.ApiClient) -> None:
    template = {"spec": {"securityContext": {"runAsUser": None}, "containers": [{"name": "engine", "command": None}]}}
    assert create(api, a_pool(engine={"podTemplate": template}))["spec"]["engine"]["podTemplate"] == template


def test_conditions_are_unknown_at_first_sight(api: client.ApiClient) -> None:
    conditions = create(api, a_pool())["status"]["conditions"]
    assert {c["type"] for c in conditions} == set(POOL_CONDITIONS)
    assert {c["status"] for c in conditions} == {"Unknown"}


def example_files() -> list[Path]:
    return sorted((REPO / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", example_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_are_accepted(api: client.ApiClient, path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] in PLURALS:
            document["metadata"]["name"] += "-example"
            create(api, document)


def test_server_side_apply_merges_providers_by_name(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    one = obj("CloudFallbackPolicy", POLICY, "merged")
    two = obj("CloudFallbackPolicy", {"providers": [{**PROVIDER, "name": "bravo"}]}, "merged")
    for manager, document in (("one", one), ("two", two)):
        stored = apply(custom, document, manager)
    assert [provider["name"] for provider in stored["spec"]["providers"]] == ["acme", "bravo"]


def apply(custom: client.CustomObjectsApi, document: dict[str, Any], manager: str) -> dict[str, Any]:
    plural, name = PLURALS[document["kind"]], document["metadata"]["name"]
    return custom.patch_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, plural, name, document, field_manager=manager, force=True,
        _content_type="application/apply-patch+yaml",
    )  # fmt: skip
