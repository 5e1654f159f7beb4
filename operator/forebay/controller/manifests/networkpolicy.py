"""Who may talk to whom. Without a network plugin that enforces them, these policies do no harm and no good."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from urllib.parse import urlsplit

from forebay import engines
from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.manifests.common import Owner, gateway_selector, of_fleet, of_pool, pool_selector
from forebay.controller.settings import Settings
from forebay.resources import names
from forebay.resources.options import GatewayOptions, NetworkOptions, proxies
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import PoolSpec
from forebay.resources.terms import Transport
from forebay.rules.addresses import METADATA, NEVER, SPECIAL

_API = "networking.k8s.io/v1"
_PUBLIC: list[Object] = [
    {"ipBlock": {"cidr": everything, "except": [str(net) for net, _ in (*NEVER, *SPECIAL) if net.version == version]}}
    for version, everything in ((4, "0.0.0.0/0"), (6, "::/0"))
]
_LINK_LOCAL = tuple(net for net, kind in SPECIAL if kind == "link-local")
_ANYWHERE: list[Object] = [
    {"namespaceSelector": {}},
    *(
        {
            "ipBlock": {
                "cidr": everything,
                "except": [
                    *(str(net) for net in _LINK_LOCAL if net.version == version),
                    *(
                        f"{one}/{one.max_prefixlen}"
                        for one in sorted(METADATA, key=str)
                        if one.version == version and not any(one in net for net in _LINK_LOCAL)
                    ),
                ],
            }
        }
        for version, everything in ((4, "0.0.0.0/0"), (6, "::/0"))
    ),
]
"""Where models are fetched from, and where a proxy may be: the world, the company's network, the cluster; no metadata
service."""
_DNS_PODS: Object = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]
}
"""The cluster's DNS servers, whatever port they listen on behind their Service."""


def replica_network_policy(namespace: str, pool: Owner, spec: PoolSpec, settings: Settings) -> Object:
    """Replicas: requests from the namespace, control from routers and operator; out to DNS, gateways, model source."""
    body = of_pool("NetworkPolicy", _API, pool.name, namespace, pool)
    network = settings.network
    egress = [
        *_dns(network),
        {"to": [_pods(gateway_selector())], "ports": _tcp(names.PORT_REQUEST, names.PORT_CONTROL)},
    ]
    if not engines.of(spec.engine.type).simulated and not (spec.model.source or spec.model.name).startswith("/"):
        egress.append({"to": _ANYWHERE, "ports": _tcp(*network.model_ports)})
    body["spec"] = {
        "podSelector": {"matchLabels": pool_selector(pool.name)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {}}], "ports": _tcp(names.PORT_REQUEST)},
            {
                "from": [_pods(gateway_selector()), *_operator(settings.own_namespace)],
                "ports": _tcp(names.PORT_CONTROL),
            },
            {"ports": _tcp(names.PORT_METRICS, names.PORT_HEALTH)},
        ],
        "egress": [*egress, *network.replica_egress],
    }
    return body


def gateway_network_policy(
    namespace: str, owners: Sequence[Owner], policies: Iterable[PolicySpec], settings: Settings
) -> Object:
    """Gateways: requests from everywhere, control from replicas and operator; out to DNS, replicas, providers."""
    body = of_fleet("NetworkPolicy", _API, names.GATEWAY, namespace, owners)
    replicas = {names.LABEL_NAME: "forebay", names.LABEL_COMPONENT: names.COMPONENT_REPLICA}
    body["spec"] = {
        "podSelector": {"matchLabels": gateway_selector()},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": _tcp(names.PORT_REQUEST, names.PORT_METRICS, names.PORT_HEALTH)},
            {
                "from": [_pods(replicas), _pods(gateway_selector()), *_operator(settings.own_namespace)],
                "ports": _tcp(names.PORT_CONTROL),
            },
        ],
        "egress": [
            *_dns(settings.network),
            {"to": [_pods(replicas)], "ports": _tcp(names.PORT_CONTROL, names.PORT_REQUEST)},
            *_to_operator(settings.own_namespace),
            *_providers(policies, settings.gateway),
            *settings.network.gateway_egress,
        ],
    }
    return body


def _dns(network: NetworkOptions) -> list[Object]:
    """Names: policies see the port of the pod behind DNS's Service, which is not 53 everywhere."""
    ports = [{"protocol": protocol, "port": port} for port in network.dns_ports for protocol in ("UDP", "TCP")]
    return [{"ports": ports}, _DNS_PODS]


def _providers(policies: Iterable[PolicySpec], options: GatewayOptions) -> list[Object]:
    """Public addresses on the ports of HTTPS providers; what the chart allows on any port: a Service may map it; and
    the proxies that providers name, instead of these providers."""
    providers = [provider for policy in policies for provider in policy.providers]
    direct = [item for item in providers if not item.proxy]
    ports = {urlsplit(item.base_url).port or 443 for item in direct if item.transport is Transport.HTTPS}
    rules: list[Object] = [{"to": _PUBLIC, "ports": _tcp(*sorted(ports))}] if ports else []
    if direct and options.provider_networks:
        cidrs: list[Object] = [{"ipBlock": {"cidr": cidr}} for cidr in options.provider_networks]
        rules.append({"to": [{"namespaceSelector": {}}, *cidrs]})
    known = proxies(options.provider_proxies)
    return [*rules, *(_proxy(known[name]) for name in sorted({item.proxy or "" for item in providers} & set(known)))]


def _proxy(url: str) -> Object:
    """A proxy's address where its URL has one; else its port anywhere but at metadata services."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address = ip_network(parts.hostname or "")
    except ValueError:
        return {"to": _ANYWHERE, "ports": _tcp(port)}
    return {"to": [{"ipBlock": {"cidr": str(address)}}], "ports": _tcp(port)}


def _operator(namespace: str) -> list[Object]:
    """The operator asks routers for their reports; run outside a cluster it is not known by namespace."""
    if not namespace:
        return [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]


def _to_operator(namespace: str) -> list[Object]:
    """Gateways ask it for a pool without replicas; run outside a cluster it is not asked."""
    if not namespace:
        return []
    labels = {names.LABEL_NAME: "forebay", names.LABEL_COMPONENT: names.COMPONENT_OPERATOR}
    return [{"to": [_operator(namespace)[0] | _pods(labels)], "ports": _tcp(names.PORT_OPERATOR)}]


def _pods(labels: dict[str, str]) -> Object:
    return {"podSelector": {"matchLabels": labels}}


def _tcp(*ports: int) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]
