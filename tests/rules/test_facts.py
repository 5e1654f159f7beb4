"""A policy's targets: by tier for whoever iterates, by priority for whoever has a request."""

import pytest

from forebay.resources.reasons import Priority
from forebay.resources.table import ModelEntry, PolicyEntry, ProviderEntry, TargetEntry
from forebay.resources.terms import CloudUse, OverflowTo, Tier
from forebay.resources.tiers import TARGET_FIELDS
from forebay.rules.facts import CloudTarget, PolicyView, gap_tier
from forebay.rules.route import may_overflow

MODELS = {tier: ModelEntry(name=f"model-{tier.lower()}") for tier in Tier}
ENTRY = PolicyEntry(
    name="default",
    providers=(ProviderEntry(name="acme", base_url="https://acme.example/v1", models=tuple(MODELS.values())),),
    **{TARGET_FIELDS[tier]: (TargetEntry(provider="acme", model=model.name),) for tier, model in MODELS.items()},
)
VIEW = PolicyView.of(ENTRY)
FIELDS = {Priority.HIGH: "high", Priority.NORMAL: "normal", Priority.LOW: "low"}


def sent(priority: Priority, to: OverflowTo) -> PolicyView:
    """The policy, with this priority sent there."""
    return PolicyView("default", VIEW.targets, **{FIELDS[priority]: to})


def test_every_tier_has_its_targets() -> None:
    assert VIEW.targets == {tier: (CloudTarget("default", "acme", model),) for tier, model in MODELS.items()}


def test_a_policy_without_targets_has_none_in_every_tier() -> None:
    assert PolicyView("bare").targets == dict.fromkeys(Tier, ())


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("tier", Tier)
def test_every_priority_can_overflow_to_every_tier(priority: Priority, tier: Tier) -> None:
    policy = sent(priority, OverflowTo(tier.value))
    assert policy.tier_for(priority) is tier
    assert policy.targets_for(priority) == VIEW.targets[tier]


@pytest.mark.parametrize("priority", Priority)
def test_every_priority_can_be_told_to_wait(priority: Priority) -> None:
    policy = sent(priority, OverflowTo.QUEUE)
    assert policy.tier_for(priority) is None
    assert policy.targets_for(priority) == ()


def test_by_default_high_goes_to_the_primary_normal_to_the_secondary_and_low_waits() -> None:
    assert {priority: VIEW.tier_for(priority) for priority in Priority} == {
        Priority.HIGH: Tier.PRIMARY,
        Priority.NORMAL: Tier.SECONDARY,
        Priority.LOW: None,
    }


def test_at_a_gap_high_goes_to_the_primary_and_all_others_to_the_secondary() -> None:
    assert {priority: gap_tier(priority) for priority in Priority} == {
        Priority.HIGH: Tier.PRIMARY,
        Priority.NORMAL: Tier.SECONDARY,
        Priority.LOW: Tier.SECONDARY,
    }


@pytest.mark.parametrize(
    ("policy", "pool", "may"),
    [
        (VIEW, CloudUse.ALLOWED, True),
        (None, CloudUse.ALLOWED, False),
        (VIEW, CloudUse.NEVER, False),
        (PolicyView("closed", VIEW.targets, cloud=CloudUse.NEVER), CloudUse.ALLOWED, False),
        (sent(Priority.NORMAL, OverflowTo.QUEUE), CloudUse.ALLOWED, False),
        (sent(Priority.NORMAL, OverflowTo.PRIMARY), CloudUse.ALLOWED, True),
        (PolicyView("empty", {**VIEW.targets, Tier.SECONDARY: ()}), CloudUse.ALLOWED, False),
    ],
)
def test_a_pool_overflows_where_its_policy_has_something_for_normal_requests(
    policy: PolicyView | None, pool: CloudUse, may: bool
) -> None:
    assert may_overflow(policy, pool) is may
