"""Who talks to whom in a fleet: flows that must be allowed and flows that must not, and the policies as rendered."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from e2e.netpolicy import End, Flow
from forebay.controller.manifests.common import fleet_labels, pool_labels
from forebay.controller.manifests.networkpolicy import gateway_network_policy, replica_network_policy
from forebay.resources import names
from forebay.resources.options import GatewayOptions
from forebay.resources.policy import PolicySpec
from tests.controller.fleets import NAMESPACE, POLICY, SETTINGS, policy, pool, spec

PROVIDER_NETWORK = "10.96.0.0/16"
SYSTEM = SETTINGS.own_namespace

OPERATOR = End(
    "operator",
    "10.0.9.1",
    SYSTEM,
    {
        "app.kubernetes.io/name": "forebay",
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/instance": "forebay",
    },
)
GATEWAY = End("gateway", "10.0.1.1", NAMESPACE, fleet_labels(names.COMPONENT_GATEWAY))
OTHER_GATEWAY = replace(GATEWAY, name="gateway-1", address="10.0.1.2")
REPLICA = End("replica", "10.0.2.1", NAMESPACE, pool_labels("chat"))
HUB_REPLICA = End("vllm replica", "10.0.2.5", NAMESPACE, pool_labels("big"))
OTHER_REPLICA = replace(REPLICA, name="replica-1", address="10.0.2.2")
CLIENT = End("client of the namespace", "10.0.3.1", NAMESPACE, {"app": "shop"})
STRANGER = End("pod of another team", "10.0.4.1", "other", {"app": "spy"})
POSER = End("pod of another team with our labels", "10.0.4.2", "other", fleet_labels(names.COMPONENT_GATEWAY))
NODE = End("node (kubelet)", "192.168.0.10")
PROMETHEUS = End("prometheus", "10.0.5.1", "monitoring", {"app": "prometheus"})
DNS = End("dns", "10.0.6.1", "kube-system", {"k8s-app": "kube-dns"})
API = End("API server", "10.96.0.1")
CLOUD = End("cloud provider", "93.184.216.34")
NEAR = End("provider inside the cluster", "10.96.7.7")
HUB = End("model hub", "18.66.1.1")
METADATA = End("metadata service", "169.254.169.254")
LAN = End("host of the company's network", "192.168.7.7")

R, C, M, H = names.PORT_REQUEST, names.PORT_CONTROL, names.PORT_METRICS, names.PORT_HEALTH

ALLOWED = (
    Flow(CLIENT, GATEWAY, R),
    Flow(STRANGER, GATEWAY, R),
    Flow(NODE, GATEWAY, R),
    Flow(NODE, GATEWAY, H),
    Flow(NODE, REPLICA, H),
    Flow(PROMETHEUS, GATEWAY, M),
    Flow(PROMETHEUS, REPLICA, M),
    Flow(PROMETHEUS, OPERATOR, M),
    Flow(NODE, OPERATOR, H),
    Flow(CLIENT, REPLICA, R),
    Flow(GATEWAY, REPLICA, C),
    Flow(REPLICA, GATEWAY, C),
    Flow(REPLICA, GATEWAY, R),
    Flow(OPERATOR, GATEWAY, C),
    Flow(OPERATOR, REPLICA, C),
    Flow(OPERATOR, API, 443),
    Flow(OPERATOR, API, 6443),
    Flow(OPERATOR, DNS, 53, "UDP"),
    Flow(GATEWAY, DNS, 53, "UDP"),
    Flow(GATEWAY, DNS, 53),
    Flow(REPLICA, DNS, 53, "UDP"),
    Flow(GATEWAY, CLOUD, 443),
    Flow(GATEWAY, NEAR, 8000),
    Flow(HUB_REPLICA, HUB, 443),
)

FORBIDDEN = (
    Flow(STRANGER, REPLICA, R),
    Flow(NODE, REPLICA, R),
    Flow(STRANGER, REPLICA, C),
    Flow(POSER, REPLICA, C),
    Flow(CLIENT, REPLICA, C),
    Flow(CLIENT, GATEWAY, C),
    Flow(STRANGER, GATEWAY, C),
    Flow(POSER, GATEWAY, C),
    Flow(CLIENT, REPLICA, names.PORT_ENGINE),
    Flow(GATEWAY, REPLICA, names.PORT_ENGINE),
    Flow(OPERATOR, REPLICA, names.PORT_ENGINE),
    Flow(REPLICA, OTHER_REPLICA, C),
    Flow(REPLICA, OTHER_REPLICA, R),
    Flow(REPLICA, CLOUD, 443),
    Flow(REPLICA, NEAR, 8000),
    Flow(REPLICA, METADATA, 80),
    Flow(HUB_REPLICA, METADATA, 80),
    Flow(HUB_REPLICA, METADATA, 443),
    Flow(GATEWAY, METADATA, 80),
    Flow(GATEWAY, METADATA, 443),
    Flow(GATEWAY, LAN, 443),
    Flow(GATEWAY, CLOUD, 22),
    Flow(GATEWAY, CLOUD, 80),
    Flow(OPERATOR, GATEWAY, R),
    Flow(OPERATOR, CLOUD, 80),
    Flow(OPERATOR, METADATA, 80),
    Flow(STRANGER, OPERATOR, C),
    Flow(REPLICA, CLIENT, 5432),
)

FORBIDDEN_WITHOUT_NEAR_PROVIDERS = (
    Flow(GATEWAY, REPLICA, M),
    Flow(GATEWAY, CLIENT, 5432),
    Flow(GATEWAY, NEAR, 8000),
)
"""A provider inside the cluster may be any pod on any port behind its Service: then these are open."""


def policies(*networks: str, operator: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    """The policies of a fleet with a simulated and a vLLM pool; the chart's own for the operator is passed in.

    `networks`: what the chart's `cloud.allowedNetworks` say.
    """
    settings = replace(SETTINGS, gateway=GatewayOptions(networks))
    chat, big = pool("chat"), pool("big", spec(model={"name": "Qwen/Qwen2.5-72B-Instruct"}, engine={"gpus": 2}))
    owners = [chat.owner, big.owner, policy().owner]
    return [
        replica_network_policy(NAMESPACE, chat.owner, spec(), settings),
        replica_network_policy(NAMESPACE, big.owner, big.spec or spec(), settings),
        gateway_network_policy(NAMESPACE, owners, [PolicySpec.model_validate(POLICY)], settings),
        *([operator] if operator else []),
    ]
