"""Whether an engine's refusal says that the request is longer than its context: by its status, its words for machines
and the request's own size, never by a sentence alone (docs/rule.md)."""

import re
from typing import Any, Final

import msgspec

STATUSES: Final = frozenset({400, 413, 422})
WORDS: Final = frozenset({
    "context_length_exceeded", "context_window_exceeded", "model_context_window_exceeded", "exceed_context_size_error",
    "exceeds_context_size", "prompt_too_long", "input_too_long", "max_context_length_exceeded", "input_tokens",
})  # fmt: skip
"""Values of `code`, `type` and `param` that mean nothing else."""
PARAMS: Final = frozenset({"messages", "prompt", "input", "inputs", "instructions", "system", "max_tokens",
                           "max_completion_tokens", "max_output_tokens", "max_new_tokens"})  # fmt: skip
"""Fields that make a request long: named, they tell it of one that is long."""
_NUMBER: Final = re.compile(r"(?<!\d)\d{1,9}(?!\d)", re.ASCII)


def is_too_long(status: int, body: bytes, likely_tokens: int, context_tokens: int | None, phrase: bytes) -> bool:
    """`likely_tokens`: the estimate of prompt and answer; `context_tokens`: the pool's, None where nobody has said it;
    `phrase`: what this type of engine usually says.

    The machine's word alone is enough. Else the request must be near the context, and the nearer the less the refusal
    says: a quarter of it where that has the very number of the context (of Chinese the estimate is less than half),
    half where it names a field that makes requests long, three quarters where it names nothing, or is a 413. Where
    nobody has said the context, the largest number that stands beside the phrase is taken for it.
    """
    if status not in STATUSES:
        return False
    error = _error(body)
    words = [error.get("code"), error.get("type"), error.get("param")]
    if any(isinstance(word, str) and word.lower() in WORDS for word in words):
        return True
    numbers = _numbers(error)
    if context_tokens is None:
        return phrase in body and 4 * likely_tokens >= max(numbers, default=0)
    if context_tokens in numbers and 4 * likely_tokens >= context_tokens:
        return True
    param = error.get("param")
    named = isinstance(param, str) and param.split(".")[0].split("[")[0] in PARAMS
    if named:
        return 2 * likely_tokens >= context_tokens
    return (status == 413 or not param) and 4 * likely_tokens >= 3 * context_tokens


def _error(body: bytes) -> dict[str, Any]:
    """The error object of any frame that engines use."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    inner = document.get("error", document.get("detail"))
    if isinstance(inner, dict):
        return inner
    return {**document, "message": inner} if isinstance(inner, str) else document


def _numbers(error: dict[str, Any]) -> list[int]:
    """Whole numbers that the error holds, in its fields and in its words."""
    found = [value for value in error.values() if isinstance(value, int) and not isinstance(value, bool)]
    text = str(error.get("message"))[:2000].replace(",", "")
    return found + [int(number) for number in _NUMBER.findall(text)]
