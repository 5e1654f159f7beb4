"""Who used what: counted where it ends, bounded, exact in money."""

from decimal import Decimal

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.usage import LOCAL, OTHERS, USAGE_ROWS
from forebay.router.usage_counters import UsageCounters


def line(**more: object) -> AccessLogEntry:
    usual = {"client": "batch", "priority": "Normal", "capability": "general", "destination": "chat"}
    return AccessLogEntry(request_id="r", prompt_tokens=100, queue_ms=500, **{**usual, **more})  # type: ignore[arg-type]


def test_a_local_request_counts_its_service_without_its_wait() -> None:
    usage = UsageCounters()
    usage.count(line(), "chat", 2.0)
    (row,) = usage.report()
    assert (row.pool, row.destination, row.client, row.requests, row.seconds) == ("chat", LOCAL, "batch", 1, 1.5)
    assert (row.input_tokens, row.output_tokens, row.dollars) == (100, 0, "0")


def test_an_overflow_counts_at_the_pool_that_was_full_with_its_exact_cost() -> None:
    usage = UsageCounters()
    for _ in range(3):
        sent = line(destination="acme/large", input_tokens=90, output_tokens=7, cost_usd="0.0000001")
        usage.count(sent, "chat", 1.0)
    (row,) = usage.report()
    assert (row.pool, row.destination, row.input_tokens, row.output_tokens) == ("chat", "acme/large", 270, 21)
    assert Decimal(row.dollars) == Decimal("0.0000003")


def test_refusals_are_no_use() -> None:
    usage = UsageCounters()
    usage.count(line(destination="none"), "chat", 1.0)
    usage.count(line(destination=""), "", 1.0)
    assert usage.report() == ()


def test_combinations_are_bounded_and_nothing_is_lost() -> None:
    usage = UsageCounters()
    for number in range(USAGE_ROWS + 50):
        usage.count(line(client=f"client-{number}"), "chat", 1.0)
    rows = usage.report()
    assert len(rows) <= USAGE_ROWS + 3
    assert sum(row.requests for row in rows) == USAGE_ROWS + 50
    assert next(row.requests for row in rows if row.client == OTHERS) == 50
