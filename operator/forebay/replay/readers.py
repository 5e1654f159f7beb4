"""Traces from files: Azure's, Mooncake's, BurstGPT's, plain tables, and forebay's own access log; gzipped or not.

Which of them a file is, its first line says. A line that makes no sense is left out, counted and named.
"""

import csv
import gzip
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from math import isfinite
from pathlib import Path
from statistics import median
from typing import IO, Any, Final, TypeVar

import msgspec

from forebay.replay.trace import TraceRequest
from forebay.resources.reasons import Capability, Priority, Reason
from forebay.simulator.prefix import PREFIX_TOKENS

NAMED: Final = 5
"""How many bad lines are named; all are counted."""
UNKNOWN: Final = -1
"""The answer's length where the trace does not tell; replaced by the median of the others."""
TOKEN_SECONDS: Final = 0.025
"""What a token of a local answer is taken to have lasted: the access log holds times, and no tokens, of those."""
MOONCAKE_GRAIN_SECONDS: Final = 3.0
"""Mooncake's timestamps are whole multiples of this: requests are spread over it, always in the same way."""
OPENING_BLOCKS: Final = 2
"""The first 4 KiB of a conversation, which a gateway knows it by, are about its first two blocks."""
_GZIP: Final = b"\x1f\x8b"

Row = Mapping[str, Any]
_Word = TypeVar("_Word", Capability, Priority)


class TraceError(ValueError):
    """No trace could be read; the message says what is wrong, where, and what to do."""


class _LineError(ValueError):
    """One line makes no sense."""


@dataclass(slots=True)
class Trace:
    """What a file held: requests in the order of time, which begins with the first of them at 0.

    `skipped` counts lines that make no sense, some of which `problems` names, `passed` those that are no inference;
    `estimated` requests whose answer's length is a guess.
    """

    form: str
    requests: list[TraceRequest]
    skipped: int = 0
    passed: int = 0
    estimated: int = 0
    problems: list[str] = field(default_factory=list)

    def faster(self, tempo: float) -> list[TraceRequest]:
        """The same requests, `tempo` times as many a second."""
        return [replace(request, at=request.at / tempo) for request in self.requests]


def read(path: Path) -> Trace:
    """Read a trace. Raises TraceError."""
    try:
        with _opened(path) as lines:
            trace = _read(lines, path)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is no text: give a CSV or JSON-lines file, gzipped or not") from error
    if not trace.requests:
        found = f" ({trace.problems[0]})" if trace.problems else ""
        raise TraceError(f"{path} holds no request{found}: {KNOWN}")
    return _in_order(trace)


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return gzip.open(path, "rt", encoding="utf-8") if zipped else path.open(encoding="utf-8")


def _read(lines: IO[str], path: Path) -> Trace:
    first = next((line for line in lines if line.strip()), "")
    again = chain((first,), lines)
    if first.lstrip().startswith("{"):
        return _parse(_objects(again), path, 1)
    return _parse(csv.DictReader(again), path, 2)


def _objects(lines: Iterable[str]) -> Iterator[Row | None]:
    """The object of each line; None where there is none."""
    for line in lines:
        if line.strip():
            try:
                row = msgspec.json.decode(line)
            except msgspec.DecodeError:
                row = None
            yield row if isinstance(row, dict) else None


def _parse(rows: Iterable[Row | None], path: Path, number: int) -> Trace:
    """`number` is the line of the first row."""
    coming = iter(rows)
    first = next(coming, None)
    columns = frozenset(first or ())
    form = next((name for name, (needed, _) in FORMS.items() if needed <= columns), None)
    if form is None:
        raise TraceError(f"the columns of {path} ({', '.join(map(str, columns)) or 'none'}) are no trace's: {KNOWN}")
    trace, parse = Trace(form, []), FORMS[form][1]
    for line, row in enumerate(chain((first,), coming), number):
        try:
            if row is None:
                raise _LineError("it is no JSON object")
            request = parse(row)
        except _LineError as error:
            trace.skipped += 1
            if len(trace.problems) < NAMED:
                trace.problems.append(f"line {line}: {error}")
            continue
        if request is None:
            trace.passed += 1
        else:
            trace.requests.append(request)
    return trace


def _in_order(trace: Trace) -> Trace:
    found = trace.requests
    if trace.form == "Mooncake":
        rng = random.Random(0)  # noqa: S311 - a spread, no secret
        found = [replace(request, at=request.at + rng.uniform(0, MOONCAKE_GRAIN_SECONDS)) for request in found]
    lengths = [request.output for request in found if request.output != UNKNOWN]
    trace.estimated = len(found) if trace.form == ACCESS_LOG else len(found) - len(lengths)
    usual = int(median(lengths)) if lengths else 128
    begin = min(request.at for request in found)
    trace.requests = sorted(
        (
            replace(request, at=request.at - begin, output=usual if request.output == UNKNOWN else request.output)
            for request in found
        ),
        key=lambda request: request.at,
    )
    return trace


# One row of each form.


def _azure(row: Row) -> TraceRequest:
    return TraceRequest(_moment(row, "TIMESTAMP"), _count(row, "ContextTokens"), _count(row, "GeneratedTokens"))


def _burstgpt(row: Row) -> TraceRequest:
    return TraceRequest(_seconds(row, "Timestamp"), _count(row, "Request tokens"), _count(row, "Response tokens"))


def _mooncake(row: Row) -> TraceRequest:
    hashes, prompt = row.get("hash_ids"), _count(row, "input_length")
    if not isinstance(hashes, list) or not all(isinstance(item, int) for item in hashes):
        raise _LineError("hash_ids is no list of whole numbers")
    return TraceRequest(
        _seconds(row, "timestamp") / 1000,
        prompt,
        _count(row, "output_length"),
        blocks=tuple(hashes[: prompt // PREFIX_TOKENS]),
        session=repr(hashes[:OPENING_BLOCKS]),
    )


def _plain(row: Row) -> TraceRequest:
    limit = row.get("max_tokens")
    return TraceRequest(
        _seconds(row, "at"),
        _count(row, "prompt"),
        _count(row, "output"),
        priority=_word(row, "priority", Priority, Priority.NORMAL),
        client=_text(row, "client"),
        model=_text(row, "model"),
        capability=_word(row, "capability", Capability, None),
        session=_text(row, "session"),
        max_tokens=None if limit in (None, "") else _count(row, "max_tokens"),
    )


_NOT_CARRIED: Final = frozenset({Reason.INVALID_REQUEST, Reason.UNAUTHORIZED, Reason.MODEL_NOT_FOUND, ""})


def _access_log(row: Row) -> TraceRequest | None:
    """A local answer's length is estimated from how long it took."""
    if row.get("method") != "POST" or row.get("reason", "") in _NOT_CARRIED:
        return None
    seconds, first = _seconds(row, "duration_ms", 0.0) / 1000, _seconds(row, "first_token_ms", 0.0) / 1000
    busy = seconds - first if row.get("stream") else seconds - _seconds(row, "queue_ms", 0.0) / 1000
    output = max(1, round(busy / TOKEN_SECONDS)) if row.get("status") == 200 else UNKNOWN
    return TraceRequest(
        _seconds(row, "time") - seconds,
        _count(row, "prompt_tokens", 0),
        _count(row, "output_tokens", output),
        priority=_word(row, "priority", Priority, Priority.NORMAL),
        client=_text(row, "client"),
        model=_text(row, "model"),
        capability=_word(row, "capability", Capability, None),
    )


ACCESS_LOG: Final = "forebay's access log"
FORMS: Final[Mapping[str, tuple[frozenset[str], Callable[[Row], TraceRequest | None]]]] = {
    "Azure LLM": (frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), _azure),
    "BurstGPT": (frozenset({"Timestamp", "Request tokens", "Response tokens"}), _burstgpt),
    "Mooncake": (frozenset({"timestamp", "input_length", "output_length", "hash_ids"}), _mooncake),
    ACCESS_LOG: (frozenset({"time", "request_id"}), _access_log),
    "plain": (frozenset({"at", "prompt", "output"}), _plain),
}
"""By name: the columns that a form is known by, and how a row is read."""
KNOWN: Final = (
    "known are CSV or JSON lines with at (seconds), prompt and output (tokens), and, if wanted, priority, model, "
    "client, capability, session, max_tokens; traces of Azure LLM, BurstGPT and Mooncake; and forebay's access log"
)


def _seconds(row: Row, name: str, absent: float | None = None) -> float:
    value: Any = row.get(name)
    if value is None and absent is not None:
        return absent
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _LineError(f"{name} is {value!r:.40}, not a number") from None
    if not isfinite(number):
        raise _LineError(f"{name} is {value!r:.40}, not a number")
    return number


def _count(row: Row, name: str, absent: int | None = None) -> int:
    value: Any = row.get(name)
    if value is None and absent is not None:
        return absent
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, bool):
        raise _LineError(f"{name} is {value!r:.40}, not a number of tokens")
    return number


def _moment(row: Row, name: str) -> float:
    try:
        return datetime.fromisoformat(str(row.get(name))).timestamp()
    except ValueError:
        raise _LineError(f"{name} is {row.get(name)!r:.40}, not a time") from None


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)[:256]


def _word(row: Row, name: str, words: type[_Word], absent: _Word | None) -> Any:
    """One word of a closed list, in any case."""
    value = row.get(name)
    if value in (None, ""):
        return absent
    for word in words:
        if word.lower() == str(value).lower():
            return word
    raise _LineError(f"{name} is {value!r:.40}, not one of {', '.join(words)}")
