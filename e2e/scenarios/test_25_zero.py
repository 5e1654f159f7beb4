"""A pool at zero: a request that may wait is held, wakes the pool at once, and is served there; then it sleeps."""

import time

import httpx

from e2e.demo.setup import KEYS, Fleet
from e2e.scenarios.helpers import until
from e2e.scenarios.scaling import AT_ONCE, notes, pool, pools, size


def test_the_first_request_wakes_it_and_is_served_there(fleet: Fleet) -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 1, "idleSecondsToZero": 15, "behavior": AT_ONCE}
    sleepy = pool("sleepy", replicas=0, scaling=scaling, queue={"coldStartWaitSeconds": 90})
    with pools(sleepy):
        until(lambda: size("sleepy") == 0, "no replica", 60)
        time.sleep(5)  # the gateways have the table
        body = {"model": "sleepy", "max_tokens": 20, "messages": [{"role": "user", "content": "good morning"}]}
        headers = {"authorization": f"Bearer {KEYS['batch']}"}
        with httpx.Client(timeout=120, trust_env=False) as client:
            begun = time.monotonic()
            answer = client.post(f"{fleet.door}/v1/chat/completions", json=body, headers=headers)
            seconds = time.monotonic() - begun
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-forebay-destination"] == "sleepy"
            end = time.monotonic() + 20  # polls of the list of models keep nothing awake
            while time.monotonic() < end:
                client.get(f"{fleet.door}/v1/models", headers=headers)
                time.sleep(1)
        until(lambda: size("sleepy") == 0, "asleep again", 60)
        told = notes("sleepy", "ScaledUp", "ScaledDown")
        print(f"\nserved after {seconds:.1f} s; " + "; ".join(told))
        assert [note.partition(":")[0] for note in told] == ["replicas 0 -> 1", "replicas 1 -> 0"]
