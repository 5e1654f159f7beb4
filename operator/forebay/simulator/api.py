"""vLLM's API: what a request means, its refusals, and the small answers, as a real 0.32 gives them (recorded)."""

import base64
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from forebay.engines import EngineType, of
from forebay.simulator.prefix import PREFIX_TOKENS, chain

VERSION: Final = of(EngineType.SIMULATED).supported.newest
"""The engine that it answers as."""
FINGERPRINT: Final = f"vllm-{VERSION}-simulated"
CHARACTERS_PER_TOKEN: Final = 4
DIMENSIONS: Final = 8
NO_DETAILS: Final = {"prompt_tokens_details": None, "completion_tokens_details": None}
LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class ApiError(Exception):
    """An error as the engine answers it."""

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.malformed = kind == "Bad Request"
        self.document = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def prompt_tokens(document: dict[str, Any]) -> int:
    """Tokens of a prompt: about four characters each, and a few for every message's frame."""
    messages = document.get("messages")
    if isinstance(messages, list):
        return (
            _tokens(document.get("system"))
            + sum(_tokens(m.get("content")) + 4 for m in messages if isinstance(m, dict))
            + 3
        )
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


def prompts(document: dict[str, Any]) -> int:
    """How many prompts a completion is asked for at once: a list of texts, or of lists of tokens."""
    prompt = document.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1


def wanted(document: dict[str, Any]) -> int | None:
    """The token limit under any of its names."""
    for key in LIMITS:
        value = document.get(key)
        if value is not None:
            return int(value)
    return None


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Usage of one request."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def asks_for_usage(document: dict[str, Any]) -> bool:
    """Whether a stream is to end with its usage."""
    options = document.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def asks_for_usage_always(document: dict[str, Any]) -> bool:
    """Whether each chunk is to say what was used until then."""
    return asks_for_usage(document) and bool(document["stream_options"].get("continuous_usage_stats"))


def embeddings(identity: str, created: int, model: str, document: dict[str, Any]) -> dict[str, Any]:
    """POST /v1/embeddings. One vector for each input, as numbers or as base64 of little-endian float32."""
    given = document.get("input")
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    size = document.get("dimensions") or DIMENSIONS
    vector = [0.01 * (i % 7 - 3) for i in range(size)]
    packed: Any = vector
    if document.get("encoding_format") == "base64":
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    count = prompt_tokens(document)
    return {
        "id": f"embd-{identity}",
        "object": "list",
        "created": created,
        "model": model,
        "data": [{"index": i, "object": "embedding", "embedding": packed} for i in range(len(inputs))],
        "usage": {**usage(count, 0), **NO_DETAILS},
    }


def models(names: tuple[str, ...], created: int, longest: int, adapters: Mapping[str, str]) -> dict[str, Any]:
    """GET /v1/models; adapters name the model that they belong to, and where they are from."""
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
                "root": adapters.get(name, names[0]),
                "parent": names[0] if name in adapters else None,
                "max_model_len": None if name in adapters else longest,
                "permission": [permission],
            }
            for name in (*names, *adapters)
        ],
    }
