"""All lines of a log as columns of numbers: 24 bytes a request. Words are classified on the way and not kept.

A request is classified by its label, else by its words with the router's own code. Of a long log only a sample of the
words is looked at: the first `TEXTS_READ_IN_FULL` texts, then every 2nd, every 4th ...; each one looked at stands for
those of its kind (model, size, limit) that follow it until the next one.
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from math import isnan, nan
from typing import Any, Final

import msgspec

from forebay.cli.problem import Problem
from forebay.cli.profile.entry import Entry, MalformedLineError
from forebay.cli.profile.formats import LogFormat
from forebay.cli.profile.formats_text import detect
from forebay.cli.profile.log_lines import LONGEST, Source
from forebay.resources.reasons import Capability, Priority
from forebay.resources.terms import Task
from forebay.rules.classify import Hints, by_hints, by_words
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.hints import hints_of
from forebay.rules.dialect.limits import token_limit
from forebay.rules.dialect.prompt_content import EVERYTHING, PromptContent
from forebay.rules.dialect.task_words import task_words
from forebay.rules.endpoints import ENDPOINTS
from forebay.rules.facts import USUAL_ANSWER_TOKENS

CLASSES: Final = (*Capability, "embeddings", "unknown")
"""Kinds of requests by number; the last one has neither label nor words."""
EMBEDDINGS: Final = len(CLASSES) - 2
UNKNOWN: Final = len(CLASSES) - 1
PRIORITIES: Final = tuple(Priority)
_PLACE: Final = {capability: place for place, capability in enumerate(Capability)}
GUESSED: Final = 8
ASSUMED: Final = 64
TEXTS_READ_IN_FULL: Final = 50_000
TEXTS_UNTIL_HALVED: Final = 25_000
NAMED_PROBLEMS: Final = 5
"""Malformed lines that are named; the others are only counted."""
LINES_TO_DETECT: Final = 50
MOST_MODELS: Final = 4096
REQUESTS_FOR_A_MEAN: Final = 100


@dataclass(slots=True)
class Log:
    """Columns, one entry a request. `kind` is class | GUESSED | priority << 4 | ASSUMED (its output is)."""

    source: str
    format: LogFormat
    packing: str = ""
    at: "array[float]" = field(default_factory=lambda: array("d"))
    prompt: "array[int]" = field(default_factory=lambda: array("I"))
    output: "array[int]" = field(default_factory=lambda: array("I"))
    cached: "array[int]" = field(default_factory=lambda: array("I"))
    model: "array[int]" = field(default_factory=lambda: array("H"))
    kind: "array[int]" = field(default_factory=lambda: array("B"))
    models: list[str] = field(default_factory=list)
    malformed: int = 0
    first_malformed: list[tuple[int, str]] = field(default_factory=list)  # line, why
    failed: int = 0
    timeless: int = 0
    by_time: int = 0  # requests whose output was told by how long it took
    texts: int = 0  # requests classified by words, and how many of them were looked at
    looked_at: int = 0
    spent: float | None = None

    def __len__(self) -> int:
        return len(self.at)

    @property
    def assumed(self) -> int:
        """Requests whose output the log does not say."""
        return sum(1 for kind in self.kind if kind & ASSUMED)


def read(source: Source, form: LogFormat | None, tick: Callable[[int], None]) -> Log:
    """The whole log; `tick` is told now and then how many bytes were read. Raises Problem where there is no request."""
    lines = source.lines()
    first = list(islice(lines, LINES_TO_DETECT))
    said = [line for line in first if line.strip()]
    if not said:
        raise Problem(f"{source.name} is empty: nothing to profile", 2)
    log = Log(source.name, form or detect(said, source.name), source.packing)
    reading = _Reading(log)
    for number, line in enumerate(chain(first, lines), 1):
        reading.take(number, line)
        if not number & 4095:
            tick(source.position())
    tick(source.position())
    if not len(log):
        named = "; ".join(f"line {line}: {why}" for line, why in log.first_malformed)
        raise Problem(f"no request in {source.name}, read as {log.format.title}{': ' + named if named else ''}", 2)
    _finish(log)
    return log


class _Reading:
    """What is known while the lines go by."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.numbers: dict[str, int] = {}  # of models
        self.looked: dict[tuple[int, int, int], int] = {}  # by kind: class and whether it was guessed
        self.every = 1

    def take(self, number: int, line: bytes) -> None:
        """One line, good or bad."""
        if not line or line.isspace():
            return
        log = self.log
        try:
            if len(line) > LONGEST:
                raise MalformedLineError(f"longer than {LONGEST >> 20} MiB")
            entry = log.format.read(line)
            if entry.failed:
                log.failed += 1
                return
            self.add(entry)
        except (MalformedLineError, BadRequestError, msgspec.DecodeError) as error:
            self._malformed(number, str(error))
        except (ValueError, RecursionError):  # its message may repeat what stands in the line
            self._malformed(number, "a value in it cannot be understood")

    def _malformed(self, number: int, why: str) -> None:
        self.log.malformed += 1
        if len(self.log.first_malformed) < NAMED_PROBLEMS:
            self.log.first_malformed.append((number, why))

    def add(self, entry: Entry) -> None:
        """A request that was answered."""
        log, limit, prompt = self.log, None, entry.prompt
        model, embeds = self._model(entry), _embeds(entry)
        if entry.body is not None and (prompt is None or entry.capability is None):
            kind, prompt, limit = self._from_body(entry, entry.body, model)
        elif embeds:
            kind = EMBEDDINGS
        elif entry.capability is not None:
            kind = _PLACE[entry.capability] | (GUESSED if entry.guessed else 0)
        elif entry.task_type:
            kind = _PLACE[by_hints(Hints(task_type=entry.task_type))]
        else:
            kind = UNKNOWN
        output = entry.output
        if output is None:
            kind |= ASSUMED
            output = min(limit or USUAL_ANSWER_TOKENS, USUAL_ANSWER_TOKENS)
        if embeds:
            output, kind = 0, EMBEDDINGS
        at = entry.at
        if at is None:
            log.timeless += 1
            at = log.at[-1] if log.at else nan
        log.by_time += entry.by_time
        log.at.append(at)
        log.prompt.append(prompt or 0)
        log.output.append(output)
        log.cached.append(entry.cached)
        log.model.append(model)
        log.kind.append(kind | PRIORITIES.index(entry.priority) << 4)
        if entry.spent is not None:
            log.spent = (log.spent or 0.0) + entry.spent

    def _from_body(self, entry: Entry, body: bytes, model: int) -> tuple[int, int, int | None]:
        """Class, prompt tokens and limit by what the request says; its words are looked at if it is their turn."""
        log, label = self.log, entry.capability
        words = label is None and not _embeds(entry)
        log.texts += words
        turn = words and log.texts % self.every == 0
        if words and not turn and entry.prompt is not None:
            known = self.looked.get((model, entry.prompt.bit_length(), 0))
            if known is not None:
                return known, entry.prompt, None
        document = msgspec.json.decode(body)
        if not isinstance(document, dict):
            raise MalformedLineError("its request is no JSON object")
        limit = token_limit(document)
        prompt = entry.prompt
        if prompt is None:
            content = PromptContent(ENDPOINTS[entry.path], document)
            content.read(EVERYTHING)
            prompt = content.tokens
        if label is not None:
            return _PLACE[label], prompt, limit
        if not words:
            return EMBEDDINGS, prompt, limit
        stratum = (model, prompt.bit_length(), 0 if entry.prompt is not None else (limit or 0).bit_length())
        if not turn and (known := self.looked.get(stratum)) is not None:
            return known, prompt, limit
        kind = self.looked[stratum] = _classify(entry, document, limit)
        log.looked_at += 1
        if log.looked_at >= TEXTS_READ_IN_FULL and (log.looked_at - TEXTS_READ_IN_FULL) % TEXTS_UNTIL_HALVED == 0:
            self.every *= 2
        return kind, prompt, limit

    def _model(self, entry: Entry) -> int:
        name = entry.model
        if not name and entry.body is not None:
            name = _model_of(entry.body)
        found = self.numbers.get(name)
        if found is None:
            if len(self.numbers) >= MOST_MODELS:
                return self.numbers.setdefault("", 0)
            found = self.numbers[name] = len(self.numbers)
            self.log.models.append(name[:64])
        return found


def _embeds(entry: Entry) -> bool:
    return ENDPOINTS[entry.path].task is not Task.GENERATE


class _Named(msgspec.Struct, gc=False):
    model: str = ""


_named = msgspec.json.Decoder(_Named).decode


def _model_of(body: bytes) -> str:
    return _named(body).model


def _classify(entry: Entry, document: dict[str, Any], limit: int | None) -> int:
    """As the router would, had the client left the model open."""
    fields = {b"x-forebay-task-type": entry.task_type.encode()} if entry.task_type else {}
    hints = hints_of(fields, document, limit)
    guessed = by_words(hints, task_words(ENDPOINTS[entry.path], document))
    return _PLACE[guessed] | GUESSED if guessed else _PLACE[by_hints(hints)]


def _finish(log: Log) -> None:
    """What could not be known while the lines went by.

    Requests before the first one with a time come with it. Where the log does not say how long an answer was, the mean
    of its class is taken, if enough are known.
    """
    first = next((place for place, at in enumerate(log.at) if not isnan(at)), 0)
    log.at[:first] = array("d", [log.at[first]] * first) if first else array("d")
    sums, counts = [0] * len(CLASSES), [0] * len(CLASSES)
    for kind, output in zip(log.kind, log.output, strict=True):
        if not kind & ASSUMED:
            sums[kind & 7] += output
            counts[kind & 7] += 1
    means = [
        total // count if count >= REQUESTS_FOR_A_MEAN else None for total, count in zip(sums, counts, strict=True)
    ]
    if not any(mean is not None for mean in means):
        return
    for place, kind in enumerate(log.kind):
        if kind & ASSUMED and (mean := means[kind & 7]) is not None:
            log.output[place] = mean


def of(entries: Iterable[Entry], form: LogFormat, source: str = "") -> Log:
    """A log of entries that are there already."""
    log = Log(source, form)
    reading = _Reading(log)
    for entry in entries:
        reading.add(entry)
    _finish(log)
    return log
