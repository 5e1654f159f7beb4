"""What an engine will read of a request, in any dialect: how long it is, and what kinds of input it holds.

One walker reads the fields that a path's row names (`Endpoint.texts`): messages and their parts, items of Responses,
blocks of Anthropic's, lists of prompts, token ids. What a chat template renders as JSON (tools, schemas, arguments of
calls) counts with its keys and brackets, as the model reads it.
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

_AS_JSON: Final = frozenset({"tools", "functions", "response_format", "structured_outputs", "guided_json", "text",
                             "tool_calls", "function_call", "function", "arguments", "parameters", "input", "action",
                             "annotations", "citations", "logprobs", "metadata", "queries",
                             "pending_safety_checks"})  # fmt: skip
"""Keys whose lists and objects are a program's own data: whatever it calls `type` is no kind of input."""
_UNREAD: Final = frozenset({"type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "item_id", "status",
                            "phase", "signature", "encrypted_content", "cache_control", "detail", "index", "url",
                            "file_id"})  # fmt: skip
"""Keys of messages and parts that a model is not told."""
_MAY_BE_CUT: Final = frozenset({"reasoning", "function_call", "custom_tool_call", "mcp_call", "web_search_call"})
"""Items that templates leave out of earlier turns."""

_NESTED: Final = (dict, list)
_READ: Final = (dict, list, str)


class PromptContent:
    """The sums. `least` holds what no tokenizer goes below, the others are estimates.

    `tokens` are those of all prompts, `longest` and `least` those of the longest one: a list of prompts is a list of
    sequences, each with the whole context for itself.
    """

    __slots__ = ("_firm", "characters", "fields", "ids", "inputs", "least", "longest", "sure", "tokens",
                 "unknown")  # fmt: skip

    def __init__(self, endpoint: Endpoint, document: dict[str, Any]) -> None:
        self.characters = 0
        self.sure = 0  # characters that every template keeps
        self.ids = 0  # token ids, which are exact
        self.inputs: frozenset[Modality] = TEXT_ALONE
        self.unknown = False  # it holds a part of unknown kind
        self.fields: set[str] = set()  # what is valid only here, as names of fields
        self._firm = True
        several = 0  # the longest of the sequences, as an estimate
        several_least = 0
        shared, shared_least = 0, 0
        apart = endpoint.task is not Task.GENERATE
        for key in endpoint.texts:
            value = document.get(key)
            if value is None:
                continue
            before = self.characters, self.sure, self.ids
            if isinstance(value, list) and (apart or key == "prompt"):
                longest, least = self._sequences(key, value)
                several, several_least = max(several, longest), max(several_least, least)
            else:
                self._field(key, value)
                shared += _estimate(self.characters - before[0], self.ids - before[2])
                shared_least += (self.sure - before[1]) // LONGEST_TOKEN + self.ids - before[2]
        self.tokens = _estimate(self.characters, self.ids)
        self.longest = shared + several
        shortened = document.get("truncate_prompt_tokens") is not None or document.get("truncation") == "auto"
        # WordPiece, which embedding models use, makes one token of any long word: only ids are certain there.
        self.least = 0 if shortened else several_least if apart else shared_least + several_least

    def _sequences(self, key: str, value: list[Any]) -> tuple[int, int]:
        """A list of prompts, or one prompt of token ids. Estimate and least of the longest."""
        kinds = set(map(type, value))
        if kinds == {str}:
            self.characters += sum(map(len, value))
            longest = max(map(len, value))
            sure = _firm(max(value, key=len)) if key == "prompt" else 0
            return longest // CHARACTERS_PER_TOKEN, sure // LONGEST_TOKEN
        if kinds == {int}:
            self.ids += len(value)
            self.fields.add(f"{key}.token_ids")
            return len(value), len(value)
        longest = least = 0
        for item in value:
            before = self.characters, self.sure, self.ids
            if isinstance(item, list) and item and set(map(type, item)) == {int}:
                self.ids += len(item)
                self.fields.add(f"{key}.token_ids")
            else:
                self._field(key, item)
            ids = self.ids - before[2]
            longest = max(longest, _estimate(self.characters - before[0], ids))
            sure = self.sure - before[1] if key == "prompt" else 0
            least = max(least, sure // LONGEST_TOKEN + ids)
        return longest, least

    def _field(self, key: str, value: Any) -> None:
        if isinstance(value, str):
            self._text(value)
        elif isinstance(value, _NESTED) and key in _AS_JSON and key != "input":
            self._json(value)
        elif isinstance(value, list):
            if value and set(map(type, value)) == {int}:
                self.ids += len(value)
                self.fields.add(f"{key}.token_ids")
            else:
                for item in value:
                    if isinstance(item, _READ):
                        self._firm = True
                        self._part(item, 1)
        elif isinstance(value, dict):
            self._part(value, 1)
        self._firm = True

    def _text(self, text: str) -> None:
        self.characters += len(text)
        if self._firm:
            self.sure += _firm(text)

    def _json(self, value: Any) -> None:
        try:
            self.characters += len(msgspec.json.encode(value))
        except RecursionError:
            raise BadRequestError("the body is nested too deeply: send fewer brackets within brackets") from None

    def _part(self, value: Any, depth: int) -> None:
        """A message, an item or a part, or a list of them."""
        if isinstance(value, str):
            self._text(value)
        elif isinstance(value, _NESTED) and depth > DEEPEST:
            self.unknown = True
            self._json(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, _READ):
                    self._part(item, depth + 1)
        elif isinstance(value, dict):
            said = value.get("type") or "text"
            kind = said if isinstance(said, str) else "?"
            if self._holds_text(kind, value):
                self._members(kind, value, depth)

    def _holds_text(self, kind: str, part: dict[str, Any]) -> bool:
        """Note what kind of part this is. Whether a model is told what it says."""
        if part.get("role") == "assistant" or kind in _MAY_BE_CUT:
            self._firm = False
        if kind in TEXTUAL:
            if kind == "item_reference":
                self.fields.add(foreign_part(kind, part))
            return kind != "redacted_thinking"
        self._medium(kind, part)
        return kind not in MODALITIES

    def _members(self, kind: str, part: dict[str, Any], depth: int) -> None:
        for key, inner in part.items():
            if key in _UNREAD or not inner:
                continue
            if key in MEDIA_KEYS:
                if key != kind:
                    self._medium(key, part)
            elif key == "source":
                self._source(inner, depth)
            elif isinstance(inner, str):
                self._text(inner)
            elif key in _AS_JSON and isinstance(inner, _NESTED):
                self._json(inner)
            else:
                self._part(inner, depth + 1)

    def _source(self, source: Any, depth: int) -> None:
        """What an Anthropic document is made of: text, parts, or a file of unknown kind."""
        kind = source.get("type") if isinstance(source, dict) else ""
        if kind == "text" and isinstance(source.get("data"), str):
            self._text(source["data"])
        elif kind == "content":
            self._part(source.get("content"), depth + 1)
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
    """Characters that stay when a template trims; short texts are left out, which a bound from below may do."""
    return len(text.strip()) if len(text) >= LONGEST_TOKEN else 0
