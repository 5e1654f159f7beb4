"""Which connections pods really have: read from the kernel, in each pod's own network namespace. Needs root."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from e2e.netpolicy import End, Flow
from e2e.scenarios.helpers import get

_ESTABLISHED, _TIME_WAIT, _LISTEN = "01", "06", "0A"
_LINE = re.compile(r"^\s*\d+: ([0-9A-F]{8}):([0-9A-F]{4}) ([0-9A-F]{8}):([0-9A-F]{4}) ([0-9A-F]{2})")
Connection = tuple[str, str, int]
"""Who opened it, to whom, and to which port: addresses as the receiving pod sees them."""


def connections() -> set[Connection]:
    """Every connection that a pod of this machine has accepted and not forgotten yet."""
    return {one for table in _tables() for one in accepted(table)}


def accepted(table: str) -> set[Connection]:
    """Connections to ports that somebody listens on, in a text of /proc/net/tcp; those within the pod left out."""
    lines = [match.groups() for line in table.splitlines() if (match := _LINE.match(line))]
    listening = {port for _, port, _, _, state in lines if state == _LISTEN}
    found = {
        (_address(remote), _address(local), int(port, 16))
        for local, port, remote, _, state in lines
        if state in (_ESTABLISHED, _TIME_WAIT) and port in listening
    }
    return {one for one in found if not one[1].startswith("127.")}


def _tables() -> Iterator[str]:
    """The TCP table of each network namespace but the machine's own, once."""
    own = Path("/proc/self/ns/net").readlink()
    seen = {own}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (folder / "ns/net").readlink()
            if namespace not in seen:
                seen.add(namespace)
                yield (folder / "net/tcp").read_text()
        except OSError:
            continue  # it ended meanwhile


def _address(text: str) -> str:
    return str(IPv4Address(bytes.fromhex(text)[::-1]))


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
    """The connections as flows; who is no pod is a node, or the machine itself."""
    return [
        Flow(pods.get(source) or End(f"node {source}", source), pods[target], port)
        for source, target, port in sorted(seen)
        if target in pods
    ]
