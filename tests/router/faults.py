"""What a client sees of every fault: the one table that the tests go through and that docs/faults.md is made from.

python -m tests.router.faults > docs/faults.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from forebay.rules.breaker import Outcome
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
    SHORT = "what had come; the connection closes before the announced end"
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
    outcome: Outcome | None = None


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
        return Impossible("it is about the first byte")
    if case.fault is Fault.ERROR_IN_200 and not case.stream:
        return Impossible("one JSON document is either an answer or an error")
    if case.fault is Fault.ERROR_IN_200 and case.place is Place.GATEWAY:
        return Impossible(GATEWAYS_LOOK)
    return Expected(Ending.EVENT if case.stream else Ending.SHORT, 1, _counted(case, Outcome.FAULT))


def _before(case: Case) -> Expected | Impossible:
    passes_on = case.place is Place.GATEWAY
    posts = 2 if case.place is Place.OWN_ENGINE else 1  # once by the sidecar itself, once by the gateway it hands on to
    match case.fault:
        case Fault.BAD_REQUEST:
            return Expected(Ending.PASSED, 1, _counted(case, Outcome.SUCCESS))
        case Fault.SLOW_START:
            return Expected(Ending.SAME, 1, _counted(case, Outcome.SUCCESS))
        case Fault.ERROR_IN_200 if passes_on:
            return Impossible(GATEWAYS_LOOK)
        case Fault.STALL if passes_on:
            return Expected(Ending.LATE, 1, None)
        case Fault.TOO_MANY | Fault.SERVER_ERROR if passes_on:
            return Expected(Ending.PASSED, 1, Outcome.SUCCESS)
        case Fault.TOO_MANY:
            return Expected(Ending.ELSEWHERE, posts, _counted(case, Outcome.BACK_PRESSURE))
        case Fault.REFUSED:
            return Expected(Ending.ELSEWHERE, 0, _counted(case, Outcome.FAULT))
        case _:
            return Expected(Ending.ELSEWHERE, posts, _counted(case, Outcome.FAULT))


def _counted(case: Case, outcome: Outcome) -> Outcome | None:
    return outcome if case.place in WITH_BREAKER else None


def cases() -> Iterator[Case]:
    """Every combination."""
    for place, fault, moment, stream in product(Place, Fault, Moment, (True, False)):
        yield Case(place, fault, moment, stream)
