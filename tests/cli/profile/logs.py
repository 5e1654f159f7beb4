"""One request in every format, with a secret in its words that must never be seen again."""

import json
from typing import Any, Final

SECRET: Final = "Zebrafinkenfutter"
BEGIN: Final = 1_789_997_600.0  # 2026-09-21T13:33:20Z

CHAT: Final[dict[str, Any]] = {
    "model": "gpt-5.4-mini",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": f"Extract all names and dates from this contract as JSON: {SECRET} of 4 May 2021"},
    ],
    "max_tokens": 300,
}
USAGE: Final = {"prompt_tokens": 120, "completion_tokens": 45, "prompt_tokens_details": {"cached_tokens": 20}}


def forebay(**more: Any) -> str:
    return json.dumps({"request_id": "req-1", "time": BEGIN + 2, "client": "a", "method": "POST",
                       "path": "/v1/chat/completions", "model": "auto", "priority": "High", "capability": "extraction",
                       "destination": "acme/big", "reason": "HighPriorityOverflow", "status": 200, "prompt_tokens": 90,
                       "input_tokens": 120, "output_tokens": 45, "cached_tokens": 20, "usage": "counted",
                       "cost_usd": "0.00031", "duration_ms": 2000} | more)  # fmt: skip


def litellm(**more: Any) -> str:
    return json.dumps({"request_id": "chatcmpl-1", "call_type": "acompletion", "api_key": "88dc28", "spend": 0.00033,
                       "total_tokens": 165, "prompt_tokens": 120, "completion_tokens": 45,
                       "startTime": "2026-09-21T13:33:20.000Z", "endTime": "2026-09-21T13:33:22Z",
                       "model": "gpt-5.4-mini", "model_group": "mini", "status": "success", "cache_hit": "None",
                       "messages": CHAT["messages"], "request_tags": ["env:prod"],
                       "metadata": {"usage_object": USAGE}} | more)  # fmt: skip


def batch(**more: Any) -> str:
    return json.dumps({"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": CHAT} | more)


def batch_output(**more: Any) -> str:
    inner = {"id": "chatcmpl-1", "object": "chat.completion", "created": int(BEGIN), "model": "gpt-5.4-mini-2026-03-17",
             "choices": [{"message": {"role": "assistant", "content": SECRET}}], "usage": USAGE}  # fmt: skip
    return json.dumps({"id": "b", "custom_id": "one", "error": None,
                       "response": {"status_code": 200, "request_id": "r", "body": inner}} | more)  # fmt: skip


def openai(**more: Any) -> str:
    return json.dumps({"timestamp": "2026-09-21T13:33:20Z", "request": CHAT,
                       "response": {"id": "c", "model": "gpt-5.4-mini", "usage": USAGE}} | more)  # fmt: skip


def nginx(tail: str = 'prompt_tokens=120 completion_tokens=45 cached_tokens=20 model="gpt-5.4-mini"') -> str:
    return (
        '10.0.0.7 - - [21/Sep/2026:13:33:22 +0000] "POST /v1/chat/completions HTTP/1.1" 200 812 "-" "python" '
        f"request_time=2.000 {tail}"
    )


EVERY: Final = {
    "forebay": forebay(),
    "litellm": litellm(),
    "batch": batch(),
    "batch-output": batch_output(),
    "openai": openai(),
    "text": nginx(),
}
