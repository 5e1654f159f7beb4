"""The control token changes in three writes, each made once every router has the one before."""

import base64
from dataclasses import replace

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.plan.rotation import PATIENCE_SECONDS, RotationStep, next_step
from forebay.resources import names
from forebay.resources.report import token_digest
from tests.controller.fleets import fleet, gateway, gateway_report, pool, replica, sidecar_report, token

OLD, NEW = "secret", "another"


def asked() -> ObservedFleet:
    """A fleet whose token somebody wants changed; all routers have the old one."""
    observed = fleet(pool(pods=(replica(0),)), gateways=(gateway(0),))
    assert observed.token is not None
    observed.token["metadata"]["annotations"] = {names.ANNOTATION_ROTATE: "1"}
    return routers_have(observed, OLD)


def routers_have(observed: ObservedFleet, *tokens: str, sidecar: tuple[str, ...] | None = None) -> ObservedFleet:
    digests = tuple(token_digest(item.encode()) for item in tokens)
    others = digests if sidecar is None else tuple(token_digest(item.encode()) for item in sidecar)
    heard = {"gateway-0": gateway_report(tokens=digests), "chat-0": sidecar_report(tokens=others)}
    return replace(observed, heard=heard)


def written(observed: ObservedFleet, step: RotationStep | None) -> ObservedFleet:
    """The fleet with the Secret as the step makes it."""
    assert step is not None and observed.token is not None
    secret: Object = {
        **observed.token,
        "data": dict(observed.token["data"]),
        "metadata": dict(observed.token["metadata"]),
    }
    notes = {**secret["metadata"]["annotations"], **step.patch["metadata"]["annotations"]}
    secret["metadata"]["annotations"] = {key: value for key, value in notes.items() if value is not None}
    both = {**secret["data"], **step.patch["data"]}
    secret["data"] = {key: value for key, value in both.items() if value is not None}
    return replace(observed, token=secret)


def tokens_of(observed: ObservedFleet) -> dict[str, str]:
    assert observed.token is not None
    return {key: base64.b64decode(value).decode() for key, value in observed.token["data"].items()}


def test_nothing_changes_unless_somebody_asks() -> None:
    assert next_step(routers_have(fleet(gateways=(gateway(0),)), OLD)) is None
    assert next_step(fleet(token=None)) is None


def test_three_writes_bring_a_new_token_and_void_the_old_one() -> None:
    staged = written(asked(), next_step(asked(), NEW))
    assert tokens_of(staged) == {"current": OLD, "previous": NEW}
    swapped = written(staged, next_step(routers_have(staged, OLD, NEW)))
    assert tokens_of(swapped) == {"current": NEW, "previous": OLD}
    done = written(swapped, next_step(routers_have(swapped, NEW, OLD)))
    assert tokens_of(done) == {"current": NEW}
    assert next_step(routers_have(done, NEW)) is None


def test_a_router_that_lags_is_waited_for() -> None:
    staged = written(asked(), next_step(asked(), NEW))
    assert next_step(routers_have(staged, OLD, NEW, sidecar=(OLD,))) is None
    swapped = written(staged, next_step(routers_have(staged, OLD, NEW)))
    assert next_step(routers_have(swapped, NEW, OLD, sidecar=(OLD, NEW))) is None


def test_a_router_that_never_says_is_given_ten_minutes() -> None:
    staged = written(asked(), next_step(asked(), NEW))
    silent = routers_have(staged, OLD, NEW, sidecar=())
    assert next_step(silent) is None
    assert next_step(replace(silent, now=silent.now + PATIENCE_SECONDS)) is not None


def test_a_write_is_made_against_the_version_it_was_decided_on() -> None:
    observed = asked()
    assert observed.token is not None
    observed.token["metadata"]["resourceVersion"] = "9"
    step = next_step(observed)
    assert step is not None
    assert step.patch["metadata"]["resourceVersion"] == "9"


def test_a_new_token_is_random() -> None:
    first, second = (tokens_of(written(asked(), next_step(asked())))["previous"] for _ in range(2))
    assert first != second
    assert len(first) >= 40


def test_tests_begin_with_the_token_they_name() -> None:
    assert base64.b64decode(token()["data"]["current"]).decode() == OLD
