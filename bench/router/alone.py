"""The pure parts of a request by themselves: reading and classifying 2 kB, and the decision over eight replicas."""

import statistics
import time
from collections.abc import Callable

from bench.router.load import PROMPT, Plan, request
from forebay.resources.reasons import Capability, Priority
from forebay.router.dialect.request import parse
from forebay.router.http.values import Request
from forebay.rules.classify import Hints, classify
from forebay.rules.facts import FleetView, PoolView, RequestFacts
from forebay.rules.learned import Words
from forebay.rules.route import route


def microseconds(work: Callable[[], object], rounds: int = 7, times: int = 2000) -> float:
    """CPU time of one call, the median of several rounds."""
    found = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        for _ in range(times):
            work()
        found.append((time.process_time_ns() - begun) / times / 1000)
    return round(statistics.median(found), 2)


def alone() -> dict[str, float]:
    """By name, in microseconds."""
    head, _, body = request(Plan(port=1), 7).partition(b"\r\n\r\n")
    headers = [(key, value) for key, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])]
    asked = Request("POST", "/v1/chat/completions", "", headers, body)
    pools = tuple(
        PoolView(f"pool-{n}", (f"m{n}",), frozenset(Capability), serving=8, free=n, free_high=n + 1) for n in range(3)
    )
    view, facts = FleetView(pools, {}), RequestFacts(model="auto", priority=Priority.NORMAL)
    return {
        "decision": microseconds(lambda: route(facts, view)),
        "classification": microseconds(lambda: classify(Hints(512), Words(PROMPT * 8))),
        "reading and classifying 2 kB": microseconds(lambda: parse(asked, "bench")),
    }
