"""Somebody writes a bad or an older routing table: routers keep the last good one, and the operator puts it right."""

import json
import time
from typing import Any

import pytest

from e2e.demo.setup import kubectl
from e2e.scenarios import own
from e2e.scenarios.helpers import until
from e2e.scenarios.own import NAMESPACE, POOL, Own, ways
from e2e.scenarios.streams import flowing, none_failed, summary

TABLE = "forebay-routing"
MENDED_SECONDS = 120
"""A second as a rule; but a watch that a scenario before this one made dumb is noticed after 75 s."""
KEYS = ("gateway.json", f"pool-{POOL}.json")


def data() -> dict[str, str]:
    found: dict[str, Any] = json.loads(kubectl("get", "configmap", TABLE, "-n", NAMESPACE, "-o", "json"))
    return dict(found["data"])


def generations() -> dict[str, int]:
    """Of each table; 0 for one that is no table, as while nobody has put it right."""
    return {key: _generation(text) for key, text in data().items()}


def _generation(text: str) -> int:
    try:
        return int(json.loads(text)["generation"])
    except (ValueError, KeyError):
        return 0


def write(changes: dict[str, str]) -> None:
    kubectl("patch", "configmap", TABLE, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"data": changes}))


def older(texts: dict[str, str]) -> dict[str, str]:
    """The same tables with a lower generation, which stands outside the hash."""
    return {key: json.dumps({**json.loads(texts[key]), "generation": 1}) for key in KEYS}


def emptied(texts: dict[str, str]) -> dict[str, str]:
    """A table without pools, and with a hash that is not its own."""
    return {key: json.dumps({**json.loads(texts[key]), "pools": []}) for key in KEYS}


WAYS = {
    "not JSON": lambda texts: dict.fromkeys(KEYS, "{"),
    "another schema": lambda texts: dict.fromkeys(KEYS, '{"schema": 99, "generation": 100000}'),
    "a wrong hash": emptied,
    "an older generation": older,
}


@pytest.mark.parametrize("way", ways(WAYS, "not JSON", "an older generation"))
def test_a_table_that_somebody_wrote(held: Own, way: str) -> None:
    held.settle()
    own.programmed()
    texts, before, began = data(), generations(), time.time()
    with flowing(held.door, at_once=10, tokens=20) as streams:
        time.sleep(2)
        write(WAYS[way](texts))
        until(lambda: all(generations().get(key, 0) >= before[key] for key in KEYS), "another table", MENDED_SECONDS)
        mended = time.time() - began - 2
        own.programmed()
        until(lambda: own.condition("RoutingProgrammed")["reason"] == "RoutersAcknowledged", "acknowledged", 60)
        time.sleep(8)
    events = [event for event in own.told(began) if event.reason in ("DriftCorrected", "RoutersProgrammed")]
    print(
        f"\n{way}: mended after {mended:.1f} s, generations {before} -> {generations()}\n"
        f"Events: {[(event.reason, event.note) for event in events]}\n{summary(streams.answers)}"
    )
    none_failed(streams.answers)
    assert {answer.destination for answer in streams.answers} == {POOL}
    assert own.condition("RoutingProgrammed")["status"] == "True"
    assert events
