"""Prices on their way from a policy to the routing table."""

from typing import Any

import msgspec

from forebay.resources.entries import policy_entry
from forebay.resources.policy import PolicySpec
from forebay.resources.table import PolicyEntry, PriceEntry
from forebay.resources.terms import OnDisconnect


def _entry(model: dict[str, Any], **provider: Any) -> PolicyEntry:
    acme = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "m", **model}], **provider}
    return policy_entry("default", PolicySpec.model_validate({"providers": [acme]}))


def test_every_price_reaches_the_table() -> None:
    flex = {"inputPrice": "2", "cachedInputPrice": "0.2", "cacheWritePrice": "3", "outputPrice": "9"}
    rows = [{"aboveTokens": 272_000, "inputPrice": "8", "outputPrice": "30"}, {"serviceTier": "flex", **flex}]
    made = _entry({"inputPrice": "4", "cacheWritePrice": "5", "priceTiers": rows}, onDisconnect="Continues")
    provider = msgspec.json.decode(msgspec.json.encode(made), type=PolicyEntry).providers[0]
    assert provider.on_disconnect is OnDisconnect.CONTINUES
    assert provider.models[0].cache_write_price == "5"
    assert provider.models[0].price_tiers == (
        PriceEntry(above_tokens=272_000, input_price="8", output_price="30"),
        PriceEntry(
            service_tier="flex", input_price="2", cached_input_price="0.2", cache_write_price="3", output_price="9"
        ),
    )


def test_a_table_that_uses_none_of_them_says_nothing_of_them() -> None:
    text = msgspec.json.encode(_entry({"inputPrice": "4", "outputPrice": "20"}))
    assert not [word for word in (b"priceTiers", b"cacheWritePrice", b"onDisconnect") if word in text]
