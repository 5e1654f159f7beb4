"""One request on its way through a gateway: what was asked, what was tried, how long it may take."""

from dataclasses import dataclass, field

from forebay.resources.reasons import Priority
from forebay.router.access_log import Line
from forebay.router.accounting import REPEATED
from forebay.router.http.client import Address
from forebay.router.http.message import Request
from forebay.router.http.server import Exchange
from forebay.router.request import Ask


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
    pool: str | None = None  # that demand is counted at
    wait_until: dict[str, float] = field(default_factory=dict)

    @property
    def repeated(self) -> bool:
        """Whether the client's library sends this for the second time: demand is counted once."""
        return (self.request.header(REPEATED) or "0") != "0"
