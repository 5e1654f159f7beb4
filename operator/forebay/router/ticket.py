"""One request on its way through a gateway: what was asked, what was tried, how long it may take."""

from collections.abc import Callable
from dataclasses import dataclass, field

from forebay.resources.reasons import Priority
from forebay.router.access_log import Line
from forebay.router.accounting import REPEATED
from forebay.router.http.client import Address
from forebay.router.http.message import Request
from forebay.router.http.server import Exchange
from forebay.router.request import Ask
from forebay.rules.queue import Waiter


@dataclass(slots=True)
class Ticket:
    """One request on its way. Times are of the event loop, in seconds."""

    request: Request
    exchange: Exchange
    ask: Ask
    line: Line
    priority: Priority
    arrived: float  # loop time
    deadline: float
    waited_seconds: float = 0.0
    faults: int = 0
    excluded: frozenset[Address] = frozenset()
    home_waited: bool = False
    place: int = 0  # its id in the lines, kept when it comes back to one
    pool: str | None = None  # that demand is counted at
    wait_until: dict[str, float] = field(default_factory=dict)

    @property
    def session(self) -> int:
        """What its session is known by."""
        return self.ask.session

    @property
    def prompt_tokens(self) -> int:
        """Estimate."""
        return self.ask.facts.prompt_tokens

    def waiter(self, new_id: Callable[[], int], until: float | None = None) -> Waiter:
        """Its place in a line; among equals the earliest end of the wait comes first."""
        self.place = self.place or new_id()
        return Waiter(self.place, self.priority, self.arrived, until or self.deadline, len(self.request.body))

    @property
    def repeated(self) -> bool:
        """Whether the client's library sends this for the second time: demand is counted once."""
        return (self.request.header(REPEATED) or "0") != "0"
