"""A provider's limits, as one gateway keeps them."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.table import ModelEntry, ProviderEntry
from forebay.rules.allowance import Allowance


def limits(running: int = 100, requests: int | None = None, tokens: int | None = None) -> ProviderEntry:
    return ProviderEntry(
        name="acme",
        base_url="https://acme.example/v1",
        models=(ModelEntry(name="m"),),
        max_concurrent_requests=running,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
    )


def test_each_limit_by_its_name() -> None:
    allowance = Allowance()
    assert allowance.lack(limits(1, 1, 100), 100, 0.0) is None
    place = allowance.take(100, 0.0)
    assert allowance.lack(limits(1, 9, 900), 1, 0.5) == "maxConcurrentRequests"
    assert allowance.lack(limits(9, 1, 900), 1, 0.5) == "requestsPerMinute"
    assert allowance.lack(limits(9, 9, 100), 1, 0.5) == "tokensPerMinute"
    allowance.give_back(place, None)
    assert allowance.lack(limits(1, 9, 900), 1, 0.5) is None


def test_a_minute_later_the_minute_is_free_again() -> None:
    allowance = Allowance()
    allowance.give_back(allowance.take(100, 10.9), None)
    assert allowance.lack(limits(9, 1, 100), 1, 70.8) == "requestsPerMinute"
    assert allowance.lack(limits(9, 1, 100), 1, 71.0) is None
    assert (allowance.requests, allowance.tokens) == (0, 0)


def test_what_the_provider_counted_replaces_the_estimate() -> None:
    allowance = Allowance()
    allowance.give_back(allowance.take(100, 0.0), 30)
    assert allowance.tokens == 30
    late = allowance.take(100, 1.0)
    allowance.lack(limits(), 0, 200.0)
    allowance.give_back(late, 5000)  # its second is forgotten: it no longer counts
    assert (allowance.tokens, allowance.running) == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50)), max_size=80))
def test_no_sixty_seconds_hold_more_than_allowed_and_memory_is_bounded(steps: list[tuple[float, int]]) -> None:
    allowance, now = Allowance(), 0.0
    entry = limits(10_000, 5, 100)
    sent: list[tuple[float, int]] = []
    for wait, tokens in steps:
        now += wait
        if allowance.lack(entry, tokens, now) is None:
            allowance.take(tokens, now)
            sent.append((now, tokens))
        lately = [count for when, count in sent if now - when < 60]
        assert len(lately) <= 5
        assert sum(lately) <= 100
        assert len(allowance._seconds) <= 62
