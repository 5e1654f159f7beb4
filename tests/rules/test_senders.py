"""What is remembered of senders whose requests fail."""

import pytest

from forebay.rules.senders import DOUBT_SECONDS, LIMITS, REMEMBERED, RETRIES, Senders, sender_at


def test_the_first_fault_is_nobodys_the_next_one_is_the_senders() -> None:
    senders = Senders()
    assert senders.failed("a", 1.0)[0] is False
    assert senders.failed("a", 2.0)[0] is True
    assert senders.failed("b", 2.0)[0] is False
    assert senders.failed("a", 2.0 + DOUBT_SECONDS)[0] is False


def test_retries_are_a_senders_own() -> None:
    senders = Senders()
    spent = [senders.failed("a", 1.0)[1] for _ in range(20)]
    assert spent.count(True) == RETRIES
    assert senders.failed("b", 1.0)[1]


def test_two_deaths_in_a_row_hold_its_requests_back_all_but_one() -> None:
    senders = Senders()
    assert not senders.died(["a"], "chat-0", 1.0)
    assert not senders.died(["a"], "chat-0", 1.5), "one death, however many requests it met"
    assert senders.held_back(["a"], 1.6) == 0
    assert senders.died(["a"], "chat-1", 1.7)
    assert senders.suspicious
    assert senders.held_back(["a"], 2.8) > 0
    assert senders.held_back(["b"], 2.8) == 0
    later = 2.8 + LIMITS.open_seconds
    assert senders.held_back(["a"], later) == 0, "a probe"
    assert senders.held_back(["a"], later) > 0, "and no second one"
    assert senders.held_back(["a"], later + 2 * LIMITS.open_seconds) == 0, "another one later, whatever became of it"
    senders.answered(["a"])
    assert senders.held_back(["a"], later + 2 * LIMITS.open_seconds) == 0
    assert not senders.suspicious


def test_an_answer_between_makes_it_no_row() -> None:
    senders = Senders()
    for now in range(1, 40, 2):
        assert not senders.died(["a"], "chat-0", float(now))
        senders.answered(["a"])
    assert senders.held_back(["a"], 40.0) == 0


def test_no_more_are_remembered_than_fit() -> None:
    senders = Senders()
    for number in range(REMEMBERED + 10):
        senders.failed(f"a{number}", 1.0)
    assert senders.get("a0") is None
    assert senders.get(f"a{REMEMBERED + 9}") is not None


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("10.1.2.3", "@10.1.2.3"),
        ("10.1.2.4", "@10.1.2.4"),
        ("2001:db8:1:2::1", "@2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "@2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "@2001:db8:1:3::/64"),
        ("2001:0DB8:0001:0002::1", "@2001:db8:1:2::/64"),
        ("fe80::1%eth0", "@fe80::/64"),
        ("::ffff:10.1.2.3", "@10.1.2.3"),
        ("::ffff:a01:204", "@10.1.2.4"),
        ("::1", "@::/64"),
        ("", "@"),
        ("a word", "@a word"),
    ],
)
def test_a_sender_without_a_key_is_an_address_that_it_cannot_change_at_will(address: str, sender: str) -> None:
    assert sender_at(address) == sender
