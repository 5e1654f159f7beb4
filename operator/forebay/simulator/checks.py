"""What vLLM refuses of a request before it computes anything, with its words. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from forebay.rules import endpoints
from forebay.simulator.api import LIMITS, ApiError, wanted
from forebay.simulator.settings import Settings

NEEDED: Final = {endpoints.CHAT: ("messages",), endpoints.MESSAGES: ("model", "messages", "max_tokens")}
"""Fields that have no default."""
MEDIA: Final = frozenset({"image_url", "input_image", "image", "video_url", "input_audio", "audio_url"})
"""Parts of a message that a model of texts has no place for."""
FORMATS: Final = ("text", "json_object", "json_schema", "structural_tag", "grammar")
MOST_LOGPROBS: Final = 20
RANGES: Final = {"temperature": (0, 2, "in [0, 2]"), "top_p": (0, 1, "in (0, 1]")}


def content_type(headers: Mapping[bytes, bytes]) -> None:
    """JSON alone, in any case, with parameters or without."""
    kind = headers.get(b"content-type", b"").lower().partition(b";")[0]
    if kind != b"application/json":
        raise invalid("Unsupported Media Type: Only 'application/json' is allowed")


def shape(path: str, document: dict[str, Any]) -> None:
    """Whether a document has what the API's schema asks for."""
    for field in NEEDED.get(path, ()):
        if document.get(field) is None:
            raise missing(field, len(document))
    messages = document.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise no_list("messages", messages)
    for field in LIMITS:
        value = document.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise no_integer(field, value)
    if document.get("stream_options") and not document.get("stream"):
        raise rule("Stream options can only be defined when `stream=True`.", "stream_options")
    if path == endpoints.CHAT:
        _chat_rules(document)
    elif path == endpoints.COMPLETIONS and not document.get("prompt"):
        raise rule("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    elif path == endpoints.EMBEDDINGS and document.get("input") is None:
        raise missing("input", len(document))
    elif path == endpoints.RESPONSES and document.get("background") and document.get("store") is False:
        raise rule("background can only be used when `store` is true", "background")


def _chat_rules(document: dict[str, Any]) -> None:
    if document.get("top_logprobs") and not document.get("logprobs"):
        raise rule("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    asked = document.get("response_format")
    if isinstance(asked, dict) and asked.get("type") == "json_schema" and asked.get("json_schema") is None:
        text = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        raise rule(text, "response_format")
    if isinstance(asked, dict) and asked.get("type") not in FORMATS:
        raise invalid(str(asked), "body.response_format.type")
    tools, choice = document.get("tools"), document.get("tool_choice")
    if tools == []:
        text = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        raise rule(text, "tools")
    if choice in (None, "none"):
        return
    if tools is None:
        raise rule("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, dict):
        named = (choice.get("function") or {}).get("name")
        if named not in [(tool.get("function") or {}).get("name") for tool in tools]:
            text = "The tool specified in `tool_choice` does not match any of the specified `tools`"
            raise rule(text, "tool_choice")


def sense(path: str, document: dict[str, Any], prompt: int, settings: Settings) -> None:
    """Whether this engine can do what is asked."""
    if document.get("background"):
        raise ApiError(400, BACKGROUND, "invalid_request_error", "background")
    if path in (endpoints.CHAT, endpoints.MESSAGES):
        _tools(path, document, settings)
        if document.get("messages") == []:
            raise ApiError(400, EMPTY, "BadRequestError")
    for part in _parts(document):
        if part.get("type") in MEDIA and not settings.media:
            raise ApiError(400, f"{settings.models[0]} is not a multimodal model", "BadRequestError")
    _numbers(document)
    length(prompt, document, settings.max_model_len)


def length(prompt: int, document: dict[str, Any], longest: int) -> None:
    """A prompt has to leave room for a token, and no limit may be above the context. A limit above the room is cut."""
    if prompt > longest:
        text = (
            f"This model's maximum context length is {longest} tokens. However, your prompt contains at least {prompt}"
            " input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the"
            " input prompt."
        )
        raise bad(text, "input_tokens", prompt)
    asked = wanted(document)
    if asked is not None and asked > longest:
        name = "max_output_tokens" if "max_output_tokens" in document else "max_tokens"
        text = f"{name}={asked} cannot be greater than max_model_len={longest}. Please request fewer output tokens."
        raise bad(text, name, asked)
    if prompt == longest:
        raise bad("max_tokens must be at least 1, got 0.", "max_tokens", 0)


EMPTY: Final = "Cannot apply chat template to an empty conversation. Provide at least one message."
BACKGROUND: Final = (
    "This vLLM engine does not support `store=True` and therefore does not support the background mode. To enable these"
    " features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM server."
)


def _tools(path: str, document: dict[str, Any], settings: Settings) -> None:
    choice = document.get("tool_choice", "auto")
    if isinstance(choice, dict) and path == endpoints.MESSAGES:
        choice = {"any": "required", "none": "none", "tool": choice}.get(str(choice.get("type")), "auto")
    if not document.get("tools") or choice in (None, "none") or settings.tools:
        return
    if choice == "auto":
        text = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    else:
        named = choice.get("name") or choice["function"]["name"] if isinstance(choice, dict) else ""
        said = f'function "{named}"' if named else f'"{choice}"'
        text = f"tool_choice={said} requires --tool-call-parser to be set"
    raise ApiError(400, text, "BadRequestError")


def _numbers(document: dict[str, Any]) -> None:
    for field, (low, high, said) in RANGES.items():
        value = document.get(field)
        if not isinstance(value, (int, float)) or low <= value <= high:
            continue
        words = "be non-negative" if field == "temperature" and value < low else f"be {said}"
        raise bad(f"{field} must {words}, got {float(value)}.", field, float(value))
    if (choices := document.get("n")) is not None and (not isinstance(choices, int) or choices < 1):
        raise ApiError(400, f"n must be at least 1, got {choices}.", "BadRequestError")
    if (top := document.get("top_logprobs")) is not None and top > MOST_LOGPROBS:
        text = f"Requested sample logprobs of {top}, which is greater than max allowed: {MOST_LOGPROBS}"
        raise bad(text, "logprobs", top)
    for field in LIMITS:
        value = document.get(field)
        if isinstance(value, int) and value < 1:
            raise bad(f"max_tokens must be at least 1, got {value}.", "max_tokens", value)


def _parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    turns = document.get("messages", document.get("input"))
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    return [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]


def invalid(what: str, param: str | None = None) -> ApiError:
    """A document that is not what the API takes."""
    return ApiError(400, f"1 validation error:\n  {what}", "Bad Request", param)


def missing(field: str, fields: int) -> ApiError:
    """A field that has to be there, of a document of so many."""
    loc = f"body.{field}"
    said = {"type": "missing", "loc": loc, "msg": "Field required", "input": f"<dict of {fields} items>"}
    return invalid(str(said), loc)


def no_list(field: str, value: Any) -> ApiError:
    """A field that has to be a list."""
    loc = f"body.{field}"
    said = {"type": "list_type", "loc": loc, "msg": "Input should be a valid list", "input": value}
    return invalid(str(said), loc)


def no_integer(field: str, value: Any) -> ApiError:
    """A field that has to be a number."""
    loc, text = f"body.{field}", "Input should be a valid integer, unable to parse string as an integer"
    return invalid(str({"type": "int_parsing", "loc": loc, "msg": text, "input": value}), loc)


def rule(message: str, param: str) -> ApiError:
    """Fields that do not go together."""
    return ApiError(400, f"{message} (parameter={param})", "BadRequestError", param)


def bad(message: str, param: str, value: Any) -> ApiError:
    """A request that is understood, and cannot be served."""
    return ApiError(400, f"{message} (parameter={param}, value={value})", "BadRequestError", param)


def no_json(problem: str) -> ApiError:
    """A body that cannot be decoded, from a byte on."""
    place = re.search(r"byte (\d+)", problem)
    loc = f"body.{place[1] if place else 0}"
    said = {"type": "json_invalid", "loc": loc, "msg": "JSON decode error", "input": {}, "ctx": {"error": problem}}
    return invalid(str(said), loc)


def no_object(value: Any) -> ApiError:
    """A body that is JSON, and not an object."""
    kind = f"<list of {len(value)} items>" if isinstance(value, list) else value
    text = "Input should be a valid dictionary or object to extract fields from"
    return invalid(str({"type": "model_attributes_type", "loc": "body", "msg": text, "input": kind}), "body")


def no_response(response: str) -> ApiError:
    """A stored response that is not there, or never was."""
    return ApiError(404, f"Response with id '{response}' not found.", "invalid_request_error", "response_id")
