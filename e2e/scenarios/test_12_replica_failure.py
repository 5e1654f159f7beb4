"""A replica, its engine or its router breaks in mid-stream: others serve, nobody is cut silently, the size stays."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from e2e.demo.setup import kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import until
from e2e.scenarios.own import NAMESPACE, POOL, Own, long_or, ways
from e2e.scenarios.streams import Streams, flowing, never_silent, none_refused, summary

TOKENS = long_or(100, 600)
VICTIM = f"{POOL}-1"
LOST_GPU = "engine without a GPU behind a healthy /health"


def delete_now(held: Own) -> None:
    kubectl("delete", "pod", VICTIM, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false")


def kill_engine(held: Own) -> None:
    own.kill(VICTIM, "engine")


def kill_router(held: Own) -> None:
    own.kill(VICTIM, "router")


def freeze_engine(held: Own) -> None:
    own.kill(VICTIM, "engine", signal.SIGSTOP)


def thaw_engine(held: Own) -> None:
    own.kill(VICTIM, "engine", signal.SIGCONT)


def lose_gpu(held: Own) -> None:
    held.fault(VICTIM, dead_gpu=True)


def mend_gpu(held: Own) -> None:
    held.fault(VICTIM, dead_gpu=False)


def nothing(held: Own) -> None:
    return


WAYS: dict[str, tuple[Callable[[Own], None], Callable[[Own], None], int]] = {
    "pod deleted without grace": (delete_now, nothing, 10),
    "engine killed": (kill_engine, nothing, 10),
    "router killed": (kill_router, nothing, 10),
    "engine hung": (freeze_engine, thaw_engine, 40),
    LOST_GPU: (lose_gpu, mend_gpu, 45),
}
"""How it breaks, how it is mended, and for how many seconds it is watched in between."""


@contextmanager
def broken(held: Own, way: str) -> Iterator[Streams]:
    """Streams while the victim is broken; afterwards all replicas serve again."""
    harm, mend, seconds = WAYS[way]
    held.settle()
    with flowing(held.door, at_once=15, tokens=TOKENS) as streams:
        time.sleep(4)
        harm(held)
        try:
            yield streams
            time.sleep(seconds)
        finally:
            mend(held)
    held.settle()


@pytest.mark.parametrize("way", ways(WAYS, "engine killed", LOST_GPU))
def test_others_serve_and_nobody_is_cut_silently(held: Own, way: str) -> None:
    began = time.time()
    with broken(held, way) as streams:
        pass
    print(f"\n{way}: {summary(streams.answers)}")
    notes = [event for event in own.told(began) if event.reason not in ("RoutersProgrammed",)]
    print(f"{way}: Events: {[(event.reason, event.note[:160]) for event in notes]}")
    never_silent(streams.answers)
    none_refused(streams.answers)
    assert own.steps(began) == [], "the size is not to follow a failure"
    cut = [answer for answer in streams.answers if not answer.whole]
    assert len(cut) <= 8, "only what ran on that replica may be cut"
    until(lambda: own.condition("Ready")["message"].startswith("3 of 3"), "Ready", 60)
