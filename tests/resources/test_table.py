"""The routing table: what is written is read again, and nothing damaged, unknown or doubled is taken."""

from dataclasses import fields, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.resources.entries import pool_entry
from forebay.resources.options import RouterTimeouts
from forebay.resources.pool import Model, PoolSpec, PoolTimeouts
from forebay.resources.table import PoolEntry, RoutingTable, TableError, content_hash, decode, encode

names = st.text("abc-", min_size=1, max_size=6)
tables = st.builds(
    RoutingTable,
    generation=st.integers(0, 1000),
    fleet=names,
    pools=st.lists(
        st.builds(PoolEntry, name=names, served_names=st.lists(names, max_size=2).map(tuple)),
        max_size=3,
        unique_by=lambda pool: pool.name,
    ).map(tuple),
)


@given(tables)
def test_what_is_written_is_read_again(table: RoutingTable) -> None:
    assert decode(encode(table)) == msgspec.structs.replace(table, hash=content_hash(table))


@given(tables, st.integers(0, 1000))
def test_the_hash_is_about_routing_not_about_the_generation(table: RoutingTable, generation: int) -> None:
    assert content_hash(table) == content_hash(msgspec.structs.replace(table, generation=generation))


def test_fields_of_a_newer_writer_are_ignored_and_still_count_in_the_hash() -> None:
    raw = msgspec.json.decode(encode(RoutingTable(generation=1)))
    assert decode(msgspec.json.encode({**raw, "hash": "", "invention": 7})).generation == 1
    with pytest.raises(TableError, match="damaged"):
        decode(msgspec.json.encode({**raw, "invention": 7}))


@pytest.mark.parametrize("field", [item.name for item in fields(RouterTimeouts)])
def test_a_pool_waits_as_it_says_else_as_the_chart_says_else_as_routers_do(field: str) -> None:
    usual = RouterTimeouts()
    chart, pool = replace(usual, **{field: 41.0}), PoolTimeouts(**{f"{field}_seconds": 42})
    for said, told, wanted in (
        (PoolTimeouts(), usual, usual),
        (PoolTimeouts(), chart, chart),
        (pool, usual, replace(usual, **{field: 42})),
        (pool, chart, replace(usual, **{field: 42})),
    ):
        entry = pool_entry("a", "b", PoolSpec(model=Model(name="m"), timeouts=said), timeouts=told)
        [read] = decode(encode(RoutingTable(pools=(entry,)))).pools
        assert read.waits(usual) == wanted
        assert (read.timeouts is msgspec.UNSET) is (wanted == usual), "a table that says nothing new stays as it was"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not parse"),
        ("[]", "does not parse"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1, "hash": "0000"}', "damaged"),
        ('{"pools": [{"name": "a", "servedNames": []}, {"name": "a", "servedNames": []}]}', "twice"),
        ('{"generation": -1}', "does not parse"),
    ],
)
def test_bad_tables_are_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        decode(text)
