"""Fleets at rest are left alone, and nothing that matters goes unnoticed for it."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replaced

from forebay.controller.observe.memory import LastReport
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.observe.quiet_sidecars import QUIET_SECONDS, sidecars_are_quiet
from forebay.controller.plan.plan import plan
from forebay.controller.plan.quiescence import LOOK_SECONDS, Quiescent, quiescent
from forebay.resources import names
from forebay.resources.report import AdapterReport, GatewayReport, PoolDemand, ReplicaState
from tests.controller.fleets import NOW, SETTINGS, carried_out, gateway_report, running_fleet, sidecar_report, spec

QUIET = PoolDemand(pool="chat", serving=1, slots=10)


def gateways(*said: PoolDemand) -> dict[str, LastReport]:
    return {f"gateway-{n}": gateway_report(n, pools=[one]) for n, one in enumerate(said)}


def reports(heard: dict[str, LastReport]) -> list[GatewayReport]:
    return [item.report for item in heard.values() if isinstance(item.report, GatewayReport)]


def known(**changes: object) -> dict[str, LastReport]:
    """What was heard a moment ago: two gateways that agree, and the one sidecar."""
    sidecar = replace(sidecar_report(**changes), came=NOW - 10)
    return {**gateways(QUIET, QUIET), "chat-0": sidecar}


def test_gateways_that_say_what_they_said_speak_for_an_idle_sidecar() -> None:
    assert sidecars_are_quiet("chat", ["chat-0"], reports(gateways(QUIET, QUIET)), known(), NOW)


@pytest.mark.parametrize(
    "now_said",
    [
        PoolDemand(pool="chat", serving=0, slots=0),  # they have lost it
        PoolDemand(pool="chat", serving=1, slots=8),  # it has fewer slots
        PoolDemand(pool="chat", serving=1, slots=10, running=1),
        PoolDemand(pool="chat", serving=1, slots=10, queued=1),
        PoolDemand(pool="chat", serving=1, slots=10, overflow_running=1),
        PoolDemand(pool="chat", serving=1, slots=10, requests_total=1),  # something came and went
        PoolDemand(pool="other", serving=1, slots=10),
    ],
)
def test_whatever_one_of_them_says_otherwise_has_the_sidecar_asked(now_said: PoolDemand) -> None:
    assert not sidecars_are_quiet("chat", ["chat-0"], reports(gateways(QUIET, now_said)), known(), NOW)


def test_a_sidecar_whose_engine_has_its_adapters_is_at_rest() -> None:
    assert sidecars_are_quiet("chat", ["chat-0"], reports(gateways(QUIET, QUIET)), known(adapters=(LAW,)), NOW)


def test_a_gateway_that_does_not_answer_speaks_for_nobody() -> None:
    assert not sidecars_are_quiet("chat", ["chat-0"], [*reports(gateways(QUIET)), None], known(), NOW)
    assert not sidecars_are_quiet("chat", ["chat-0"], [], known(), NOW)


LAW = AdapterReport(name="law", source="/adapters/law", loaded=True)
LOADING, REFUSED = replaced(LAW, loaded=False), replaced(LAW, loaded=False, problem="no such file")


@pytest.mark.parametrize(
    "sidecar", [{"running": 1}, {"slots": 9}, {"adapters": (LAW, LOADING)}, {"adapters": (REFUSED,)}]
)
def test_a_sidecar_that_said_otherwise_is_asked(sidecar: dict[str, Any]) -> None:
    assert not sidecars_are_quiet("chat", ["chat-0"], reports(gateways(QUIET, QUIET)), known(**sidecar), NOW)


def test_a_sidecar_that_was_never_heard_of_or_long_ago_is_asked() -> None:
    said = reports(gateways(QUIET, QUIET))
    assert not sidecars_are_quiet("chat", ["chat-0", "chat-1"], said, known(), NOW)
    assert not sidecars_are_quiet("chat", ["chat-0"], said, known(), NOW - 10 + QUIET_SECONDS)
    draining = known()
    report = draining["chat-0"].report
    draining["chat-0"] = replace(
        draining["chat-0"], report=type(report)(**{**fields(report), "state": ReplicaState.DRAINING})
    )
    assert not sidecars_are_quiet("chat", ["chat-0"], said, draining, NOW)


def fields(report: object) -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__struct_fields__}  # type: ignore[attr-defined]


def quiet_fleet(minimum: int = 1, **scaling: object) -> tuple[ObservedFleet, Quiescent | None]:
    """A fleet that has run quietly for a while, and what its rest depends on."""
    observed, memory = running_fleet(spec(scaling={"minReplicas": minimum, "maxReplicas": 3, **scaling}))
    heard = {name: replace(item, came=observed.now) for name, item in {**observed.heard, **known()}.items()}
    for _ in range(3):  # until the statuses are written
        observed = replace(observed, now=observed.now + 15)
        observed = replace(observed, heard={n: replace(item, time=observed.now) for n, item in heard.items()})
        done = plan(observed, memory, SETTINGS)
        observed, memory = carried_out(observed, done), done.memory
    return observed, quiescent(observed, plan(observed, memory, SETTINGS), memory, changes=7)


def test_a_quiet_fleet_rests_on_its_gateways_words() -> None:
    observed, found = quiet_fleet()
    assert found is not None
    assert set(found.addresses) == {"gateway-0", "gateway-1"}
    assert found.said == {name: observed.heard[name].report for name in found.addresses}
    assert found.holds(7, observed.now + LOOK_SECONDS - 1)
    assert not found.holds(8, observed.now)
    assert not found.holds(7, observed.now + LOOK_SECONDS)


def test_a_fleet_that_will_fall_asleep_does_not_rest() -> None:
    assert quiet_fleet(0, idleSecondsToZero=3600)[1] is None


def test_a_fleet_whose_token_changes_does_not_rest() -> None:
    observed, memory = running_fleet()
    assert observed.token is not None
    observed.token["metadata"]["annotations"] = {names.ANNOTATION_ROTATION: f"staged {observed.now:.0f}"}
    assert quiescent(observed, plan(observed, memory, SETTINGS), memory, changes=7) is None


def test_a_fleet_with_something_to_do_does_not_rest() -> None:
    observed, memory = running_fleet()
    other = replace(observed.pools[0], spec=spec(queue={"maxWaitSeconds": 5}), generation=2)
    observed = replace(observed, pools=(other,))
    assert quiescent(observed, plan(observed, memory, SETTINGS), memory, changes=7) is None
