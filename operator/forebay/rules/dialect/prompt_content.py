"""What an engine will read of a request, in any dialect: how long it is, and what kinds of input it holds.

One walk, in steps where it is long, reads the fields that a path's row names (`Endpoint.texts`): messages and their
parts, items of Responses, blocks of Anthropic's, lists of prompts, token ids. What a chat template renders as JSON
(tools, schemas, arguments of calls) counts with its keys and brackets, as the model reads it.
"""

from typing import Any, Final

import msgspec

from forebay.resources.terms import Modality, Task
from forebay.rules.dialect.content_parts import MEDIA_KEYS, MODALITIES, TEXT_ALONE, TEXTUAL, foreign_part
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.endpoints import Endpoint

CHARACTERS_PER_TOKEN: Final = 4
"""What a token is taken for."""
LONGEST_TOKEN: Final = 128
"""Characters: rulers and indentation have so many in one token, and no vocabulary in use has longer ones."""
DEEPEST: Final = 32
"""Parts within parts; what lies deeper counts as text, and as of unknown kind."""

_AS_JSON: Final = ("tools", "functions", "response_format", "structured_outputs", "guided_json", "text",
                   "tool_calls", "function_call", "function", "arguments", "parameters", "input", "action",
                   "annotations", "citations", "logprobs", "metadata", "queries",
                   "pending_safety_checks")  # fmt: skip
"""Keys whose lists and objects are a program's own data: whatever it calls `type` is no kind of input."""
_UNREAD: Final = ("type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "item_id", "status", "phase",
                  "signature", "encrypted_content", "cache_control", "detail", "index", "url", "file_id")  # fmt: skip
"""Keys of messages and parts that a model is not told."""
_SKIP, _DATA, _MEDIUM, _SOURCE = 1, 2, 3, 4
_MEMBERS: Final[dict[str, int]] = {
    **dict.fromkeys(_AS_JSON, _DATA), **dict.fromkeys(_UNREAD, _SKIP), **dict.fromkeys(MEDIA_KEYS, _MEDIUM),
    "source": _SOURCE,
}  # fmt: skip
"""What the members of a message or part are; any other key holds text, or parts."""
_MAY_BE_CUT: Final = frozenset({"reasoning", "function_call", "custom_tool_call", "mcp_call", "web_search_call"})
"""Items that templates leave out of earlier turns."""
_SIGNED: Final = frozenset({"thinking", "redacted_thinking"})
EVERYTHING: Final = 2**62
_ENCODE: Final[Any] = msgspec.json.Encoder().encode
_EDGE: Final = 4096
_NESTED: Final = frozenset({dict, list})
_READ: Final = frozenset({dict, list, str})
Lengths = dict[str, int]


class PromptContent:
    """The sums. `least` holds what no tokenizer goes below, the others are estimates.

    `tokens` are those of all prompts, `longest` and `least` those of the longest one: a list of prompts is a list of
    sequences, each with the whole context for itself. They are complete when `read` says so. `lengths` has the bytes of
    the body's fields where they are known.
    """

    __slots__ = ("_before", "_firm", "_listed", "_most", "_prompts", "_shared", "_shortened", "_todo", "characters",
                 "fields", "ids", "inputs", "least", "longest", "sure", "tokens", "unknown")  # fmt: skip

    def __init__(self, endpoint: Endpoint, document: dict[str, Any], lengths: Lengths | None = None) -> None:
        self.characters = 0
        self.sure = 0  # characters that every template keeps
        self.ids = 0  # token ids, which are exact
        self.inputs: frozenset[Modality] = TEXT_ALONE
        self.unknown = False  # it holds a part of unknown kind
        self.fields: set[str] = set()  # what is valid only here, as names of fields
        self.tokens = self.longest = self.least = 0
        self._todo: list[tuple[Any, int, bool]] = []  # parts, how deep they lie, whether every template keeps them
        self._prompts: list[tuple[str, Any]] = []  # the sequences that are not read yet
        self._before = 0, 0, 0  # the sums before the sequence that is being read
        self._shared: tuple[int, int] | None = None  # estimate and least of what belongs to all of them
        self._most = 0, 0  # of the longest one
        self._listed = 0, 0  # characters and ids of the sequences that were read at once
        apart = endpoint.task is not Task.GENERATE
        # WordPiece, which embedding models use, makes one token of any long word: only ids are certain there.
        self._firm = not apart
        self._shortened = document.get("truncate_prompt_tokens") is not None or document.get("truncation") == "auto"
        for key in endpoint.texts:
            value = document.get(key)
            if isinstance(value, str):
                self._text(value, self._firm)
            elif isinstance(value, list) and (apart or key == "prompt"):
                self._sequences(key, value)
            elif isinstance(value, list | dict):
                self._field(key, value, 0 if lengths is None else lengths.get(key, 0))

    def read(self, most: int) -> bool:
        """Read on, about `most` parts. Whether that was all."""
        todo, prompts = self._todo, self._prompts
        while True:
            while todo:
                if most <= 0:
                    return False
                part, depth, firm = todo.pop()
                most -= self._part(part, depth, firm)
            self._measure()
            if not prompts:
                break
            key, prompt = prompts.pop()
            if isinstance(prompt, list) and set(map(type, prompt)) == {int}:
                most -= self._ids(key, prompt) // 8
            else:
                todo.append((prompt, 1, self._firm))
        shared, least = self._shared or (0, 0)
        self.tokens = _estimate(self.characters + self._listed[0], self.ids + self._listed[1])
        self.longest = shared + self._most[0]
        self.least = 0 if self._shortened else least + self._most[1]
        return True

    def _measure(self) -> None:
        """A sequence, or what belongs to all of them, is read."""
        characters, sure, ids = self._before
        ids = self.ids - ids
        found = _estimate(self.characters - characters, ids), (self.sure - sure) // LONGEST_TOKEN + ids
        if self._shared is None:
            self._shared = found
        else:
            self._longest(*found)
        self._before = self.characters, self.sure, self.ids

    def _longest(self, estimate: int, least: int) -> None:
        self._most = max(self._most[0], estimate), max(self._most[1], least)

    def _sequences(self, key: str, value: list[Any]) -> None:
        """A list of prompts, or one prompt of token ids."""
        kinds = set(map(type, value))
        characters, ids = self._listed
        if kinds == {int}:
            self._listed = characters, ids + len(value)
            self._longest(len(value), len(value))
            self.fields.add(f"{key}.token_ids")
        if str in kinds:
            texts = value if len(kinds) == 1 else [item for item in value if type(item) is str]
            longest = max(texts, key=len)
            self._listed = characters + sum(map(len, texts)), ids
            self._longest(len(longest) // CHARACTERS_PER_TOKEN, _firm(longest) // LONGEST_TOKEN if self._firm else 0)
        if kinds & _NESTED:
            self._prompts += [(key, item) for item in value if item and type(item) in _NESTED]

    def _field(self, key: str, value: Any, length: int) -> None:
        """A list or an object that a template takes as one; `length` in the body, if it is known."""
        if _MEMBERS.get(key) == _DATA and key != "input":
            if length > _EDGE:
                self.characters += length
            else:
                self._json(value)
        elif isinstance(value, dict):
            self._todo.append((value, 1, True))
        elif isinstance(value, list):
            kinds = set(map(type, value))
            if kinds == {int}:
                self._ids(key, value)
            elif kinds & _READ:
                self._todo += [(item, 1, True) for item in value if item and type(item) in _READ]

    def _ids(self, key: str, value: list[int]) -> int:
        self.ids += len(value)
        self.fields.add(f"{key}.token_ids")
        return len(value)

    def _text(self, text: str, firm: bool) -> None:
        length = len(text)
        self.characters += length
        if firm and length >= LONGEST_TOKEN:
            self.sure += _firm(text)

    def _json(self, value: Any) -> int:
        try:
            length = len(_ENCODE(value))
        except RecursionError:
            raise BadRequestError("the body is nested too deeply: send fewer brackets within brackets") from None
        self.characters += length
        return length // 64

    def _part(self, value: Any, depth: int, firm: bool) -> int:
        """A message, an item or a part, or a list of them. How many others that was worth."""
        if isinstance(value, str):
            self._text(value, firm)
        elif depth > DEEPEST:
            self.unknown = True
            return self._json(value)
        elif isinstance(value, dict):
            return self._object(value, depth, firm)
        elif isinstance(value, list):
            self._todo += [(item, depth + 1, firm) for item in value if item and type(item) in _READ]
            return 1 + len(value) // 8
        return 1

    def _object(self, value: dict[str, Any], depth: int, firm: bool) -> int:
        said = value.get("type") or "text"
        kind = said if isinstance(said, str) else "?"
        if kind in _MAY_BE_CUT or value.get("role") == "assistant":
            firm = False
        if kind in TEXTUAL:
            if kind == "item_reference":
                self.fields.add(foreign_part(kind, value))
            elif kind in _SIGNED:
                self.fields.add("content.thinking")  # signed for whoever thought it
                if kind == "redacted_thinking":
                    return 1
        else:
            self._medium(kind, value)
            if kind in MODALITIES:
                return 1
        return self._members(kind, value, depth, firm)

    def _members(self, kind: str, part: dict[str, Any], depth: int, firm: bool) -> int:
        spent = 1
        for key, inner in part.items():
            if not inner:
                continue
            what = _MEMBERS.get(key)
            if what is None or what == _DATA:
                if isinstance(inner, str):
                    self._text(inner, firm)
                elif type(inner) not in _NESTED:
                    continue
                elif what is not None:
                    spent += self._json(inner)
                else:
                    self._todo.append((inner, depth + 1, firm))
            elif what == _MEDIUM:
                if key != kind:
                    self._medium(key, part)
            elif what == _SOURCE:
                self._source(inner, depth, firm)
        return spent + len(part) // 8

    def _source(self, source: Any, depth: int, firm: bool) -> None:
        """What an Anthropic document is made of: text, parts, or a file of unknown kind."""
        kind = source.get("type") if isinstance(source, dict) else ""
        if kind == "text" and isinstance(source.get("data"), str):
            self._text(source["data"], firm)
        elif kind == "content":
            if content := source.get("content"):
                self._todo.append((content, depth + 1, firm))
        elif kind != "":
            self.unknown = True
            self.fields.add("content.document")

    def _medium(self, kind: str, part: dict[str, Any]) -> None:
        modality = MODALITIES.get(kind)
        if modality is None:
            self.unknown = True
        elif modality not in self.inputs:
            self.inputs = self.inputs | {modality}
        if (name := foreign_part(kind, part)) and len(self.fields) < 16:
            self.fields.add(name)


def _estimate(characters: int, ids: int) -> int:
    return characters // CHARACTERS_PER_TOKEN + ids


def _firm(text: str) -> int:
    """Characters that stay when a template trims; of long texts only the ends are looked at, of short ones none stay,
    which a bound from below may say."""
    if len(text) <= 4 * _EDGE:
        return len(text.strip()) if len(text) >= LONGEST_TOKEN else 0
    head, tail = text[:_EDGE].lstrip(), text[-_EDGE:].rstrip()
    return len(text) - 2 * _EDGE + len(head) + len(tail) if head and tail else 0
