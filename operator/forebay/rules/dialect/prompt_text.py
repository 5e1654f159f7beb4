"""Words of a request: how its conversation began, and what the user wrote last."""

from typing import Any, Final

from forebay.rules.endpoints import Endpoint
from forebay.rules.learned import READ

MOST_LOOKED_AT: Final = 1024
"""Messages, or parts of one, among which words are looked for: more would take long."""
_OPENINGS: Final = ("messages", "input", "prompt", "query", "text_1")
_SYSTEM: Final = ("system", "developer")


def _collect(value: Any, texts: list[str], depth: int) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list) and depth < 6:
        for item in value[:MOST_LOOKED_AT]:
            _collect(item, texts, depth + 1)
    elif isinstance(value, dict) and depth < 6:
        for key in ("content", "text"):
            inner = value.get(key)
            if isinstance(inner, str):
                texts.append(inner)
            elif inner is not None:
                _collect(inner, texts, depth + 1)


def opening(document: dict[str, Any]) -> tuple[str, str]:
    """How a conversation begins: what the system says, and the first user message. It stays the same turn by turn."""
    said = next((said for key in _OPENINGS if (said := document.get(key))), None)
    system = [document.get("instructions"), document.get("system")]
    first: Any = said
    if isinstance(said, list):
        for message in said[:MOST_LOOKED_AT]:
            role = message.get("role") if isinstance(message, dict) else "user"
            if role not in _SYSTEM:
                first = message
                break
            system.append(message)
    return _joined(system), _joined(first)


def _joined(value: Any) -> str:
    texts: list[str] = []
    _collect(value, texts, 0)
    return "".join(texts)


def user_words(endpoint: Endpoint, document: dict[str, Any]) -> str:
    """What the user wrote last, without the harness around it (system prompt, tools, earlier turns). May be empty.

    Of several parts the beginning of the first and the end of the last text.
    """
    if not endpoint.classified:
        return ""
    said = document.get("messages") or document.get("input") or document.get("prompt")
    if isinstance(said, str):
        return said
    for message in reversed(said[-MOST_LOOKED_AT:]) if isinstance(said, list) else ():
        if isinstance(message, str):
            return message
        if not isinstance(message, dict):
            break
        if message.get("role", "user") == "user" and (text := _ends(message.get("content") or message.get("text"))):
            return text
    return ""


def _ends(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if len(parts) > 2 * MOST_LOOKED_AT:
        parts = parts[:MOST_LOOKED_AT] + parts[-MOST_LOOKED_AT:]
    texts = [text for part in parts if isinstance(text := part.get("text") if isinstance(part, dict) else part, str)]
    if len(texts) < 2:
        return "".join(texts)
    return f"{texts[0][: 2 * READ]}\n{texts[-1][-2 * READ :]}"
