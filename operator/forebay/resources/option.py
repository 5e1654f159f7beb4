"""What an option is: a field of a frozen dataclass that carries everything else there is to say of it.

`rows` lists the options of such a class, `read` makes a value of text, `argument` makes text of a value, `build` makes
the object. The options themselves are in `options.py`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, field, fields
from functools import cache, partial
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from forebay.sockets import bracketed

Address = tuple[str, int]
Rules = tuple[dict[str, Any], ...]
"""Parts of a Kubernetes object, as the chart's values have them."""
T = TypeVar("T")


NONE: Final = "none"


class OptionError(ValueError):
    """Text that an option cannot be set to; the message says what it must be."""


class Form(Struct, frozen=True):
    """What a word must look like. `normal` raises ValueError with the reason where the pattern is not enough."""

    words: str
    pattern: str = ""
    longest: int | None = None
    normal: Callable[[str], str] = str


class Option(Struct, frozen=True, kw_only=True):
    """One row. `type` is the field's annotation; `least` and `most` bound a number, or the items of a list."""

    name: str
    type: Any
    default: Any  # MISSING where it must be given or is found out at the start
    description: str
    required: bool
    value: str = ""  # path in the chart's values.yaml; empty: no person sets it there
    env: str = ""  # variable of the operator
    role: str = ""  # of the routers that use it; empty: both
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    form: Form = Form("a word")
    shown: str = ""  # the default in words, where the value does not say it
    secret: bool = False  # a folder that holds secrets; no option is a secret itself

    @property
    def flag(self) -> str:
        """As the router takes it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def wanted(self) -> str:
        """What a value must be, after "it must be"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        unit = f" of {self.unit}" if self.unit else ""
        return {
            int: f"a whole number{unit}{self._bounds}",
            float: f"a number{unit}{self._bounds}",
            bool: "true or false, on or off",
            int | None: f"a whole number{self._bounds}, or none",
            tuple[str, ...]: f"comma-separated{self._bounds}, each {self.form.words}",
            tuple[int, ...]: f"comma-separated whole numbers, each{self._bounds.removeprefix(',')}",
            Rules: "a JSON list of objects",
            dict[str, Any]: "a JSON object",
            Address: "an address like http://127.0.0.1:8000",
        }.get(self.type, "a path" if self._is_path else self.form.words)

    @property
    def said_default(self) -> str:
        """The default for people; empty where the option must be given."""
        return self.shown or ("" if self.required or self.default is MISSING else written(self.type, self.default))

    @property
    def _is_path(self) -> bool:
        return self.type in (Path, Path | None)

    @property
    def _bounds(self) -> str:
        least = "" if self.least is None else f", at least {self.least:g}"
        return least + ("" if self.most is None else f", at most {self.most:g}")


def option(description: str, *, default: Any = MISSING, factory: Any = MISSING, **more: Any) -> Any:
    """A field that is an option; `more` are fields of Option. Without default and factory it must be given."""
    required = default is MISSING and factory is MISSING
    row = partial(Option, description=description, default=default, required=required, **more)
    return field(default=default, default_factory=factory, metadata={"option": row})


def group(made: Any = MISSING, *, name: str = "{}", role: str = "") -> Any:
    """A field whose class has options of its own. `name` makes their names of its fields', as in `{}_port`."""
    return field(default_factory=made, metadata={"group": (name, role)})


@cache
def rows(of: type) -> tuple[Option, ...]:
    """The options of a class, those of its groups included, in the order they are written in."""
    return tuple(_rows(of, "{}", ""))


def _rows(of: type, name: str, role: str) -> Iterator[Option]:
    for item in fields(of):
        if "group" in item.metadata:
            yield from _rows(_class(item.type), *item.metadata["group"])
        elif "option" in item.metadata:
            yield _row(item, name, role)


def _row(item: Any, name: str, role: str) -> Option:
    row: partial[Option] = item.metadata["option"]
    said = row.keywords
    whole = said.get("name", name.format(item.name))
    env = said.get("env", f"FOREBAY_{whole.upper()}")
    return row(name=whole, env=env, role=said.get("role", role), type=item.type)


def _class(annotation: Any) -> type:
    assert isinstance(annotation, type), f"{annotation!r} is no class: options cannot be read from it"
    return annotation


def build(made: type[T], given: Mapping[str, Any]) -> T:
    """An object of a class of options from values by the options' names; what is not given has its default."""
    return _build(made, given, "{}")


def _build(made: type[T], given: Mapping[str, Any], name: str) -> T:
    values: dict[str, Any] = {}
    for item in fields(made):  # type: ignore[arg-type]  # a class with options is a dataclass
        if "group" in item.metadata:
            values[item.name] = _build(_class(item.type), given, item.metadata["group"][0])
        elif "option" in item.metadata and (row := _row(item, name, "").name) in given:
            values[item.name] = given[row]
    return made(**values)


def read(row: Option, text: str) -> Any:
    """The value that a text stands for. Raises OptionError that says what it must be."""
    try:
        return _READERS[row.type](row, text)
    except ValueError as error:
        why = f" ({error})" if str(error) else ""
        raise OptionError(f"it must be {row.wanted}{why}") from error


def argument(row: Option, value: Any) -> str:
    """One argument of forebay-router."""
    return f"{row.flag}={written(row.type, value)}"


def written(kind: Any, value: Any) -> str:
    """A value as text that `read` takes."""
    if kind is bool:
        return "on" if value else "off"
    if kind == Address:
        return f"http://{bracketed(value[0])}:{value[1]}"
    if kind in (tuple[str, ...], tuple[int, ...]):
        return ",".join(map(str, value))
    if kind in (Rules, dict[str, Any]):
        return json.dumps(value)
    if kind == int | None and value is None:
        return NONE
    return f"{value:.12g}" if kind is float else "" if value is None else str(value)


def _number(row: Option, text: str) -> float:
    value = _plain(text)
    if not isfinite(value) or (row.least or 0) > value or (row.most is not None and value > row.most):
        raise ValueError
    return value


def _plain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError from None


def _whole(row: Option, text: str) -> int:
    value = _number(row, text)
    if value != int(value):
        raise ValueError
    return int(value)


def _switch(row: Option, text: str) -> bool:
    if (word := text.lower()) not in ("true", "false", "on", "off"):
        raise ValueError
    return word in ("true", "on")


def _word(row: Option, text: str) -> str:
    if row.choices:
        return _choice(row, text)
    form = row.form
    if (form.pattern and not re.search(form.pattern, text)) or (form.longest and len(text) > form.longest):
        raise ValueError(f"{text!r} is not")
    return form.normal(text)


def _choice(row: Option, text: str) -> str:
    found = next((word for word in row.choices if word.lower() == text.lower()), None)
    if found is None:
        raise ValueError
    return found


def _words(row: Option, text: str) -> tuple[str, ...]:
    words = tuple(_word(row, word) for part in text.split(",") if (word := part.strip()))
    if row.most is not None and len(words) > row.most:
        raise ValueError(f"these are {len(words)}")
    return words


def _wholes(row: Option, text: str) -> tuple[int, ...]:
    return tuple(_whole(row, part.strip()) for part in text.split(",") if part.strip())


def _rules(_: Option, text: str) -> Rules:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError
    return tuple(found)


def _address(row: Option, text: str) -> Address:
    url = urlsplit(text)
    return url.hostname or "127.0.0.1", url.port or 80


def _object(row: Option, text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


_READERS: Final[dict[Any, Callable[[Option, str], Any]]] = {
    str: _word,
    int: _whole,
    float: _number,
    bool: _switch,
    int | None: lambda row, text: None if text == NONE else _whole(row, text),
    tuple[str, ...]: _words,
    tuple[int, ...]: _wholes,
    Rules: _rules,
    Address: _address,
    dict[str, Any]: _object,
    Path: lambda _, text: Path(text),
    Path | None: lambda _, text: Path(text),
}
