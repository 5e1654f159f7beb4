"""NetworkPolicies: first the evaluator against the cases of the API's own documentation, then forebay's policies."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.paths import REPO
from e2e.cluster.shell import ClusterError, run
from e2e.netpolicy import End, Flow, denied
from forebay.controller.manifests.networkpolicy import gateway_network_policy
from forebay.resources.options import GatewayOptions
from forebay.resources.policy import PolicySpec
from tests.controller.fleets import SETTINGS
from tests.security.flows import (
    ALLOWED,
    CLIENT,
    CLOUD,
    FORBIDDEN,
    FORBIDDEN_WITHOUT_NEAR_PROVIDERS,
    GATEWAY,
    LAN,
    METADATA,
    OPERATOR,
    PROVIDER_NETWORK,
    policies,
)

A = End("a", "10.0.0.1", "x", {"app": "a"})
B = End("b", "10.0.0.2", "y", {"app": "b", "tier": "web"}, {"web": 8080})
OUT = End("outside", "8.8.8.8")


def rule(direction: str, rules: list[dict[str, Any]], pods: dict[str, Any] | None = None) -> dict[str, Any]:
    namespace = "y" if direction == "ingress" else "x"
    spec = {"podSelector": pods or {}, "policyTypes": [direction.capitalize()], direction: rules}
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def by(key: str, operator: str, values: list[str] | None = None) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": values} if values else {})}]}


PODS_A = {"podSelector": {"matchLabels": {"app": "a"}}}
IN_X = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}


@pytest.mark.parametrize(
    ("flow", "policy", "allowed"),
    [
        (Flow(A, B, 80), rule("ingress", []), False),
        (Flow(A, B, 80), rule("ingress", [{}]), True),
        (Flow(A, B, 80), rule("ingress", [], {"matchLabels": {"app": "other"}}), True),
        (Flow(A, B, 80), rule("ingress", [{"from": [PODS_A]}]), False),  # pods of the policy's own namespace
        (Flow(A, B, 80), rule("ingress", [{"from": [{**PODS_A, **IN_X}]}]), True),
        (Flow(OUT, B, 80), rule("ingress", [{"from": [IN_X]}]), False),
        (Flow(OUT, B, 80), rule("ingress", [{"from": [{"ipBlock": {"cidr": "8.8.0.0/16"}}]}]), True),
        (Flow(OUT, B, 80), rule("ingress", [{"from": [{"ipBlock": {"cidr": "8.8.0.0/16", "except": ["8.8.8.0/24"]}}]}]),
         False),
        (Flow(A, B, 80), rule("ingress", [{"ports": [{"port": 80}]}]), True),
        (Flow(A, B, 80, "UDP"), rule("ingress", [{"ports": [{"port": 80}]}]), False),
        (Flow(A, B, 85), rule("ingress", [{"ports": [{"port": 80, "endPort": 90}]}]), True),
        (Flow(A, B, 91), rule("ingress", [{"ports": [{"port": 80, "endPort": 90}]}]), False),
        (Flow(A, B, 8080), rule("ingress", [{"ports": [{"port": "web"}]}]), True),
        (Flow(A, B, 8081), rule("ingress", [{"ports": [{"port": "web"}]}]), False),
        (Flow(A, OUT, 443), rule("egress", [{"ports": [{"port": 443}]}]), True),
        (Flow(A, OUT, 443), rule("egress", [{"to": [{"namespaceSelector": {}}]}]), False),
        (Flow(A, B, 80), rule("egress", [{"to": [{"namespaceSelector": {}}]}]), True),
        (Flow(A, B, 80), rule("ingress", [], by("tier", "In", ["web"])), False),
        (Flow(A, B, 80), rule("ingress", [], by("tier", "DoesNotExist")), True),
    ],
)  # fmt: skip
def test_the_evaluator_knows_the_semantics(flow: Flow, policy: dict[str, Any], allowed: bool) -> None:
    assert (not denied(flow, [policy])) is allowed


def test_both_sides_must_allow() -> None:
    out, into = rule("egress", [{}]), rule("ingress", [])
    assert denied(Flow(A, B, 80), [out]) == ""
    assert denied(Flow(A, B, 80), [out, into]) == "Ingress of p"


@pytest.fixture(scope="module")
def operators() -> dict[str, Any]:
    """The chart's policy for the operator."""
    try:
        chart = run(tools.helm(), "template", "forebay", REPO / "charts" / "forebay", "-n", OPERATOR.namespace)
    except ClusterError as error:
        pytest.skip(str(error))
    found: dict[str, Any] = next(d for d in yaml.safe_load_all(chart) if d and d["kind"] == "NetworkPolicy")
    return found


@pytest.mark.parametrize("flow", ALLOWED, ids=str)
def test_what_must_talk_may(flow: Flow, operators: dict[str, Any]) -> None:
    assert denied(flow, policies(PROVIDER_NETWORK, operator=operators)) == ""


@pytest.mark.parametrize("networks", [(), (PROVIDER_NETWORK,)], ids=["public providers", "a provider inside"])
@pytest.mark.parametrize("flow", FORBIDDEN, ids=str)
def test_what_must_not_talk_may_not(flow: Flow, networks: tuple[str, ...], operators: dict[str, Any]) -> None:
    assert denied(flow, policies(*networks, operator=operators))


@pytest.mark.parametrize("flow", FORBIDDEN_WITHOUT_NEAR_PROVIDERS, ids=str)
def test_what_only_a_provider_inside_opens_is_closed_without(flow: Flow, operators: dict[str, Any]) -> None:
    assert denied(flow, policies(operator=operators))


@pytest.mark.parametrize(
    ("url", "to", "port", "reached"),
    [
        ("http://192.168.7.7:3128", LAN, 3128, True),
        ("http://192.168.7.7:3128", LAN, 443, False),
        ("http://192.168.7.7:3128", CLOUD, 3128, False),
        ("http://proxy.example:3128", LAN, 3128, True),
        ("http://proxy.example:3128", CLIENT, 3128, True),  # in the cluster
        ("http://proxy.example:3128", LAN, 443, False),
        ("http://proxy.example:80", METADATA, 80, False),
        ("https://proxy.example", LAN, 443, True),
        ("http://proxy.example", LAN, 80, True),
    ],
)
def test_a_gateway_reaches_the_proxy_that_a_policy_names_and_no_provider_behind_it(
    url: str, to: End, port: int, reached: bool
) -> None:
    behind = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "m"}], "proxy": "corp"}
    target = [{"provider": "acme", "model": "m"}]
    spec = PolicySpec.model_validate({"providers": [behind], "primary": target, "secondary": target})

    def rules(*proxies: str) -> list[dict[str, Any]]:
        settings = replace(SETTINGS, gateway=GatewayOptions(provider_proxies=proxies))
        return [gateway_network_policy("team", [], [spec], settings)]

    assert (not denied(Flow(GATEWAY, to, port), rules(f"corp={url}", "other=http://10.9.9.9:1"))) is reached
    assert denied(Flow(GATEWAY, to, port), rules("other=http://192.168.7.7:3128"))
    assert denied(Flow(GATEWAY, CLOUD, 443), rules(f"corp={url}")) or url == "https://proxy.example"
