"""Where a request may say its task: the user's last words, the system prompt, and what it says of its answer."""

from typing import Any, Final

from forebay.rules.dialect.prompt_text import user_words
from forebay.rules.endpoints import Endpoint
from forebay.rules.learned import CHOICE, JSON, READ, SCHEMA, TOOLS, Words

_SYSTEM: Final = ("system", "developer")
_TEXTS: Final = 8  # of a system prompt
_LOOKED_AT: Final = 64  # tools, properties of a schema


def task_words(endpoint: Endpoint, document: dict[str, Any]) -> Words:
    """All that the classifier reads of a request. Empty where the path is not classified."""
    if not endpoint.classified:
        return Words("")
    return Words(user_words(endpoint, document), _system(document), _evidence(document))


def _system(document: dict[str, Any]) -> str:
    """The system prompt, in whatever API: each of its texts' two ends."""
    texts: list[str] = []
    _add(document.get("system"), texts)
    _add(document.get("instructions"), texts)
    said = document.get("messages") or document.get("input")
    for message in said if isinstance(said, list) else ():
        if not isinstance(message, dict) or message.get("role") not in _SYSTEM or len(texts) >= _TEXTS:
            break
        _add(message.get("content"), texts)
    return "\n".join(texts)


def _add(content: Any, texts: list[str]) -> None:
    for part in content[:_TEXTS] if isinstance(content, list) else (content,):
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text if len(text) <= 4 * READ else f"{text[: 2 * READ]}\n{text[-2 * READ :]}")


def _evidence(document: dict[str, Any]) -> tuple[str, ...]:
    """What the request says of its answer beside all words. A tool that must be called is a schema."""
    tools = document.get("tools") or document.get("functions")
    tools = tools if isinstance(tools, list) else []
    found = _of_format(document) or _of_forced(tools, document)
    if found:
        return (found,)
    return (TOOLS,) if tools and document.get("tool_choice") != "none" else ()


def _of_format(document: dict[str, Any]) -> str:
    """What the answer must look like: by the fields of OpenAI, Anthropic and vLLM."""
    structured = _dict(document.get("structured_outputs"))
    if document.get("guided_choice") or structured.get("choice"):
        return CHOICE
    if schema := document.get("guided_json") or structured.get("json"):
        return _of_schema(schema)
    elsewhere = _dict(document.get("text")).get("format") or _dict(document.get("output_config")).get("format")
    wanted = _dict(document.get("response_format") or elsewhere)
    if wanted.get("type") == "json_object":
        return JSON
    if wanted.get("type") != "json_schema":
        return ""
    return _of_schema(_dict(wanted.get("json_schema")).get("schema") or wanted.get("schema"))


def _of_forced(tools: list[Any], document: dict[str, Any]) -> str:
    """What the tool that must be called takes; empty where the model may choose."""
    choice = document.get("tool_choice") or document.get("function_call")
    asked = _dict(choice)
    name = asked.get("name") or _dict(asked.get("function")).get("name")
    if name is None and (len(tools) != 1 or (choice != "required" and asked.get("type") != "any")):
        return ""
    for tool in tools[:_LOOKED_AT]:
        known = _dict(tool)
        known = _dict(known.get("function")) or known
        if name is None or known.get("name") == name:
            return _of_schema(known.get("parameters") or known.get("input_schema"))
    return ""


def _of_schema(schema: Any) -> str:
    """CHOICE where at least half of its fields, numbers aside, have a closed set of values."""
    fields = [_dict(field) for field in list(_dict(_dict(schema).get("properties")).values())[:_LOOKED_AT]]
    fields = [field for field in fields if field.get("type") not in ("number", "integer")]
    closed = sum(bool(field.get("enum")) or "const" in field or field.get("type") == "boolean" for field in fields)
    return CHOICE if fields and 2 * closed >= len(fields) else SCHEMA


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
