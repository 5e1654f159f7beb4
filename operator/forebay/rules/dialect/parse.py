"""A request as the rules and the routers need it: the body is decoded once, for a few facts. It is never rebuilt."""

from collections.abc import Generator
from typing import Any, Final

from forebay.resources import headers as names
from forebay.resources.reasons import Priority
from forebay.resources.terms import CloudUse, TaskSource
from forebay.rules.classify import by_hints, by_words
from forebay.rules.depths import Depths
from forebay.rules.dialect.body import document_of, document_steps
from forebay.rules.dialect.body_size import SMALL_BYTES
from forebay.rules.dialect.errors import BadRequestError, ForeignCodingError
from forebay.rules.dialect.form import FormReader
from forebay.rules.dialect.hints import hints_of
from forebay.rules.dialect.limits import sequences, token_limit
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.prompt_content import EVERYTHING, PromptContent
from forebay.rules.dialect.prompt_text import user_words
from forebay.rules.dialect.task_words import task_words
from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.facts import AUTO_MODELS, RequestFacts
from forebay.rules.learned import Words
from forebay.rules.portability import spoken

SERVICE_TIERS: Final = {"priority": Priority.HIGH, "flex": Priority.LOW}
_CLOUD, _SESSION, _TIMEOUT = names.CLOUD.encode(), names.SESSION.encode(), names.TIMEOUT_SECONDS.encode()
_CONTENT_TYPE: Final = b"content-type"
SAMPLE_BYTES: Final = 64
"""By which a form is told from others, as it opens no conversation."""
_PRIORITY = names.PRIORITY.encode()
_CODING: Final = b"content-encoding"
_PLAIN: Final = (b"", b"identity")
PARTS: Final = 1024
"""Parts of a prompt that are read in one step."""


def parse(
    path: str,
    fields: dict[bytes, bytes],
    body: bytes,
    client: str = "anonymous",
    task_source: str = TaskSource.ANYWHERE,
) -> ParsedRequest:
    """Read a request to one of the ENDPOINTS; `fields` are its headers by lower-case name.

    Its priority is what was asked for, not yet what is allowed. `task_source` is a TaskSource. Raises BadRequestError.
    """
    if len(body) > SMALL_BYTES or ENDPOINTS[path].form:
        steps = parse_steps(path, fields, body, client, task_source)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                parsed: ParsedRequest = end.value
                return parsed
    _refuse_codings(fields)
    document = document_of(body)
    content = PromptContent(ENDPOINTS[path], document)
    content.read(EVERYTHING)
    return _parsed(path, fields, document, content, client, None, task_source)


def parse_steps(
    path: str, fields: dict[bytes, bytes], body: bytes, client: str, task_source: str = TaskSource.ANYWHERE
) -> Generator[None, None, ParsedRequest]:
    """The same for a form, or a body of more than SMALL_BYTES, in steps of a few milliseconds."""
    _refuse_codings(fields)
    if ENDPOINTS[path].form:
        return (yield from _form_steps(path, fields, body, client))
    document, spans = yield from document_steps(body)
    content = PromptContent(ENDPOINTS[path], document, {key: end - start for key, (start, end) in spans.items()})
    while not content.read(PARTS):
        yield
    yield
    return _parsed(path, fields, document, content, client, spans.get("model"), task_source)


def _form_steps(
    path: str, fields: dict[bytes, bytes], body: bytes, client: str
) -> Generator[None, None, ParsedRequest]:
    form = FormReader(fields.get(_CONTENT_TYPE, b""), body)
    while not form.done:
        form.step()
        yield
    content = PromptContent(ENDPOINTS[path], form.fields)
    content.read(EVERYTHING)
    middle = len(body) // 2
    sample = body[middle : middle + SAMPLE_BYTES]
    return _parsed(path, fields, form.fields, content, client, form.model_at, TaskSource.USER, sample)


def _refuse_codings(fields: dict[bytes, bytes]) -> None:
    if _CODING in fields and fields[_CODING].strip().lower() not in _PLAIN:
        coding = fields[_CODING][:20].decode("latin-1")
        raise ForeignCodingError(f"bodies with `content-encoding: {coding}` are not read here: send it uncompressed")


def _parsed(
    path: str,
    fields: dict[bytes, bytes],
    document: dict[str, Any],
    content: PromptContent,
    client: str,
    model_at: tuple[int, int] | None,
    task_source: str,
    sample: bytes = b"",
) -> ParsedRequest:
    if document.get("background") is True:  # it would run on in the engine after its slot has been given back
        raise BadRequestError("background responses are not served here: leave out `background`, or stream")
    previous = document.get("previous_response_id")
    previous = previous if isinstance(previous, str) else ""
    facts = _facts(path, fields, document, content, bool(previous), task_source)
    session, stream = fields.get(_SESSION, sample), document.get("stream") is True
    seconds = _seconds(fields.get(_TIMEOUT))
    return ParsedRequest(path, facts, facts.priority, client, session, stream, seconds, document, previous, model_at)


def _facts(
    path: str,
    fields: dict[bytes, bytes],
    document: dict[str, Any],
    read: PromptContent,
    stored_state: bool,
    task_source: str,
) -> RequestFacts:
    endpoint, limit = ENDPOINTS[path], token_limit(document)
    said = spoken(path, document)
    asked = _priority(fields.get(_PRIORITY), document)
    cloud = CloudUse.NEVER if fields.get(_CLOUD, b"").lower() == b"never" else CloudUse.ALLOWED
    model = str(document.get("model") or "auto")
    hints = hints_of(fields, document, limit if endpoint.classified else None)
    guessed = None
    if model in AUTO_MODELS:  # a named model needs no map
        anywhere = task_source == TaskSource.ANYWHERE
        words = task_words(endpoint, document) if anywhere else Words(user_words(endpoint, document))
        guessed = by_words(hints, words)
    return RequestFacts(
        model=model,
        task=endpoint.task,
        also=endpoint.also,
        priority=asked,
        capability=guessed or by_hints(hints),
        guessed=guessed is not None,
        inputs=read.inputs,
        unknown_input=read.unknown,
        prompt_tokens=read.tokens,
        longest_tokens=read.longest,
        least_tokens=read.least,
        max_tokens=limit,
        sequences=sequences(document),
        path=path,
        fields=said | read.fields if read.fields else said,
        depths=Depths(path, document),
        cloud=cloud,
        stored_state=stored_state,
    )


def _priority(header: bytes | None, document: dict[str, Any]) -> Priority:
    if header:
        asked = header.decode("latin-1")
        try:
            return Priority(asked.capitalize())
        except ValueError:
            raise BadRequestError(f"{names.PRIORITY} must be High, Normal or Low, not {asked[:20]!r}") from None
    if "service_tier" not in document:
        return Priority.NORMAL
    return SERVICE_TIERS.get(str(document["service_tier"]), Priority.NORMAL)


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
