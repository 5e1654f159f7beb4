"""Which connections pods really have: read from the kernel, in each pod's own network namespace. Needs root."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from e2e.cluster.paths import MAX_NODES, pod_net
from e2e.netpolicy import End, Flow
from e2e.scenarios.helpers import get

_ESTABLISHED, _TIME_WAIT, _LISTEN = "01", "06", "0A"
_LINE = re.compile(r"^\s*\d+: ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{2})")
Connection = tuple[str, str, int]
"""Who opened it, to whom, and to which port: addresses as the receiving pod sees them."""


def connections() -> set[Connection]:
    """Every connection that a pod of this machine has accepted and not forgotten yet."""
    return {one for table in _tables() for one in accepted(table)}


def accepted(table: str) -> set[Connection]:
    """Connections to ports that somebody listens on, in texts of /proc/net/tcp and tcp6; none within the pod."""
    lines = [match.groups() for line in table.splitlines() if (match := _LINE.match(line))]
    listening = {port for _, port, _, _, state in lines if state == _LISTEN}
    found = {
        (_address(remote), _address(local), int(port, 16))
        for local, port, remote, _, state in lines
        if state in (_ESTABLISHED, _TIME_WAIT) and port in listening
    }
    return {one for one in found if not ip_address(one[1]).is_loopback}


def _tables() -> Iterator[str]:
    """The TCP tables of each network namespace but the machine's own, once."""
    own = Path("/proc/self/ns/net").readlink()
    seen = {own}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (folder / "ns/net").readlink()
            if namespace not in seen:
                seen.add(namespace)
                yield "".join((folder / "net" / family).read_text() for family in ("tcp", "tcp6"))
        except OSError:
            continue  # it ended meanwhile


def _address(text: str) -> str:
    """One address; each word of it has its bytes in the machine's order. An IPv4 one in IPv6 is that one."""
    raw = bytes.fromhex(text)
    octets = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ip_address(octets)
    return str(address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address)


def ends(namespaces: tuple[str, ...]) -> dict[str, End]:
    """Every pod of these namespaces by its address."""
    pods: list[dict[str, Any]] = [pod for namespace in namespaces for pod in get("pods", namespace)]
    return {
        address: End(
            pod["metadata"]["name"], address, pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
        )
        for pod in pods
        if (address := pod["status"].get("podIP"))
    }


def flows(seen: set[Connection], pods: dict[str, End]) -> list[Flow]:
    """The connections as flows; who is no pod is a node, or the machine itself. Those of a pod that has ended are left
    out, for nobody knows what it was."""
    return [
        Flow(pods.get(source) or End(f"node {source}", source), pods[target], port)
        for source, target, port in sorted(seen)
        if target in pods and (source in pods or not _was_a_pod(source))
    ]


def _was_a_pod(address: str) -> bool:
    """Of the pods' network; the first address of each node's part is the node's own."""
    found = ip_address(address)
    nets = (ip_network(pod_net(number)) for number in range(1, MAX_NODES + 1))
    return any(found in net and found != net[1] for net in nets)
