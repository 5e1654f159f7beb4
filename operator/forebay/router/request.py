"""What a client's request says: the body is decoded once, for the few facts the rule needs. It is never rebuilt."""

import json
import re
from typing import Any, Final

import msgspec

from forebay.resources import headers as names
from forebay.resources.pool import CloudUse, Modality, Task
from forebay.resources.reasons import Priority
from forebay.router.http.message import Request
from forebay.rules.affinity import KEY_BYTES, digest, session_key
from forebay.rules.classify import Hints, classify
from forebay.rules.facts import RequestFacts

TASKS: Final = {
    "/v1/chat/completions": Task.GENERATE,
    "/v1/completions": Task.GENERATE,
    "/v1/responses": Task.GENERATE,
    "/v1/embeddings": Task.EMBED,
    "/tokenize": Task.GENERATE,
    "/detokenize": Task.GENERATE,
}
"""Paths that go to an engine. /v1/models is answered here; everything else is 404."""

CHARACTERS_PER_TOKEN: Final = 4
GUARDED: Final = ("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "stream", "service_tier",
                  "previous_response_id", "metadata", "prompt_cache_key")  # fmt: skip
"""Keys that decide something here: written twice, two readers could take two meanings, so that is refused."""
LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
TIERS: Final = {"priority": Priority.HIGH, "flex": Priority.LOW}
_PARTS: Final = {"image_url": Modality.IMAGE, "input_image": Modality.IMAGE, "input_audio": Modality.AUDIO}


class BadRequestError(Exception):
    """The client's mistake; the message says what, where and what to do."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A parsed request: its facts, and what relaying needs. `document` is the decoded body, for the cloud path."""

    path: str
    facts: RequestFacts
    asked: Priority
    session: int = 0  # digest of its key
    stream: bool = False
    timeout_seconds: float | None = None
    document: dict[str, Any] = {}
    previous: str = ""  # the stored response that this one goes on from


def parse(request: Request, client: str = "anonymous") -> Ask:
    """Read a request. Raises BadRequestError; its priority is what was asked for, not yet what is allowed."""
    document = _document(request.body)
    limit = _limit(document)
    texts, inputs = _content(document)
    characters = sum(map(len, texts))
    hints = _hints(request, document, limit)
    asked = _priority(request, document)
    cloud = CloudUse.NEVER if (request.header(_CLOUD) or "").lower() == "never" else CloudUse.ALLOWED
    previous = document.get("previous_response_id")
    previous = previous if isinstance(previous, str) else ""
    facts = RequestFacts(
        model=str(document.get("model") or "auto"),
        task=TASKS[request.target],
        priority=asked,
        capability=classify(hints),
        inputs=frozenset(inputs),
        prompt_tokens=characters // CHARACTERS_PER_TOKEN,
        max_tokens=limit,
        fields=frozenset(document),
        cloud=cloud,
        stored_state=bool(previous),
    )
    opening = "".join(texts[:2])[:KEY_BYTES]
    cache_key = document.get("prompt_cache_key")
    return Ask(
        request.target,
        facts,
        asked,
        digest(
            session_key(request.header(_SESSION), cache_key if isinstance(cache_key, str) else None, client, opening)
        ),
        document.get("stream") is True,
        _seconds(request.header(_TIMEOUT)),
        document,
        previous,
    )


def with_model(body: bytes, ask: Ask, model: str) -> bytes:
    """The body for an engine that knows itself as `model`: changed only when the client left the choice open.

    The name is spliced in; everything else stays byte for byte. Only where the key stands more than once (nested
    somewhere) is the body written anew.
    """
    if ask.facts.names_a_model:
        return body
    name = msgspec.json.encode(model)
    if "model" not in ask.document:
        return body.replace(b"{", b'{"model":' + name + (b"," if ask.document else b""), 1)
    spliced, count = _MODEL_VALUE.subn(lambda match: match[1] + name, body)
    return spliced if count == 1 else msgspec.json.encode({**ask.document, "model": model})


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        raise BadRequestError("the request has no body: send a JSON object")
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequestError("the body must be a JSON object")
    if any(body.count(b'"%b"' % key.encode()) > 1 for key in GUARDED) or b"\\u00" in body:
        _refuse_duplicates(body)
    return document


def _refuse_duplicates(body: bytes) -> None:
    """The slow, exact look: only for bodies in which a guarded key may stand twice."""
    outermost: list[tuple[str, Any]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = pairs  # the outermost object is the last to be complete
        return dict(pairs)

    json.loads(body, object_pairs_hook=remember)
    keys = [key for key, _ in outermost]
    for key in GUARDED:
        if keys.count(key) > 1:
            raise BadRequestError(f"the body says {key!r} more than once: send it once")


def _limit(document: dict[str, Any]) -> int | None:
    for key in LIMITS:
        value = document.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadRequestError(f"{key} must be a whole number of tokens, 0 or more")
        return value
    return None


def _content(document: dict[str, Any]) -> tuple[list[str], set[Modality]]:
    """Every text of the prompt, and the kinds of input."""
    texts: list[str] = []
    inputs = {Modality.TEXT}
    for key in ("messages", "prompt", "input", "instructions"):
        _collect(document.get(key), texts, inputs, depth=0)
    return texts, inputs


def _collect(value: Any, texts: list[str], inputs: set[Modality], depth: int) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list) and depth < 6:
        for item in value:
            _collect(item, texts, inputs, depth + 1)
    elif isinstance(value, dict) and depth < 6:
        if (modality := _PARTS.get(str(value.get("type")))) is not None:
            inputs.add(modality)
        for key in ("content", "text"):
            _collect(value.get(key), texts, inputs, depth + 1)


def _hints(request: Request, document: dict[str, Any], limit: int | None) -> Hints:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    task = request.header(_TASK) or str(metadata.get("task_type") or "")
    score = request.header(_COMPLEXITY) or metadata.get("complexity_score")
    try:
        complexity = None if score is None else float(score)
    except (TypeError, ValueError):
        raise BadRequestError("complexity_score must be a number between 0 and 1") from None
    return Hints(limit, _has_context(document, metadata), task, complexity)


def _has_context(document: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether the question comes with material: told so, documents, or earlier turns of a conversation."""
    if metadata.get("context") or document.get("documents") or document.get("context"):
        return True
    messages = document.get("messages")
    return isinstance(messages, list) and any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages)


def _priority(request: Request, document: dict[str, Any]) -> Priority:
    asked = request.header(_PRIORITY)
    if asked:
        try:
            return Priority(asked.capitalize())
        except ValueError:
            raise BadRequestError(f"{names.PRIORITY} must be High, Normal or Low, not {asked[:20]!r}") from None
    return TIERS.get(str(document.get("service_tier")), Priority.NORMAL)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise BadRequestError(f"{names.TIMEOUT_SECONDS} must be a number of seconds above 0")
    return seconds


_MODEL_VALUE = re.compile(rb'("model"\s*:\s*)(?:"[^"\\]*"|null)')
_CLOUD, _SESSION, _TIMEOUT = names.CLOUD.encode(), names.SESSION.encode(), names.TIMEOUT_SECONDS.encode()
_TASK, _COMPLEXITY, _PRIORITY = names.TASK_TYPE.encode(), names.COMPLEXITY.encode(), names.PRIORITY.encode()
