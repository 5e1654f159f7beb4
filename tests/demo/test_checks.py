"""The demo's verdicts: each check can fail."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.demo.checks import Answer, Seen, checks
from e2e.demo.phases import trace

LOCAL = Answer(1, "quiet", "chat", "batch", "Normal", 200, "chat", "LocalCapacity")
STRANGER = replace(LOCAL, who="stranger", asked="High", at=99)
QUEUED = replace(LOCAL, phase="chat is full, sorter has room", reason="Queued", queue_ms=5)
HIGH = replace(
    LOCAL, who="interactive", asked="High", destination="acme/acme-large", reason="HighPriorityOverflow", phase="x"
)
SPILL = replace(LOCAL, destination="bravo/bravo-small", reason="AllPoolsFull", phase="x")
GOOD = [LOCAL, STRANGER, QUEUED, HIGH, SPILL]
EVENTS = [
    Seen("OverflowStarted", "chat", ""),
    Seen("OverflowStopped", "chat", ""),
    Seen("ScaledUp", "chat", "replicas 1 -> 2: demand"),
    Seen("ScaledUp", "chat", "replicas 2 -> 3: demand"),
    Seen("ScaledDown", "chat", "replicas 3 -> 2: demand"),
]
SIZES = {"chat": [1, 3, 2]}


def failed(answers: list[Answer], events: list[Seen] = EVENTS, sizes: dict[str, list[int]] = SIZES) -> list[str]:
    return [check.name for check in checks(answers, events, sizes) if not check.passed]


def test_what_should_happen_passes() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (replace(LOCAL, reason="QueueExpired", destination="bravo/b"), "served locally while quiet"),
        (replace(HIGH, asked="Normal"), "High, and only High"),
        (replace(SPILL, reason="QueueExpired"), "Normal to the secondary only"),
        (replace(STRANGER, reason="HighPriorityOverflow", destination="acme/acme-large"), "an unknown client"),
        (replace(LOCAL, status=503), "no 5xx"),
        (replace(LOCAL, status=0), "no 5xx"),
        (replace(LOCAL, cut=True), "no cut stream"),
        (replace(LOCAL, status=429), "429 only with Retry-After"),
    ],
)
def test_each_wrong_answer_is_seen(more: Answer, name: str) -> None:
    assert any(found.startswith(name) for found in failed([*GOOD, more]))


def test_a_trace_is_judged_by_what_must_always_hold() -> None:
    assert all(check.passed for check in checks([LOCAL], [], {"chat": [1]}, ramp=False))
    assert not all(check.passed for check in checks([replace(LOCAL, cut=True)], [], {}, ramp=False))


def test_missing_events_are_seen() -> None:
    assert len(failed(GOOD, events=[])) == 3
    assert failed(GOOD, sizes={"chat": [1, 4]}) == ["each change of size has its Event"]


def test_a_trace_with_or_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
    )
    rows = trace(path, random.Random(1))
    assert [(row.prompt_tokens, row.max_tokens) for row in rows] == [(374, 44), (396, 109)]
    assert 4.2 < rows[1].at < 4.4


def test_a_bad_trace_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("0,1,2\nx,y\n")
    with pytest.raises(ValueError, match=r"trace.csv:2: expected time,prompt tokens,output tokens"):
        trace(path, random.Random(1))
