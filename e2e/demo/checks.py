"""What the demo is meant to show, as a pure function of what was seen: each check has a name, a verdict, a figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

PROVIDERS = ("acme", "bravo")  # primary, secondary


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished request as its client saw it. `cut`: the stream ended without [DONE]."""

    at: float
    phase: str
    kind: str
    who: str
    asked: str
    status: int
    destination: str = ""
    reason: str = ""
    queue_ms: int = 0
    first_token_ms: int = 0
    duration_ms: int = 0
    retry_after: bool = False
    cut: bool = False
    error: str = ""

    @property
    def provider(self) -> str | None:
        """The provider that answered, or None for a local answer or a refusal."""
        name = self.destination.partition("/")[0]
        return name if name in PROVIDERS else None


@dataclass(frozen=True, slots=True)
class Seen:
    """An Event of a pool: its reason and note."""

    reason: str
    pool: str
    note: str


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the summary."""

    name: str
    passed: bool
    figure: str


def checks(
    answers: Sequence[Answer], events: Sequence[Seen], sizes: dict[str, list[int]], ramp: bool = True
) -> list[Check]:
    """All checks; `sizes` are the sizes each pool went through. A trace is judged by what must always hold."""
    always = [
        _no_errors(answers),
        _no_cuts(answers),
        _polite_refusals(answers),
        _stranger(answers, ramp),
        _sizes(events, sizes),
    ]
    if not ramp:
        return always
    return [
        _local(answers),
        _high_to_primary(answers),
        _normal_waits_while_room(answers),
        _normal_to_secondary(answers),
        _spill_stops(answers, events),
        _grew_and_shrank(events),
        *always,
    ]


def _local(answers: Sequence[Answer]) -> Check:
    quiet = [a for a in answers if a.phase == "quiet"]
    local = [a for a in quiet if a.reason == "LocalCapacity" and a.provider is None]
    return Check("served locally while quiet", bool(quiet) and len(local) == len(quiet), f"{len(local)}/{len(quiet)}")


def _high_to_primary(answers: Sequence[Answer]) -> Check:
    mine = [a for a in answers if a.provider == PROVIDERS[0]]
    right = [a for a in mine if a.asked == "High" and a.who == "interactive" and a.reason == "HighPriorityOverflow"]
    return Check(
        "High, and only High, to the primary while its pool was full", bool(mine) and right == mine, str(len(mine))
    )


def _normal_waits_while_room(answers: Sequence[Answer]) -> Check:
    phase = [a for a in answers if a.phase.startswith("chat is full") and _is_normal(a) and a.kind == "chat"]
    left = [a for a in phase if a.provider == PROVIDERS[1] and a.reason != "AllPoolsFull"]
    queued = [a for a in phase if a.queue_ms > 0 and a.provider is None]
    return Check("Normal queued locally while another pool had room", bool(queued) and not left, str(len(queued)))


def _normal_to_secondary(answers: Sequence[Answer]) -> Check:
    mine = [a for a in answers if a.provider == PROVIDERS[1]]
    right = [a for a in mine if _is_normal(a) and a.reason == "AllPoolsFull"]
    return Check("Normal to the secondary only when every pool was full", bool(mine) and right == mine, str(len(mine)))


def _is_normal(answer: Answer) -> bool:
    return answer.asked == "Normal" or answer.who == "stranger"


def _stranger(answers: Sequence[Answer], ramp: bool) -> Check:
    strangers = [a for a in answers if a.who == "stranger" and a.asked == "High"]
    as_high = [a for a in strangers if a.reason == "HighPriorityOverflow" or a.provider == PROVIDERS[0]]
    return Check(
        "an unknown client that asked for High got Normal",
        (bool(strangers) or not ramp) and not as_high,
        str(len(strangers)),
    )


def _spill_stops(answers: Sequence[Answer], events: Sequence[Seen]) -> Check:
    last = max((a.at for a in answers if a.provider), default=0.0)
    after = [a for a in answers if a.at > last]
    said = Counter(e.reason for e in events)
    told = said["OverflowStarted"] > 0 and said["OverflowStopped"] > 0
    return Check(
        "the spill stopped, and both edges are Events",
        bool(after) and told,
        f"{len(after)} answers after the last spill",
    )


def _grew_and_shrank(events: Sequence[Seen]) -> Check:
    up = sum(e.reason == "ScaledUp" for e in events)
    down = sum(e.reason == "ScaledDown" for e in events)
    return Check("scaled up and down", up > 0 and down > 0, f"{up} up, {down} down")


def _sizes(events: Sequence[Seen], sizes: dict[str, list[int]]) -> Check:
    """Each step between two sizes that were seen has an Event with these numbers; whoever looks once a second may see
    several steps as one."""
    steps = [(pool, a, b) for pool, seen in sizes.items() for a, b in pairwise(seen)]
    told = [all(_told(events, pool, *one) for one in single(a, b)) for pool, a, b in steps]
    return Check("each change of size has its Event", all(told), f"{sum(told)}/{len(told)}")


def single(a: int, b: int) -> list[tuple[int, int]]:
    """The single steps from one size to another."""
    by = 1 if b > a else -1
    return [(size, size + by) for size in range(a, b, by)]


def _told(events: Sequence[Seen], pool: str, a: int, b: int) -> bool:
    return any(e.pool == pool and f"replicas {a} -> {b}:" in e.note for e in events)


def _no_errors(answers: Sequence[Answer]) -> Check:
    bad = [a for a in answers if a.status >= 500 or a.status == 0 or (a.status >= 400 and a.status != 429)]
    figure = f"{len(bad)} of {len(answers)}" + (
        f", first: {bad[0].status} {bad[0].reason} {bad[0].error}" if bad else ""
    )
    return Check("no 5xx, no failed request", bool(answers) and not bad, figure)


def _no_cuts(answers: Sequence[Answer]) -> Check:
    cut = [a for a in answers if a.cut]
    return Check("no cut stream", not cut, str(len(cut)))


def _polite_refusals(answers: Sequence[Answer]) -> Check:
    refused = [a for a in answers if a.status == 429]
    rude = [a for a in refused if not a.retry_after]
    return Check("429 only with Retry-After", not rude, f"{len(refused)} refused")
