"""What a request's lifecycle tells its driver to do next, and what it asks of the fleet. Values; rules/lifecycle.py.

Structs and a protocol stand apart from the machine, which is compiled: mypyc does not understand msgspec.Struct.
"""

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from forebay.resources.reasons import Reason
from forebay.resources.table import QueueEntry
from forebay.resources.terms import Tier
from forebay.rules.affinity import Choice
from forebay.rules.facts import CloudTarget, FleetView
from forebay.word_enum import WordEnum

if TYPE_CHECKING:
    from forebay.rules.lifecycle import Lifecycle

Address = tuple[str, int]


class DemandKind(WordEnum):
    """What a request means for the demand of the pool that it is counted at."""

    ASKED = "Asked"  # it came, and was served or refused for lack of a slot: once a request
    LEFT = "Left"  # it is on its way to a provider for lack of a slot
    CAME_BACK = "CameBack"  # it is not any more
    OVERFLOWED = "Overflowed"  # it left, counted
    NOT_OVERFLOWED = "NotOverflowed"  # the provider did not take it: the count is undone
    REJECTED = "Rejected"  # no slot, and no place in the queue
    EXPIRED = "Expired"  # no slot within its wait
    GAP_WAIT = "GapWait"  # it waits in the queue of a pool that cannot serve it
    GAP_WAIT_OVER = "GapWaitOver"
    WANTED = "Wanted"  # it wants a replica: a pool that has none is to be woken


class DemandEvent(Struct, frozen=True):
    """One change of a pool's demand. `reason` of an overflow; `cost` in US dollars of what came back, where known."""

    kind: DemandKind
    pool: str
    reason: Reason | None = None
    cost: str = ""


Demand = tuple[DemandEvent, ...]


class Dispatch(Struct, frozen=True):
    """Send it to this replica; answer with `attempt_ended`."""

    pool: str
    replica: str
    demand: Demand = ()


class WaitForSlot(Struct, frozen=True):
    """Queue for a slot of `pool`, of the replica `home` alone where one is named.

    Answer with `slot_granted`, with `wait_over` at `reconsider_at` at the latest, or with `queue_full`. `until` is the
    end of the whole wait, `deadline` what orders the queue: among equals the earliest comes first. At replicas other
    than `prefers` it comes `away_penalty` seconds later. Times are of the driver's clock.
    """

    pool: str
    home: str
    until: float
    reconsider_at: float
    deadline: float
    prefers: str = ""
    away_penalty: float = 0.0
    demand: Demand = ()


class SendToProvider(Struct, frozen=True):
    """Send it to this provider; answer with `provider_ended`.

    `pool` is the one that the rule would have chosen, None at a gap.
    """

    target: CloudTarget
    tier: Tier
    reason: Reason
    pool: str | None = None
    demand: Demand = ()


class LocateState(Struct, frozen=True):
    """Find the replica that stores this response; answer with `state_located`."""

    response: str
    demand: Demand = ()


class Reject(Struct, frozen=True):
    """Answer with an error. `text` where the reason's own sentence does not say it; `retry_after`: say when to come
    back. `refused`: nobody could take it, and a provider refused it: what that one said is the better answer."""

    status: int
    reason: Reason
    text: str = ""
    retry_after: bool = False
    refused: bool = False
    demand: Demand = ()


class Done(Struct, frozen=True):
    """The client has its answer, or has left."""

    demand: Demand = ()


Step = Dispatch | WaitForSlot | SendToProvider | LocateState | Reject | Done


class AttemptOutcome(WordEnum):
    """What became of an attempt. All but the first three leave the client without an answer so far."""

    ANSWERED = "Answered"
    BROKEN = "Broken"  # after the first content byte; the client has been told
    GONE = "Gone"  # the client left
    REFUSED = "Refused"  # no slot; `problem` says why
    PRESSED = "BackPressure"  # 429 or 503: alive, and too busy
    TOO_LONG = "TooLong"  # the engine's own context-length error
    LATE = "Late"  # the time for the whole request is over
    FAULT = "Fault"  # refused, reset, stalled, cut, malformed, 5xx or an error in a 200; `problem` says which


WITHOUT_AN_ANSWER: Final = frozenset(
    {AttemptOutcome.FAULT, AttemptOutcome.PRESSED, AttemptOutcome.REFUSED, AttemptOutcome.LATE}
)
"""The upstream gave none, and the client has heard nothing."""


class AttemptResult(Struct, frozen=True):
    """How an attempt at a replica ended. `retry_after` in seconds, as an engine that is too busy asks for.

    `own_fault`: others are served where it failed, and not for the first time, so it leaves for no provider. `final`:
    it is tried nowhere else.
    """

    outcome: AttemptOutcome
    pool: str
    address: Address
    problem: str = ""
    retry_after: float = 0.0
    own_fault: bool = False
    final: bool = False


class ProviderResult(Struct, frozen=True):
    """How a provider's turn ended. `taken`: the client has its answer; `sent`: it failed rather than being passed over;
    `cost` in US dollars, empty where unknown; `refused`: it answered 4xx; `no_money`: it was not asked, and why."""

    taken: bool
    sent: bool = False
    cost: str = ""
    refused: bool = False
    no_money: Reason | None = None


class LiveFleet(Protocol):
    """The pools as a driver knows them now. Nothing here waits, and only `may_retry` changes anything."""

    def view(self, course: "Lifecycle", now: float) -> FleetView:
        """What the rule sees: slots less those who come before this request, without the replicas it must not use."""

    def choose(self, pool: str, course: "Lifecycle", now: float) -> Choice:
        """A replica of the pool that has a slot for it, or a home that is worth a wait unless it has waited for one."""

    def queue(self, pool: str) -> QueueEntry | None:
        """Bounds of the pool's queue; None for a pool that is not there any more."""

    def queued(self, pool: str) -> int:
        """How many wait for it here."""

    def home(self, pool: str, course: "Lifecycle", now: float) -> str:
        """The replica where its session's prefix is, or will be; empty while none serves."""

    def may_retry(self, pool: str, now: float) -> bool:
        """Take one from the pool's retry budget; False when nothing is left of it."""
