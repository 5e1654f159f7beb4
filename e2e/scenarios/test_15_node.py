"""A node falls silent: its kubelet dies, or its network. What can still be served is, and no size changes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.cluster.embedded import started
from e2e.cluster.node import Node
from e2e.scenarios import own
from e2e.scenarios.helpers import get, until
from e2e.scenarios.own import NAMESPACE, POOL, Own, long_only, long_or
from e2e.scenarios.streams import flowing, never_silent, none_failed, none_refused, summary

SILENT_SECONDS = long_or(60, 120)


@pytest.fixture
def node() -> Node:
    """The second one: this machine reaches Services by the first."""
    return next(node for node in started() if node.number == 2)


def state(name: str) -> str:
    conditions = next(n for n in get("nodes", "") if n["metadata"]["name"] == name)["status"]["conditions"]
    return str(next(c["status"] for c in conditions if c["type"] == "Ready"))


def there(node: Node) -> list[str]:
    """Replicas on this node."""
    found = get("pods", NAMESPACE, "-l", f"forebay.dev/pool={POOL}")
    return sorted(pod["metadata"]["name"] for pod in found if pod["spec"].get("nodeName") == node.name)


@contextmanager
def without_kubelet(node: Node) -> Iterator[None]:
    node.stop_kubelet()
    try:
        yield
    finally:
        node.start_kubelet()
        until(lambda: state(node.name) == "True", f"{node.name} Ready", 60)


@contextmanager
def without_network(node: Node) -> Iterator[None]:
    node.cut_off(True)
    try:
        yield
    finally:
        node.cut_off(False)
        until(lambda: state(node.name) == "True", f"{node.name} Ready", 90)


def spread(held: Own, node: Node) -> None:
    """At least one replica on this node and one elsewhere."""
    own.calm()
    held.settle()
    if not 0 < len(there(node)) < held.size:
        pytest.skip(f"the scheduler put {len(there(node))} of {held.size} replicas on {node.name}")


@long_only
def test_a_dead_kubelet_costs_nothing(held: Own, node: Node) -> None:
    spread(held, node)
    before, began, replicas = own.identities(), time.time(), there(node)
    with flowing(held.door, at_once=14, tokens=60) as streams, without_kubelet(node):
        until(lambda: state(node.name) == "Unknown", f"{node.name} NotReady", 150)
        noticed = time.time() - began
        time.sleep(SILENT_SECONDS - 45)
        message = own.condition("Ready")["message"]
    held.settle()
    print(
        f"\nkubelet of {node.name} dead: NotReady after {noticed:.0f} s, Ready said {message!r} with {replicas} there\n"
        f"{summary(streams.answers)}"
    )
    none_failed(streams.answers)
    assert own.steps(began) == []
    assert own.identities() == before


@long_only
def test_a_lost_node_costs_what_ran_there(held: Own, node: Node) -> None:
    """Gateways and replicas of that node are out of reach. Clients of the lost gateway have to come again."""
    spread(held, node)
    began, replicas = time.time(), there(node)
    with flowing(held.door, at_once=10, tokens=100) as streams:
        time.sleep(5)
        with without_network(node):
            until(lambda: state(node.name) == "Unknown", f"{node.name} NotReady", 150)
            noticed = time.time() - began - 5
            time.sleep(SILENT_SECONDS - 45)
            late = time.monotonic()
            time.sleep(15)
    held.settle()
    after = [answer for answer in streams.answers if answer.begun > late]
    print(
        f"\n{node.name} lost with {replicas}: NotReady after {noticed:.0f} s; {len(after)} streams begun after that: "
        f"{summary(after)}\nall: {summary(streams.answers)}"
    )
    never_silent(streams.answers)
    none_refused(after)
    none_failed(after)
    assert own.steps(began) == []
    until(lambda: own.condition("Ready")["message"].startswith("3 of 3"), "Ready", 90)
