"""Every reason of a condition has a line of advice or asks for nothing."""

from forebay.cli.running.advice import FINE, NEXT, issues
from forebay.cli.running.fleet_objects import Fleets, policy_of, pool_of
from forebay.resources.reasons import ConditionReason
from tests.cli.objects import condition, conditions, paying, policy, pool


def test_every_reason_has_advice_or_needs_none() -> None:
    assert set(NEXT) | FINE == set(ConditionReason)
    assert not set(NEXT) & FINE


def test_a_fleet_in_order_has_no_issue() -> None:
    assert issues(Fleets((pool_of(pool()),), (policy_of(policy()),))) == ()


def test_what_is_broken_comes_before_what_can_wait() -> None:
    ill = pool_of(pool(conditions=conditions(
        condition("RouterOutdated", "True", "OlderRouter"),
        condition("GPUsAvailable", "False", "Unschedulable", "0/2 nodes are available"),
    )))  # fmt: skip
    found = issues(
        Fleets((ill,), (policy_of(policy(conditions=conditions(condition("Ready", "False", "KeyMissing")))),))
    )
    assert [(item.name, item.reason, item.broken) for item in found] == [
        ("chat", "Unschedulable", True),
        ("default", "KeyMissing", True),
        ("chat", "OlderRouter", False),
    ]
    assert "0/2 nodes are available" in found[0].message


def test_a_reason_of_a_newer_operator_is_no_error() -> None:
    newer = pool_of(pool(conditions=conditions(condition("Ready", "False", "SomethingNew"))))
    assert issues(Fleets((newer,))) == ()


def test_what_all_pools_share_is_said_once() -> None:
    refused = conditions(condition("GatewaysReady", "False", "NoGatewaysReady", "exceeded quota"))
    two = tuple(pool_of(pool(name, conditions=refused)) for name in ("chat", "code"))
    other = pool_of(pool("chat", "elsewhere", conditions=refused))
    assert [(item.namespace, item.name) for item in issues(Fleets((*two, other)))] == [
        ("team", "chat"),
        ("elsewhere", "chat"),
    ]


def test_what_nobody_has_looked_at_is_not_in_order() -> None:
    found = issues(Fleets((pool_of(pool(conditions=[])),), (policy_of(policy(conditions=[])),)))
    assert [(item.name, item.reason) for item in found] == [("chat", "Pending"), ("default", "Pending")]
    assert "GatewaysReady" in found[0].message


def test_a_status_of_an_older_generation_is_not_taken_for_the_present_one() -> None:
    changed = pool(observedGeneration=3)
    changed["metadata"]["generation"] = 4
    (found,) = issues(Fleets((pool_of(changed),)))
    assert (found.reason, "generation 3" in found.message) == ("Pending", True)


def test_a_spec_that_is_not_understood_is_said_once() -> None:
    unknown = [condition(kind, "Unknown", "InvalidSpec") for kind in ("GPUsAvailable", "ReplicasCreated")]
    ill = pool(conditions=conditions(condition("Ready", "False", "InvalidSpec"), *unknown))
    assert [item.condition for item in issues(Fleets((pool_of(ill),)))] == ["Ready"]


def test_a_budget_is_looked_at_where_a_policy_has_one() -> None:
    assert issues(Fleets(policies=(policy_of(paying()),))) == ()
    (spent,) = issues(Fleets(policies=(policy_of(paying(word="Spent")),)))
    assert (spent.condition, spent.reason, spent.broken) == ("BudgetAvailable", "Spent", True)
    (near,) = issues(Fleets(policies=(policy_of(paying(word="NearLimit")),)))
    assert (near.reason, near.broken) == ("NearLimit", False)
    fresh = paying()
    fresh["status"]["conditions"].pop()
    (missing,) = issues(Fleets(policies=(policy_of(fresh),)))
    assert (missing.condition, missing.reason) == ("BudgetAvailable", "Pending")
