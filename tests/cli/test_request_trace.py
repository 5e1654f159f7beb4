"""What `explain REQUEST-ID` finds in the logs, and how it tells it."""

import io

import msgspec
import pytest
from rich.console import Console

from forebay.cli.running.budget_state import budget_states
from forebay.cli.running.explain import request_as_data, show_request
from forebay.cli.running.fleet_objects import policy_of
from forebay.cli.running.request_trace import UNPAID, Search, in_words, look
from forebay.resources.access_log import AccessLogEntry, DecisionInputs
from forebay.resources.reasons import NO_MONEY, Reason
from tests.cli.objects import paying

LINE = AccessLogEntry(
    time=1_800_000_000.0, request_id="req-1", client="interactive", method="POST", path="/v1/chat/completions",
    model="auto", priority="High", capability="general", destination="acme/large", reason="HighPriorityOverflow",
    decision_inputs=DecisionInputs(0, 0.0132, 3), status=200, stream=True, prompt_tokens=900, input_tokens=912,
    output_tokens=120, usage="counted", cost_usd="0.006048", queue_ms=0, first_token_ms=210, duration_ms=1900, tries=1,
)  # fmt: skip


def encoded(line: AccessLogEntry) -> str:
    return msgspec.json.encode(line).decode()


def test_the_request_is_found_among_others_and_noise() -> None:
    other = msgspec.structs.replace(LINE, request_id="req-10", time=1_700_000_000.0)
    log = "\n".join(["forebay gateway g: request 8080", encoded(other), '{"broken', encoded(LINE), "{}"])
    found, lines, oldest = look(log, "req-1")
    assert found == LINE
    assert (lines, oldest) == (4, 1_700_000_000.0)


def test_a_log_without_it_says_how_far_back_it_goes() -> None:
    assert look(encoded(LINE), "req-2") == (None, 1, 1_800_000_000.0)
    assert look("", "req-2") == (None, 0, 0.0)


def test_a_line_of_another_router_that_quotes_the_id_is_not_it() -> None:
    quoting = msgspec.structs.replace(LINE, request_id="else", problem="after req-1")
    assert look(encoded(quoting), "req-1")[0] is None


def test_a_line_of_the_first_release_is_read_as_well() -> None:
    line = msgspec.structs.replace(LINE, problem='after "saw": nothing')
    written = encoded(line).replace('"decision_inputs":', '"saw":')
    assert look(written, "req-1")[0] == line


def test_an_overflow_in_words() -> None:
    words = in_words(LINE)
    assert (
        words[0] == "2027-01-15 08:00:00 UTC, client interactive: POST /v1/chat/completions for model auto, as a stream"
    )
    assert f"HighPriorityOverflow: {Reason.HIGH_PRIORITY_OVERFLOW.meaning}" in words
    saw = (
        "the decision saw 0 free slots for it in the pools that can serve it, heard of 13 ms before, and 3 that waited"
    )
    assert f"{saw} there" in words
    assert "went to the provider model acme/large, and was answered with 200" in words
    assert words[-2:] == [
        "first token after 210 ms, all of it after 1.9 s",
        "cost $0.006048: 912 tokens in, 120 out, counted",
    ]


def test_a_refusal_in_words() -> None:
    line = AccessLogEntry(request_id="req-2", destination="none", reason="QueueExpired", status=429, queue_ms=30_000)
    words = in_words(line)
    assert "refused with 429 after 30.0 s in the queue" in words
    assert not any("saw" in word or "cost" in word for word in words)


@pytest.mark.parametrize("reason", NO_MONEY)
def test_a_request_that_could_not_be_paid_is_explained(reason: Reason) -> None:
    refused = msgspec.structs.replace(
        LINE, reason=reason.value, destination="none", status=503, queue_ms=30_000, usage="", cost_usd=""
    )
    words = in_words(refused)
    place = words.index(f"{reason}: {reason.meaning}")
    assert words[place + 1].startswith("no provider was asked, as if there were no cloud")
    assert words[place + 2] == UNPAID[reason]
    out = io.StringIO()
    states = budget_states([policy_of(paying(word="Spent"))], 1_800_000_000.0)
    show_request(Console(file=out, width=200), Search(refused, "gateway-0"), states)
    assert "what policy default may spend now" in out.getvalue()
    assert "$412.11 of $500 are spent" in out.getvalue()
    (told,) = request_as_data(Search(refused, "gateway-0"), states)["budgets"]
    assert told["condition"]["reason"] == "Spent"
    assert request_as_data(Search(LINE, "gateway-0"))["budgets"] == []


def test_every_reason_of_lacking_money_says_what_is_to_be_known() -> None:
    assert set(UNPAID) == set(NO_MONEY)
