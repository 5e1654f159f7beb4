"""helm uninstall and install again: pools and GPU pods survive untouched, and requests are served all the while."""

from e2e.demo import setup
from e2e.demo.setup import RELEASE, SYSTEM_NAMESPACE, Fleet
from e2e.scenarios.helpers import get, pods, settle, sizes, steady, under_load, until


def test_pools_and_pods_survive(fleet: Fleet) -> None:
    settle(fleet)
    before, sized = pods(), sizes()
    pools = {pool["metadata"]["name"]: pool["metadata"]["uid"] for pool in get("localmodelpools")}

    def reinstall() -> None:
        setup.helm("uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--wait", "--timeout", "60s")
        assert {pool["metadata"]["name"]: pool["metadata"]["uid"] for pool in get("localmodelpools")} == pools
        setup.install_chart()

    answers = under_load(fleet, steady(30), reinstall)
    setup.wait_ready(fleet.namespace)
    failed = [answer for answer in answers if answer.status != 200 or answer.cut]
    print(f"\nuninstalled and installed again: {len(answers)} answers, {len(failed)} failed, pods {len(before)}")
    assert answers and not failed
    until(lambda: sizes() == sized, "the same sizes")
    assert pods() == before


def test_helm_test_asks_the_operator(fleet: Fleet) -> None:
    said = setup.helm("test", RELEASE, "-n", SYSTEM_NAMESPACE, "--timeout", "120s")
    assert "Succeeded" in said
