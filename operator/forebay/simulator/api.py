"""vLLM's answers, field by field as a real 0.32 gives them (recorded), and its errors."""

import hashlib
import random
from typing import Any, Final

import msgspec

from forebay.simulator.prefix import PREFIX_TOKENS, chain

FINGERPRINT: Final = "vllm-0.32.0-simulated"
CHARACTERS_PER_TOKEN: Final = 4
WORDS: Final = (
    " the", " river", " holds", " water", " back", " and", " lets", " the", " turbine", " take", " what", " it", " can",
    ",", " over", " a", " spillway", " goes", " rest", ".",
)  # fmt: skip


class ApiError(Exception):
    """An error as the engine answers it."""

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def prompt_tokens(document: dict[str, Any]) -> int:
    """Tokens of a prompt: about four characters each, and a few for every message's frame."""
    messages = document.get("messages")
    if isinstance(messages, list):
        return sum(_tokens(m.get("content")) + 4 for m in messages if isinstance(m, dict)) + 3
    return max(1, _tokens(document.get("prompt", document.get("input"))))


def _tokens(value: Any) -> int:
    if isinstance(value, str):
        return -(-len(value) // CHARACTERS_PER_TOKEN)
    if isinstance(value, list):
        return sum(1 if isinstance(item, int) else _tokens(item) for item in value)
    if isinstance(value, dict):
        return _tokens(value.get("text") or value.get("content"))
    return 0


def prompt_blocks(document: dict[str, Any], tokens: int) -> tuple[int, ...]:
    """Hashes of the whole blocks of a prompt of so many tokens: equal ones stand for equal beginnings."""
    messages = document.get("messages")
    prompt = messages if isinstance(messages, list) else document.get("prompt", document.get("input"))
    text = prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode()
    return chain(text, PREFIX_TOKENS * CHARACTERS_PER_TOKEN)[: tokens // PREFIX_TOKENS]


def wanted(document: dict[str, Any]) -> int | None:
    """The token limit under any of its names."""
    for key in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        value = document.get(key)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ApiError(400, f"{key} must be at least 1, got {value}.", "BadRequestError", key)
            return value
    return None


def output_tokens(document: dict[str, Any], room: int, seed: int) -> int:
    """How long the answer will be: the limit where the client insists, else a draw that the request itself decides."""
    limit = min(wanted(document) or 256, room)
    least = document.get("min_tokens")
    if document.get("ignore_eos") or least == limit:
        return limit
    digest = hashlib.blake2b(repr(document.get("messages") or document.get("prompt")).encode(), digest_size=8).digest()
    share = random.Random(int.from_bytes(digest) ^ seed).triangular(0.5, 1.0, 1.0)  # noqa: S311
    return max(1, int(least) if isinstance(least, int) else 1, round(limit * share))


def check_length(prompt: int, document: dict[str, Any], longest: int) -> None:
    """vLLM's own refusal of what does not fit."""
    asked = wanted(document) or 1
    if prompt + asked > longest:
        raise ApiError(
            400,
            f"This model's maximum context length is {longest} tokens. However, you requested {prompt + asked} tokens"
            f" ({prompt} in the messages, {asked} in the completion). Please reduce the length of the messages or"
            " completion.",
            "BadRequestError",
        )


def word(index: int, seed: int) -> str:
    """Token number `index` of an answer."""
    return WORDS[(index + seed) % len(WORDS)]


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Usage of one request."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def chat_chunk(identity: str, created: int, model: str, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    """One chunk of a streamed chat answer; the first one carries the role."""
    choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    if finish is not None:
        choice["stop_reason"] = None
    chunk: dict[str, Any] = {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    if "role" in delta:
        return {**chunk, "prompt_token_ids": None, "prompt_text": None}
    choice["token_ids"] = None
    return chunk


def usage_chunk(identity: str, kind: str, created: int, model: str, prompt: int, completion: int) -> dict[str, Any]:
    """The last chunk of a stream whose client asked for usage."""
    return {
        "id": identity,
        "object": kind,
        "created": created,
        "model": model,
        "choices": [],
        "usage": usage(prompt, completion),
        "system_fingerprint": FINGERPRINT,
    }


def text_chunk(identity: str, created: int, model: str, text: str, finish: str | None) -> dict[str, Any]:
    """One chunk of a streamed completion."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None}
    return {"id": identity, "object": "text_completion", "created": created, "model": model, "choices": [choice]}


def chat(
    identity: str, created: int, model: str, text: str, prompt: int, completion: int, finish: str
) -> dict[str, Any]:
    """A whole chat answer."""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": {**usage(prompt, completion), "prompt_tokens_details": None, "completion_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def text(
    identity: str, created: int, model: str, body: str, prompt: int, completion: int, finish: str
) -> dict[str, Any]:
    """A whole completion."""
    return {
        **text_chunk(identity, created, model, body, finish),
        "system_fingerprint": FINGERPRINT,
        "usage": usage(prompt, completion),
    }


def response(identity: str, created: int, model: str, body: str, prompt: int, completion: int) -> dict[str, Any]:
    """A whole answer of the Responses API."""
    content = [{"type": "output_text", "text": body, "annotations": []}]
    item = {"id": f"msg_{identity}", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": created,
        "status": "completed",
        "model": model,
        "output": [item],
        "usage": {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion},
    }


def models(names: tuple[str, ...], created: int, longest: int) -> dict[str, Any]:
    """GET /v1/models."""
    permission = {
        "id": "modelperm-simulated",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "vllm",
                "root": names[0],
                "parent": None,
                "max_model_len": longest,
                "permission": [permission],
            }
            for name in names
        ],
    }
