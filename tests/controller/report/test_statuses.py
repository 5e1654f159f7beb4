"""When a status is worth a write."""

from typing import Any

import pytest

from forebay.controller.report.statuses import ALL_SECONDS, NUMBERS_SECONDS, worth_writing


def status(
    until: int, peaks: str, means: str | None = None, variances: str | None = None, **more: Any
) -> dict[str, Any]:
    """A status with one digit for each minute."""
    zeros = "0" * len(peaks)
    history = {"peaksUntil": until, "peaks": [int(digit) for digit in peaks]}
    history |= {"means": list(means or zeros), "variances": list(variances or zeros)}
    return {"slots": 8, "scaling": {"history": history, **more}, "capacity": {"learnt": 0}, "tableGeneration": 3}


LIVE = status(100, "1211")


@pytest.mark.parametrize(
    ("new", "news"),
    [
        (status(100, "1211"), False),
        (status(101, "2111"), False),
        (status(104, "12111111"), False),  # it has grown by the same minutes
        ({**status(101, "2111"), "capacity": {"learnt": 0, "curve": None}}, False),  # null is what is not there
        (status(900, "1111"), False),
        (status(101, "2112"), True),
        (status(102, "1121"), True),  # back again, but something was there
        (status(100, "1212"), True),  # the last minute itself has changed
        (status(101, "2111", means="0001"), True),
        (status(101, "2111", variances="0001"), True),
        (status(99, "1211"), True),  # another operator's clock
        (status(101, "2111", coldStartSeconds=90), True),
        ({**status(101, "2111"), "tableGeneration": 4}, True),
    ],
)
def test_minutes_that_repeat_the_last_one_are_no_news(new: dict[str, Any], news: bool) -> None:
    assert bool(worth_writing(new, LIVE, ALL_SECONDS)) is news


@pytest.mark.parametrize(
    "known", [{}, {"peaksUntil": 100}, {"peaksUntil": 100, "peaks": [], "means": [], "variances": []}]
)
def test_the_first_minutes_are_written(known: dict[str, Any]) -> None:
    assert worth_writing(status(101, "1111"), {**LIVE, "scaling": {"history": known}}, ALL_SECONDS)


@pytest.mark.parametrize(("judged", "soon"), [("False", True), ("True", False), ("Unknown", False)])
def test_new_words_of_what_is_wrong_do_not_wait_a_minute(judged: str, soon: bool) -> None:
    def said(words: str) -> dict[str, Any]:
        item = {"type": "Ready", "status": judged, "reason": "NoReplicasReady", "message": words}
        return {**LIVE, "conditions": [item]}

    assert not worth_writing(said("FailedMount"), said("FailedMount"), NUMBERS_SECONDS)
    assert not worth_writing(said("FailedAttachVolume"), said("FailedMount"), NUMBERS_SECONDS - 1)
    assert bool(worth_writing(said("FailedAttachVolume"), said("FailedMount"), NUMBERS_SECONDS)) == soon
