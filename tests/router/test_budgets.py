"""A policy with a budget: what is reserved before a request leaves, and what it is settled at; the provider's bill."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from forebay.controller.observe.pod_state import last_words
from forebay.resources.money_ledger import HIGH, AccountEntry, LedgerEntry, PeriodEntry, decode_words, encode_ledger
from forebay.resources.reasons import Priority, Reason
from forebay.resources.table import BudgetEntry
from forebay.resources.terms import OnDisconnect
from forebay.router.cloud.budgets import GatewayBudgets, NoMoneyError
from forebay.rules.budget.book import AccountKey
from forebay.simulator.http import Connection, Request
from testing.fleet import Pool
from tests.router.clouds import Clouds, clouds
from tests.router.provider import GOOD, Provider, Script, answer, refusal, stream
from tests.router.test_cloud import run
from tests.router.test_fleet import decision, stop

BUDGET = BudgetEntry()
PICO = 10**6
"""A dollar for a million tokens is so much for one."""
COUNTED = (40 * 4 + 7 * 20) * PICO + 60 * 4 * PICO // 10
"""Of the usual answer of a test's provider."""
LIMIT = 50


def ledger(
    account: str, granted: int, budget: str = "default", version: int = 1, amount: int = 10**15, **more: Any
) -> LedgerEntry:
    now = int(time.time())
    entry = AccountEntry(id=account, granted=granted)
    period = PeriodEntry(start=now - 100, end=now + 10_000, amount=amount, accounts=(entry,), **more)
    return LedgerEntry(budget=budget, version=version, periods=(period,))


def grant(c: Clouds, granted: int, **more: Any) -> None:
    budgets = c.fleet.gate.budgets
    budgets.take(ledger(budgets.account, granted, **more))


def spent(c: Clouds) -> int:
    return sum(account.spent for account in c.fleet.gate.budgets.journal.book.accounts.values())


def reserved(c: Clouds) -> int:
    return sum(account.reserved for account in c.fleet.gate.budgets.journal.book.accounts.values())


def worst(size: int, tokens: int) -> int:
    return ((size + 1000) * 4 + tokens * 20) * PICO


def test_an_answer_is_settled_at_what_the_provider_has_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BUDGET) as c:
            grant(c, 10**12)
            assert decision(await c.ask(tokens=LIMIT))[1] == "acme/big"
            assert (spent(c), reserved(c)) == (COUNTED, 0)
            (row,) = c.fleet.gate.report().budgets
            assert (row.spent, row.granted, row.idle) == (COUNTED, 10**12, False)
            assert row.worst >= COUNTED
            assert (await c.metrics())['forebay_budget_gateway_spent_dollars{budget="default"}'] == COUNTED / 10**12

    run(work)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, Reason.BUDGET_HELD),
        ({"short": 1}, Reason.BUDGET_SPENT),
        ({"amount": 1000}, Reason.BUDGET_SPENT),
        ({"paced_until": int(time.time()) + 1000}, Reason.BUDGET_PACED),
        ({"paced_until": int(time.time()) - 1000}, Reason.BUDGET_HELD),
        (None, Reason.BUDGET_HELD),
    ],
)
def test_a_request_that_may_cost_more_than_there_is_goes_on_as_if_there_were_no_cloud(
    tmp_path: Path, more: dict[str, Any] | None, reason: Reason
) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BUDGET) as c:
            if more is not None:
                grant(c, 1000, **more)
            response = await c.ask(tokens=LIMIT)
            assert (response.status_code, decision(response)[2]) == (503, reason)
            assert not c.acme.asked
            assert not c.bravo.asked

    run(work)


def test_a_cheaper_model_takes_what_a_dear_one_has_no_money_for(tmp_path: Path) -> None:
    async def work() -> None:
        cheap = {"input_price": "0.001", "output_price": "0.001"}
        async with clouds(tmp_path, answer(), budget=BUDGET, bravo_model=cheap) as c:
            grant(c, 10**9)
            assert decision(await c.ask(tokens=LIMIT))[1] == "bravo/small"
            assert not c.acme.asked

    run(work)


def test_a_model_without_prices_is_never_paid_from_a_budget(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, refusal(500), budget=BUDGET) as c:
            grant(c, 10**14)
            await c.ask(tokens=LIMIT)
            assert c.acme.asked
            assert not c.bravo.asked

    run(work)


def test_an_advisory_budget_counts_and_never_refuses(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BudgetEntry(enforced=False)) as c:
            grant(c, 0)
            assert (await c.ask(tokens=LIMIT)).status_code == 200
            assert spent(c) == COUNTED

    run(work)


def test_a_burst_at_the_last_cent_leaves_no_more_than_it_pays_for(tmp_path: Path) -> None:
    """The provider bills each to its limit; a counter that is charged at the end would let all of them pass."""

    async def dear(provider: Provider, request: Request, connection: Connection) -> None:
        await asyncio.sleep(0.05)
        usage = {"prompt_tokens": len(request.body), "completion_tokens": LIMIT}
        await answer(200, {"id": "c", "model": "m", "choices": [], "usage": usage})(provider, request, connection)

    async def work() -> None:
        async with clouds(tmp_path, dear, budget=BUDGET) as c:
            lease = 4 * worst(200, LIMIT)
            grant(c, lease)
            answers = await asyncio.gather(*(c.ask(tokens=LIMIT) for _ in range(40)))
            served = [item for item in answers if item.status_code == 200]
            bill = sum((len(item.body) * 4 + LIMIT * 20) * PICO for item in c.acme.asked)
            assert 3 <= len(served) == len(c.acme.asked) < 40
            assert bill <= lease
            assert (spent(c), reserved(c)) == (bill, 0)
            assert {decision(item)[2] for item in answers} <= {Reason.BUDGET_HELD, Reason.CAPABILITY_GAP}

    run(work)


SILENT: Script = stream(then="stall")


@pytest.mark.parametrize(
    ("plays", "entry", "least", "most"),
    [
        (refusal(401), {}, 0, 0), (refusal(403), {}, 0, 0), (refusal(404), {}, 0, 0), (refusal(429), {}, 0, 0),
        (refusal(503), {}, 0, 0),
        (refusal(408), {}, 1, 1), (refusal(502), {}, 1, 1), (refusal(504), {}, 1, 1),
        (answer(400, {"error": {"code": "content_filter", "message": "no"}}), {}, 1, 1),
        (SILENT, {"first_token_seconds": 1}, 1, 1),
        (stream(*GOOD[:3], then="cut"), {}, 0.1, 0.99),
        (stream(*GOOD[:4], GOOD[5]), {}, 0.1, 0.99),
        (stream(*GOOD[:3], then="cut"), {"on_disconnect": OnDisconnect.CONTINUES}, 1, 1),
    ],
)  # fmt: skip
def test_a_try_is_settled_once_at_what_a_provider_may_bill_for_it(
    tmp_path: Path, plays: Script, entry: dict[str, Any], least: float, most: float
) -> None:
    """As parts of the worst case; the other provider has no prices."""

    async def work() -> None:
        async with clouds(tmp_path, plays, budget=BUDGET, entry=entry) as c:
            grant(c, 10**13)
            await c.stream(max_tokens=LIMIT)
            await c.fleet.until(lambda: not c.fleet.gate.budgets.journal.book.open)
            (row,) = c.fleet.gate.report().budgets
            assert least * row.worst <= spent(c) <= most * row.worst
            assert reserved(c) == 0

    run(work)


@pytest.mark.parametrize(
    ("sent", "manner", "least", "most"),
    [
        (GOOD[:3], OnDisconnect.STOPS, 0.1, 0.99),
        (GOOD[:3], OnDisconnect.CONTINUES, 1, 1),
        ([], OnDisconnect.STOPS, 1, 1),
    ],
)
def test_a_stream_that_its_client_leaves_is_settled_by_its_providers_manner(
    tmp_path: Path, sent: list[bytes], manner: OnDisconnect, least: float, most: float
) -> None:
    async def work() -> None:
        entry = {"on_disconnect": manner}
        async with clouds(tmp_path, stream(*sent, then="stall"), budget=BUDGET, entry=entry) as c:
            grant(c, 10**13)
            asking = asyncio.create_task(c.ask(stream=True, tokens=LIMIT))
            await c.fleet.until(lambda: len(c.acme.asked) == 1)
            await asyncio.sleep(0.1)
            await stop([asking])
            book = c.fleet.gate.budgets.journal.book
            await c.fleet.until(lambda: not book.open)
            (row,) = c.fleet.gate.report().budgets
            assert least * row.worst <= spent(c) <= most * row.worst

    run(work)


def test_high_has_a_reserve_of_its_own_once_the_common_part_is_spent(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BudgetEntry(high=True)) as c:
            grant(c, 0, short=1)
            grant(c, 10**12, budget=f"default{HIGH}")
            low = await c.ask(tokens=LIMIT)
            assert decision(low)[2] == Reason.BUDGET_SPENT
            high = await c.ask(tokens=LIMIT, key="sk-vip", x_forebay_priority="High")
            assert high.status_code == 200

    run(work)


def test_a_limit_for_answers_is_sent_where_the_client_names_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BUDGET, model={"answer_tokens": 64}) as c:
            grant(c, 10**12)
            await c.fleet.ask(min_tokens=None, max_tokens=None, tokens=None)
            (row,) = c.fleet.gate.report().budgets
            sent = c.acme.documents[0]
            assert sent.get("max_tokens") == 64
            assert row.worst <= worst(len(c.acme.asked[0].body) + 100, 64)

    run(work)


def test_what_is_served_locally_never_looks_at_money(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BUDGET, pools={"chat": Pool()}) as c:
            c.fleet.gate.budgets.reserve = None  # type: ignore[method-assign, assignment]
            assert decision(await c.ask(tokens=2))[1] == "chat"

    run(work)


def budgets(tmp: Path, journal: Path | None = None) -> GatewayBudgets:
    tmp.mkdir(exist_ok=True)
    return GatewayBudgets(tmp, journal, time.time, lambda: None)


def test_mounted_ledgers_are_taken_when_they_change_and_are_no_older(tmp_path: Path) -> None:
    made = budgets(tmp_path)
    made.look()
    for version, granted in ((2, 500), (1, 900), (3, 700)):
        (tmp_path / "default.json").write_text(encode_ledger(ledger(made.account, granted, version=version)))
        made.look()
    (row,) = made.report()
    assert (row.granted, row.version) == (700, 3)
    (tmp_path / "default.json").write_text(encode_ledger(ledger(made.account, 800)).replace("800", "900"))
    made.look()
    assert "damaged" in made.problem


def test_a_killed_gateway_goes_on_with_its_account_and_what_was_open_counts_in_full(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    first = budgets(tmp_path / "ledgers", folder)
    granted = ledger(first.account, 1000)
    first.take(granted)
    done = first.reserve("default", BUDGET, Priority.NORMAL, 300, "one")
    first.reserve("default", BUDGET, Priority.NORMAL, 200, "two")
    first.settle(done, 100)
    again = budgets(tmp_path / "ledgers", folder)
    assert again.account == first.account
    again.take(granted)
    (row,) = again.report()
    assert (row.spent, row.reserved, row.granted) == (300, 0, 1000)
    again.reserve("default", BUDGET, Priority.NORMAL, 700, "three")
    with pytest.raises(NoMoneyError):
        again.reserve("default", BUDGET, Priority.NORMAL, 1, "four")


def test_whoever_lost_its_journal_or_said_its_last_word_begins_another_account(tmp_path: Path) -> None:
    one = budgets(tmp_path / "ledgers", tmp_path)
    one.take(ledger(one.account, 1000))
    number = one.reserve("default", BUDGET, Priority.NORMAL, 300, "one")
    one.close()
    with pytest.raises(NoMoneyError):
        one.reserve("default", BUDGET, Priority.NORMAL, 1, "two")
    one.settle(number, 200)
    (row,) = one.report()
    assert (row.closed, row.reserved, row.spent) == (True, 0, 200)
    other = budgets(tmp_path / "ledgers", tmp_path)
    assert other.account != one.account
    (tmp_path / "accounts.journal").unlink()
    assert budgets(tmp_path / "ledgers", tmp_path).account not in (one.account, other.account)


@pytest.mark.parametrize("heard", ["before it closes", "after it has closed", "never"])
def test_a_gateway_that_says_it_is_closed_never_spends_what_it_was_granted_in_a_further_run(
    tmp_path: Path, heard: str
) -> None:
    """However late it hears of the grant: the operator gives the lease to others once it has read that word."""
    one = budgets(tmp_path / "ledgers", tmp_path)
    granted = ledger(one.account, 1000)
    if heard == "before it closes":
        one.take(granted)
    else:
        one.take(ledger("another", 1000))
    one.close()
    if heard == "after it has closed":
        one.take(replace(granted, version=2))
    log = tmp_path / "log"
    log.touch()
    one.say_last_words(log)
    assert [(word.id, word.closed, word.spent) for word in decode_words(log.read_text())] == [(one.account, True, 0)]
    further = budgets(tmp_path / "ledgers", tmp_path)
    further.take(replace(granted, version=3))
    with pytest.raises(NoMoneyError):
        further.reserve("default", BUDGET, Priority.NORMAL, 1, "one")


def test_last_words_that_are_too_many_leave_out_those_of_the_smallest_leases(tmp_path: Path) -> None:
    made = budgets(tmp_path / "ledgers")
    for number in range(100):
        made.take(ledger(made.account, number, budget=f"policy-{number}"))
    log = tmp_path / "log"
    log.touch()
    made.say_last_words(log)
    words = decode_words(log.read_text())
    assert len(log.read_bytes()) <= 4096
    assert 10 < len(words) < 100
    assert [word.granted for word in words] == list(range(99, 99 - len(words), -1))


def test_the_last_words_of_a_gateway_are_read_from_its_pods_status(tmp_path: Path) -> None:
    made = budgets(tmp_path / "ledgers")
    made.take(ledger(made.account, 1000))
    made.settle(made.reserve("default", BUDGET, Priority.NORMAL, 300, "one"), 200)
    log = tmp_path / "log"
    made.say_last_words(log)  # no kubelet has made it
    assert not log.exists()
    log.touch()
    made.say_last_words(log)
    (word,) = decode_words(log.read_text())
    assert (word.id, word.granted, word.spent, word.reserved, word.closed) == (made.account, 1000, 200, 0, True)
    state = {"terminated": {"message": log.read_text()}}
    for name, says in (({"state": state}, log.read_text()), ({"lastState": state}, log.read_text()), ({}, "")):
        assert last_words({"containerStatuses": [{"name": "router", **name}]}) == says
    assert decode_words("panic: something else") == ()


def test_a_long_journal_is_written_anew_and_says_the_same(tmp_path: Path) -> None:
    made = budgets(tmp_path / "ledgers", tmp_path)
    granted = ledger(made.account, 10**9)
    made.take(granted)
    for _ in range(2500):
        made.settle(made.reserve("default", BUDGET, Priority.NORMAL, 10, "x"), 3)
    made.reserve("default", BUDGET, Priority.NORMAL, 7, "open")
    assert (tmp_path / "accounts.journal").stat().st_size > 256 * 1024
    made.take(granted)
    assert (tmp_path / "accounts.journal").stat().st_size < 1024
    made.reserve("default", BUDGET, Priority.NORMAL, 5, "open too")
    again = budgets(tmp_path / "ledgers", tmp_path)
    key = AccountKey("default", granted.periods[0].start)
    assert again.journal.book.account(key).spent == 2500 * 3 + 7 + 5


def test_what_waits_for_money_is_said_until_it_is_served_or_gone(tmp_path: Path) -> None:
    now, nudges = [1000.0], []
    made = GatewayBudgets(None, None, lambda: now[0], lambda: nudges.append(1))
    period = PeriodEntry(start=0, end=9999, amount=10**6, accounts=(AccountEntry(id=made.account, granted=100),))
    made.take(LedgerEntry(budget="default", version=1, periods=(period,)))
    for request, size in (("one", 300), ("two", 200), ("two", 200)):
        with pytest.raises(NoMoneyError):
            made.reserve("default", BUDGET, Priority.NORMAL, size, request)
    (row,) = made.report()
    assert (row.wanted, row.least, row.worst, len(nudges)) == (500, 200, 300, 3)
    made.reserve("default", BUDGET, Priority.NORMAL, 100, "two")
    assert made.report()[0].wanted == 300
    now[0] += 5
    assert made.report()[0].wanted == 0
    assert not made.report()[0].idle
    now[0] += 100
    assert made.report()[0].idle


def test_a_request_that_waits_leaves_once_there_is_money(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), budget=BUDGET, pools={"chat": Pool(slots=1)}) as c:
            holding = asyncio.create_task(c.ask(tokens=4000, min_tokens=4000))
            await c.fleet.until(lambda: c.fleet.gate.in_flight == 1)
            await asyncio.sleep(0.2)
            asking = asyncio.create_task(c.ask(tokens=LIMIT))
            await asyncio.sleep(0.3)
            assert not c.acme.asked
            grant(c, 10**12)
            found = await asyncio.wait_for(asking, 10)
            assert decision(found)[1] == "acme/big"
            await stop([holding])

    run(work)
