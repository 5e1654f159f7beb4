"""Every reason of a condition has a line of advice or asks for nothing."""

from forebay.cli.running.advice import FINE, NEXT, issues
from forebay.cli.running.fleet_objects import Fleets, policy_of, pool_of
from forebay.resources.reasons import ConditionReason
from tests.cli.objects import condition, policy, pool


def test_every_reason_has_advice_or_needs_none() -> None:
    assert set(NEXT) | FINE == set(ConditionReason)
    assert not set(NEXT) & FINE


def test_a_fleet_in_order_has_no_issue() -> None:
    assert issues(Fleets((pool_of(pool()),), (policy_of(policy()),))) == ()


def test_what_is_broken_comes_before_what_can_wait() -> None:
    ill = pool_of(pool(conditions=[
        condition("RouterOutdated", "True", "OlderRouter"),
        condition("GPUsAvailable", "False", "Unschedulable", "0/2 nodes are available"),
    ]))  # fmt: skip
    found = issues(Fleets((ill,), (policy_of(policy(conditions=[condition("Ready", "False", "KeyMissing")])),)))
    assert [(item.name, item.reason, item.broken) for item in found] == [
        ("chat", "Unschedulable", True),
        ("default", "KeyMissing", True),
        ("chat", "OlderRouter", False),
    ]
    assert "0/2 nodes are available" in found[0].message


def test_a_reason_of_a_newer_operator_is_no_error() -> None:
    newer = pool_of(pool(conditions=[condition("Ready", "False", "SomethingNew")]))
    assert issues(Fleets((newer,))) == ()
