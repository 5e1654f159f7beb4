"""Where a gateway may connect to, and where never."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.addresses import METADATA, NEVER, SPECIAL, networks, refusal

PUBLIC = ["1.1.1.1", "8.8.8.8", "104.18.7.192", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
          "192.169.0.1", "11.0.0.1", "169.253.0.1", "2606:4700::6812:7c0", "2a00:1450:4001::200e", "::ffff:1.1.1.1",
          "64:ff9b::101:101", "2620:4f:8000::1"]  # fmt: skip
REFUSED = {
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "127.0.0.1": "loopback",
    "127.255.0.9": "loopback",
    "169.254.1.1": "link-local",
    "169.254.169.254": "metadata",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "255.255.255.255": "broadcast",
    "240.0.0.1": "reserved",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "198.18.0.1": "benchmarking",
    "203.0.113.5": "documentation",
    "::": "unspecified",
    "::1": "loopback",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fd00:ec2::254": "metadata",
    "ff02::1": "multicast",
    "fec0::1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:169.254.169.254": "metadata",
    "::127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b:1::1": "private",
    "2002:7f00:1::": "tunnelled",
    "2002:a00:1::": "tunnelled",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
    "2001:db8::1": "documentation",
    "4000::1": "reserved",
    "not an address": "no address",
    "": "no address",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_fine_over_https_and_only_over_https(address: str) -> None:
    assert refusal(address, "https") is None
    assert "use https" in (refusal(address, "http") or "")


@pytest.mark.parametrize(("address", "kind"), REFUSED.items())
def test_all_others_are_refused(address: str, kind: str) -> None:
    for scheme in ("https", "http"):
        assert kind in (refusal(address, scheme) or "")


@pytest.mark.parametrize(
    ("address", "allowed", "fine"),
    [
        ("10.96.0.7", "10.96.0.0/12", True),
        ("::ffff:10.96.0.7", "10.96.0.0/12", True),
        ("10.200.0.1", "10.96.0.0/12", False),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("::1", "::1/128", True),
        ("fd12::1", "fd00::/8", True),
        ("1.1.1.1", "1.1.1.0/24", True),
        ("169.254.169.254", "0.0.0.0/0", False),
        ("::ffff:169.254.169.254", "::/0", False),
        ("fd00:ec2::254", "::/0", False),
        ("224.0.0.1", "0.0.0.0/0", False),
        ("0.0.0.0", "0.0.0.0/0", False),
    ],
)
def test_the_chart_may_allow_networks_over_http_too_but_never_metadata(address: str, allowed: str, fine: bool) -> None:
    assert (refusal(address, "http", networks([allowed])) is None) is fine


@pytest.mark.parametrize(
    "spelling", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "017700000001"]
)
def test_odd_spellings_mean_what_the_resolver_makes_of_them(spelling: str) -> None:
    found = {item[4][0] for item in socket.getaddrinfo(spelling, 443, type=socket.SOCK_STREAM)}
    assert found == {"127.0.0.1"}
    assert all(refusal(str(address), "https") for address in found)
    assert refusal(spelling, "https") is not None  # nor does it pass unresolved


def test_a_network_that_is_none_is_named() -> None:
    assert [str(network) for network in networks(["10.0.0.0/8", "::1/128"])] == ["10.0.0.0/8", "::1/128"]
    for word in ("10.0.0.1/8", "private", ""):
        with pytest.raises(ValueError, match="no network in CIDR notation"):
            networks([word])


@given(st.integers(0, 2**32 - 1))
def test_an_address_of_ipv4_is_judged_alike_in_every_disguise(number: int) -> None:
    bare = IPv4Address(number)
    spellings = [str(bare), f"::ffff:{bare}", str(IPv6Address((0x64FF9B << 96) | number))]
    assert len({refusal(spelling, "https") for spelling in spellings}) == 1


@given(st.sampled_from([network for network, _ in (*SPECIAL, *NEVER)]), st.integers(0))
def test_no_address_of_a_special_network_passes(network: object, offset: int) -> None:
    address = network[offset % network.num_addresses]  # type: ignore[index, attr-defined]
    assert refusal(str(address), "https") is not None


def test_metadata_is_refused_whatever_is_allowed() -> None:
    everything = networks(["0.0.0.0/0", "::/0"])
    assert all(refusal(str(address), "https", everything) for address in METADATA)
    assert all(refusal(str(ip_address(f"::ffff:{a}")), "https", everything) for a in METADATA if a.version == 4)
