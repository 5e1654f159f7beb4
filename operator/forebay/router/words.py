"""The user's own words: what was written last, without the harness around it (system prompt, tools, earlier turns)."""

from typing import Any, Final

from forebay.rules.learned import READ

SPOKEN: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
"""Paths whose text asks for something."""


def user_words(path: str, document: dict[str, Any]) -> str:
    """The last user message; of several parts the beginning of the first and the end of the last text. May be empty."""
    said = document.get("messages") or document.get("input") or document.get("prompt")
    if path not in SPOKEN:
        return ""
    if isinstance(said, str):
        return said
    for message in reversed(said) if isinstance(said, list) else ():
        if isinstance(message, str):
            return message
        if not isinstance(message, dict):
            break
        if message.get("role", "user") == "user" and (text := _text(message.get("content") or message.get("text"))):
            return text
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [text for part in parts if isinstance(text := part.get("text") if isinstance(part, dict) else part, str)]
    if len(texts) < 2:
        return "".join(texts)
    return f"{texts[0][: 2 * READ]}\n{texts[-1][-2 * READ :]}"
