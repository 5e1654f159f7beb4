"""The replicas of one pool as a gateway knows them, and their sums: what serves, what is free, who is left alone."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Priority
from forebay.resources.report import (
    OfferAnswer,
    ReplicaState,
    WaitingWord,
    encode,
)
from forebay.resources.table import PoolEntry
from forebay.router.context import waits
from forebay.router.http.call import USUAL as USUAL_WAITS
from forebay.router.http.call import Address, Waits
from forebay.router.http.message_channel import MessageChannel
from forebay.rules.affinity import Sessions
from forebay.rules.breaker import Breaker, BreakerLimits, CallResult, after, answering, begun, given_up, is_shut
from forebay.rules.facts import REPORT_TTL_SECONDS
from forebay.rules.listed_names import missing
from forebay.rules.listening import ListeningTime
from forebay.rules.retry import RetryBudget

FIRST_TOKENS: Final = 500
LIMITS: Final = BreakerLimits(faults=3, open_seconds=1.0, most_seconds=8.0, row_seconds=2.0, senders=2, probes=4)
"""Three faults in a row, of two senders, over two seconds without an answer: a replica is left alone for a second, then
two, up to 8 s. The first content byte of any of four requests then brings it back."""
BROKEN_LIMITS: Final = replace(LIMITS, row_seconds=0.0)
"""Of an answer that broke off after its first content byte: that byte says nothing for the replica, so no row has to
last."""
FINE: Final = Breaker()
USUAL: Final = RouterTimeouts()


@dataclass(slots=True, eq=False)
class Replica:
    """One replica as last heard of. `free` and `free_high` go down at once when this gateway sends a request there."""

    address: Address
    pool: str
    name: str = ""
    state: ReplicaState = ReplicaState.STARTING
    slots: int = 0
    running: int = 0
    free: int = 0
    free_high: int = 0
    ahead: int = 0  # prompt tokens that wait there for their first token
    names: tuple[str, ...] = ()  # that its engine lists
    context: int = 0  # the longest that its engine lists, in tokens; 0: it lists none
    heard: float = float("-inf")  # in listening time
    tried: int = 0  # connections attempted; a gateway is ready once each was tried
    breaker: Breaker = FINE
    silent: bool = False  # it was heard of, and is not any more
    moving: bool = False  # its engine makes tokens
    channel: MessageChannel | None = None
    listening: ListeningTime = field(default_factory=ListeningTime)

    def fresh(self, now: float) -> bool:
        """Heard of lately: otherwise it is absent, neither free nor full."""
        return self.silent_for(now) < REPORT_TTL_SECONDS

    def silent_for(self, now: float) -> float:
        """Seconds of listening in which nothing was heard of it."""
        return self.listening.at(now) - self.heard

    def at_work(self, now: float) -> bool:
        """Whether its engine makes tokens, as its sidecar says: an answer that is silent may be under way."""
        return self.moving and self.fresh(now)

    def serves(self, now: float) -> bool:
        """Whether a request may go there, slots aside."""
        if self.state is not ReplicaState.SERVING or not self.fresh(now):
            return False
        return self.breaker is FINE or not is_shut(self.breaker, now, LIMITS)

    def may_take(self, now: float) -> bool:
        """Whether a slot that it offers may be used: its engine has not asked to be left alone."""
        return self.serves(now) and now >= self.breaker.paused_until

    def free_for(self, priority: Priority) -> int:
        """Slots for a request of this priority."""
        return self.free_high if priority is Priority.HIGH else self.free

    def say(self, what: OfferAnswer | WaitingWord) -> None:
        """Answer an offer of its, or tell it who waits; without a line it learns that from the loss of it."""
        if self.channel is not None:
            self.channel.send(encode(what))


@dataclass(slots=True)
class PoolReplicas:
    """The replicas of one pool, and their sums."""

    entry: PoolEntry
    sessions: Sessions = field(default_factory=Sessions)
    all: dict[Address, Replica] = field(default_factory=dict)
    by_name: dict[str, Replica] = field(default_factory=dict)  # those that serve
    serving_names: tuple[str, ...] = ()  # their names: the same object as long as they are the same
    lacking: dict[str, set[Address]] = field(default_factory=dict)  # by name: those that serve, but not that
    context: int | None = None  # tokens: the longest that an engine lists
    serving: int = 0
    starting: int = 0
    free: int = 0
    free_high: int = 0
    oldest: float = 0.0
    retries: RetryBudget = field(default_factory=RetryBudget)
    timeouts: RouterTimeouts = USUAL
    waits: Waits = USUAL_WAITS
    first_token_seconds: float = 60.0
    first_tokens: deque[float] = field(default_factory=lambda: deque(maxlen=FIRST_TOKENS))
    stale: bool = True  # the sums have to be counted anew

    def count(self, now: float) -> None:
        """Count the sums anew, if something changed."""
        if not self.stale:
            return
        self.stale = False
        serving = [replica for replica in self.all.values() if replica.serves(now)]
        self.serving = len(serving)
        self.starting = sum(r.state is ReplicaState.STARTING and r.fresh(now) for r in self.all.values())
        self.free = sum(max(0, replica.free) for replica in serving)
        self.free_high = sum(max(0, replica.free_high) for replica in serving)
        self.oldest = now - max((replica.silent_for(now) for replica in serving), default=0.0)
        names = tuple(sorted(replica.name for replica in serving))
        if names != self.serving_names:
            self.serving_names = names
        if serving:  # what was known holds while nobody serves
            self.context = max((replica.context for replica in serving), default=0) or None
        self.by_name = {replica.name: replica for replica in serving}
        self.lacking = {}
        for replica in serving:
            for model in missing(self.entry.served_names, replica.names):
                self.lacking.setdefault(model, set()).add(replica.address)

    def having(self, model: str) -> tuple[str, ...]:
        """The names of those that serve, and have this model."""
        if not self.lacking or (lacking := self.lacking.get(model)) is None:
            return self.serving_names
        return tuple(name for name in self.serving_names if self.by_name[name].address not in lacking)

    def lost(self, model: str) -> bool:
        """Whether no replica has this model, by the word of all their engines."""
        lacking = self.lacking.get(model)
        return lacking is not None and len(lacking) == self.serving and not self.starting

    def context_at(self, replica: Replica) -> int | None:
        """Tokens of the longest request that a replica takes, as the pool says, else its engine."""
        said = self.entry.context_tokens
        return (replica.context or None) if said is None else said

    def take(self, replica: Replica, offered: bool, prompt_tokens: int, now: float) -> None:
        """A request is on its way: until the next report, count it. A slot that was offered is not free any more."""
        self.retries.request()
        replica.ahead += prompt_tokens
        if replica.breaker is not FINE:
            replica.breaker = begun(replica.breaker, now)
            self.stale = True
        replica.running += 1
        if offered:
            return
        self.free -= replica.free > 0
        self.free_high -= replica.free_high > 0
        replica.free -= 1
        replica.free_high -= 1

    def refused(self, replica: Replica) -> None:
        """It said full: believe it until the next report."""
        replica.free = replica.free_high = 0
        self.stale = True

    def answered(self, replica: Replica, first_token: float | None, now: float) -> None:
        """It served a request; `first_token` in seconds since the request was sent there, where that was streamed."""
        if first_token is not None:
            self.first_tokens.append(first_token)
        self.tried(replica, CallResult.SUCCESS, now)

    def fails_others(self, replica: Replica, now: float) -> bool:
        """Whether what failed there was not one sender's doing, as far as is known."""
        return len(replica.breaker.senders) >= LIMITS.senders or not replica.serves(now)

    def answering(self, replica: Replica, now: float) -> None:
        """The first content byte has come from a replica that was in doubt."""
        replica.breaker = answering(replica.breaker, now)
        self.stale = True

    def tried(
        self,
        replica: Replica,
        outcome: CallResult,
        now: float,
        pause: float = 0.0,
        limits: BreakerLimits = LIMITS,
        sender: str = "",
    ) -> None:
        """What a try says of the replica's health. For `pause` seconds it has no slots for this gateway."""
        if replica.breaker is FINE and outcome is CallResult.SUCCESS:
            return
        found = after(replica.breaker, outcome, now, limits, pause, sender)
        if found.paused_until <= now:
            found = replace(found, paused_until=0.0)
        replica.breaker = FINE if found == FINE else found
        if pause:
            replica.free = replica.free_high = 0
        self.stale = True

    def gave_up(self, replica: Replica) -> None:
        """A try ended without telling anything."""
        if replica.breaker is not FINE:
            replica.breaker = given_up(replica.breaker)
            self.stale = True

    def follow(self, entry: PoolEntry, usual: RouterTimeouts) -> None:
        """Take over the pool's entry."""
        self.entry, self.timeouts = entry, entry.waits(usual)
        self.waits = waits(self.timeouts)
        self.learn_patience()

    def learn_patience(self) -> None:
        """How long a first token may take: ten times what nearly all took lately, and what its timeout says."""
        least = self.first_token_seconds = self.timeouts.first_token
        if len(self.first_tokens) >= FIRST_TOKENS // 10:
            ordered = sorted(self.first_tokens)
            self.first_token_seconds = max(least, 10 * ordered[int(len(ordered) * 0.99)])
