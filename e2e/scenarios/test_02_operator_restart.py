"""The operator killed and restarted in mid-load: no pod restarted, no request failed, replicas unchanged."""

import time

from e2e.demo.setup import SYSTEM_NAMESPACE, Fleet, kubectl
from e2e.scenarios.helpers import operator_pod, pods, settle, sizes, steady, under_load, until


def test_nothing_but_the_operator_notices(fleet: Fleet) -> None:
    settle(fleet)
    before, sized = pods(), sizes()

    def kill() -> None:
        time.sleep(3)
        old = operator_pod()
        kubectl("delete", "pod", old, "-n", SYSTEM_NAMESPACE, "--grace-period=0", "--force")
        until(lambda: operator_pod() not in ("", old), "a new operator")
        kubectl("wait", "pod", operator_pod(), "-n", SYSTEM_NAMESPACE, "--for=condition=Ready", "--timeout=90s")

    answers = under_load(fleet, steady(25), kill)
    failed = [answer for answer in answers if answer.status != 200 or answer.cut]
    print(f"\noperator killed under load: {len(answers)} answers, {len(failed)} failed, sizes {sized} -> {sizes()}")
    assert len(answers) > 10
    assert not failed
    assert sizes() == sized
    assert pods() == before
