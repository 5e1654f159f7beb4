"""The API server goes away, comes back without a past, or falls silent without a word: requests are served all the
while, and the operator says that it is blind, does nothing, and goes on where it was."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import embedded
from e2e.cluster.embedded import started
from e2e.cluster.shell import run
from e2e.demo.setup import SYSTEM_NAMESPACE, kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import operator_pod, until
from e2e.scenarios.own import NAMESPACE, Own, long_only, long_or
from e2e.scenarios.streams import flowing, none_failed, summary

AWAY_SECONDS = long_or(45, 600)
DEAD_WATCH_SECONDS = 90
"""A watch that hears nothing for 75 s is given up: bookmarks come every minute."""
WATCHES = 10


def metric(name: str) -> float:
    """One of the operator's own."""
    _, text = own.operator_page("/metrics", 9090)
    found = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return max((float(line.rpartition(" ")[2]) for line in found), default=-1.0)


def test_the_api_server_is_away(held: Own) -> None:
    held.settle()
    own.wait_operator()
    before, began = own.identities(), time.time()
    operators = own.identities(SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator")
    sick, blind_after = "", 0.0
    with flowing(held.door, at_once=12, tokens=100) as streams:
        embedded.stop_apiserver()
        gone = time.monotonic()
        try:
            while time.monotonic() - gone < AWAY_SECONDS:
                status, text = own.operator_page("/readyz")
                if status != 200 and not sick:
                    sick, blind_after = text, time.monotonic() - gone
                alive, _ = own.operator_page("/livez")
                assert alive == 200, "a restart would cure nothing"
                time.sleep(1)
            ages = metric("forebay_operator_last_reconcile_age_seconds"), metric("forebay_operator_lease_age_seconds")
        finally:
            embedded.forget_history()
            embedded.start_apiserver()
        back = time.monotonic()
        own.wait_operator()
        seeing = time.monotonic() - back
        held.scale(2)
        until(lambda: own.wanted() == 2, "a scale that is acted on", 60)
        acted = time.monotonic() - back
        until(lambda: len(held.names) == 2, "the pod gone", 120)
    print(
        f"\nAPI server away for {AWAY_SECONDS} s: not ready after {blind_after:.0f} s ({sick}), last reconcile "
        f"{ages[0]:.0f} s and Lease {ages[1]:.0f} s old at the end; ready {seeing:.0f} s after it was back, a scale "
        f"asked for then was acted on {acted:.0f} s after\n{summary(streams.answers)}"
    )
    held.scale(held.size)
    own.calm()
    held.settle()
    none_failed(streams.answers)
    assert sick
    assert 0 < blind_after < 40
    assert ages[0] > AWAY_SECONDS - 20
    assert own.steps(began)[:1] == [(3, 2)], "the first change of size is the one that was asked for"
    assert {name: own.identities()[name] for name in (f"{own.POOL}-0", f"{own.POOL}-1")} == {
        name: before[name] for name in (f"{own.POOL}-0", f"{own.POOL}-1")
    }
    assert own.identities(SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator") == operators


@long_only
def test_a_router_that_restarts_meanwhile_serves_again(held: Own) -> None:
    """Without the API server: its table, token and keys are files that the kubelet has."""
    held.settle()
    victim = f"{own.POOL}-2"
    pids = own.processes(victim, "engine")
    embedded.stop_apiserver()
    try:
        import os  # noqa: PLC0415
        import signal  # noqa: PLC0415

        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(8)
        with flowing(held.door, at_once=20, tokens=30) as streams:
            time.sleep(10)
    finally:
        embedded.start_apiserver()
    own.wait_operator()
    own.calm()
    held.settle()
    most = max(_at_a_time(streams.answers), default=0)
    print(f"\nengine restarted while the API server was away: {summary(streams.answers)}; {most} ran at a time")
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers} == {own.POOL}, "24 slots served 20 streams: all three"


def _at_a_time(answers: list) -> list[int]:  # type: ignore[type-arg]
    return [sum(a.first <= b.first < a.ended for a in answers) for b in answers]


def connections(pid: int) -> list[int]:
    """Local ports of the connections to the API server that a process's network has."""
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[2].endswith(":01BB") and words[3] == "01":
            found.append(int(words[1].rpartition(":")[2], 16))
    return found


@contextmanager
def dead_connections(address: str, pid: int) -> Iterator[int]:
    """Drop every packet of the connections to the API server that a pod has now; new ones are fine. Yields how many."""
    ports = connections(pid)
    rules = [
        rule
        for port in ports
        for rule in (
            ["FORWARD", "-s", address, "-p", "tcp", "--sport", str(port), "-j", "DROP"],
            ["FORWARD", "-d", address, "-p", "tcp", "--dport", str(port), "-j", "DROP"],
        )
    ]
    node = next(node for node in started() if address.startswith(f"10.244.{node.number}."))
    for rule in rules:
        run(*node.inside, "iptables", "-I", *rule)
    try:
        yield len(ports)
    finally:
        for rule in rules:
            run(*node.inside, "iptables", "-D", *rule, check=False)


def test_watches_that_die_without_a_word(held: Own) -> None:
    """What a stateful firewall or a lost load balancer does: the connection is there, and nothing comes."""
    held.settle()
    own.wait_operator()
    (pid,) = own.processes(operator_pod(), "operator", SYSTEM_NAMESPACE)
    until(lambda: len(connections(pid)) >= WATCHES, "every watch open", 60)
    name = "born-blind"
    spec = {
        "model": {"name": "held/Small"}, "engine": {"type": "Simulated", "gpus": 0},
        "scaling": {"mode": "Manual", "minReplicas": 1, "maxReplicas": 1},
    }  # fmt: skip
    manifest = {
        "apiVersion": "forebay.dev/v1alpha1", "kind": "LocalModelPool", "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip
    with dead_connections(own.OPERATOR.address, pid) as count:
        began, red = time.monotonic(), 0.0
        kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(manifest))
        while not kubectl("get", "statefulset", name, "-n", NAMESPACE, "-o", "name", "--ignore-not-found"):
            red = red or (time.monotonic() - began if own.operator_page("/readyz")[0] != 200 else 0.0)
            assert time.monotonic() - began < DEAD_WATCH_SECONDS + 30, "blind"
            time.sleep(1)
        seen = time.monotonic() - began
    print(
        f"\n{count} connections to the API server dead: a new pool was seen after {seen:.0f} s; "
        f"{f'not ready after {red:.0f} s' if red else 'ready all the while'}"
    )
    kubectl("delete", "localmodelpool", name, "-n", NAMESPACE)
    assert count >= WATCHES
    assert seen < DEAD_WATCH_SECONDS
    own.wait_operator()
    until(lambda: own.condition("Ready")["status"] == "True", "Ready", 30)
