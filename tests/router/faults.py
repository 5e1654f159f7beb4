"""What a client sees of every fault: the one table that the tests go through and that docs/faults.md is made from.

python -m tests.router.faults > docs/faults.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from forebay.resources.options import RouterTimeouts
from forebay.router.attempt_result import PAUSE_SECONDS
from forebay.router.dialect.content import HELD_BYTES
from forebay.router.http import keep_alive
from forebay.router.placement.newcomers import KNOWN_SECONDS
from forebay.router.placement.pool_replicas import LIMITS
from forebay.rules.breaker import CallResult
from forebay.rules.engine_health import (
    FAILURES,
    NO_CLIENTS_DOING,
    NOT_IMPLEMENTED,
    OVERDUE_SECONDS,
    READING_TOKENS_PER_SECOND,
)
from forebay.rules.lifecycle import MAX_FAILED, MAX_SENT
from forebay.rules.retry import RETRY_BURST, RETRY_SHARE, TOKEN_SECONDS
from forebay.rules.senders import DOUBT_SECONDS, RETRIES
from forebay.rules.senders import LIMITS as DEATHS
from tests.router.faulty import Fault, Moment


class Place(StrEnum):
    """Who misbehaves."""

    ENGINE = "engine"
    OWN_ENGINE = "engine, reached by the pool's Service"
    SIDECAR = "sidecar"
    GATEWAY = "gateway that a sidecar hands on to"
    CLOUD = "provider"


class Ending(StrEnum):
    """What the client gets."""

    ELSEWHERE = "the whole answer, from elsewhere"
    SAME = "the whole answer, from there"
    EVENT = "what had come, then an error event; the connection closes, no `[DONE]`"
    TOLD = "what had come, then that very error event and a proper end, no `[DONE]`; the connection closes"
    SHORT = "what had come; the connection closes before its announced end"
    PASSED = "that very answer, `Retry-After` included"
    LATE = "503 `DeadlineExceeded` when its own time is over"


@dataclass(frozen=True)
class Case:
    """One fault at one place."""

    place: Place
    fault: Fault
    moment: Moment
    stream: bool

    def __str__(self) -> str:
        kind = "streamed" if self.stream else "whole"
        return "-".join((self.place.name.lower(), self.fault.name.lower(), self.moment, kind))


@dataclass(frozen=True)
class Expected:
    """What follows. `posts`: how often the faulty peer gets the request; `outcome`: what its breaker counts."""

    ending: Ending
    posts: int = 1
    outcome: CallResult | None = None


@dataclass(frozen=True)
class Impossible:
    """Why a combination cannot be."""

    why: str


STATUSES = (Fault.BAD_REQUEST, Fault.TOO_MANY, Fault.SERVER_ERROR)
WITH_BREAKER = (Place.ENGINE, Place.SIDECAR, Place.GATEWAY)
"""A gateway keeps one for each replica, a sidecar one for each gateway; those of providers have tests of their own."""

GATEWAYS_LOOK = "a gateway looks into every 200 itself, and closes after an error event"


def expected(case: Case) -> Expected | Impossible:
    """The table."""
    return _after(case) if case.moment is Moment.AFTER else _before(case)


def _after(case: Case) -> Expected | Impossible:
    if case.fault is Fault.REFUSED:
        return Impossible("nothing comes over a connection that was refused")
    if case.fault in STATUSES:
        return Impossible("the status comes before the content")
    if case.fault is Fault.SLOW_START:
        return Impossible("that is before it by definition")
    if case.fault is Fault.ERROR_IN_200 and not case.stream:
        return Impossible("one JSON document is either an answer or an error")
    if case.fault is Fault.ERROR_IN_200 and case.place is Place.GATEWAY:
        return Impossible(GATEWAYS_LOOK)
    if case.fault is Fault.ERROR_IN_200:
        return Expected(Ending.TOLD, 1, _counted(case, CallResult.FAULT))
    return Expected(Ending.EVENT if case.stream else Ending.SHORT, 1, _counted(case, CallResult.FAULT))


def _before(case: Case) -> Expected | Impossible:
    passes_on = case.place is Place.GATEWAY
    posts = 2 if case.place is Place.OWN_ENGINE else 1  # once by the sidecar itself, once by the gateway it hands on to
    match case.fault:
        case Fault.BAD_REQUEST if case.place is Place.CLOUD:
            return Expected(Ending.ELSEWHERE, 1, None)
        case Fault.BAD_REQUEST:
            return Expected(Ending.PASSED, 1, _counted(case, CallResult.SUCCESS))
        case Fault.SLOW_START:
            return Expected(Ending.SAME, 1, _counted(case, CallResult.SUCCESS))
        case Fault.ERROR_IN_200 if passes_on:
            return Impossible(GATEWAYS_LOOK)
        case Fault.STALL if passes_on:
            return Expected(Ending.LATE, 1, None)
        case Fault.TOO_MANY | Fault.SERVER_ERROR if passes_on:
            return Expected(Ending.PASSED, 1, CallResult.SUCCESS)
        case Fault.TOO_MANY:
            return Expected(Ending.ELSEWHERE, posts, _counted(case, CallResult.BACK_PRESSURE))
        case Fault.REFUSED:
            return Expected(Ending.ELSEWHERE, 0, _counted(case, CallResult.FAULT))
        case _:
            return Expected(Ending.ELSEWHERE, posts, _counted(case, CallResult.FAULT))


def _counted(case: Case, outcome: CallResult) -> CallResult | None:
    return outcome if case.place in WITH_BREAKER else None


def cases() -> Iterator[Case]:
    """Every combination."""
    for place, fault, moment, stream in product(Place, Fault, Moment, (True, False)):
        yield Case(place, fault, moment, stream)


# The page.

_OURS = ", ".join(str(status) for status in sorted(NO_CLIENTS_DOING))
NAMES = {
    Fault.REFUSED: "connection refused",
    Fault.RESET: "connection reset",
    Fault.STALL: "stall: connected, and silent",
    Fault.CUT: "cut: the connection closes early",
    Fault.MALFORMED: "malformed chunk",
    Fault.ERROR_IN_200: "a 200 that says it is an error",
    Fault.BAD_REQUEST: f"4xx, {NOT_IMPLEMENTED}: the request's own matter (not {_OURS})",
    Fault.TOO_MANY: "429, 503: too busy",
    Fault.SERVER_ERROR: f"5xx, {_OURS}: no client can have caused it",
    Fault.SLOW_START: "slow start, within the patience",
}
COUNTED = {CallResult.SUCCESS: "no fault", CallResult.BACK_PRESSURE: "back-pressure", CallResult.FAULT: "a fault"}
PAGE = """\
# What a client sees when something breaks

Until the first content byte a client has heard nothing, so another replica, a provider or the queue can still serve it.
After it, a break is told honestly: an error event and a closed connection, never what looks like a clean end. A stream
is held until its first token, any other answer until it is complete, or {held} KiB of it are there.

`make docs` writes this page from the table that `tests/router/test_failover.py` runs through a whole fleet.

## Before the first content byte

{before}

## After it

{after}

What is not in the tables cannot be:

{impossible}

## Bounds

| what | bound |
| --- | --- |
| sent to replicas that fail or are too busy | {failed} times for one request; then what the policy's overflow allows, else 503 `ReplicaFailed` or 429 |
| sent anywhere in vain, providers included | {sent} times for one request |
| tried again after a fault | {share:.0%} of the pool's requests, {least:.0f} at once after quiet times; for one sender, where others are served, {share:.0%} of its own, {own:.0f} at once |
| a replica that faults {faults} times in a row with requests of {senders} senders at least, over {row:.0f} s in which no answer begins, or breaks off as many | left alone for {open:.0f} s, doubled up to {most:.0f} s; then {probes} requests at a time probe it, and the first content byte of one brings it back |
| a replica that answers 429 or 503 | gets nothing for as long as its `Retry-After` says (else {pause:.0f} s), and up to half fewer slots each time, for a minute at most; each answer gives one back |
| wait for a connection | {connect:g} s (`connectSeconds`) |
| wait for the first token, pings and roles left out | ten times the pool's 99th percentile, at least {first:g} s (`firstTokenSeconds`); an answer that is not streamed has {token:g} s more for each token of its limit |
| silence within an answer | {between:g} s (`betweenChunksSeconds`) |
| either of these while the engine makes tokens | {silence:g} s (`silenceSeconds`) |
| a whole request | {total:g} s (`totalSeconds`), or what `x-forebay-timeout-seconds` says; 503 `DeadlineExceeded` |
| a stream without its first token, where `pingSeconds` is set | after so long its head is sent, then a ping as often; 0, which is the default: never |
| a connection to an engine or another router that carries nothing | {idle:g} s (`idleSeconds`) |
| a request's body | 32 MiB, of JSON 16 MiB ([more bounds](rule.md#how-long-a-request-is-and-what-it-holds)); all bodies that a gateway holds: 256 MiB, then 503 |

The fields stand in `spec.timeouts` of a pool, else in the chart's `timeouts`; routers that run by themselves take them as
flags, such as `--silence-seconds`. Whether an engine makes tokens its sidecar reads from the engine's counters, which are
of all its requests together: a request that is stuck among others that are not has the longer bound. One place judges
silence: the gateway, or the sidecar for clients of the pool's own Service. A router that was held up itself, or stopped,
listens first and judges then: its own pause counts as silence of nobody. Every connection, clients' and providers' too, has
TCP keep-alive after {alive} s, so that balancers on the way remember it and a peer that vanished is noticed within a minute.

## Pings before the first token

A stream is held until its first token, so its connection is silent while it waits in a queue or its prompt is read. Load
balancers and ingress controllers cut what is silent, most of them after 60 s. `pingSeconds` keeps such a stream open: after
so many seconds its head is sent, then a ping as often (`: ping`, which every client of server-sent events skips; Anthropic's
`event: ping` under `/v1/messages`) until the first token. Answers that come sooner, and those that do not stream, are as
ever. Choose it below the shortest idle timeout on the way; pings are sent to the second. A request that names no model, or
a name of several pools, has the shortest time that any of them says.

What it costs, for streams that waited so long:

- The status is 200, whatever follows. A refusal becomes the stream's only event: an error as the dialect has it, with
  `status` in OpenAI's. Clients that try again by status or `Retry-After` alone do not.
- The head has the request's id, but no `x-forebay-destination`, `-reason` and `-queue-ms`, and no header of an engine or
  provider: where the request goes may still change. Other replicas, providers and the queue serve it as before.
- The access log and the metrics have the status that would have been answered, and 499 for a client that left.

A provider's statuses mean a little more: [cloud.md](cloud.md). Every 429 and 503 carries `Retry-After`. `previous_response_id` is served by the
replica that stores the response, else 404; never by a provider.

## Whose fault it is

A request that no engine survives looks like a broken engine. Who else fails tells them apart. A sender is a client by its
key, or an address where there is none: of IPv6 the /64, and at a pool's own Service the client's, not its sidecar's. Whoever
comes through a proxy without a key is one sender with all others that do.

| what | what follows |
| --- | --- |
| an engine fails a request, or keeps a stream waiting for {overdue:g} s and the time for the prompts ahead ({reading} tokens a second) | its sidecar asks it: the smallest request of the path that failed, where that has one, and if it fails that, of its usual path, too. At most once a second, outside the slots; engines log ids that begin with `forebay-probe-` |
| it fails that {failures} times in a row, or breaks the connection off | it counts as starting and gets nothing until it has answered one; where it is silent, what waits for its first byte is tried elsewhere |
| it answers, or refuses that very request | it is well: the fault was the sender's |
| it says 429 or 503, or is silent while its counters move | nothing is shown |
| a sender's next fault within {doubt:g} s, where others are served | other replicas are tried within its retries, no provider is; then 503 `ReplicaFailed` |
| engines break off {deaths} times in a row with requests of one body, or of one client's key | requests like it are held back with 503 `ReplicaFailed`: one is let through after {shut:g} s, then {twice:g} s, up to {longest:g} s, until an engine has answered one |
| streams of a client with a key of which none had its first token in the last {known:g} s, while others send requests | take half of the slots at most. Further ones wait at the door, in no queue, until one gets its first token or ends; at their deadline 503 `DeadlineExceeded` |

Gateways hold back; requests that a replica serves through the pool's own Service are not judged so.
"""  # noqa: E501


def render() -> str:
    """docs/faults.md."""
    usual = RouterTimeouts()
    return PAGE.format(
        held=HELD_BYTES // 1024, before=_before_table(), after=_after_table(), impossible=_impossible(),
        failed=MAX_FAILED, sent=MAX_SENT, share=RETRY_SHARE, least=RETRY_BURST, faults=LIMITS.faults,
        open=LIMITS.open_seconds, row=LIMITS.row_seconds, probes=LIMITS.probes,
        most=LIMITS.most_seconds, pause=PAUSE_SECONDS, connect=usual.connect, first=usual.first_token,
        token=TOKEN_SECONDS, between=usual.between_chunks, silence=usual.silence, total=usual.total, idle=usual.idle,
                alive=keep_alive.IDLE_SECONDS, own=RETRIES, senders=LIMITS.senders, overdue=OVERDUE_SECONDS,
        reading=READING_TOKENS_PER_SECOND, failures=FAILURES, doubt=DOUBT_SECONDS, deaths=DEATHS.faults,
        shut=DEATHS.open_seconds, twice=2 * DEATHS.open_seconds, longest=DEATHS.most_seconds, known=KNOWN_SECONDS,

    )  # fmt: skip


def _before_table() -> str:
    rows = ["| what breaks | engine, sidecar | provider | gateway that a sidecar hands on to | counts as |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for fault in Fault:
        by_place = {place: expected(Case(place, fault, Moment.BEFORE, True)) for place in Place}
        endings = {place: w.ending if isinstance(w, Expected) else "–" for place, w in by_place.items()}
        gateway, provider = endings.pop(Place.GATEWAY), endings.pop(Place.CLOUD)
        assert len(set(endings.values())) == 1, "these columns are one only as long as they agree"
        engine = by_place[Place.ENGINE]
        assert isinstance(engine, Expected)
        assert engine.outcome is not None
        rows.append(
            f"| {NAMES[fault]} | {endings[Place.ENGINE]} | {provider} | {gateway} | {COUNTED[engine.outcome]} |"
        )
    return "\n".join(rows)


def _after_table() -> str:
    rows = ["| what breaks, anywhere | streamed | not streamed |", "| --- | --- | --- |"]
    for fault in Fault:
        found = [expected(Case(Place.ENGINE, fault, Moment.AFTER, stream)) for stream in (True, False)]
        if any(isinstance(wanted, Expected) for wanted in found):
            cells = [wanted.ending if isinstance(wanted, Expected) else "–" for wanted in found]
            rows.append(f"| {NAMES[fault]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _impossible() -> str:
    why: dict[str, set[str]] = {}
    for case in cases():
        wanted = expected(case)
        if isinstance(wanted, Impossible):
            why.setdefault(wanted.why, set()).add(NAMES[case.fault].partition(":")[0].partition(",")[0])
    return "\n".join(f"- {', '.join(sorted(texts))}: {reason}" for reason, texts in why.items())


if __name__ == "__main__":
    print(render(), end="")
