"""Connections as the kernel lists them, read as flows."""

from e2e.netpolicy import End
from e2e.scenarios.flows import accepted, flows

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 2 1 0 100 0 0 10 0
   2: 0502F40A:1F91 0601F40A:9C40 01 00000000:00000000 00:00000000 00000000 65532        0 3 1 0 20 4 30 10 -1
   3: 0502F40A:1F91 01002A0A:9C41 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   4: 0502F40A:9C42 0A02F40A:1F91 01 00000000:00000000 00:00000000 00000000 65532        0 4 1 0 20 4 30 10 -1
   5: 0100007F:1F40 0100007F:9C43 01 00000000:00000000 00:00000000 00000000 65532        0 5 1 0 20 4 30 10 -1
"""


def test_what_came_in_counts_and_what_went_out_or_stayed_inside_does_not() -> None:
    assert accepted(TABLE) == {("10.244.1.6", "10.244.2.5", 8081), ("10.42.0.1", "10.244.2.5", 8081)}


def test_a_socket_of_both_families_shows_an_ipv4_peer_as_such() -> None:
    mapped, every = "0000000000000000FFFF0000", "0" * 32
    lines = [f"   0: {every}:1F91 {every}:0000 0A", f"   1: {mapped}0502F40A:1F91 {mapped}0601F40A:9C40 01"]
    assert accepted("\n".join(lines)) == {("10.244.1.6", "10.244.2.5", 8081)}


def test_whoever_is_no_pod_is_a_node() -> None:
    pods = {"10.244.2.5": End("chat-0", "10.244.2.5", "demo"), "10.244.1.6": End("gateway", "10.244.1.6", "demo")}
    assert [str(flow) for flow in flows(accepted(TABLE), pods)] == [
        "gateway -> chat-0:8081/TCP",
        "node 10.42.0.1 -> chat-0:8081/TCP",
    ]


def test_a_connection_of_a_pod_that_has_ended_is_nobodys() -> None:
    pods = {"10.244.2.5": End("chat-0", "10.244.2.5", "demo")}
    seen = {("10.244.1.6", "10.244.2.5", 8081), ("10.244.1.1", "10.244.2.5", 8082), ("10.245.0.1", "10.244.2.5", 8082)}
    assert [str(flow) for flow in flows(seen, pods)] == [
        "node 10.244.1.1 -> chat-0:8082/TCP",
        "node 10.245.0.1 -> chat-0:8082/TCP",
    ]
