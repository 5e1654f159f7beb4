"""A gateway or the operator is killed: what runs goes on, and what was begun is finished, once."""

import random
import time

from e2e.demo.setup import SYSTEM_NAMESPACE, kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import get, operator_pod, until
from e2e.scenarios.own import LONG, NAMESPACE, Own, long_only, long_or
from e2e.scenarios.streams import flowing, never_silent, none_failed, none_refused, summary

KILLS = long_or(2, 10)


def gateways() -> list[str]:
    found = get("pods", NAMESPACE, "-l", "app.kubernetes.io/component=gateway")
    return sorted(pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"])


def test_a_killed_gateway_costs_its_own_streams_and_no_other(held: Own) -> None:
    held.settle()
    before = own.identities()
    with flowing(held.door, at_once=12, tokens=100) as streams:
        time.sleep(4)
        own.kill(gateways()[0], "router")
        time.sleep(15)
    print(f"\ngateway killed: {summary(streams.answers)}")
    never_silent(streams.answers)
    none_refused(streams.answers)
    cut = [answer for answer in streams.answers if not answer.whole]
    assert len(cut) < len(streams.answers) / 2
    assert all(answer.kind == "cut, connection closed" for answer in cut)
    assert own.identities() == before


@long_only
def test_a_gateway_that_is_rolled_cuts_nothing(held: Own) -> None:
    old = gateways()
    with flowing(held.door, at_once=12, tokens=100) as streams:
        time.sleep(4)
        for name in old:
            kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false")
            until(lambda: len(gateways()) == 2 and own.ready_gateways() == 2, "two gateways", 90)
    print(f"\nboth gateways replaced, one after the other: {summary(streams.answers)}")
    none_failed(streams.answers)


def kill_operator() -> None:
    kubectl("delete", "pod", operator_pod(), "-n", SYSTEM_NAMESPACE, "--grace-period=0", "--force")


def test_the_operator_killed_at_random_points_of_a_scale(held: Own) -> None:
    """Each time another size is asked for, and the operator killed within the next seconds."""
    held.settle()
    rng, began = random.Random(7), time.time()
    asked = [2 if at % 2 else 4 for at in range(KILLS)]
    with flowing(held.door, at_once=10, tokens=60) as streams:
        for size in asked:
            held.scale(size)
            time.sleep(rng.uniform(0.0, 4.0 if LONG else 2.0))
            kill_operator()
            own.wait_operator()
            until(lambda: own.wanted() == size, f"{size} replicas asked of the StatefulSet", 60)  # noqa: B023
            held.settle(size)
    steps = own.steps(began)
    print(f"\noperator killed {KILLS} times: asked for {asked}, Events tell of {steps}\n{summary(streams.answers)}")
    none_failed(streams.answers)
    # An Event is written after the change: one killed in between may have left it out, but none is told twice or wrong.
    wanted = list(zip([held.size, *asked], asked, strict=False))
    assert all(step in wanted for step in steps)
    assert len(steps) <= len(wanted)
    held.scale(held.size)
    held.settle()
