"""What an answer looks like: keys and types, all the way down, without its values. Lists are the kinds they hold."""

import json
import math
import re
from typing import Any, Final

MAPS: Final = frozenset({"top_logprobs", "prompt_logprobs"})
"""Keys whose documents have tokens for keys."""
NOISE: Final = {"bytes": "bytes"}
"""What is there or not by what the model happens to say: half a character has no bytes, and no text."""


def outline(value: Any, key: str = "") -> Any:
    """Types of what a document holds; numbers are one type, as in JSON."""
    if key in NOISE:
        return NOISE[key]
    match value:
        case {} if key == "delta" and not value:
            return {"content": "string"}
        case dict() if key in MAPS and "logprob" not in value:
            return {"*": _kinds(value.values())}
        case dict():
            return {name: outline(part, name) for name, part in sorted(value.items())}
        case list():
            return _kinds(value, key)
        case bool() | None:
            return {True: "boolean", False: "boolean", None: "null"}[value]
        case int() | float():
            return "number"
        case _:
            return "string"


def _kinds(values: Any, key: str = "") -> list[Any]:
    """Each kind once, in the order of their first."""
    kinds: list[Any] = []
    for value in values:
        kind = outline(value, key)
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def stream_outline(text: str) -> list[Any]:
    """Of each event its name and outline; equal ones that follow each other are one. Choices come one after another,
    as how their pieces mix is the moment's."""
    found: list[Any] = []
    for name, document in sorted(events(text), key=_choice):
        kind = {"event": name, "data": document if document == "[DONE]" else outline(document)}
        if not found or found[-1] != kind:
            found.append(kind)
    return found


def _choice(event: tuple[str, Any]) -> float:
    document = event[1]
    choices = document.get("choices") if isinstance(document, dict) else None
    return float(choices[0]["index"]) if choices else math.inf


def events(text: str) -> list[tuple[str, Any]]:
    """Names ("" where there is none) and data of server-sent events; [DONE] stays the text that it is."""
    found = []
    for part in re.split(r"\r?\n\r?\n", text):
        fields = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line)
        if data := fields.get("data"):
            found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def words(message: str) -> str:
    """A message without its numbers and names of the moment."""
    return re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{12,}", "ID", message))
