"""What NetworkPolicies say of a flow, without a network plugin: the semantics of networking.k8s.io/v1. Pure.

A flow is judged where the packets are: at pods' addresses and container ports, after a Service has been resolved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow: a pod, or an address outside the cluster (no namespace)."""

    name: str
    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)  # named container ports

    @property
    def namespace_labels(self) -> Mapping[str, str]:
        """The label that every namespace has."""
        return {"kubernetes.io/metadata.name": self.namespace}


@dataclass(frozen=True, slots=True)
class Flow:
    """Somebody opens a connection to a port."""

    source: End
    target: End
    port: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.target.name}:{self.port}/{self.protocol}"


def denied(flow: Flow, policies: Iterable[Policy]) -> str:
    """Which side denies the flow, and by which policies; empty when it is allowed."""
    policies = list(policies)
    return _denied(flow, policies, "Egress") or _denied(flow, policies, "Ingress")


def _denied(flow: Flow, policies: list[Policy], direction: str) -> str:
    inner, outer = (flow.source, flow.target) if direction == "Egress" else (flow.target, flow.source)
    mine = [policy for policy in policies if inner.namespace and _isolates(policy, inner, direction)]
    rules, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    for policy in mine:
        for rule in policy["spec"].get(rules) or ():
            if _port_matches(rule.get("ports"), flow) and _peers_match(rule.get(side), outer, policy):
                return ""
    return f"{direction} of {', '.join(policy['metadata']['name'] for policy in mine)}" if mine else ""


def _isolates(policy: Policy, pod: End, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return (
        direction in types
        and policy["metadata"]["namespace"] == pod.namespace
        and _selects(spec.get("podSelector") or {}, pod.labels)
    )


def _port_matches(ports: list[Mapping[str, Any]] | None, flow: Flow) -> bool:
    return not ports or any(_one_port(port, flow) for port in ports)


def _one_port(port: Mapping[str, Any], flow: Flow) -> bool:
    if port.get("protocol", "TCP") != flow.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return flow.target.ports.get(wanted) == flow.port
    return bool(wanted <= flow.port <= port.get("endPort", wanted))


def _peers_match(peers: list[Mapping[str, Any]] | None, other: End, policy: Policy) -> bool:
    return not peers or any(_one_peer(peer, other, policy["metadata"]["namespace"]) for peer in peers)


def _one_peer(peer: Mapping[str, Any], other: End, home: str) -> bool:
    if (block := peer.get("ipBlock")) is not None:
        return _in(other.address, block["cidr"]) and not any(_in(other.address, net) for net in block.get("except", ()))
    if not other.namespace:
        return False  # selectors select pods
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    at_home = other.namespace == home if namespaces is None else _selects(namespaces, other.namespace_labels)
    return at_home and (pods is None or _selects(pods, other.labels))


def _in(address: str, cidr: str) -> bool:
    one, net = ip_address(address), ip_network(cidr)
    return one.version == net.version and one in net


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    equal = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_expression(item, labels) for item in selector.get("matchExpressions") or ())


def _expression(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = item["key"], item.get("values") or ()
    match item["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"unknown operator {other}")
