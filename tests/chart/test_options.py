"""The chart's part of the options is made from the table, and values.yaml says the same defaults."""

import json
import re
from typing import Any

import pytest
import yaml

from charts import options
from forebay.resources.option import Option
from tests.chart.test_chart import of_kind, render

VALUES = options.CHART / "values.yaml"
ROWS = list(options.chart_rows())
by_value = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.value)


def at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def test_the_environment_is_up_to_date() -> None:
    assert options.TEMPLATE.read_text() == options.template(), "run: make options"


def test_the_defaults_for_absent_values_and_their_page_are_up_to_date() -> None:
    values, schema = yaml.safe_load(VALUES.read_text()), json.loads(options.SCHEMA.read_text())
    assert options.DEFAULTS.read_text() == options.defaults(values, schema), "run: make options"
    assert options.PAGE.read_text() == options.page(values, schema), "run: make options"


def test_every_value_says_what_it_is_for() -> None:
    schema = json.loads(options.SCHEMA.read_text())
    silent = [row[0] for row in options._page_rows({}, schema, "") if not row[3]]
    assert not silent, f"{silent} have no description in values.schema.json"


def test_the_schema_is_up_to_date() -> None:
    written = options.SCHEMA.read_text()
    assert written == options.schema(written), "run: make options"


@by_value
def test_a_value_has_the_default_of_its_option(row: Option) -> None:
    value = at(yaml.safe_load(VALUES.read_text()), row.value)
    wanted = {} if row.name in options.FIELDS else "" if row.name in options.WHERE_EMPTY else row.default
    assert value == (list(wanted) if isinstance(wanted, tuple) else wanted)


@by_value
def test_a_value_has_a_comment(row: Option) -> None:
    first, *_ = row.value.split(".")
    assert re.search(rf"^#[^\n]+\n{first}:", VALUES.read_text(), re.M), f"say above {first} what it is for"


def test_values_and_schema_name_the_same() -> None:
    values: dict[str, Any] = yaml.safe_load(VALUES.read_text())
    schema = json.loads(options.SCHEMA.read_text())["properties"]
    assert set(schema) - {"global"} == set(values)
    for name, value in values.items():
        if value and isinstance(value, dict) and "properties" in schema[name]:
            assert set(schema[name]["properties"]) == set(value), name


def test_every_variable_that_the_chart_sets_is_an_option_with_its_value() -> None:
    container = of_kind(render(), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    given = {item["name"]: item.get("value") for item in container["env"]}
    assert {row.env for row in ROWS} <= set(given)
    assert given["FOREBAY_RESYNC_SECONDS"] == "5"
    assert given["FOREBAY_SIMULATOR_IMAGE"] == given["FOREBAY_ROUTER_IMAGE"] == container["image"]
