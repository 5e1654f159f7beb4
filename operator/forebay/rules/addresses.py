"""Which addresses a provider may be at: a team writes the policy, but what gateways may reach is not its word alone.

By itself only public unicast addresses over https are fine. Networks that the chart allows (`cloud.allowedNetworks`)
are fine as well, over http too. Metadata services and what is no single host are refused whatever the chart says.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "169.254.0.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
"""Where clouds hand credentials to whoever asks from inside a machine."""

NEVER: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(text), kind)
    for text, kind in (
        ("0.0.0.0/8", "unspecified"), ("224.0.0.0/4", "multicast"), ("255.255.255.255/32", "broadcast"),
        ("::/128", "unspecified"), ("ff00::/8", "multicast"),
    )
)  # fmt: skip

SPECIAL: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(text), kind)
    for text, kind in (
        ("10.0.0.0/8", "private"), ("172.16.0.0/12", "private"), ("192.168.0.0/16", "private"),
        ("127.0.0.0/8", "loopback"), ("169.254.0.0/16", "link-local"), ("100.64.0.0/10", "shared"),
        ("192.0.0.0/24", "reserved"), ("192.0.2.0/24", "documentation"), ("192.88.99.0/24", "reserved"),
        ("198.18.0.0/15", "benchmarking"), ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"), ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"), ("fe80::/10", "link-local"), ("fec0::/10", "private"), ("fc00::/7", "private"),
        ("100::/64", "discarded"), ("2001:db8::/32", "documentation"), ("3fff::/20", "documentation"),
        ("2001::/23", "reserved"), ("2002::/16", "tunnelled"), ("5f00::/16", "reserved"),
        ("64:ff9b:1::/48", "private"),
    )
)  # fmt: skip
"""The special-purpose registries of IANA, as far as they are not reachable from everywhere."""

EVERYWHERE: Final[tuple[Network, ...]] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Allowed networks of a proxy that the chart itself names: metadata services and what is no host stay refused."""
GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")


def networks(words: Iterable[str]) -> tuple[Network, ...]:
    """Read networks in CIDR notation. Raises ValueError that names the one that is none."""
    found = []
    for word in words:
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is no network in CIDR notation, like 10.96.0.0/12: {error}") from error
    return tuple(found)


def refusal(text: str, scheme: str, allowed: tuple[Network, ...] = ()) -> str | None:
    """Why nothing is sent to this address (a numeric one, as a resolver gives it), or None where it is fine."""
    try:
        address = plain(ip_address(text.partition("%")[0]))
    except ValueError:
        return "it is no address"
    if address in METADATA:
        return "it is a metadata service"
    if (kind := _kind(address, NEVER)) is not None:
        return f"its address is {kind}"
    if any(address in network for network in allowed):
        return None
    if (kind := _kind(address, SPECIAL)) is not None or (address.version == 6 and address not in GLOBAL_UNICAST):
        return f"its address is {kind or 'reserved'}, and the chart's cloud.allowedNetworks does not name it"
    return None if scheme == "https" else "http is for providers in the chart's cloud.allowedNetworks; use https"


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, compatible, NAT64), or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    embedded = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64:
        return embedded
    return embedded if address in _COMPATIBLE and int(address) > 1 else address


def _kind(address: Address, among: tuple[tuple[Network, str], ...]) -> str | None:
    return next((kind for network, kind in among if address in network), None)
