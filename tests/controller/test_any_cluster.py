"""What clusters differ in: who chooses users, what a node's removal may take along, which ports others listen on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests import fleet, services
from forebay.controller.manifests.common import Owner
from forebay.controller.manifests.gateway import gateway_deployment
from forebay.controller.manifests.merge import merged
from forebay.controller.manifests.networkpolicy import gateway_network_policy, replica_network_policy
from forebay.controller.manifests.statefulset import choose_template
from forebay.controller.manifests.template import pod_template
from forebay.controller.plan.drift import first_difference
from forebay.controller.settings import load
from forebay.resources import names
from forebay.resources.options import NetworkOptions
from forebay.resources.policy import PolicySpec
from tests.controller.fleets import IMAGES, NAMESPACE, POLICY, SETTINGS, spec

POOL = Owner(names.POOL_KIND, "chat", "uid")
POLICIES = (("default", PolicySpec.model_validate(POLICY)),)
VLLM = {"type": "VLLM", "gpus": 1}
CACHES: list[dict[str, Any]] = [
    {}, {"perReplica": {"storage": "9Gi"}}, {"hostPath": {"path": "/w"}}, {"sharedClaim": {"claimName": "c"}},
]  # fmt: skip


def pods(user: int | None) -> Iterator[Object]:
    """Every kind of pod that the operator makes."""
    settings = replace(SETTINGS, run_as_user=user)
    yield gateway_deployment(NAMESPACE, [POOL], POLICIES, settings)["spec"]["template"]
    for cache in CACHES:
        for engine in ({"type": "Simulated", "gpus": 0}, VLLM):
            yield pod_template("chat", spec(engine={**engine, "cache": cache}), IMAGES, user)


def users(value: Any) -> Iterator[int]:
    """All numbers of users and groups below an object."""
    if isinstance(value, dict):
        yield from (value[field] for field in ("runAsUser", "runAsGroup", "fsGroup") if field in value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from users(item)


@pytest.mark.parametrize("user", [names.USER, 1_000_680_000, None])
def test_every_pod_has_the_user_that_the_chart_says_or_none(user: int | None) -> None:
    for pod in pods(user):
        assert set(users(pod)) == ({user} if user else set())
        for part in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            assert not part["securityContext"]["allowPrivilegeEscalation"]


def test_replicas_follow_a_user_that_the_chart_no_longer_names() -> None:
    """A cluster that refuses pods for their user would refuse those of the recorded template for ever."""
    first = choose_template("chat", spec(), IMAGES, None).record
    assert not choose_template("chat", spec(), IMAGES, first).changed
    choice = choose_template("chat", spec(), IMAGES, first, None)
    assert choice.changed and choice.record is not None and not set(users(choice.record.template))
    assert not choose_template("chat", spec(), IMAGES, choice.record, None).changed


@pytest.mark.parametrize("text", ["none", "1000680000", "1.00068e+09"])
def test_a_user_is_read_as_helm_writes_it(text: str) -> None:
    read = load({"FOREBAY_ROUTER_IMAGE": "r", "FOREBAY_RUN_AS_USER": text}).run_as_user
    assert read == (None if text == "none" else 1_000_680_000)


def on_the_nodes_disk(pod: Object) -> set[str]:
    return {
        volume["name"]
        for volume in pod["spec"]["volumes"]
        if "hostPath" in volume or ("emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory")
    }


def test_no_volume_of_ours_keeps_cluster_autoscaler_from_removing_a_node() -> None:
    for pod in pods(names.USER):
        said = pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"]
        assert set(said.split(",")) == on_the_nodes_disk(pod) != set()


def test_a_users_own_volume_is_the_users_to_give_up() -> None:
    own = pod_template("chat", spec(), IMAGES)
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    pod = merged(own, {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}})
    assert "data" not in pod["metadata"]["annotations"][key].split(",")
    pod = merged(own, {"metadata": {"annotations": {key: "tmp,cache,data"}}})
    assert pod["metadata"]["annotations"][key] == "tmp,cache,data"


def test_a_queue_of_kueue_passes_through_and_what_kueue_adds_is_no_drift() -> None:
    queue = {"kueue.x-k8s.io/queue-name": "gpus"}
    pod = merged(pod_template("chat", spec(), IMAGES), {"metadata": {"labels": queue}})
    assert pod["metadata"]["labels"].items() >= queue.items()
    live = {
        **pod,
        "metadata": {
            **pod["metadata"],
            "labels": {**pod["metadata"]["labels"], "kueue.x-k8s.io/managed": "true"},
            "finalizers": ["kueue.x-k8s.io/managed"],
        },
        "spec": {**pod["spec"], "schedulingGates": [{"name": "kueue.x-k8s.io/admission"}], "nodeSelector": {"a": "b"}},
    }
    assert first_difference(pod, live) is None


def test_services_name_ports_by_number() -> None:
    """Before 1.33 a named port of a native sidecar has no endpoint."""
    made = [
        fleet.client_service(NAMESPACE, [POOL]),
        fleet.gateways_service(NAMESPACE, [POOL]),
        services.replicas_service(NAMESPACE, POOL),
        services.pool_service(NAMESPACE, POOL, spec()),
    ]
    assert all(isinstance(port["targetPort"], int) for one in made for port in one["spec"]["ports"])


def policies(network: NetworkOptions) -> tuple[list[Object], list[Object]]:
    """Egress rules of gateways and of a replica whose model comes from elsewhere."""
    settings = replace(SETTINGS, network=network)
    specs = [policy for _, policy in POLICIES]
    gateway = gateway_network_policy(NAMESPACE, [POOL], specs, settings)
    replica = replica_network_policy(NAMESPACE, POOL, spec(engine=VLLM), settings)
    return gateway["spec"]["egress"], replica["spec"]["egress"]


def ports(rule: Object) -> list[int]:
    return sorted({port["port"] for port in rule.get("ports", ())})


def test_other_peoples_ports_are_said_by_the_chart() -> None:
    otlp = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"protocol": "TCP", "port": 4317}]}
    proxy = {"ports": [{"protocol": "TCP", "port": 3128}]}
    gateway, replica = policies(NetworkOptions((1053,), (80, 443, 9000), (proxy,), (otlp, proxy)))
    assert all(rules[0] == {"ports": rules[0]["ports"]} and ports(rules[0]) == [1053] for rules in (gateway, replica))
    assert [80, 443, 9000] in map(ports, replica) and [80, 443, 9000] not in map(ports, gateway)
    assert (gateway[-1], replica[-2:]) == (proxy, [otlp, proxy])


def test_kube_dns_is_reached_whatever_it_listens_on() -> None:
    for rules in policies(NetworkOptions()):
        found = [rule for rule in rules if "ports" not in rule and "kube-dns" in yaml.safe_dump(rule)]
        assert len(found) == 1 and "kube-system" in yaml.safe_dump(found)


@pytest.mark.parametrize("text", ["", "[]", '[{"ports": [{"port": 9000}]}]'])
def test_rules_are_read_as_the_chart_writes_them(text: str) -> None:
    network = load(
        {"FOREBAY_ROUTER_IMAGE": "r", "FOREBAY_REPLICA_EGRESS": text, "FOREBAY_DNS_PORTS": "53, 1053"}
    ).network
    assert network.replica_egress == (({"ports": [{"port": 9000}]},) if "port" in text else ())
    assert network.dns_ports == (53, 1053)
