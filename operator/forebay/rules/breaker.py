"""A circuit breaker as a value: what is known of one upstream, and what the end of a try makes of it. No clock.

Three outcomes count. A success forgets every fault; the beginning of an answer (`answering`) closes the breaker and
restarts the row's time, but forgets none, for it may break off yet. Back-pressure (429, 503) is no fault: the upstream
is alive and says when to come back. Faults in a row open the breaker, once the row has lasted `row_seconds`: an
upstream that answers others in between is well, however often one client's requests fail. Where `senders` says so, the
row must show the faults of that many different senders: what one sender alone meets may be its own doing. After
`open_seconds`, doubled each time it opens again up to `most_seconds`, a few probes go through, and the first outcome
decides. What a client did wrong is no outcome of this kind: the upstream did its work, so that is a success.
"""

from dataclasses import dataclass, replace

from forebay.word_enum import WordEnum


class CallResult(WordEnum):
    """How a try ended, from the upstream's point of view."""

    SUCCESS = "Success"
    BACK_PRESSURE = "BackPressure"
    FAULT = "Fault"


class Phase(WordEnum):
    """What the breaker lets through: everything, nothing, or a few probes."""

    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and for how long; seconds."""

    faults: int = 5
    open_seconds: float = 5.0
    most_seconds: float = 60.0
    row_seconds: float = 0.0  # so long nothing but faults
    senders: int = 1  # of which the faults are, at least
    probes: int = 1  # at a time, while half-open


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One upstream. Times are on any one clock that only rises, in seconds."""

    faults: int = 0  # in a row
    senders: frozenset[str] = frozenset()  # whose requests met them; no more are kept than decide
    since: float = 0.0  # of the first of them, or of the latest answer that has begun
    openings: int = 0  # in a row, without a success between
    open_until: float = 0.0
    paused_until: float = 0.0  # it asked to be left alone until then
    probing: int = 0  # probes under way


def phase(breaker: Breaker, now: float) -> Phase:
    """Which phase it is in; a pause that the upstream asked for does not show here."""
    if breaker.openings == 0:
        return Phase.CLOSED
    return Phase.OPEN if now < breaker.open_until else Phase.HALF_OPEN


def lets_through(breaker: Breaker, now: float, limits: BreakerLimits = BreakerLimits()) -> bool:
    """Whether a try may begin now."""
    return now >= breaker.paused_until and not is_shut(breaker, now, limits)


def is_shut(breaker: Breaker, now: float, limits: BreakerLimits = BreakerLimits()) -> bool:
    """Whether nothing more may be tried now, pauses aside: it is open, or has its probes."""
    where = phase(breaker, now)
    return where is Phase.OPEN or (where is Phase.HALF_OPEN and breaker.probing >= limits.probes)


def begun(breaker: Breaker, now: float) -> Breaker:
    """A try begins; in the half-open phase it is a probe."""
    return replace(breaker, probing=breaker.probing + 1) if phase(breaker, now) is Phase.HALF_OPEN else breaker


def answering(breaker: Breaker, now: float) -> Breaker:
    """A try has brought the first of its answer: the upstream is well so far."""
    return Breaker(faults=breaker.faults, senders=breaker.senders, since=now, paused_until=breaker.paused_until)


def given_up(breaker: Breaker) -> Breaker:
    """A try ended without an outcome, because the client left: its probe, if it was one, is free again."""
    return replace(breaker, probing=max(0, breaker.probing - 1))


def shown(breaker: Breaker, now: float, limits: BreakerLimits = BreakerLimits()) -> Breaker:
    """Another upstream has answered what this one failed: its faults need no time to be believed."""
    if breaker.faults < limits.faults or phase(breaker, now) is not Phase.CLOSED:
        return breaker
    return shut_again(breaker, now, limits)


def after(
    breaker: Breaker,
    outcome: CallResult,
    now: float,
    limits: BreakerLimits = BreakerLimits(),
    pause: float = 0.0,
    sender: str = "",
) -> Breaker:
    """A try for `sender` ended. `pause` is how long the upstream asked to be left alone, in seconds."""
    paused = max(breaker.paused_until, now + pause) if pause > 0 else breaker.paused_until
    if outcome is CallResult.SUCCESS:
        return Breaker(paused_until=paused)
    if outcome is CallResult.BACK_PRESSURE:
        return replace(given_up(breaker), paused_until=paused)
    faults, since = breaker.faults + 1, breaker.since if breaker.faults else now
    senders = breaker.senders if len(breaker.senders) >= limits.senders else breaker.senders | {sender}
    where = phase(breaker, now)
    if where is Phase.OPEN:  # a try from before it opened: nothing new
        return replace(breaker, faults=faults, senders=senders, paused_until=paused)
    breaker = replace(breaker, faults=faults, senders=senders, since=since, paused_until=paused)
    enough = faults >= limits.faults and len(senders) >= limits.senders and now - since >= limits.row_seconds
    return breaker if where is Phase.CLOSED and not enough else shut_again(breaker, now, limits)


def shut_again(breaker: Breaker, now: float, limits: BreakerLimits) -> Breaker:
    """It opens once more, for twice as long as the last time."""
    openings = breaker.openings + 1
    seconds = min(limits.open_seconds * 2 ** min(openings - 1, 30), limits.most_seconds)
    return replace(breaker, openings=openings, open_until=now + seconds, probing=0)
