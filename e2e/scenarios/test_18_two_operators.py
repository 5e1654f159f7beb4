"""A second installation finds the first one alive, waits and says so; it takes over when the first one goes."""

import json
import time
from collections.abc import Iterator

import pytest

from e2e.cluster import images
from e2e.cluster.paths import IMAGE, REPO, SERVICE_NET
from e2e.demo import setup
from e2e.demo.setup import RELEASE, SYSTEM_NAMESPACE, helm, kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import get, until
from e2e.scenarios.own import NAMESPACE, POOL, Own, long_only
from e2e.scenarios.streams import flowing, none_failed, summary

SECOND, SECOND_NAMESPACE = "other", "forebay-other"


def install(release: str, namespace: str, *extra: str) -> None:
    repository, _, tag = IMAGE.rpartition(":")
    helm(
        "upgrade", "--install", release, str(REPO / "charts" / "forebay"), "-n", namespace, "--create-namespace",
        "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
        "--set", f"cloud.allowedNetworks={{{SERVICE_NET}}}",
        "--set-string", f"podAnnotations.image-content={images.content()}", "--set", "crds.install=false", *extra,
    )  # fmt: skip


def operators(namespace: str) -> list[dict]:  # type: ignore[type-arg]
    return get("pods", namespace, "-l", "app.kubernetes.io/component=operator")


def holder(namespace: str = "kube-system") -> str:
    found = kubectl("get", "lease", "forebay-operator", "-n", namespace, "-o", "json", "--ignore-not-found")
    return str(json.loads(found)["spec"].get("holderIdentity", "")) if found else ""


@pytest.fixture
def second() -> Iterator[None]:
    try:
        yield
    finally:
        kubectl("delete", "namespace", SECOND_NAMESPACE, "--timeout=90s", check=False)


def test_the_second_only_says_so_and_takes_over(held: Own, second: None) -> None:
    held.settle()
    before, began = own.identities(), time.time()
    with flowing(held.door, at_once=10, tokens=40) as streams:
        install(SECOND, SECOND_NAMESPACE)
        until(lambda: bool(operators(SECOND_NAMESPACE)), "the second operator's pod", 30)
        name = operators(SECOND_NAMESPACE)[0]["metadata"]["name"]
        until(
            lambda: "another operator is at work" in kubectl("logs", name, "-n", SECOND_NAMESPACE, check=False),
            "its word",
            60,
        )
        time.sleep(10)
        ready = own.is_ready(operators(SECOND_NAMESPACE)[0])
        said = [
            line for line in kubectl("logs", name, "-n", SECOND_NAMESPACE).splitlines() if "another operator" in line
        ]
        events = own.told(began, "kube-system")
        assert holder().startswith(f"{SYSTEM_NAMESPACE}/")
        helm("uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--wait", "--timeout", "60s")
        gone = time.monotonic()
        until(lambda: holder().startswith(f"{SECOND_NAMESPACE}/"), "the Lease taken over", 60)
        took = time.monotonic() - gone
        until(lambda: own.is_ready(operators(SECOND_NAMESPACE)[0]), "the second ready", 60)
        held.scale(2)
        held.settle(2)
        held.scale(held.size)
        held.settle()
        after = own.identities()
        helm("uninstall", SECOND, "-n", SECOND_NAMESPACE, "--wait", "--timeout", "60s")
        setup.install_chart()
        own.wait_operator()
        time.sleep(5)
    print(
        f"\nsecond operator: {len(said)} line(s), {said[0][:200] if said else ''}; Event "
        f"{[(event.reason, event.about) for event in events]}; took over {took:.0f} s after the first was gone\n"
        f"{summary(streams.answers)}"
    )
    none_failed(streams.answers)
    assert not ready
    assert ("OperatorWaits", "Lease/forebay-operator") in [(event.reason, event.about) for event in events]
    kept = (f"{POOL}-0", f"{POOL}-1")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert own.identities() == after


@long_only
def test_a_namespace_with_an_operator_of_its_own_is_left_to_it(held: Own, second: None) -> None:
    held.settle()
    before = own.identities()
    install(SECOND, SECOND_NAMESPACE, "--set", f"namespaces={{{NAMESPACE}}}", "--wait", "--timeout", "90s")
    until(lambda: holder(NAMESPACE).startswith(f"{SECOND_NAMESPACE}/"), "a Lease of its own", 30)
    time.sleep(6)
    held.scale(2)
    held.settle(2)
    log = kubectl("logs", own.operator_pod(), "-n", SYSTEM_NAMESPACE, "--since=60s")
    assert f"namespace {NAMESPACE} has an operator of its own" in log
    assert f"applied StatefulSet {NAMESPACE}/" not in log
    assert holder().startswith(f"{SYSTEM_NAMESPACE}/")
    helm("uninstall", SECOND, "-n", SECOND_NAMESPACE, "--wait", "--timeout", "60s")
    held.scale(held.size)
    held.settle()
    assert {name: own.identities()[name] for name in (f"{POOL}-0", f"{POOL}-1")} == {
        name: before[name] for name in (f"{POOL}-0", f"{POOL}-1")
    }
