"""What is remembered of senders whose requests fail."""

from forebay.rules.senders import DOUBT_SECONDS, LIMITS, REMEMBERED, RETRIES, Senders


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
    assert not senders.died("a", 1.0)
    assert not senders.died("a", 1.5), "one death, however many requests and replicas it met"
    assert senders.held_back(["a"], 1.6) == 0
    assert senders.died("a", 2.7)
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
        assert not senders.died("a", float(now))
        senders.answered(["a"])
    assert senders.held_back(["a"], 40.0) == 0


def test_no_more_are_remembered_than_fit() -> None:
    senders = Senders()
    for number in range(REMEMBERED + 10):
        senders.failed(f"a{number}", 1.0)
    assert senders.get("a0") is None
    assert senders.get(f"a{REMEMBERED + 9}") is not None
