"""Which pool may ask for one more replica, when GPUs are few: one pure function over all pools that want some.

A replica is *unplaced* from when it is asked for until a node has it, whoever refuses: the scheduler (no node has what
it asks for) or the API server (quota, Pod Security). The scheduler, the quota and a cluster autoscaler know what there
is; so a pool asks for one replica, sees whether it is placed, and asks for the next.

- at most one replica of a pool is unplaced, and pools that want the same GPUs ask one after the other: those below
  their minimum first, then by priority class, then by the money that their overflow costs for each GPU-hour;
- a turn lasts as long as GPUs are what the replica waits for. One that the scheduler was not asked about, that the API
  server refuses, or that lacks anything else on its nodes could not use GPUs that become free, so that nobody waits for
  it; nor does a pool whose replicas need fewer GPUs, for there may be enough of them for those;
- an unplaced replica stays while demand lasts, `pending_seconds` at most, so that a cluster autoscaler can deliver.
  Then it is withdrawn, and asked for again after 5, 10, 20, 40, 60 minutes, or at once when there are more GPUs;
- it goes a minute after demand no longer needs it, but not while no other replica has a node: how long a pool without
  requests is wanted, the scaling rule says;
- of pools that serve the same requests, one waits for the room that another one's start is bringing.

Only the last ordinals of a StatefulSet can be withdrawn, and never during a rollout: what ends must never have served.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from forebay.resources.reasons import ScaleReason
from forebay.rules.scale import SPILLING

PENDING_SECONDS: Final = 900
RETRY_SECONDS: Final = 300.0
RETRY_MOST_SECONDS: Final = 3600.0
GONE_SECONDS: Final = 60.0
"""How long nothing asks for an unplaced replica, beside others that have a node, before it is withdrawn."""
SETTLING_SECONDS: Final = 180.0
"""How long after a start requests may take to spread over pools that serve the same."""
PLACING_SECONDS: Final = 10.0
"""How long a scheduler may take before a replica is called unplaced."""


@dataclass(frozen=True, slots=True)
class PlacementAttempt:
    """How asking for one more replica goes. Times are Unix seconds, 0 for never. Kept in the pool's status."""

    since: float = 0.0  # a replica has had no node since then
    wanted: float = 0.0  # when something last asked for it
    failures: int = 0  # how often in a row it was withdrawn
    withdrawn: float = 0.0  # when that was last
    retry: float = 0.0  # not asked for again before then, unless there are more GPUs

    def waits(self, now: float, roomier: float) -> bool:
        """Whether a withdrawn replica is not yet to be asked for again; `roomier`: when there last were more GPUs."""
        return now < self.retry and roomier <= self.withdrawn

    def failed(self, now: float) -> "PlacementAttempt":
        """The replica is withdrawn."""
        wait = min(RETRY_SECONDS * 2.0**self.failures, RETRY_MOST_SECONDS)
        return PlacementAttempt(failures=self.failures + 1, withdrawn=now, retry=now + wait)


@dataclass(frozen=True, slots=True)
class Bid:
    """What one pool has and wants. `gpus` names the GPUs it competes for; empty for a pool that needs none."""

    pool: str  # unlike every other, in whatever namespace
    size: int  # replicas asked for
    wanted: int  # replicas that the scaling rule would have
    needed: int  # replicas without which demand or minimum is not met
    placed: int  # replicas that a node has, of those asked for
    tail: int = 0  # how many of the last ordinals have no node
    minimum: int = 0
    gpus: str = ""
    priority: int = 0  # of its priority class
    money: float = 0.0  # US dollars that its overflow costs in an hour, for each GPU of a replica
    pending_seconds: float = PENDING_SECONDS
    rollout: bool = False
    attempt: PlacementAttempt = PlacementAttempt()
    each: int = 1  # GPUs of one replica
    lacks_gpus: bool | None = None
    """Whether GPUs are what its unplaced replica lacks, in the words of whoever did not place it; None: nobody said."""
    roomier: float = 0.0  # when there last were more of these GPUs, Unix seconds
    serves: frozenset[str] = field(default_factory=frozenset)  # kinds of requests that others may serve as well
    demand: float = 0.0  # concurrent requests
    capacity: int = 0  # slots of a replica
    load: float = SPILLING.up_load  # share of them that is to be used
    starting: int = 0  # replicas that do not serve yet
    grown: float = 0.0  # when its latest replica began to serve, Unix seconds

    @property
    def unplaced(self) -> int:
        """Replicas that no node has."""
        return max(self.size - self.placed, 0)

    @property
    def active(self) -> bool:
        """Whether other pools need to know of it."""
        return self.unplaced > 0 or self.wanted > self.size or self.starting > 0

    @property
    def rank(self) -> tuple[bool, int, float, int, str]:
        """Who comes first."""
        return self.size >= self.minimum, -self.priority, -self.money, self.size, self.pool

    def room(self, size: int) -> float:
        """Requests that so many replicas could take beyond today's; negative when they could not take those."""
        return self.load * self.capacity * size - self.demand


@dataclass(frozen=True, slots=True)
class Grant:
    """The size that a pool may ask for now. `reason` is None where that is what the scaling rule said.

    `first` is the pool that it waits for.
    """

    replicas: int
    attempt: PlacementAttempt
    reason: ScaleReason | None = None
    first: str = ""


def arbitrate(bids: Iterable[Bid], now: float) -> Mapping[str, Grant]:
    """A grant for each pool. `now` in Unix seconds. Equal bids give equal grants, in whatever order they come."""
    ranked = sorted((_seen(bid, now) for bid in bids), key=lambda bid: bid.rank)
    grants = {bid.pool: grant for bid in ranked if (grant := _alone(bid, now)) is not None}
    asking = [bid for bid in ranked if bid.pool in grants and _asks(bid, grants[bid.pool], now)]
    coming = [(bid, bid.room(bid.size)) for bid in ranked if _comes(bid, now)]
    for bid in ranked:
        if bid.pool in grants:
            continue
        if ahead := _ahead(bid, asking, now):
            grants[bid.pool] = Grant(bid.size, bid.attempt, ScaleReason.AWAITS_TURN, ahead)
        elif other := _relieved_by(bid, coming):
            grants[bid.pool] = Grant(bid.size, bid.attempt, ScaleReason.SHARED_DEMAND, other)
        else:
            grants[bid.pool] = Grant(bid.size + 1, replace(bid.attempt, since=bid.attempt.since or now, wanted=now))
            asking.append(bid)
            coming.append((bid, bid.room(bid.size + 1)))
    return grants


def _seen(bid: Bid, now: float) -> Bid:
    """The bid with its attempt brought up to date."""
    attempt = bid.attempt
    if not bid.unplaced:
        if bid.size == 0 and bid.wanted > 0:  # asked for, perhaps, and nothing has come of it yet
            return bid
        return replace(bid, attempt=PlacementAttempt() if attempt.since else attempt)
    since = attempt.since or now
    needed = bid.needed > bid.placed or not bid.placed
    wanted = now if needed or not attempt.wanted else attempt.wanted
    return replace(bid, attempt=replace(attempt, since=since, wanted=wanted))


def _alone(bid: Bid, now: float) -> Grant | None:
    """What a pool may do whatever the others want; None when it would ask for one more."""
    attempt = bid.attempt
    if bid.wanted < bid.size:
        return Grant(bid.wanted, attempt)
    if bid.unplaced:
        over = now - attempt.since >= bid.pending_seconds or now - attempt.wanted >= GONE_SECONDS
        if over and bid.tail and not bid.rollout:
            return Grant(bid.size - bid.tail, attempt.failed(now), ScaleReason.WITHDRAWN)
        told = now - attempt.since >= PLACING_SECONDS
        return Grant(bid.size, attempt, ScaleReason.REPLICA_UNPLACED if told else None)
    if bid.wanted == bid.size:
        return Grant(bid.size, attempt)
    if attempt.waits(now, bid.roomier):
        return Grant(bid.size, attempt, ScaleReason.WITHDRAWN)
    return None


def _asks(bid: Bid, grant: Grant, now: float) -> bool:
    """Whether GPUs are what a replica of it waits for: what cannot move for another reason stands in nobody's way, and
    neither does what cannot be withdrawn."""
    late = now - bid.attempt.since >= bid.pending_seconds
    lacks = _young(bid, now) if bid.lacks_gpus is None else bid.lacks_gpus
    return bid.gpus != "" and bid.unplaced > 0 and grant.replicas > bid.placed and lacks and not late


def _young(bid: Bid, now: float) -> bool:
    """Whether the scheduler is still at it."""
    return now - bid.attempt.since < PLACING_SECONDS


def _ahead(bid: Bid, asking: Iterable[Bid], now: float) -> str:
    """Whose turn it is at the same GPUs; empty when it is this pool's.

    What is too little for one replica may be enough for another: a pool waits for a larger one while that is young.
    """
    rivals = (other for other in asking if other.gpus == bid.gpus != "")
    return next((other.pool for other in rivals if other.each <= bid.each or _fresh(other, now)), "")


def _fresh(bid: Bid, now: float) -> bool:
    """Whether it asks in this very look, or asked just before."""
    return not bid.unplaced or _young(bid, now)


def _comes(bid: Bid, now: float) -> bool:
    """Whether replicas of it are about to serve, or just began to. One that finds no node soon is not counted on."""
    starts = bid.starting > 0 and (not bid.unplaced or now - bid.attempt.since < PLACING_SECONDS)
    return starts or now - bid.grown < SETTLING_SECONDS


def _relieved_by(bid: Bid, coming: Iterable[tuple[Bid, float]]) -> str:
    """Who brings room for all that is too much for this pool; empty when nobody does."""
    excess = -bid.room(bid.size)
    if excess <= 0 or bid.size < bid.minimum:
        return ""
    helping = [(other.pool, room) for other, room in coming if room > 0 and other.serves & bid.serves]
    return helping[0][0] if sum(room for _, room in helping) >= excess else ""
