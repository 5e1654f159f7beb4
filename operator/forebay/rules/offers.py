"""Who gets a freed slot while somebody waits: pure transitions of one replica's offers. Times are seconds.

Gateways say in a coarse word who waits with them. A free slot is offered to one gateway, the one whose waiters come
first by rank and deadline; the slot is held for it until it takes or declines the offer, or OFFER_SECONDS are over;
then the next one is asked. So one freed slot wakes one waiter, and order holds across gateways to within the age of
their words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

OFFER_SECONDS: Final = 0.05
"""How long a gateway may think about an offer."""
TAKEN_SECONDS: Final = 2.0
"""How long a slot is held for a request that is on its way."""
SPENT_SECONDS: Final = 0.25
"""How long a gateway that declined is not asked again, unless it sends a new word."""
NOTICE_TTL_SECONDS: Final = 3.0
"""A word that is older counts no more: its gateway repeats it every second while somebody waits."""
RANKS: Final = (0, 1, 2)  # High; Normal and aged Low; Low


@dataclass(slots=True)
class WaitingNotice:
    """Who waits at one gateway: by rank how many, and the first few deadlines in order."""

    counts: list[int]
    deadlines: list[list[float]]
    heard: float
    spent_until: float = 0.0

    def first(self, rank: int, offered: int) -> float:
        """Deadline of the first waiter of a rank that has no offer yet; the last known one where they ran out."""
        known = self.deadlines[rank]
        return known[min(offered, len(known) - 1)] if known else float("inf")


@dataclass(frozen=True, slots=True)
class Offer:
    """One slot, held for one gateway.

    `since`: when the slot could first have been used by somebody who waits. `rival`: rank and deadline of the first
    waiter elsewhere, so that a gateway whose own first waiter has gone meanwhile does not let a later one pass it.
    """

    id: int
    gateway: str
    rank: int
    expires: float
    since: float
    rival: tuple[int, float] | None = None
    high_only: bool = False  # a slot of High's reserve
    taken: bool = False
    told: bool = False  # the gateway has sent a word since it took the offer: its waiter is not in that any more


@dataclass(slots=True)
class Offers:
    """Words and open offers of one replica."""

    words: dict[str, WaitingNotice] = field(default_factory=dict)
    open: dict[int, Offer] = field(default_factory=dict)
    _last: int = 0

    @property
    def held(self) -> int:
        """Slots that open offers hold."""
        return len(self.open)

    def waits(self, now: float) -> bool:
        """Whether anybody is known to wait anywhere."""
        return any(any(word.counts) for word in self.words.values() if now - word.heard < NOTICE_TTL_SECONDS)

    def hear(self, gateway: str, counts: Iterable[int], deadlines: Iterable[Iterable[float]], now: float) -> None:
        """A gateway's word replaces its last one; offers it has not answered yet count against it."""
        self.words[gateway] = WaitingNotice(list(counts), [sorted(first) for first in deadlines], now)
        for offer in self.open.values():
            if offer.taken and offer.gateway == gateway:
                self.open[offer.id] = replace(offer, told=True)

    def forget(self, gateway: str) -> None:
        """It is gone, and so are its offers."""
        self.words.pop(gateway, None)
        for offer in [offer for offer in self.open.values() if offer.gateway == gateway]:
            del self.open[offer.id]

    def make(self, free: int, free_high: int, now: float, since: float | None = None) -> list[Offer]:
        """Offers for the slots that are free: `free` of them for anybody, `free_high` for rank 0.

        `since` is passed on to the first of them where its slot was offered in vain before.
        """
        made: list[Offer] = []
        while free_high > 0:
            first = self._first_of_each(0 if free <= 0 else 2, now)
            if not first:
                break
            rank, _, gateway = first[0]
            rival = first[1][:2] if len(first) > 1 else None
            self._last += 1
            since = now if since is None else since
            offer = Offer(self._last, gateway, rank, now + OFFER_SECONDS, since, rival, high_only=free <= 0)
            self.open[offer.id] = offer
            made.append(offer)
            free, free_high, since = free - 1, free_high - 1, None
        return made

    def take(self, offer_id: int, now: float) -> bool:
        """The gateway has somebody for it: hold the slot until the request comes. False when the offer is over."""
        offer = self.open.get(offer_id)
        if offer is None:
            return False
        self.open[offer_id] = replace(offer, expires=now + TAKEN_SECONDS, taken=True)
        return True

    def decline(self, offer_id: int, now: float, spent: bool = True) -> float | None:
        """The slot is not needed there. Its `since`, or None when the offer is over.

        `spent`: whoever waits there may not use it, so do not ask again at once.
        """
        offer = self.open.pop(offer_id, None)
        if offer is None:
            return None
        if spent and not offer.taken and (word := self.words.get(offer.gateway)) is not None:
            word.spent_until = now + SPENT_SECONDS
        return offer.since

    def admit(self, offer_id: int) -> Offer | None:
        """The request that took the offer is here: the slot is no longer held. None when the offer is over."""
        offer = self.open.pop(offer_id, None)
        if offer is not None and not offer.told and (word := self.words.get(offer.gateway)) is not None:
            word.counts[offer.rank] = max(0, word.counts[offer.rank] - 1)
            del word.deadlines[offer.rank][:1]
        return offer

    def expire(self, now: float) -> list[Offer]:
        """End what was not answered or did not come in time, and old words."""
        late = [offer for offer in self.open.values() if offer.expires <= now]
        for offer in late:
            self.decline(offer.id, now)
        for gateway in [name for name, word in self.words.items() if now - word.heard >= NOTICE_TTL_SECONDS]:
            del self.words[gateway]
        return late

    def next_expiry(self) -> float | None:
        """When `expire` has something to do."""
        return min((offer.expires for offer in self.open.values()), default=None)

    def _first_of_each(self, lowest_rank: int, now: float) -> list[tuple[int, float, str]]:
        """Each gateway's first waiter that has no offer yet as (rank, deadline, gateway), first come first."""
        offered: dict[tuple[str, int], int] = {}
        for offer in self.open.values():
            if offer.told:
                continue
            offered[offer.gateway, offer.rank] = offered.get((offer.gateway, offer.rank), 0) + 1
        found = []
        for gateway, word in self.words.items():
            if now < word.spent_until or now - word.heard >= NOTICE_TTL_SECONDS:
                continue
            for rank in RANKS[: lowest_rank + 1]:
                has = offered.get((gateway, rank), 0)
                if word.counts[rank] > has:
                    found.append((rank, word.first(rank, has), gateway))
                    break
        return sorted(found)
