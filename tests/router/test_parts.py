"""Slots, table, clients, token: the small parts alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.reasons import Priority
from forebay.resources.report import ReplicaState
from forebay.resources.table import PoolEntry, RoutingTable, encode
from forebay.router.client_keys import Clients
from forebay.router.context import Token
from forebay.router.http.values import Request
from forebay.router.table_file import TableFile
from forebay.rules.admission import Admission


def serving(slots: int, percent: int = 10) -> Admission:
    admission = Admission(slots, percent)
    admission.become(ReplicaState.SERVING)
    return admission


@given(st.integers(1, 40), st.integers(0, 90), st.lists(st.sampled_from([*Priority, None]), max_size=80))
def test_slots_are_never_given_twice_and_the_reserve_is_highs(
    slots: int, percent: int, steps: list[Priority | None]
) -> None:
    admission = serving(slots, percent)
    reserve = slots * percent // 100 if slots >= 4 else 0
    for step in steps:
        if step is None:
            if admission.running:
                admission.release(1.0)
            continue
        before = admission.running
        if admission.admit(step):
            assert before < slots
            assert step is Priority.HIGH or before < slots - reserve
        else:
            assert before >= (slots if step is Priority.HIGH else slots - reserve)
    assert 0 <= admission.running <= slots


def test_only_a_serving_replica_admits_and_draining_is_for_good() -> None:
    admission = Admission(2)
    assert not admission.admit(Priority.HIGH)
    admission.become(ReplicaState.SERVING)
    assert admission.admit(Priority.NORMAL)
    admission.become(ReplicaState.DRAINING)
    admission.become(ReplicaState.SERVING)
    assert not admission.admit(Priority.HIGH)
    assert admission.free_high == 0


def a_table(generation: int, name: str = "a") -> RoutingTable:
    return RoutingTable(generation=generation, pools=(PoolEntry(name=name, served_names=(name,)),))


def test_a_table_is_taken_when_newer_and_kept_when_the_next_one_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    taken: list[int] = []
    file = TableFile(path, lambda table: taken.append(table.generation))
    file.look()
    assert not file.loaded
    for generation, text in (
        (2, encode(a_table(2))),
        (2, "{"),
        (2, encode(a_table(1, "older"))),
        (2, encode(a_table(2, "another"))),
        (3, encode(a_table(3))),
    ):
        path.unlink(missing_ok=True)
        path.write_text(text)
        file.look()
        assert file.table.generation == generation
    assert taken == [2]  # generation 3 routes like 2: nothing to do
    assert (file.refused_total, file.problem) == (3, "")


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ({b"authorization": b"Bearer sk-a"}, "a"),
        ({b"authorization": b"bEARER  sk-a "}, "a"),
        ({b"authorization": b"sk-a"}, "anonymous"),
        ({b"authorization": b"Basic sk-a"}, "anonymous"),
        ({b"x-api-key": b"sk-a"}, "a"),
        ({b"api-key": b"sk-a"}, "a"),
        ({b"x-goog-api-key": b"sk-a"}, "a"),
        ({b"authorization": b"Bearer dummy", b"x-api-key": b"sk-a"}, "a"),
        ({b"x-api-key": b"dummy", b"api-key": b"sk-b"}, "b"),
        ({b"authorization": b"Bearer sk-a", b"x-api-key": b"sk-b"}, "a"),
        ({b"x-api-key": b""}, "anonymous"),
        ({b"x-other-key": b"sk-a"}, "anonymous"),
    ],
)
def test_a_client_is_known_by_its_key_wherever_a_library_puts_it(
    tmp_path: Path, fields: dict[bytes, bytes], client: str
) -> None:
    entries = [{"name": name, "key": f"sk-{name}", "maxPriority": "High"} for name in ("a", "b")]
    (tmp_path / "clients.json").write_text(json.dumps({"clients": entries}))
    assert Clients(tmp_path).of(fields).name == client


def test_clients_survive_a_bad_file_and_no_key_is_in_the_reason(tmp_path: Path) -> None:
    known = {b"authorization": b"Bearer sk-secret"}
    path = tmp_path / "clients.json"
    path.write_text(json.dumps({"clients": [{"name": "a", "key": "sk-secret", "maxPriority": "High"}]}))
    clients = Clients(tmp_path)
    assert clients.of(known).name == "a"
    assert clients.of({b"authorization": b"Bearer sk-other"}).priority(Priority.HIGH) is Priority.NORMAL
    path.unlink()
    path.write_text(json.dumps({"clients": [{"name": "a", "key": "sk-secret", "maxPriority": "sk-secret"}]}))
    clients.reload()
    assert clients.of(known).name == "a"
    assert "maxPriority" in clients.problem
    path.unlink()
    clients.reload()
    assert clients.of(known).name == "anonymous"


def test_two_tokens_are_valid_while_one_rotates(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("new\n")
    (tmp_path / "previous").write_text("old\n")
    token = Token(tmp_path)
    asked = {
        word: token.admits(Request("GET", "/", "", [(b"authorization", b"Bearer " + word)]))
        for word in (b"new", b"old", b"x", b"")
    }
    assert asked == {b"new": True, b"old": True, b"x": False, b"": False}


def test_without_a_token_only_loopback_may_come_in() -> None:
    token = Token(None)
    assert token.admits(Request("GET", "/", "", [], peer="127.0.0.1"))
    assert not token.admits(Request("GET", "/", "", [], peer="10.1.2.3"))
