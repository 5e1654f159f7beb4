"""The bodies of OpenAI's API as tables of shapes (body_shapes), and every table by path; others are in more_shapes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from forebay.resources.terms import Api
from forebay.rules.body_shapes import (
    ABSENT,
    Fit,
    ObjectShape,
    Walk,
    as_json,
    by_type,
    call_id,
    each,
    image_address,
    parts_of,
    plain,
    prompts,
    scalar,
    text,
)
from forebay.rules.credentials import is_public
from forebay.rules.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MESSAGES, RESPONSES
from forebay.rules.more_shapes import MESSAGES_SHAPES, RERANK_SHAPES

NEVER_SENT: Final = frozenset({"metadata", "service_tier"})
"""Fields that are about this fleet: hints and priority for forebay."""
DECORATION: Final = frozenset(
    {
        "annotations",
        "cache_control",
        "created",
        "created_at",
        "id",
        "index",
        "is_error",
        "logprobs",
        "metadata",
        "object",
        "provider_specific_fields",
        "status",
        "timestamp",
        "uuid",
    }
)
"""Members that clients and backends add to messages, parts and calls, and that change no answer."""
_STATE: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})
"""Parts of an answer that only the backend that made them understands."""

# Chat.

_TEXT_PART: Final = ObjectShape("messages.content", {"type": text, "text": text}, left_out=DECORATION, needs=("text",))
_REFUSAL_PART: Final = ObjectShape(
    "messages.content", {"type": text, "refusal": text}, left_out=DECORATION, needs=("refusal",)
)
_IMAGE: Final = ObjectShape(
    "messages.content.image_url", {"url": image_address, "detail": scalar}, left_out=DECORATION, needs=("url",)
)


def _image(walk: Walk, name: str, value: Any) -> Any:
    return _IMAGE(walk, name, {"url": value} if isinstance(value, str) else value)


_IMAGE_PART: Final = ObjectShape(
    "messages.content", {"type": text, "image_url": _image}, left_out=DECORATION, needs=("image_url",)
)
_SOUND: Final = ObjectShape(
    "messages.content.input_audio", {"data": text, "format": text}, left_out=DECORATION, needs=("data", "format")
)
_SOUND_PART: Final = ObjectShape(
    "messages.content", {"type": text, "input_audio": _SOUND}, left_out=DECORATION, needs=("input_audio",)
)

_TEXTS: Final = parts_of(by_type({"text": _TEXT_PART}, "content"), "text")
_USER: Final = parts_of(
    by_type({"text": _TEXT_PART, "image_url": _IMAGE_PART, "input_audio": _SOUND_PART}, "content"), "text"
)
_ANSWERED: Final = parts_of(by_type({"text": _TEXT_PART, "refusal": _REFUSAL_PART}, "content", left_out=_STATE), "text")
_FUNCTION_CALLED: Final = ObjectShape(
    "messages.tool_calls.function", {"name": text, "arguments": as_json}, lenient=True, needs=("name", "arguments")
)
_CUSTOM_CALLED: Final = ObjectShape(
    "messages.tool_calls.custom", {"name": text, "input": text}, lenient=True, needs=("name", "input")
)
_CALL: Final = by_type(
    {
        kind: ObjectShape(
            "messages.tool_calls", {"id": call_id, "type": text, kind: fit}, lenient=True, needs=("id", kind)
        )
        for kind, fit in (("function", _FUNCTION_CALLED), ("custom", _CUSTOM_CALLED))
    },
    "messages.tool_calls",
)
_OLD_CALL: Final = ObjectShape(
    "messages.function_call", {"name": text, "arguments": as_json}, lenient=True, needs=("name", "arguments")
)


def _says_something(walk: Walk, name: str, value: Any) -> Any:
    """What an answer of another backend may not lose: it goes on from here, or its sound is kept there."""
    return walk.odd(name, value) if value else ABSENT


_ASSISTANT: Final = ObjectShape(
    "messages",
    {
        "role": text,
        "content": _ANSWERED,
        "name": text,
        "refusal": text,
        "tool_calls": each(_CALL),
        "function_call": _OLD_CALL,
        "audio": _says_something,
        "prefix": _says_something,
        "partial": _says_something,
    },
    lenient=True,
)


def _assistant(walk: Walk, name: str, value: dict[str, Any]) -> Any:
    """An answer; one that was nothing but thoughts is left out."""
    made = _ASSISTANT(walk, name, value)
    calls = "tool_calls" in made or "function_call" in made
    if not made.get("content") and value.get("content") != "":
        made.pop("content", None)
        if not calls and "refusal" not in made:
            return ABSENT
        if "content" in value:
            made["content"] = None
    return made


def _told(role: str, fits: Mapping[str, Fit], *needs: str) -> ObjectShape:
    left_out = DECORATION | {"name"} if role == "tool" else DECORATION
    return ObjectShape("messages", {"role": text, **fits}, left_out=left_out, needs=needs)


_TOOL: Final = _told("tool", {"content": _TEXTS, "tool_call_id": call_id}, "tool_call_id")


def _result(walk: Walk, name: str, value: Any) -> Any:
    """What a call gave; nothing is an empty text."""
    made = _TOOL(walk, name, value)
    if isinstance(made, dict):
        made.setdefault("content", "")
    return made


_ROLES: Final[Mapping[str, Fit]] = MappingProxyType(
    {
        "system": _told("system", {"content": _TEXTS, "name": text}, "content"),
        "developer": _told("developer", {"content": _TEXTS, "name": text}, "content"),
        "user": _told("user", {"content": _USER, "name": text}, "content"),
        "assistant": _assistant,
        "tool": _result,
        "function": _told("function", {"content": text, "name": text}, "name"),
    }
)


def _message(walk: Walk, name: str, value: Any) -> Any:
    role = value.get("role") if isinstance(value, dict) else None
    fit = _ROLES.get(role) if isinstance(role, str) else None
    return walk.odd("messages.role", value) if fit is None else fit(walk, name, value)


_FUNCTION: Final = {"name": text, "description": text, "parameters": plain, "strict": scalar}
_LEFT_OUT_OF_TOOLS: Final = frozenset({"cache_control", "metadata"})
_GRAMMAR: Final = {"name": text, "description": text, "format": plain}


def _kinds(path: str, kinds: Mapping[str, Mapping[str, Fit]]) -> Fit:
    return by_type(
        {
            kind: ObjectShape(
                path,
                {"type": text, kind: ObjectShape(f"{path}.{kind}", fits, left_out=_LEFT_OUT_OF_TOOLS, needs=("name",))},
                left_out=_LEFT_OUT_OF_TOOLS,
                needs=(kind,),
            )
            for kind, fits in kinds.items()
        },
        path,
    )


_CHOSEN: Final = _kinds("tool_choice", {"function": {"name": text}, "custom": {"name": text}})
_SCHEMA: Final = ObjectShape(
    "response_format.json_schema",
    {"name": text, "description": text, "schema": plain, "strict": scalar},
    needs=("name",),
)
_FORMAT: Final = by_type(
    {
        "text": ObjectShape("response_format", {"type": text}),
        "json_object": ObjectShape("response_format", {"type": text}),
        "json_schema": ObjectShape("response_format", {"type": text, "json_schema": _SCHEMA}, needs=("json_schema",)),
    },
    "response_format",
)
_OPTIONS: Final = ObjectShape(
    "stream_options",
    {"include_usage": scalar, "include_obfuscation": scalar},
    left_out=frozenset({"continuous_usage_stats"}),
)


def _choice(walk: Walk, name: str, value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "allowed_tools":
        return plain(walk, name, value)
    return value if isinstance(value, str) else _CHOSEN(walk, name, value)


def _own_numbers(walk: Walk, name: str, value: Any) -> Any:
    """Token ids as keys: numbers of one tokenizer."""
    return ABSENT if value == {} else walk.odd(name, value)


_CHAT: Final[Mapping[str, Fit]] = {
    "messages": each(_message, []),
    "tools": each(_kinds("tools", {"function": _FUNCTION, "custom": _GRAMMAR})),
    "functions": each(ObjectShape("functions", _FUNCTION, needs=("name",))),
    "tool_choice": _choice,
    "response_format": _FORMAT,
    "stream_options": _OPTIONS,
    "logit_bias": _own_numbers,
}

# Responses.

_ITEM_DECORATION: Final = DECORATION | {"phase", "created_by"}
_INPUT_IMAGE: Final = ObjectShape(
    "input.content",
    {"type": text, "image_url": image_address, "detail": scalar},
    left_out=_ITEM_DECORATION,
    needs=("image_url",),
)
_INPUT_PART: Final = by_type(
    {
        **{
            kind: ObjectShape("input.content", {"type": text, member: text}, left_out=_ITEM_DECORATION, needs=(member,))
            for kind, member in (("input_text", "text"), ("output_text", "text"), ("refusal", "refusal"))
        },
        "input_image": _INPUT_IMAGE,
        "input_audio": ObjectShape(
            "input.content",
            {"type": text, "input_audio": ObjectShape("input.content.input_audio", {"data": text, "format": text})},
            left_out=_ITEM_DECORATION,
        ),
    },
    "content",
    left_out=_STATE | {"reasoning_text"},
)
_INPUT_CONTENT: Final = parts_of(_INPUT_PART, "input_text")


def _item(kind: str, fits: Mapping[str, Fit], *needs: str) -> ObjectShape:
    path = f"input.{kind}"
    return ObjectShape(path, {"type": text, **fits}, left_out=_ITEM_DECORATION, needs=needs)


def _thoughts(walk: Walk, name: str, value: dict[str, Any]) -> Any:
    """Thoughts are left out; those that are encrypted, only the backend that made them can go on from."""
    if value.get("encrypted_content"):
        return walk.odd("reasoning.encrypted_content", value)
    return value if name in walk.accepted else ABSENT


_ITEMS: Final = by_type(
    {
        "message": ObjectShape(
            "input.message",
            {"type": text, "role": text, "content": _INPUT_CONTENT},
            left_out=_ITEM_DECORATION,
            needs=("role", "content"),
        ),
        "function_call": _item(
            "function_call", {"call_id": call_id, "name": text, "arguments": as_json}, "call_id", "name", "arguments"
        ),
        "function_call_output": _item(
            "function_call_output", {"call_id": call_id, "output": _INPUT_CONTENT}, "call_id", "output"
        ),
        "custom_tool_call": _item(
            "custom_tool_call", {"call_id": call_id, "name": text, "input": text}, "call_id", "name", "input"
        ),
        "custom_tool_call_output": _item(
            "custom_tool_call_output", {"call_id": call_id, "output": _INPUT_CONTENT}, "call_id", "output"
        ),
        "reasoning": _thoughts,
    },
    "input",
    usual="message",
)


def _items(walk: Walk, name: str, value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "item_reference":
        return walk.odd("content.item_reference", value)
    return walk.odd("input.token_ids", value) if isinstance(value, int) else _ITEMS(walk, name, value)


_ALL_ITEMS: Final = each(_items, [])


def _input(walk: Walk, name: str, value: Any) -> Any:
    return value if isinstance(value, str) else _ALL_ITEMS(walk, name, value)


def _server(walk: Walk, name: str, value: Any) -> Any:
    return value if is_public(value) else walk.odd(name, value)


_BUILT_IN: Final[Mapping[str, Mapping[str, Fit]]] = {
    "web_search": {"filters": plain, "search_context_size": scalar, "user_location": plain},
    "web_search_preview": {"search_context_size": scalar, "user_location": plain},
    "local_shell": {},
    "apply_patch": {},
}
_RESPONSE_TOOLS: Final = each(
    by_type(
        {
            "function": ObjectShape(
                "tools.function", {"type": text, **_FUNCTION}, left_out=_LEFT_OUT_OF_TOOLS, needs=("name",)
            ),
            "custom": ObjectShape(
                "tools.custom", {"type": text, **_GRAMMAR}, left_out=_LEFT_OUT_OF_TOOLS, needs=("name",)
            ),
            "mcp": ObjectShape(
                "tools.mcp",
                {
                    "type": text,
                    "server_label": text,
                    "server_url": _server,
                    "server_description": text,
                    "allowed_tools": plain,
                    "require_approval": plain,
                },
                needs=("server_label", "server_url"),
            ),
            **{kind: ObjectShape(f"tools.{kind}", {"type": text, **fits}) for kind, fits in _BUILT_IN.items()},
        },
        "tools",
    )
)


def _response_choice(walk: Walk, name: str, value: Any) -> Any:
    return value if isinstance(value, str) else plain(walk, name, value)


_TEXT_FORMAT: Final = by_type(
    {
        "text": ObjectShape("text.format", {"type": text}),
        "json_object": ObjectShape("text.format", {"type": text}),
        "json_schema": ObjectShape(
            "text.format",
            {"type": text, "name": text, "description": text, "schema": plain, "strict": scalar},
            needs=("name", "schema"),
        ),
    },
    "text.format",
)

_RESPONSES: Final[Mapping[str, Fit]] = {
    "input": _input,
    "tools": _RESPONSE_TOOLS,
    "tool_choice": _response_choice,
    "text": ObjectShape("text", {"format": _TEXT_FORMAT, "verbosity": scalar}),
    "reasoning": ObjectShape("reasoning", {"effort": scalar, "summary": scalar, "generate_summary": scalar}),
    "stream_options": ObjectShape(
        "stream_options",
        {"include_obfuscation": scalar},
        left_out=frozenset({"include_usage", "continuous_usage_stats"}),
    ),
}

SHAPES: Final[Mapping[str, Mapping[str, Fit]]] = MappingProxyType(
    {
        CHAT: _CHAT,
        COMPLETIONS: {"prompt": prompts, "stream_options": _OPTIONS, "logit_bias": _own_numbers},
        RESPONSES: _RESPONSES,
        EMBEDDINGS: {"input": prompts},
        MESSAGES: MESSAGES_SHAPES,
        **dict.fromkeys((path for path, row in ENDPOINTS.items() if row.api is Api.RERANK), RERANK_SHAPES),
    }
)
"""By path and field. A field that stands nowhere is sent as it is, and looked through for credentials."""
