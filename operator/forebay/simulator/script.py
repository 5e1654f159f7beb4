"""What one answer will say, token by token, decided by the request alone: words, JSON of a schema, or a tool's call."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

import msgspec

from forebay.simulator.api import ApiError, wanted

USUAL_TOKENS: Final = 256
WORDS: Final = (
    " the", " river", " holds", " water", " back", " and", " lets", " the", " turbine", " take", " what", " it", " can",
    ",", " over", " a", " spillway", " goes", " rest", ".",
)  # fmt: skip
SIMPLE: Final = {"integer": 7, "number": 0.5, "boolean": True, "string": "river", "null": None}
PIECE: Final = 4
"""Characters of a token of JSON."""


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `fixed` are its tokens where they are not just words; `tool` names the function they are for."""

    length: int
    finish: str  # as chat completions call it
    seed: int
    choices: int = 1
    fixed: tuple[str, ...] = ()
    tool: str = ""
    top_logprobs: int | None = None  # None: not asked for
    stop: str | None = None  # the text that ended it, which it does not have itself

    def piece(self, index: int, choice: int = 0) -> str:
        """Token number `index` of one choice."""
        if self.fixed:
            return self.fixed[index] if index < len(self.fixed) else ""
        return WORDS[(index + self.seed + choice) % len(WORDS)]

    def text(self, made: int, choice: int = 0) -> str:
        """The first `made` tokens of one choice."""
        return "".join(self.piece(index, choice) for index in range(made))


def write(document: dict[str, Any], room: int, seed: int, prompts: int = 1) -> Script:
    """Decide an answer; `room` is how many tokens fit behind the prompt."""
    choices = _choices(document) * prompts
    limit = wanted(document)
    tool = _called(document)
    fixed: tuple[str, ...] = ()
    if tool is not None:
        fixed = _tokens(example(_parameters(tool)))
    elif (schema := _schema(document)) is not None:
        fixed = _tokens(example(schema))
    if fixed:
        length = min(len(fixed), limit or room, room)
        whole = length == len(fixed)
        called = tool is not None and not _is_named(document.get("tool_choice"))
        finish = ("tool_calls" if called else "stop") if whole else "length"
    else:
        length = _length(document, room, seed)
        finish = "length" if length >= min(limit or room, room) else "stop"
    script = Script(length, finish, seed, choices, fixed, _name(tool) if tool else "", _top_logprobs(document))
    return script if tool else _stopped(script, _stops(document))


def _stops(document: dict[str, Any]) -> list[str]:
    asked = document.get("stop", document.get("stop_sequences"))
    return [stop for stop in ([asked] if isinstance(asked, str) else asked or []) if isinstance(stop, str) and stop]


def _stopped(script: Script, stops: list[str]) -> Script:
    """The answer up to the first text that is to stop it; then all its choices say the same."""
    text, pieces = "", []
    for index in range(script.length if stops else 0):
        pieces.append(script.piece(index))
        before, text = len(text), text + pieces[-1]
        found = [(text.find(stop, max(0, before - len(stop))), stop) for stop in stops]
        ends = [(end, stop) for end, stop in found if end >= 0]
        if ends:
            end, stop = min(ends)
            return replace(script, length=index + 1, finish="stop", fixed=_cut(pieces, end), stop=stop)
    return script


def _cut(pieces: list[str], end: int) -> tuple[str, ...]:
    """The pieces of a text, up to one of its characters."""
    starts = accumulate(map(len, pieces), initial=0)
    return tuple(piece[: max(0, end - start)] for piece, start in zip(pieces, starts, strict=False))


def example(schema: Any, depth: int = 0) -> Any:
    """A value of a JSON schema, the same one every time."""
    if not isinstance(schema, dict) or depth > 8:
        return None
    if "const" in schema or schema.get("enum"):
        return schema.get("const", (schema.get("enum") or [None])[0])
    if alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return example(alternatives[0], depth + 1)
    kind = schema.get("type")
    if kind == "array":
        return [example(schema.get("items"), depth + 1)]
    if kind in SIMPLE:
        return SIMPLE[kind]
    return {key: example(part, depth + 1) for key, part in (schema.get("properties") or {}).items()}


def _choices(document: dict[str, Any]) -> int:
    n = document.get("n", 1)
    if n is None:
        return 1
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ApiError(400, f"n must be at least 1, got {n}.", "BadRequestError", "n")
    return n


def _called(document: dict[str, Any]) -> dict[str, Any] | None:
    """The tool that is called: the one that is chosen, else the first, unless its result is already there."""
    tools, choice = document.get("tools"), document.get("tool_choice", "auto")
    if not isinstance(tools, list) or not tools or choice == "none":
        return None
    turns = document.get("messages", document.get("input"))
    last = turns[-1] if isinstance(turns, list) and turns else None
    if isinstance(last, dict) and _is_result(last):
        return None
    functions = [tool for tool in tools if isinstance(tool, dict) and _is_function(tool)]
    if isinstance(choice, dict) and choice.get("type") == "none":
        return None
    if isinstance(choice, dict) and choice.get("type") not in ("auto", "any"):
        functions = [tool for tool in functions if _name(tool) == _name(choice)]
    return functions[0] if functions else None


def _is_result(turn: dict[str, Any]) -> bool:
    """Whether a turn holds what a tool said."""
    content = turn.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return (
        turn.get("role") == "tool"
        or turn.get("type") == "function_call_output"
        or any(block.get("type") == "tool_result" for block in blocks)
    )


def _is_function(tool: dict[str, Any]) -> bool:
    """Anthropic's tools of the client have no type, or `custom`."""
    return tool.get("type") == "function" or "input_schema" in tool


def _name(tool: dict[str, Any]) -> str:
    """Chat completions nest it, the Responses API does not."""
    return str(tool.get("name") or (tool.get("function") or {}).get("name"))


def _is_named(choice: Any) -> bool:
    """Whether chat completions chose the function: then its call ends as an answer does."""
    return isinstance(choice, dict) and choice.get("type") == "function"


def _parameters(tool: dict[str, Any]) -> Any:
    return tool.get("parameters") or tool.get("input_schema") or (tool.get("function") or {}).get("parameters") or {}


def _schema(document: dict[str, Any]) -> Any:
    asked = document.get("response_format")
    if isinstance(document.get("text"), dict):
        asked = document["text"].get("format")
    if not isinstance(asked, dict):
        return None
    match asked.get("type"):
        case "json_schema":
            return asked.get("schema") or (asked.get("json_schema") or {}).get("schema") or {}
        case "json_object":
            return {"properties": {"answer": {"type": "string"}}}
        case _:
            return None


def _top_logprobs(document: dict[str, Any]) -> int | None:
    asked = document.get("logprobs")
    if asked is True:  # chat completions
        return int(document.get("top_logprobs") or 0)
    return asked if isinstance(asked, int) and asked is not False else None


def _tokens(value: Any) -> tuple[str, ...]:
    return tuple(_split(msgspec.json.encode(value).decode()))


def _split(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


def _length(document: dict[str, Any], room: int, seed: int) -> int:
    """The limit where the client insists, else a draw that the request itself decides."""
    least, asked = document.get("min_tokens"), wanted(document)
    limit = min(asked or (room if document.get("ignore_eos") else USUAL_TOKENS), room)
    if document.get("ignore_eos") or (isinstance(least, int) and least >= limit):
        return limit
    digest = hashlib.blake2b(repr(document.get("messages") or document.get("prompt")).encode(), digest_size=8).digest()
    share = random.Random(int.from_bytes(digest) ^ seed).triangular(0.5, 1.0, 1.0)  # noqa: S311
    return max(1, int(least) if isinstance(least, int) else 1, round(limit * share))
