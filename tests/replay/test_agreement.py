"""One trace through the real router and through replay; `make bench-replay` does it with thousands of requests."""

import pytest

from bench.replay.agreement import compare


@pytest.mark.slow
def test_replay_decides_as_the_real_router_does() -> None:
    found = compare(400, seed=5)
    assert {reason for _, _, reason in found.by_decision} >= {
        "LocalCapacity", "Queued", "HighPriorityOverflow", "AllPoolsFull", "QueueExpired", "QueueFull",
        "CapabilityGap",
    }  # fmt: skip
    assert found.share >= 0.99, found.differences
