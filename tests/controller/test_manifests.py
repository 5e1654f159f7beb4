"""Manifests against golden files. FOREBAY_UPDATE_GOLDEN=1 writes them anew; look at the difference."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from msgspec import UNSET
from pydantic import ValidationError

from forebay import engines
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests import fleet, gateway, networkpolicy, services
from forebay.controller.manifests.common import Owner
from forebay.controller.manifests.statefulset import choose_template, statefulset
from forebay.controller.manifests.template import GRACE_SECONDS, STOP_SECONDS, engine_args, pod_template
from forebay.resources import names
from forebay.resources.entries import policy_entry
from forebay.resources.fields import OWN_SECRETS
from forebay.resources.options import GatewayOptions
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from forebay.resources.table import HeaderEntry
from tests.controller.fleets import IMAGES, NAMESPACE, POLICY, SETTINGS, spec

GOLDEN = Path(__file__).parent / "golden"
POOL = Owner(names.POOL_KIND, "chat", "uid-chat")
OWNERS = (POOL, Owner(names.POLICY_KIND, "default", "uid-default"))
POLICIES = (("default", PolicySpec.model_validate(POLICY)),)

VLLM = spec(
    model={
        "name": "Qwen/Qwen2.5-72B-Instruct",
        "servedNames": ["qwen-72b", "qwen"],
        "revision": "main",
        "contextTokens": 32768,
        "tokenSecretRef": {"name": "hub", "key": "token"},
        "adapters": [{"name": "law", "source": "/adapters/law"}],
    },
    engine={
        "gpus": 4,
        "args": ["--max-num-seqs", "64"],
        "cache": {"perReplica": {"storage": "200Gi", "storageClassName": "fast"}},
        "podTemplate": {"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
    },
)


def check(name: str, objects: Sequence[Object]) -> None:
    text = yaml.safe_dump_all(objects, sort_keys=False, width=120)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("FOREBAY_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: if that is meant, run with FOREBAY_UPDATE_GOLDEN=1"


def stateful(pool_spec: PoolSpec) -> Object:
    record = choose_template("chat", pool_spec, IMAGES, None).record
    assert record is not None
    body = statefulset(NAMESPACE, POOL, pool_spec, record, 2)
    annotation = json.loads(body["metadata"]["annotations"].pop(names.ANNOTATION_TEMPLATE))
    assert annotation["template"] == body["spec"]["template"]
    return body


def test_statefulset_of_a_simulated_pool() -> None:
    check("statefulset-simulated", [stateful(spec())])


def test_statefulset_of_a_vllm_pool() -> None:
    check("statefulset-vllm", [stateful(VLLM)])


def test_the_other_objects_of_a_pool() -> None:
    check(
        "pool",
        [
            services.pool_service_account(NAMESPACE, POOL),
            services.replicas_service(NAMESPACE, POOL),
            services.pool_service(NAMESPACE, POOL, VLLM),
            services.pool_disruption_budget(NAMESPACE, POOL),
            networkpolicy.replica_network_policy(NAMESPACE, POOL, VLLM, SETTINGS),
        ],
    )


def test_the_objects_of_a_fleet() -> None:
    check(
        "fleet",
        [
            fleet.gateway_service_account(NAMESPACE, OWNERS),
            fleet.client_service(NAMESPACE, OWNERS),
            fleet.gateways_service(NAMESPACE, OWNERS),
            fleet.gateway_disruption_budget(NAMESPACE, OWNERS, 2),
            fleet.control_token(NAMESPACE, OWNERS),
            fleet.routing_configmap(NAMESPACE, OWNERS, {"gateway.json": "{}"}, "7"),
            networkpolicy.gateway_network_policy(NAMESPACE, OWNERS, [item for _, item in POLICIES], SETTINGS),
            gateway.gateway_deployment(NAMESPACE, OWNERS, POLICIES, SETTINGS),
        ],
    )


def test_a_single_gateway_may_be_moved() -> None:
    assert fleet.gateway_disruption_budget(NAMESPACE, OWNERS, 1)["spec"]["maxUnavailable"] == 1


def test_no_two_tokens_are_alike_and_each_is_long() -> None:
    tokens = {fleet.with_token(fleet.control_token(NAMESPACE, OWNERS))["stringData"]["current"] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 40 for token in tokens)


@pytest.mark.parametrize(
    ("engine", "model", "expected"),
    [
        ({"gpus": 1}, {}, ["m"]),
        ({"gpus": 2}, {}, ["m", "--tensor-parallel-size=2"]),
        ({"gpus": 2, "args": ["-tp", "1"]}, {}, ["m", "-tp", "1"]),
        ({"gpus": 2, "args": ["--tensor-parallel-size=1"]}, {}, ["m", "--tensor-parallel-size=1"]),
        ({"gpus": 1}, {"contextTokens": 9}, ["m", "--max-model-len=9"]),
        ({"gpus": 1, "args": ["--max-model-len=5"]}, {"contextTokens": 9}, ["m", "--max-model-len=5"]),
        ({"gpus": 1}, {"source": "/w"}, ["/w", "--served-model-name", "m"]),
        ({"gpus": 1}, {"servedNames": ["a", "b"]}, ["m", "--served-model-name", "a", "b"]),
    ],
)
def test_engine_args_leave_the_last_word_to_the_user(
    engine: dict[str, object], model: dict[str, object], expected: list[str]
) -> None:
    args = engine_args(spec(model={"name": "m", **model}, engine=engine))
    assert [arg for arg in args if arg not in ("--host=127.0.0.1", "--port=8000")] == expected


@pytest.mark.parametrize(
    ("cache", "compiled"),
    [
        ({"ephemeral": {}}, "/cache/vllm"),
        ({"perReplica": {"storage": "9Gi"}}, "/cache/vllm"),
        ({"hostPath": {"path": "/w"}}, "/cache/vllm"),
        ({"sharedClaim": {"claimName": "c"}}, "/tmp/vllm"),
    ],
)
def test_all_that_an_engine_writes_is_on_a_volume(cache: dict[str, object], compiled: str) -> None:
    """So that it starts as any user, and with a read-only root."""
    found = pod_template("chat", spec(engine={"type": "VLLM", "cache": cache}), IMAGES)["spec"]["containers"][0]
    env = {item["name"]: item["value"] for item in found["env"]}
    assert env == {"HOME": "/tmp", "USER": "engine", "HF_HOME": "/cache", "VLLM_CACHE_ROOT": compiled}
    mounts = [item["mountPath"] for item in found["volumeMounts"] if not item.get("readOnly")]
    paths = [value for name, value in env.items() if name != "USER"]
    assert all(any(f"{path}/".startswith(f"{mount}/") for mount in mounts) for path in paths)


def test_an_engine_has_time_to_end_within_the_grace() -> None:
    given = engine_args(VLLM, "vllm/vllm-openai:v0.32.0")
    assert f"--shutdown-timeout={STOP_SECONDS}" in given
    assert 0 < STOP_SECONDS < GRACE_SECONDS


def test_the_example_with_adapters_runs_as_a_user_without_rights() -> None:
    example = yaml.safe_load((Path(__file__).parents[2] / "examples" / "vllm" / "adapters.yaml").read_text())
    pod = stateful(PoolSpec.model_validate(example["spec"]))["spec"]["template"]["spec"]
    found = pod["containers"][0]
    assert {"--enable-lora", "--max-loras=2", "--max-lora-rank=32"} <= set(found["args"])
    assert {"HF_TOKEN", "HOME", "VLLM_CACHE_ROOT", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"} <= {
        item["name"] for item in found["env"]
    }
    rights = found["securityContext"]
    assert (rights["runAsNonRoot"], rights["readOnlyRootFilesystem"]) == (True, True)
    assert (rights["allowPrivilegeEscalation"], rights["capabilities"]) == (False, {"drop": ["ALL"]})
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 1000}


@pytest.mark.parametrize(
    ("args", "expected"),
    [([], None), (["--max-num-seqs", "64"], 64), (["--max-num-seqs=32"], 32), (["--max-num-seqs"], None)],
)
def test_max_num_seqs_is_read_from_args(args: list[str], expected: int | None) -> None:
    assert engines.of(engines.EngineType.VLLM).batch_limit(args) == expected


@pytest.mark.parametrize(
    ("cache", "source"),
    [
        ({"ephemeral": {"sizeLimit": "5Gi"}}, {"emptyDir": {"sizeLimit": "5Gi"}}),
        ({"sharedClaim": {"claimName": "c"}}, {"persistentVolumeClaim": {"claimName": "c"}}),
        ({"hostPath": {"path": "/w"}}, {"hostPath": {"path": "/w", "type": "DirectoryOrCreate"}}),
    ],
)
def test_the_cache_is_a_volume(cache: dict[str, object], source: Object) -> None:
    template = pod_template("chat", spec(engine={"type": "Simulated", "cache": cache}), IMAGES)
    assert {"name": "cache", **source} in template["spec"]["volumes"]


def test_networks_that_the_chart_allows_reach_gateways_and_their_network_policy() -> None:
    settings = replace(SETTINGS, gateway=GatewayOptions(("10.96.0.0/16", "fd00::/8")))
    deployment = gateway.gateway_deployment(NAMESPACE, OWNERS, POLICIES, settings)
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--provider-networks=10.96.0.0/16,fd00::/8" in args
    policies = [item for _, item in POLICIES]
    egress = networkpolicy.gateway_network_policy(NAMESPACE, OWNERS, policies, settings)["spec"]["egress"]
    blocks = [peer["ipBlock"]["cidr"] for peer in egress[-1]["to"] if "ipBlock" in peer]
    assert blocks == ["10.96.0.0/16", "fd00::/8"]


def test_gateways_mount_what_providers_need_and_no_more() -> None:
    key = {"name": "keys", "key": "k"}
    provider = {
        **POLICY["providers"][0],
        "headers": [
            {"name": "X-Plain", "value": "1"},
            {"name": "X-Tenant", "valueSecretRef": {"name": "t", "key": "id"}},
        ],
        "tls": {
            "caConfigMapRef": {"name": "company-ca", "key": "root.pem"},
            "clientCertificateSecretRef": {"name": "certificate"},
        },
    }
    other = {**POLICY["providers"][1], "baseURL": "https://near/v1", "tls": {"caSecretRef": key}}
    made = PolicySpec.model_validate({**POLICY, "providers": [provider, other]})
    deployment = gateway.gateway_deployment(NAMESPACE, OWNERS, (("default", made),), SETTINGS)
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    found = {
        item["path"]: (kind, source["name"], item["key"], source["optional"])
        for one in volumes["providers"]["projected"]["sources"]
        for kind, source in one.items()
        for item in source["items"]
    }
    assert found == {
        "default/acme/key": ("secret", "provider-keys", "acme", True),
        "default/acme/header-x-tenant": ("secret", "t", "id", True),
        "default/acme/ca.crt": ("configMap", "company-ca", "root.pem", True),
        "default/acme/tls.crt": ("secret", "certificate", "tls.crt", True),
        "default/acme/tls.key": ("secret", "certificate", "tls.key", True),
        "default/near/ca.crt": ("secret", "keys", "k", True),
    }
    entry = policy_entry("default", made).providers[0]
    assert entry.reach is not UNSET and (entry.reach.has_ca, entry.reach.has_certificate) == (True, True)
    assert entry.reach.headers == (HeaderEntry(name="x-plain", value="1"), HeaderEntry(name="x-tenant"))


@pytest.mark.parametrize("secret", OWN_SECRETS)
def test_forebays_own_secrets_are_sent_to_no_provider_and_no_hub(secret: str) -> None:
    ref = {"name": secret, "key": "token"}
    fields: list[dict[str, object]] = [
        {"apiKeySecretRef": ref},
        {"headers": [{"name": "x-a", "valueSecretRef": ref}]},
        {"tls": {"caSecretRef": ref}},
    ]
    for field in fields:
        provider = {**POLICY["providers"][0], **field}
        with pytest.raises(ValidationError, match="name another Secret"):
            PolicySpec.model_validate({**POLICY, "providers": [provider, *POLICY["providers"][1:]]})
    with pytest.raises(ValidationError, match="name another Secret"):
        PoolSpec.model_validate({"model": {"name": "m", "tokenSecretRef": ref}})
