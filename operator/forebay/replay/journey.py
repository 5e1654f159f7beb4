"""What a gateway holds in simulated time: its lines, what it may still send to providers, and requests on their way."""

from dataclasses import dataclass, field

import msgspec

from forebay.replay.trace import Request
from forebay.resources.reasons import Reason
from forebay.rules.allowance import Allowance
from forebay.rules.facts import RequestFacts
from forebay.rules.queue import Line, Waiter


@dataclass(slots=True, eq=False)
class Gateway:
    """One gateway's lines, by pool and by replica, and what it may still send to each provider."""

    lines: dict[str, Line]
    homes: dict[str, Line] = field(default_factory=dict)
    allowances: dict[tuple[str, str], Allowance] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Journey:
    """One request on its way. Seconds of the clock."""

    number: int
    request: Request
    facts: RequestFacts
    gateway: Gateway
    session: int
    reason: Reason = Reason.LOCAL_CAPACITY
    pool: str = ""  # that demand is counted at
    waited: float = 0.0
    home_waited: bool = False
    at_gap: bool = False  # it waits although no pool could serve it
    until: dict[bool, float] = field(default_factory=dict)  # the end of its wait, by whether that is a cold one
    place: Waiter | None = None
    line: Line | None = None
    joined: float = 0.0

    def learn(self, **facts: bool) -> None:
        """Decide differently from now on."""
        self.facts = msgspec.structs.replace(self.facts, **facts)
