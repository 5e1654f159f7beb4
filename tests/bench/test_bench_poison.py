"""The bench of poison: its cells are what they are called, ends are told apart, and one cell runs."""

import pytest

from bench.poison.__main__ import Cell, cells, one, problem
from bench.poison.clients import CHUNKS, end_of

LOCAL = b"HTTP/1.1 200 OK\r\nx-forebay-destination: chat\r\nx-forebay-reason: Local\r\n\r\n"
CLOUD = LOCAL.replace(b": chat", b": primary/m")
STREAM = b'data: {"content": " token"}\n\n' * CHUNKS + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"", "broken off before an answer"),
        (LOCAL + STREAM, "local"),
        (CLOUD + STREAM, "cloud"),
        (LOCAL + b'{"content":"an answer"}', "local"),
        (LOCAL + STREAM[:-14], "broken off"),
        (LOCAL + b'data: {"error":{}}\n\ndata: [DONE]\n\n', "error in the stream"),
        (b"HTTP/1.1 503 X\r\nx-forebay-reason: NoPolicy\r\n\r\n{}", "refused 503 NoPolicy"),
    ],
)
def test_an_answer_is_known_by_its_end(answer: bytes, end: str) -> None:
    assert end_of(answer) == end


def test_cells_have_names_of_their_own_and_those_without_poison_come_first() -> None:
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names) == 36
    assert [name for name in names if name.endswith("none")] == ["1/none", "3/none"]
    assert names.index("3/none") < names.index("3/kill/20")


def test_what_did_not_hold_is_told() -> None:
    found = {"local_percent": 98.9, "paid_good": 2, "out_seconds": None}
    assert problem(Cell(1, "500", 2), found, 1) == "98.9 % local, 2 paid"
    assert problem(Cell(1, "500"), found, 1) == "not out within 10 s"
    assert not problem(Cell(1, "500", 2), {**found, "local_percent": 99.0, "paid_good": 1}, 1)
    assert not problem(Cell(1, "500"), {**found, "out_seconds": 3.0}, 1)


@pytest.mark.slow
def test_a_killed_engine_is_started_again_and_everybody_is_counted() -> None:
    found = one(Cell(1, "kill", 2), 3.0, 2.0)
    assert found["killed"] >= 1
    assert sum(found["good_ends"].values()) == found["good"] > 0
    assert sum(found["bad_ends"].values()) == found["bad"] > 0


@pytest.mark.slow
def test_a_broken_replica_is_seen_to_be_left_alone() -> None:
    found = one(Cell(1, "500"), 5.0, 2.0)
    assert found["out_seconds"] is not None
    assert found["good_ends"]["local"] > 0
