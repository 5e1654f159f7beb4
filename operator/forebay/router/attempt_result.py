"""What the end of an attempt says: of the replica to this gateway, and of the request to its lifecycle."""

from typing import Final

from forebay.router import metrics
from forebay.router.attempt import Attempt
from forebay.router.placement.replicas import BROKEN_LIMITS, PoolReplicas
from forebay.rules.breaker import CallResult
from forebay.rules.steps import WITHOUT_AN_ANSWER, AttemptOutcome, AttemptResult

LONGEST_PAUSE: Final = 60.0
PAUSE_SECONDS: Final = 1.0
"""How long a replica whose engine said 429 or 503 without Retry-After is left alone."""
REFUSALS: Final = frozenset({"Full", "Draining", "Starting", "BackPressure", "Failed", "Died", "Late"})
"""Words of a sidecar that has no slot; they are a metric's label."""
MEANINGS: Final = {
    "Failed": AttemptOutcome.FAULT,
    "Died": AttemptOutcome.FAULT,
    "BackPressure": AttemptOutcome.PRESSED,
    "Late": AttemptOutcome.LATE,
}
"""Words of a sidecar that had a slot, whose engine gave no answer."""


def judge(
    attempt: Attempt, pool: PoolReplicas | None, first_token: float | None, now: float, sender: str = ""
) -> AttemptOutcome:
    """Note what an attempt for `sender` says of its replica; returns what it was. `pool` is None where that is gone."""
    assert attempt.bound is not None and attempt.outcome is not None
    outcome, replica = attempt.outcome, attempt.bound.replica
    if outcome is AttemptOutcome.REFUSED:
        outcome = MEANINGS.get(attempt.problem, outcome)
    if outcome in WITHOUT_AN_ANSWER:
        cause = attempt.problem if attempt.problem in REFUSALS else str(attempt.outcome)
        metrics.WASTED_TRIES.labels(replica.pool, cause).inc()
    if pool is None:
        return outcome
    match outcome:
        case AttemptOutcome.ANSWERED if not attempt.late:
            pool.answered(replica, first_token, now)
        case AttemptOutcome.ANSWERED | AttemptOutcome.BROKEN if attempt.late:
            pool.gave_up(replica)
        case AttemptOutcome.TOO_LONG:
            pool.tried(replica, CallResult.SUCCESS, now)
        case AttemptOutcome.BROKEN:
            pool.tried(replica, CallResult.FAULT, now, limits=BROKEN_LIMITS, sender=sender)
        case AttemptOutcome.FAULT:
            pool.tried(replica, CallResult.FAULT, now, sender=sender)
        case AttemptOutcome.PRESSED:
            pause = min(attempt.retry_after or PAUSE_SECONDS, LONGEST_PAUSE)
            pool.tried(replica, CallResult.BACK_PRESSURE, now, pause)
        case AttemptOutcome.GONE:
            pool.gave_up(replica)
        case AttemptOutcome.REFUSED | AttemptOutcome.LATE:
            pool.refused(replica)
            pool.gave_up(replica)
    return outcome


def broke_off(attempt: Attempt) -> bool:
    """Whether its engine closed the connection instead of an answer, as one that dies does."""
    return attempt.outcome is AttemptOutcome.REFUSED and attempt.problem == "Died"


def result_of(
    attempt: Attempt, outcome: AttemptOutcome, *, own_fault: bool = False, final: bool = False
) -> AttemptResult:
    """For the lifecycle; a client that has left while its attempt failed is gone all the same."""
    assert attempt.bound is not None
    replica = attempt.bound.replica
    if outcome in WITHOUT_AN_ANSWER and attempt.exchange.ended:
        outcome = AttemptOutcome.GONE
    return AttemptResult(outcome, replica.pool, replica.address, attempt.problem, attempt.retry_after, own_fault, final)
