"""A gateway's book: in all accounts or in none, settled once, and what a journal cut anywhere makes of it."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.budget.book import AccountBook, AccountKey, BookNote
from forebay.rules.budget.journal import RECORD, JournalWriter, read_journal

POLICY, PROVIDER = AccountKey("default", 100), AccountKey("a-provider-with-quite-a-long-name", 100)
HIGH = AccountKey("default_high", 100)


def book_with(**granted: int) -> AccountBook:
    book = AccountBook()
    for name, amount in granted.items():
        book.learn({"policy": POLICY, "provider": PROVIDER, "high": HIGH}[name], amount, None)
    return book


def test_a_request_is_reserved_in_all_accounts_that_it_touches() -> None:
    book = book_with(policy=10, provider=10)
    assert book.reserve([[POLICY], [PROVIDER]], 6) is not None
    assert (book.account(POLICY).room, book.account(PROVIDER).room) == (4, 4)


def test_a_request_that_one_account_has_no_room_for_is_reserved_in_none() -> None:
    book = book_with(policy=10, provider=5)
    assert book.reserve([[POLICY], [PROVIDER]], 6) is None
    assert book.account(POLICY).room == 10
    assert not book.open


def test_high_takes_its_own_reserve_once_the_common_account_has_no_room() -> None:
    book = book_with(policy=5, high=5)
    assert book.reserve([[POLICY, HIGH]], 4) is not None
    assert book.reserve([[POLICY, HIGH]], 4) is not None
    assert (book.account(POLICY).reserved, book.account(HIGH).reserved) == (4, 4)
    assert book.reserve([[POLICY, HIGH]], 4) is None


def test_what_is_settled_twice_is_settled_once() -> None:
    book = book_with(policy=10)
    number = book.reserve([[POLICY]], 6)
    assert number is not None
    assert book.settle(number, 2)
    assert not book.settle(number, 2)
    assert (book.account(POLICY).spent, book.account(POLICY).room) == (2, 8)


def test_an_answer_dearer_than_its_worst_case_is_a_debt_and_counted() -> None:
    book = book_with(policy=10)
    number = book.reserve([[POLICY]], 6)
    assert number is not None
    book.settle(number, 13)
    assert (book.account(POLICY).room, book.beyond) == (-3, 7)
    assert book.reserve([[POLICY]], 0) is None


def test_what_lies_above_the_limit_and_is_not_in_use_is_returned() -> None:
    book = book_with(policy=10)
    book.reserve([[POLICY]], 3)
    book.learn(POLICY, 10, 1)
    assert book.account(POLICY).returned == 7
    assert book.account(POLICY).room == -2
    book.learn(POLICY, 12, None)
    assert book.account(POLICY).room == 2


def test_an_old_ledger_takes_nothing_away() -> None:
    book = book_with(policy=10)
    book.learn(POLICY, 4, None)
    assert book.account(POLICY).room == 10


def test_a_closed_account_takes_no_request_and_settles_those_that_run() -> None:
    book = book_with(policy=10)
    number = book.reserve([[POLICY]], 4)
    assert number is not None
    book.close([POLICY])
    assert book.reserve([[POLICY]], 0) is None
    assert book.settle(number, 3)
    assert book.account(POLICY).spent == 3


def test_nothing_is_begun_that_could_not_be_noted() -> None:
    def full(_: BookNote) -> None:
        raise OSError("no space left")

    book = book_with(policy=10)
    book.note = full
    with pytest.raises(OSError, match="no space"):
        book.reserve([[POLICY]], 4)
    assert book.account(POLICY).room == 10


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "end", "return", "close", "anew"]), st.integers(0, 9)), max_size=25
)


@given(STEPS)
def test_a_journal_cut_at_any_byte_never_forgets_what_may_be_billed(steps: list[tuple[str, int]]) -> None:
    """At each cut, what was sent or told before it is there: spent and open at least what is billed, returned at least
    what anybody was told."""
    written, writer = bytearray(), JournalWriter()
    written += writer.head(b"0123456789abcdef")

    def note(item: BookNote) -> None:
        written.extend(writer.records(item))

    book = AccountBook(note)
    book.learn(POLICY, 1000, None)
    book.learn(PROVIDER, 1000, None)
    billed: dict[AccountKey, int] = {POLICY: 0, PROVIDER: 0}
    marks: list[tuple[int, dict[AccountKey, Fraction], dict[AccountKey, int]]] = []
    begun: list[int] = []
    for what, size in steps:
        if what == "begin" and (number := book.reserve([[POLICY], [PROVIDER]] if size % 2 else [[POLICY]], size)):
            begun.append(number)
        elif what == "end" and begun:
            number = begun.pop(size % len(begun))
            open_in, cost = book.open[number].keys, size % (book.open[number].worst + 1)
            book.settle(number, cost)
            for key in open_in:
                billed[key] += cost
        elif what == "return":
            book.learn(POLICY, 1000, book.account(POLICY).used + size)
        elif what == "close":
            book.close([PROVIDER])
        elif what == "anew":
            writer = JournalWriter()
            written[:] = writer.head(b"0123456789abcdef")
            for item in book.notes():
                note(item)
            marks.clear()
        marks.append((len(written), dict(billed), {key: book.account(key).returned for key in billed}))
    for cut in range(len(written) + 1):
        known = [mark for mark in marks if mark[0] <= cut]
        if not known:
            continue
        again = AccountBook()
        content = read_journal(bytes(written[:cut]))
        assert content.size == cut - cut % RECORD
        for item in content.notes:
            again.replay(item)
        again.settle_open()
        for key in billed:
            assert again.account(key).spent >= known[-1][1][key]
            assert again.account(key).returned >= known[-1][2][key]


@given(st.binary(min_size=1, max_size=4), st.integers(0, 3 * RECORD - 5))
def test_a_damaged_record_ends_the_journal_there(noise: bytes, at: int) -> None:
    writer = JournalWriter()
    whole = writer.head(b"0123456789abcdef")
    book = AccountBook(lambda item: None)
    book.learn(POLICY, 100, None)
    book.reserve([[POLICY]], 5)
    for item in book.notes():
        whole += writer.records(item)
    broken = bytearray(whole)
    broken[at : at + len(noise)] = noise
    content = read_journal(bytes(broken))
    assert content.size == len(whole) if bytes(broken) == whole else content.size <= at - at % RECORD


def test_nothing_is_read_of_a_file_that_is_no_journal() -> None:
    assert read_journal(b"x" * 1000).size == 0
    assert read_journal(b"").name == ""
