"""Formats of logs in JSON, one object a line, and which one a log is in.

Decoding is typed: of a line only the fields named here become objects, so a response of a megabyte costs a scan.
Fields that lie about their type, or lack what makes the format, make a line malformed.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from forebay.cli.profile.entry import Entry, MalformedLineError, path_of
from forebay.resources.reasons import Capability, Priority
from forebay.rules.endpoints import CHAT, EMBEDDINGS
from forebay.rules.facts import AUTO_MODELS

TOKEN_MS: Final = 25.0
"""What a token of a pool's answer is taken to have lasted."""
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Stamp = float | str | None
Reader = Callable[[bytes], Entry]


class LogFormat(NamedTuple):
    """A name for the command line, what it is, and what reads a line of it."""

    name: str
    title: str
    read: Reader


class Details(Struct, gc=False):
    """Of `usage`: what of the prompt the provider had in its cache."""

    cached_tokens: Count | None = None


class LoggedUsage(Struct, gc=False):
    """OpenAI's `usage`, in the words of chat and of responses."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens_details: Details | None = None
    input_tokens_details: Details | None = None


class LoggedAnswer(Struct, gc=False):
    """A response object, or what a proxy makes of it."""

    model: str | None = None
    created: Stamp = None
    created_at: Stamp = None
    usage: LoggedUsage | None = None
    status_code: int | None = None
    body: "LoggedAnswer | None" = None


class ForebayLine(Struct, gc=False):
    """A line of the router's access log (`router/access_log_writer.py`)."""

    request_id: str
    destination: str
    reason: str
    time: float = 0.0
    path: str = CHAT
    model: str = ""
    priority: str = ""
    capability: str = ""
    status: int = 0
    prompt_tokens: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_tokens: Count = 0
    cost_usd: str = ""
    stream: bool = False
    queue_ms: Count = 0
    first_token_ms: Count = 0
    duration_ms: Count = 0


class SpendLine(Struct, gc=False):
    """A row of LiteLLM's spend logs, as JSON. Some versions write lists and objects as JSON in a string."""

    call_type: str
    startTime: Stamp  # noqa: N815 - its name
    spend: float | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    model: str | None = None
    model_group: str | None = None
    status: str | None = None
    metadata: Raw = Raw(b"null")
    request_tags: Raw = Raw(b"null")
    messages: Raw = Raw(b"null")
    proxy_server_request: Raw = Raw(b"null")


class BatchRequest(Struct, gc=False):
    """A line of what is given to OpenAI's batch API."""

    custom_id: str
    body: Raw
    url: str = CHAT


class BatchAnswer(Struct, gc=False):
    """A line of what OpenAI's batch API gives back."""

    custom_id: str
    response: LoggedAnswer | None


class RequestLine(Struct, gc=False):
    """A request as applications and proxies write it: the body itself, or under `request` or `body`."""

    request: Raw = Raw(b"null")
    body: Raw = Raw(b"null")
    messages: Raw = Raw(b"null")
    prompt: Raw = Raw(b"null")
    input: Raw = Raw(b"null")
    response: LoggedAnswer | None = None
    usage: LoggedUsage | None = None
    model: str | None = None
    url: str | None = None
    path: str | None = None
    status: int | str | None = None
    capability: str | None = None
    label: str | None = None
    task_type: str | None = None
    priority: str | None = None
    service_tier: str | None = None
    timestamp: Stamp = None
    time: Stamp = None
    ts: Stamp = None
    start_time: Stamp = None
    created: Stamp = None
    created_at: Stamp = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None


class _Tags(Struct, gc=False):
    capability: str | None = None
    task_type: str | None = None
    usage_object: LoggedUsage | None = None


_forebay = msgspec.json.Decoder(ForebayLine).decode
_spend = msgspec.json.Decoder(SpendLine, strict=False).decode
_batch_request = msgspec.json.Decoder(BatchRequest).decode
_batch_answer = msgspec.json.Decoder(BatchAnswer).decode
_request = msgspec.json.Decoder(RequestLine).decode
_tags = msgspec.json.Decoder(_Tags).decode
_NULL: Final = (b"null", b"{}", b"[]", b'""', b'"{}"', b'"[]"')
"""JSON that says nothing."""
_CAPABILITIES: Final = {str(word): word for word in Capability}
_PRIORITIES: Final = {str(word).lower(): word for word in Priority} | {"flex": Priority.LOW}


def seconds(stamp: Stamp) -> float | None:
    """Unix seconds of a number (milliseconds are told by their size) or an ISO date; UTC where it names no zone."""
    if stamp is None or stamp == "":
        return None
    if isinstance(stamp, str):
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            raise MalformedLineError("its time is neither a number nor an ISO date") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    found = stamp / 1000 if stamp > 1e11 else stamp
    if not 0 <= found < 1e11:
        raise MalformedLineError("its time is no time")
    return found


def capability_of(word: str | None) -> Capability | None:
    """A given label, if it is one of ours."""
    return _CAPABILITIES.get(word.lower()) if word else None


def priority_of(word: str | None) -> Priority:
    """A given priority or service tier; Normal where it says nothing."""
    return _PRIORITIES.get(word.lower(), Priority.NORMAL) if word else Priority.NORMAL


def read_forebay(line: bytes) -> Entry:
    """A line of the access log. Tokens of a pool's answers are not counted there: their number is told by the time."""
    found = _forebay(line)
    timed = not found.output_tokens and found.duration_ms > 0
    busy = found.duration_ms - (found.first_token_ms if found.stream else found.queue_ms)
    output = max(1, round(busy / TOKEN_MS)) if timed else found.output_tokens or None
    return Entry(
        at=found.time - found.duration_ms / 1000 if found.time else None,
        prompt=found.input_tokens or found.prompt_tokens or None,
        output=output,
        by_time=timed,
        cached=min(found.cached_tokens, found.input_tokens),
        model=found.model,
        path=path_of(found.path),
        capability=capability_of(found.capability),
        guessed=found.model in AUTO_MODELS,
        priority=priority_of(found.priority),
        failed=found.status >= 400,
        spent=float(found.cost_usd) if found.cost_usd else None,
    )


def read_spend(line: bytes) -> Entry:
    """A row of LiteLLM's. Its words are there only with `store_prompts_in_spend_logs`."""
    found = _spend(line)
    tags = _tags_of(found)
    usage = tags.usage_object or LoggedUsage()
    body: bytes | None = None
    if (messages := _said(found.messages)) is not None and messages[:1] == b"[":
        body = b'{"messages":' + messages + b"}"
    elif (request := _said(found.proxy_server_request)) is not None and request[:1] == b"{":
        body = _within(request)
    return Entry(
        at=seconds(found.startTime),
        prompt=found.prompt_tokens,
        output=found.completion_tokens,
        cached=_cached(usage),
        model=found.model or found.model_group or "",
        path=EMBEDDINGS if "embedding" in found.call_type else CHAT,
        capability=capability_of(tags.capability),
        task_type=tags.task_type or "",
        failed=found.status == "failure",
        spent=found.spend,
        body=body,
    )


def read_batch_request(line: bytes) -> Entry:
    """A batch's request: nobody waits for it, so it counts as Low."""
    found = _batch_request(line)
    return Entry(path=path_of(found.url), body=bytes(found.body), priority=Priority.LOW)


def read_batch_answer(line: bytes) -> Entry:
    """A batch's answer: what it used, but no words."""
    answer = _batch_answer(line).response
    if answer is None or answer.body is None:
        return Entry(failed=True)
    inner = answer.body
    prompt, output, cached = _used(inner.usage)
    return Entry(
        prompt=prompt,
        output=output,
        cached=cached,
        model=inner.model or "",
        priority=Priority.LOW,
        failed=(answer.status_code or 200) >= 400,
    )


def read_request(line: bytes) -> Entry:
    """A request, with or without what became of it."""
    found = _request(line)
    body = _said(found.request) or _said(found.body)
    if body is None and (_said(found.messages) or _said(found.prompt) or _said(found.input)):
        body = line
    answer = found.response or LoggedAnswer()
    answer = answer.body or answer
    usage = found.usage or answer.usage
    if usage is None:
        usage = LoggedUsage(found.prompt_tokens, found.completion_tokens, found.input_tokens, found.output_tokens)
    prompt, output, cached = _used(usage)
    if body is None and prompt is None:
        raise MalformedLineError("it has neither a request nor counts of tokens")
    stamps = (found.timestamp, found.time, found.ts, found.start_time, found.created, found.created_at, answer.created,
              answer.created_at)  # fmt: skip
    return Entry(
        at=seconds(next((stamp for stamp in stamps if stamp is not None), None)),
        prompt=prompt,
        output=output,
        cached=cached,
        model=found.model or answer.model or "",
        path=path_of(found.url or found.path),
        capability=capability_of(found.capability or found.label),
        priority=priority_of(found.priority or found.service_tier),
        task_type=found.task_type or "",
        failed=_failed(found.status) or _failed((found.response or answer).status_code),
        body=body,
    )


JSON_FORMATS: Final = (
    LogFormat("forebay", "forebay's access log", read_forebay),
    LogFormat("litellm", "LiteLLM spend logs", read_spend),
    LogFormat("batch-output", "OpenAI batch output", read_batch_answer),
    LogFormat("batch", "OpenAI batch input", read_batch_request),
    LogFormat("openai", "OpenAI-style requests", read_request),
)


def fits(form: LogFormat, lines: Sequence[bytes]) -> int:
    """How many of these lines the format's reader takes."""
    return sum(understood(form.read, line) is not None for line in lines)


def understood(read: Reader, line: bytes) -> Entry | None:
    """The line's entry, or None where it is malformed."""
    try:
        return read(line)
    except (MalformedLineError, msgspec.DecodeError, ValueError, RecursionError):
        return None


def _said(raw: Raw) -> bytes | None:
    """JSON that says something."""
    view = memoryview(raw)
    return None if len(view) < 5 and bytes(view) in _NULL else bytes(view)


def _used(usage: LoggedUsage | None) -> tuple[int | None, int | None, int]:
    if usage is None:
        return None, None, 0
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    output = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    return prompt, output, min(_cached(usage), prompt or 0)


def _cached(usage: LoggedUsage) -> int:
    details = usage.prompt_tokens_details or usage.input_tokens_details
    return (details.cached_tokens or 0) if details else 0


def _failed(status: int | str | None) -> bool:
    if isinstance(status, int):
        return status >= 400
    return status in ("error", "failed", "failure")


def _tags_of(line: SpendLine) -> _Tags:
    """Labels in the metadata, or as tags: `capability:extraction`, `task_type:extract`."""
    found = _Tags()
    if (metadata := _said(line.metadata)) is not None:
        try:
            found = _tags(_unquoted(metadata))
        except (msgspec.DecodeError, ValueError):
            found = _Tags()
    if found.capability is None and (written := _said(line.request_tags)) is not None:
        tags: Any = msgspec.json.decode(_unquoted(written))
        for tag in tags if isinstance(tags, list) else ():
            name, _, value = str(tag).partition(":")
            if name == "capability":
                found.capability = value
            elif name == "task_type":
                found.task_type = value
    return found


def _unquoted(raw: bytes) -> bytes:
    """JSON that stands in a JSON string."""
    return msgspec.json.decode(raw, type=str).encode() if raw[:1] == b'"' else raw


def _within(request: bytes) -> bytes:
    """The body of a request that a proxy wraps."""
    return _said(msgspec.json.decode(request, type=RequestLine).body) or request
