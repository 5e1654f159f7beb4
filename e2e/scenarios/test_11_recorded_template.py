"""helm upgrade to another router, another manifest builder and another operator restarts no replica."""

import shutil
import time
from collections.abc import Iterator

import pytest

from e2e.cluster import embedded, images
from e2e.cluster.paths import IMAGE, REPO
from e2e.demo import setup
from e2e.demo.setup import NAMESPACE as DEMO
from e2e.demo.setup import Fleet
from e2e.scenarios import own
from e2e.scenarios.helpers import get, until
from e2e.scenarios.own import NAMESPACE, POOL, Own, long_only
from e2e.scenarios.streams import flowing, none_failed, summary

NEXT = IMAGE.rpartition(":")[0] + ":next"
QUIET_SECONDS = 15
CHANGES = {
    "controller/manifests/template.py": [
        ("BUILDER_VERSION: Final = ", "BUILDER_VERSION: Final = 1"),
        ("GRACE_SECONDS: Final = 30", "GRACE_SECONDS: Final = 31"),
    ],
}
"""A build whose templates differ from ours in more than the image's name."""


@pytest.fixture(scope="module")
def newer(held: Own, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another build of everything, on every node; afterwards the first one again."""
    source = tmp_path_factory.mktemp("next") / "forebay"
    shutil.copytree(REPO / "operator" / "forebay", source, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in CHANGES.items():
        path = source / name
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
    archive = images.product(NEXT, source)
    embedded.load(archive)
    try:
        yield NEXT
    finally:
        setup.install_chart()
        own.wait_operator()
        for left in (archive, archive.with_suffix(".key")):
            left.unlink(missing_ok=True)


def upgrade(image: str) -> None:
    setup.install_chart("--set", f"image.tag={image.rpartition(':')[2]}")
    own.wait_operator()


def gateways_run(image: str, namespace: str) -> bool:
    found = get("pods", namespace, "-l", "app.kubernetes.io/component=gateway")
    return all(
        pod["spec"]["containers"][0]["image"] == image
        and own.is_ready(pod)
        and "deletionTimestamp" not in pod["metadata"]
        for pod in found
    )


def test_no_replica_restarts_and_every_router_is_programmed(fleet: Fleet, held: Own, newer: str) -> None:
    held.settle()
    before = {namespace: own.identities(namespace) for namespace in (NAMESPACE, DEMO)}
    began = time.time()
    with flowing(held.door, at_once=15, tokens=60) as streams:
        upgrade(newer)
        for namespace in (NAMESPACE, DEMO):
            until(lambda: gateways_run(newer, namespace), f"new gateways in {namespace}", 240)  # noqa: B023
        own.programmed()
        rolled = time.time() - began
        own.quiet(QUIET_SECONDS)
    outdated = own.condition("RouterOutdated")
    print(
        f"\nupgraded in {rolled:.0f} s, {QUIET_SECONDS} s later {sum(map(len, before.values()))} replicas are as they "
        f"were; RouterOutdated: {outdated['message']}\n{summary(streams.answers)}"
    )
    assert {namespace: own.identities(namespace) for namespace in (NAMESPACE, DEMO)} == before
    assert (outdated["status"], outdated["reason"]) == ("True", "OlderRouter")
    assert newer in outdated["message"]
    none_failed(streams.answers)


def test_adopt_router_always_rolls_one_at_a_time_and_the_cloud_covers(held: Own, newer: str) -> None:
    held.settle()
    before = own.identities()
    began = time.time()
    fewest, most = held.size, 0
    with flowing(held.door, at_once=26, tokens=100) as streams:
        time.sleep(5)
        own.patch({"rollout": {"adoptRouter": "Always"}})

        def rolled() -> bool:
            nonlocal fewest, most
            pods = get("pods", NAMESPACE, "-l", f"forebay.dev/pool={POOL}")
            serving = sum(own.is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
            fewest, most = min(fewest, serving), max(most, len(pods))
            new = [pod for pod in pods if pod["metadata"]["annotations"].get("forebay.dev/router-image") == newer]
            return len(new) == len(pods) == serving == held.size

        until(rolled, "every replica with the newer router", 300)
        seconds = time.time() - began
        own.programmed()
    cloud = [answer for answer in streams.answers if answer.destination != POOL]
    changed = [event for event in own.told(began) if event.reason == "TemplateChanged"]
    print(
        f"\nrolled in {seconds:.0f} s, {fewest} to {held.size} replicas served, {len(cloud)} requests went to the "
        f"cloud meanwhile; Event: {changed[0].note if changed else 'none'}\n{summary(streams.answers)}"
    )
    none_failed(streams.answers)
    assert {name: uid for name, (uid, _) in before.items()}.keys() == own.identities().keys()
    assert all(own.identities()[name][0] != uid for name, (uid, _) in before.items())
    assert fewest == held.size - 1, "more than one at a time, or none"
    assert most == held.size, "a spare replica was started: nobody has a spare GPU"
    assert cloud
    assert changed and "the router is newer" in changed[0].note
    until(lambda: own.condition("RouterOutdated")["status"] == "False", "RouterOutdated False", 30)
    own.patch({"rollout": {"adoptRouter": "OnNextChange"}})


@long_only
def test_a_downgrade_is_an_upgrade_like_any_other(held: Own, newer: str) -> None:
    held.settle()
    before = own.identities()
    upgrade(IMAGE)
    until(lambda: gateways_run(IMAGE, NAMESPACE), "the old gateways", 240)
    own.programmed()
    own.quiet(QUIET_SECONDS)
    assert own.identities() == before
    assert own.condition("RouterOutdated")["status"] == "True"


@long_only
def test_a_change_of_spec_takes_the_router_along(held: Own, newer: str) -> None:
    own.patch({"model": {"revision": f"r{int(time.time())}"}})
    until(lambda: own.condition("RouterOutdated")["status"] == "False", "RouterOutdated False", 60)
    until(lambda: all("forebay:dev" in image for image in router_images()), "replicas with the first router", 240)
    held.settle()


def router_images() -> list[str]:
    pods = get("pods", NAMESPACE, "-l", f"forebay.dev/pool={POOL}")
    return [pod["metadata"]["annotations"]["forebay.dev/router-image"] for pod in pods]
