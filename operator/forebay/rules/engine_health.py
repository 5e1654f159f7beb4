"""What the answer to the smallest request says of an engine that failed somebody's. Pure.

A request that fails may be at fault itself, whoever sent it and however often. So a sidecar asks: it sends its engine a
request of its own that nothing can be wrong with. An engine that answers it is well; one that fails it twice in a row,
or takes no connection, is failing, and gets nothing until it has answered again. Being busy proves nothing, and neither
does silence while its token counters move or long prompts wait.
"""

from dataclasses import dataclass
from typing import Final

from forebay.word_enum import WordEnum

FAILURES: Final = 2
"""Answers in a row that make an engine a failing one."""
ASK_SECONDS: Final = 1.0
"""Between two questions to an engine that is well so far: poison at any rate costs one token a second."""
AGAIN_SECONDS: Final = 0.5
"""Between a failure and the question that confirms it."""
OVERDUE_SECONDS: Final = 3.0
"""A request without its first byte after so long, and the time for the prompts ahead, is a reason to ask."""
READING_TOKENS_PER_SECOND: Final = 100
"""What every engine reads: slower ones are not asked before their time, only later than they could be."""
LONGEST_READING_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 2.0
"""How long an engine with no prompts ahead may take for its smallest request."""


GONE: Final = -1
"""In place of a status: the connection was refused or broke off."""


class Vital(WordEnum):
    """What one answer says."""

    ALIVE = "Alive"
    BUSY = "Busy"
    FAILING = "Failing"
    GONE = "Gone"


NO_CLIENTS_DOING: Final = frozenset({401, 403, 407, 408})
"""Statuses below 500 by which an engine fails everybody: it sees no client's key, and has the whole request."""
BUSY: Final = frozenset({429, 503})
NOT_IMPLEMENTED: Final = 501


def vital(status: int, moved: bool) -> Vital:
    """By the status of the answer, 0 for none in time; `moved`: its token counters did, meanwhile."""
    if status == GONE:
        return Vital.GONE
    if status in BUSY or (status == 0 and moved):
        return Vital.BUSY
    if status in NO_CLIENTS_DOING or status == 0 or (status >= 500 and status != NOT_IMPLEMENTED):
        return Vital.FAILING
    return Vital.ALIVE


def allowance(seconds: float, prompt_tokens: int) -> float:
    """So many seconds, and the time to read prompts of so many tokens first, up to LONGEST_READING_SECONDS."""
    return seconds + min(prompt_tokens / READING_TOKENS_PER_SECOND, LONGEST_READING_SECONDS)


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """What is known by asking."""

    failures: int = 0  # in a row

    @property
    def failing(self) -> bool:
        """Whether it fails everybody."""
        return self.failures >= FAILURES

    @property
    def in_doubt(self) -> bool:
        """Whether it has to be asked again."""
        return self.failures > 0

    def after(self, answer: Vital) -> "EngineHealth":
        """It was asked once more."""
        match answer:
            case Vital.ALIVE:
                return EngineHealth()
            case Vital.FAILING:
                return EngineHealth(self.failures + 1)
            case Vital.GONE:
                return EngineHealth(self.failures + FAILURES)
            case Vital.BUSY:
                return self
