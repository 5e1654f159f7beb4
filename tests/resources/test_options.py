"""Options: each is described, named by one rule, bounded, and feeds a field; what makes no sense is told."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from forebay.controller.settings import Settings
from forebay.resources.option import Option, OptionError, argument, build, read, rows, written
from forebay.resources.options import (
    GATEWAY,
    GatewayOptions,
    OperatorOptions,
    RouterOptions,
    handed_on,
    router_arguments,
)
from forebay.resources.terms import TaskSource

TABLES = {"operator": OperatorOptions, "router": RouterOptions}
EVERY = [pytest.param(row, id=f"{of}: {row.name}") for of, table in TABLES.items() for row in rows(table)]
FIXED = {"gateway_spec", "relist_seconds", "concurrency", "host"}
"""Of the operator's settings: fixed but in tests."""
KUBERNETES = {"POD_NAME", "POD_NAMESPACE"}
"""Variables that are named as everywhere in Kubernetes."""


def named(name: str, table: type = OperatorOptions) -> Option:
    return next(row for row in rows(table) if row.name == name)


@pytest.mark.parametrize("row", EVERY)
def test_a_description_stands_alone(row: Option) -> None:
    assert len(row.description.split()) >= 4
    assert row.description[0].isupper() and row.description.endswith(".")


@pytest.mark.parametrize("row", EVERY)
def test_a_name_follows_the_rule(row: Option) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row.name)
    assert row.env in KUBERNETES or row.env == f"FOREBAY_{row.name.upper()}"
    assert row.flag == "--" + row.name.replace("_", "-")
    assert re.fullmatch(r"([a-z][A-Za-z]*(\.[a-z][A-Za-z]*)?)?", row.value)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", ["name", "env", "flag", "value", "description"])
def test_no_two_options_of_a_table_share_a_name(table: type, name: str) -> None:
    said = [text for row in rows(table) if (text := getattr(row, name))]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("row", EVERY)
def test_a_default_is_a_value_that_may_be_given(row: Option) -> None:
    if row.required or row.default in (MISSING, None, ""):
        assert row.required or row.shown
    else:
        assert read(row, written(row.type, row.default)) == row.default


@pytest.mark.parametrize("row", EVERY)
def test_a_number_has_bounds(row: Option) -> None:
    if row.type in (int, float):
        assert row.least is not None and row.most is not None and row.least < row.most


@pytest.mark.parametrize("settings", [Settings, RouterOptions])
def test_each_field_of_the_settings_is_fed_by_an_option(settings: type) -> None:
    plain = {item.name for item in fields(settings) if not item.metadata.keys() & {"option", "group"}}
    assert plain == (FIXED if settings is Settings else set())


@pytest.mark.parametrize("row", rows(RouterOptions), ids=lambda row: row.name)
def test_a_value_that_is_given_arrives_in_its_field(row: Option) -> None:
    given: dict[str, Any] = {"role": "gateway", "table": Path("t"), row.name: (mark := object())}
    assert mark in _leaves(build(RouterOptions, given))


def _leaves(settings: Any) -> Iterator[object]:
    for item in fields(settings):
        value = getattr(settings, item.name)
        yield from _leaves(value) if is_dataclass(value) else [value]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("gateway_replicas", "3", 3),
        ("gateway_replicas", "3.0", 3),
        ("resync_seconds", "1.5", 1.5),
        ("network_policies", "False", False),
        ("network_policies", "on", True),
        ("log_level", "debug", "DEBUG"),
        ("namespaces", "a, b,", ("a", "b")),
        ("task_source", "user", "User"),
        ("run_as_user", "none", None),
        ("run_as_user", "1000", 1000),
        ("dns_ports", "53, 1053,", (53, 1053)),
        ("gateway_egress", '[{"to": []}]', ({"to": []},)),
        ("provider_networks", "FD00::/8,10.96.0.0/12", ("fd00::/8", "10.96.0.0/12")),
        (
            "provider_proxies",
            "corp=http://proxy:3128/, x=https://[fd00::1]",
            ("corp=http://proxy:3128", "x=https://[fd00::1]"),
        ),
    ],
)
def test_text_becomes_a_value(name: str, text: str, value: object) -> None:
    assert read(named(name), text) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("gateway_replicas", "2.5", "it must be a whole number, at least 1, at most 20"),
        ("gateway_replicas", "0", "it must be a whole number, at least 1, at most 20"),
        ("gateway_replicas", "many", "it must be a whole number, at least 1, at most 20"),
        ("resync_seconds", "nan", "it must be a number of seconds, at least 1, at most 60"),
        ("resync_seconds", "inf", "it must be a number of seconds, at least 1, at most 60"),
        ("run_as_user", "root", "it must be a whole number, at least 1, at most 2.14748e+09, or none"),
        ("dns_ports", "53,0", "it must be comma-separated whole numbers, each at least 1, at most 65535"),
        ("gateway_egress", '{"to": []}', "it must be a JSON list of objects"),
        ("health_port", "65536", "it must be a whole number, at least 0, at most 65535"),
        ("network_policies", "yes", "it must be true or false, on or off"),
        ("log_level", "LOUD", "it must be one of DEBUG, INFO, WARNING, ERROR"),
        ("lease_namespace", "Team", "it must be the name of a namespace ('Team' is not)"),
        ("namespaces", "a,Team", "it must be comma-separated, each the name of a namespace ('Team' is not)"),
        (
            "provider_networks",
            "10.0.0.0/8,10.0.0.1/8",
            "it must be comma-separated, at most 64, each a network in CIDR notation, like 10.96.0.0/12 "
            "(10.0.0.1/8 has host bits set)",
        ),
    ],
)
def test_text_that_makes_no_sense_is_answered_with_what_it_must_be(name: str, text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(named(name), text)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    "text",
    ["http://proxy:3128", "corp=proxy:3128", "corp=socks5://proxy:1080", "corp=http://me:secret@proxy:3128", "corp=http://",
     "Corp=http://proxy", "corp=http://proxy:99999", "corp=http://proxy:0", "corp=http://proxy/path", "corp=http://[::1"],
)  # fmt: skip
def test_what_is_no_proxy_is_told_without_its_password(text: str) -> None:
    with pytest.raises(OptionError, match="each a name and a URL, like corp=http"):
        read(named("provider_proxies"), text)


def test_a_list_is_bounded() -> None:
    many = ",".join(f"10.{number}.0.0/16" for number in range(65))
    with pytest.raises(OptionError, match="these are 65"):
        read(named("provider_networks"), many)


def test_gateways_are_told_what_is_not_as_usual() -> None:
    assert handed_on(GatewayOptions()) == []
    networks = ("10.96.0.0/16", "fd00::/8")
    assert handed_on(GatewayOptions(task_source=TaskSource.USER)) == ["--task-source=User"]
    assert handed_on(GatewayOptions(provider_networks=networks)) == ["--provider-networks=10.96.0.0/16,fd00::/8"]


def test_what_the_operator_hands_on_every_gateway_understands() -> None:
    flags = {row.flag: row for row in rows(RouterOptions) if row.role in ("", GATEWAY)}
    for row in rows(GatewayOptions):
        assert flags[row.flag].type == row.type
        assert named(row.name).value


def test_arguments_are_read_as_they_were_written() -> None:
    values = {"engine_url": ("127.0.0.1", 8001), "access_log": False, "connect_seconds": 0.25, "request_port": 0}
    assert router_arguments(**values) == [
        "--engine-url=http://127.0.0.1:8001", "--access-log=off", "--connect-seconds=0.25", "--request-port=0",
    ]  # fmt: skip
    for name, value in values.items():
        row = named(name, RouterOptions)
        assert read(row, argument(row, value).partition("=")[2]) == value
