"""What a client's request says: the body is decoded once, for the few facts the rule needs. It is never rebuilt."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from forebay.resources import headers as names
from forebay.resources.reasons import Priority
from forebay.resources.terms import CloudUse, Modality, Task
from forebay.router.ask import Ask
from forebay.router.http.values import Request
from forebay.router.words import user_words
from forebay.rules.affinity import KEY_BYTES, session_key
from forebay.rules.classify import Hints, by_hints, by_words
from forebay.rules.facts import AUTO_MODELS, RequestFacts
from forebay.rules.portability import LIMITS, spoken

TASKS: Final = {
    "/v1/chat/completions": Task.GENERATE,
    "/v1/completions": Task.GENERATE,
    "/v1/responses": Task.GENERATE,
    "/v1/embeddings": Task.EMBED,
    "/tokenize": Task.GENERATE,
    "/detokenize": Task.GENERATE,
}
"""Paths that go to an engine. /v1/models is answered here; everything else is 404."""
PATHS: Final[Mapping[str, str]] = MappingProxyType({
    "POST /v1/chat/completions": "chat, whole or as a stream; tools, JSON schemas, images, log probabilities as the "
                                 "engine has them",
    "POST /v1/completions": "text, whole or as a stream",
    "POST /v1/responses": "the Responses API, whole or as a stream, not in the background; what follows a "
                          "`previous_response_id` goes to the "
                          "replica that has it, never to the cloud",
    "POST /v1/embeddings": "vectors, by pools with `task: Embed`",
    "POST /tokenize": "tokens of a text, by the engine of the model that is named; never leaves",
    "POST /detokenize": "the other way round",
    "GET /v1/models": "every name that a client may use, LoRA adapters and `auto` included",
    "GET /v1/models/{name}": "one of them",
})  # fmt: skip
"""All of the request port. Anything else is 404 and reaches no engine."""
ANY_TASK: Final = frozenset({"/tokenize", "/detokenize"})

CHARACTERS_PER_TOKEN: Final = 4
MOST_TOKENS: Final = 2**31 - 1
GUARDED: Final = ("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream",
                  "service_tier", "previous_response_id", "metadata", "prompt_cache_key", "messages", "prompt", "input",
                  "instructions", "documents", "context")  # fmt: skip
GUARDED_METADATA: Final = ("task_type", "complexity_score", "context")
"""Keys that decide something here: written twice, two readers could take two meanings, so that is refused."""
TIERS: Final = {"priority": Priority.HIGH, "flex": Priority.LOW}
_PARTS: Final = {"image_url": Modality.IMAGE, "input_image": Modality.IMAGE, "input_audio": Modality.AUDIO,
                 "audio_url": Modality.AUDIO}  # fmt: skip
_FOREIGN: Final = frozenset({"audio_url", "video_url", "image_embeds", "audio_embeds", "file", "input_file",
                             "item_reference"})  # fmt: skip
"""Parts that vLLM alone knows, or that name what is stored somewhere: as fields they are called `content.TYPE`."""
_SYSTEM: Final = ("system", "developer")


class BadRequestError(Exception):
    """The client's mistake; the message says what, where and what to do."""


def parse(request: Request, client: str = "anonymous") -> Ask:
    """Read a request. Raises BadRequestError; its priority is what was asked for, not yet what is allowed."""
    document, fields = _document(request.body), request.fields
    if document.get("background") is True:  # it would run on in the engine after its slot has been given back
        raise BadRequestError("background responses are not served here: leave out `background`, or stream")
    limit = token_limit(document)
    texts, parts = content_of(document)
    said = spoken(request.target, document)
    asked = _priority(fields.get(_PRIORITY), document)
    cloud = CloudUse.NEVER if fields.get(_CLOUD, b"").lower() == b"never" else CloudUse.ALLOWED
    previous = document.get("previous_response_id")
    previous = previous if isinstance(previous, str) else ""
    model = str(document.get("model") or "auto")
    words = user_words(request.target, document) if model in AUTO_MODELS else ""  # a named model needs no map
    hints = hints_of(fields, document, limit)
    guessed = by_words(hints, words)
    facts = RequestFacts(
        model=model,
        task=TASKS[request.target],
        any_task=request.target in ANY_TASK,
        priority=asked,
        capability=guessed or by_hints(hints),
        guessed=guessed is not None,
        inputs=_inputs(parts) if parts else _TEXT_ALONE,
        prompt_tokens=sum(map(len, texts)) // CHARACTERS_PER_TOKEN,
        max_tokens=limit,
        sequences=_sequences(document),
        path=request.target,
        fields=said | _foreign(parts) if parts else said,
        cloud=cloud,
        stored_state=bool(previous),
    )
    session, stream = fields.get(_SESSION, b""), document.get("stream") is True
    seconds = _seconds(fields.get(_TIMEOUT))
    return Ask(request.target, facts, asked, client, session, stream, seconds, document, previous)


def session_of(ask: Ask) -> bytes:
    """What identifies a request's session. Made when asked for: only who chooses among replicas needs it."""
    if ask.session:
        return ask.session[:KEY_BYTES]
    key = ask.document.get("prompt_cache_key")
    return session_key(None, key if isinstance(key, str) else None, ask.client, *_opening(ask.document))


def with_model(body: bytes, ask: Ask, model: str) -> bytes:
    """The body for an engine that knows itself as `model`: changed only when the client left the choice open.

    The name is spliced in; everything else stays byte for byte.
    """
    if ask.facts.names_a_model:
        return body
    name = msgspec.json.encode(model)
    if "model" not in ask.document:
        return body.replace(b"{", b'{"model":' + name + (b"," if ask.document else b""), 1)
    start, end = _model_value(body)
    return body[:start] + name + body[end:]


def _model_value(body: bytes) -> tuple[int, int]:
    """Where the value of the outermost "model" begins and ends; it is there, and no filled list or object."""
    key = body.find(_MODEL)
    if key < 0 or b"\\u00" in body or body.find(_MODEL, key + 1) >= 0:
        end = _outermost_model(body)
    else:  # it stands here only, so this is the key
        end = body.index(b":", key) + 1
    value = _EMPTY_VALUE.match(body, end)
    assert value is not None
    return value.span(1)


def _outermost_model(body: bytes) -> int:
    """Where the outermost key "model", however it is written, and its colon end."""
    depth = 0
    for token in _TOKEN.finditer(body):
        mark = token[0][:1]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
        elif depth == 1 and token[2] is not None and json.loads(token[1]) == "model":
            return token.end()
    raise AssertionError("no model in the body")


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        raise BadRequestError("the request has no body: send a JSON object")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error
    except RecursionError:
        raise BadRequestError(_TOO_DEEP) from None
    if not isinstance(document, dict):
        raise BadRequestError("the body must be a JSON object")
    for key, needle in _NEEDLES:
        if key in document and body.count(needle) > 1:
            _refuse_duplicates(body)
            return document
    metadata = document.get("metadata")
    doubtful = isinstance(metadata, dict) and any(body.count(n) > 1 for k, n in _METADATA_NEEDLES if k in metadata)
    if doubtful or b"\\u00" in body:  # a key may be written with escapes
        _refuse_duplicates(body)
    return document


def _refuse_duplicates(body: bytes) -> None:
    """The slow, exact look: only for bodies in which a guarded key may stand twice."""
    try:
        outermost = json.loads(body, object_pairs_hook=tuple)
    except RecursionError:
        raise BadRequestError(_TOO_DEEP) from None
    _refuse_twice(outermost, GUARDED, "")
    for key, value in outermost:
        if key == "metadata" and isinstance(value, tuple):
            _refuse_twice(value, GUARDED_METADATA, "metadata.")


def _refuse_twice(pairs: tuple[tuple[str, Any], ...], guarded: tuple[str, ...], where: str) -> None:
    keys = [key for key, _ in pairs]
    for key in guarded:
        if keys.count(key) > 1:
            raise BadRequestError(f"the body says {where + key!r} more than once: send it once")


def token_limit(document: dict[str, Any]) -> int | None:
    """The most tokens that are to be generated, in any spelling. Raises BadRequestError."""
    for key in LIMITS:
        value = document.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TOKENS:
            raise BadRequestError(f"{key} must be a whole number of tokens, from 0 to {MOST_TOKENS}")
        return value
    return None


def _sequences(document: dict[str, Any]) -> int:
    """Answers that an engine makes side by side: those of each prompt, and a completion may have several prompts."""
    wished, prompts = 1, document.get("prompt")
    for key in ("n", "best_of"):
        value = document.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            wished = max(wished, value)
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        wished *= len(prompts)
    return min(wished, MOST_TOKENS)


def _opening(document: dict[str, Any]) -> tuple[str, str]:
    """How a conversation begins: what the system says, and the first user message. It stays the same turn by turn."""
    said = document.get("messages") or document.get("input") or document.get("prompt")
    system = [document.get("instructions")]
    first: Any = said
    if isinstance(said, list):
        for message in said:
            role = message.get("role") if isinstance(message, dict) else "user"
            if role not in _SYSTEM:
                first = message
                break
            system.append(message)
    return _text(system), _text(first)


def _text(value: Any) -> str:
    texts: list[str] = []
    _collect(value, texts, [], 0)
    return "".join(texts)


def content_of(document: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Every text of the prompt, and the parts that are no text."""
    texts: list[str] = []
    parts: list[dict[str, Any]] = []
    for key in ("messages", "prompt", "input", "instructions"):
        if (value := document.get(key)) is not None:
            _collect(value, texts, parts, 0)
    return texts, parts


def _collect(value: Any, texts: list[str], parts: list[dict[str, Any]], depth: int) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list) and depth < 6:
        for item in value:
            _collect(item, texts, parts, depth + 1)
    elif isinstance(value, dict) and depth < 6:
        if "type" in value and value["type"] != "text":
            parts.append(value)
        for key in ("content", "text"):
            inner = value.get(key)
            if isinstance(inner, str):
                texts.append(inner)
            elif inner is not None:
                _collect(inner, texts, parts, depth + 1)


def _inputs(parts: list[dict[str, Any]]) -> frozenset[Modality]:
    """The kinds of input."""
    kinds = {_PARTS.get(str(part["type"]), Modality.TEXT) for part in parts}
    return _TEXT_ALONE | kinds


def _foreign(parts: list[dict[str, Any]]) -> frozenset[str]:
    """What of the content no provider can be expected to take."""
    found = set()
    for part in parts:
        kind = str(part["type"])
        if kind in _FOREIGN:
            found.add(f"content.{kind}")
        elif _PARTS.get(kind) is Modality.IMAGE:
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if not isinstance(url, str) or not url.startswith(("https://", "data:")):
                found.add("content.image_url")  # a file, or an address that only this network may reach
    return frozenset(found)


def hints_of(fields: dict[bytes, bytes], document: dict[str, Any], limit: int | None) -> Hints:
    """What the client says of its request, in headers and `metadata`. Raises BadRequestError."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else _NOTHING
    task = fields.get(_TASK, b"").decode("latin-1") or str(metadata.get("task_type") or "")
    score: Any = fields.get(_COMPLEXITY) or metadata.get("complexity_score")
    complexity = None
    if score is not None:
        try:
            complexity = float(score)
        except (TypeError, ValueError, OverflowError):
            raise BadRequestError("complexity_score must be a number between 0 and 1") from None
    return Hints(limit, _has_context(document, metadata), task, complexity)


def _has_context(document: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether the question comes with material: told so, documents, or earlier turns of a conversation."""
    if metadata.get("context") or document.get("documents") or document.get("context"):
        return True
    messages = document.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict) and message.get("role") == "assistant":
                return True
    return False


def _priority(header: bytes | None, document: dict[str, Any]) -> Priority:
    if header:
        asked = header.decode("latin-1")
        try:
            return Priority(asked.capitalize())
        except ValueError:
            raise BadRequestError(f"{names.PRIORITY} must be High, Normal or Low, not {asked[:20]!r}") from None
    return TIERS.get(str(document["service_tier"]), Priority.NORMAL) if "service_tier" in document else Priority.NORMAL


def _seconds(text: bytes | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise BadRequestError(f"{names.TIMEOUT_SECONDS} must be a number of seconds above 0")
    return seconds


_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED)
_METADATA_NEEDLES: Final = tuple((key, b'"%b"' % key.encode()) for key in GUARDED_METADATA)
_TOO_DEEP: Final = "the body is nested too deeply: send fewer brackets within brackets"
_NOTHING: Final[dict[str, Any]] = {}
_TEXT_ALONE: Final = frozenset({Modality.TEXT})
_MODEL: Final = b'"model"'
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:)?|[{}\[\]]")
_EMPTY_VALUE = re.compile(rb"\s*(" + _STRING + rb"|\[\s*\]|\{\s*\}|[^\s,}]+)")
_CLOUD, _SESSION, _TIMEOUT = names.CLOUD.encode(), names.SESSION.encode(), names.TIMEOUT_SECONDS.encode()
_TASK, _COMPLEXITY, _PRIORITY = names.TASK_TYPE.encode(), names.COMPLEXITY.encode(), names.PRIORITY.encode()
