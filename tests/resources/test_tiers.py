"""Every tier has its field in a policy and in the routing table."""

from forebay.controller.plan.routing_table import policy_entry
from forebay.resources.policy import PolicySpec, Target
from forebay.resources.summary import price_rows
from forebay.resources.table import PolicyEntry, TargetEntry
from forebay.resources.terms import OverflowTo, Tier
from forebay.resources.tiers import TARGET_FIELDS

MODELS = {tier: f"model-{tier.lower()}" for tier in Tier}
SPEC = PolicySpec.model_validate(
    {
        "providers": [{
            "name": "acme", "baseURL": "https://acme.example/v1", "apiKeySecretRef": {"name": "k", "key": "k"},
            "models": [{"name": name} for name in MODELS.values()],
        }],
        **{TARGET_FIELDS[tier]: [{"provider": "acme", "model": name}] for tier, name in MODELS.items()},
    }
)  # fmt: skip


def test_every_tier_has_a_field_of_its_own_in_the_policy_and_in_the_table() -> None:
    assert list(TARGET_FIELDS) == list(Tier)
    assert len(set(TARGET_FIELDS.values())) == len(Tier)
    assert set(TARGET_FIELDS.values()) <= set(PolicySpec.model_fields) & set(PolicyEntry.__struct_fields__)


def test_a_policy_and_its_table_name_the_same_models_for_every_tier() -> None:
    entry = policy_entry("default", SPEC)
    for tier, model in MODELS.items():
        assert SPEC.targets(tier) == [Target(provider="acme", model=model)]
        assert entry.targets(tier) == (TargetEntry(provider="acme", model=model),)


def test_the_summary_lists_every_tier() -> None:
    assert [(row.tier, row.model) for row in price_rows("default", SPEC)] == list(MODELS.items())


def test_a_policy_may_send_requests_to_every_tier_or_let_them_wait() -> None:
    assert {word: word.tier for word in OverflowTo} == {
        **{OverflowTo(tier.value): tier for tier in Tier},
        OverflowTo.QUEUE: None,
    }


def test_the_api_server_refuses_a_target_without_provider_in_every_tier() -> None:
    sentences = [rule.message for rule in PolicySpec.RULES if "not in providers" in rule.message]
    assert sentences == [
        f"{field} names a provider or model that is not in providers: add it there, or correct the name"
        for field in TARGET_FIELDS.values()
    ]
