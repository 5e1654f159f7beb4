"""Which replica a session goes to: the one whose engine has its prefix cached, as long as that is worth it.

A session that nothing is known of has its home by rendezvous hashing: every gateway finds the same one, and a replica
that comes or goes moves only its own sessions. Then it stays where it was served last: every gateway is told
(`Sessions.serve`), and remembers for HOME_SECONDS.

What a replica costs is counted in prompt tokens: those that wait there for their first token (`ahead`), less what the
prefix there is worth. So no speed of any engine has to be known, and an idle fleet follows the sessions alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

KEY_BYTES: Final = 4096
"""Longest prefix of a prompt that identifies a session."""
HOME_SECONDS: Final = 600.0
"""How long a session that says nothing is remembered: its prefix is not in any cache for longer."""
PATIENCE_SECONDS: Final = 2.0
"""Longest wait for a home while another replica has a free slot."""
PREFILL_TOKENS_PER_SECOND: Final = 4000.0
"""What a cached token saves: the order of what an A100 prefills of a 7B model."""
PREFIX_WEIGHT: Final = 3
"""A prefix that is left behind costs more than its tokens: it is computed again, and takes the place of others."""
HOME_TOKENS: Final = 2048
"""What the home by hashing is worth to a session that nothing is known of: another gateway, or this one before its
restart, may know it."""
AWAY_PENALTY_SECONDS: Final = 10.0
AWAY_PENALTY_SHARE: Final = 1 / 3
"""In a queue a waiter lets others pass at replicas that are not its home: at most those who come so much later."""
SESSIONS: Final = 65_536
SHARE_SECONDS: Final = 60.0
SHARE_LEAST: Final = 8.0
"""A session with fewer requests than this within SHARE_SECONDS draws no more than its share."""
_MASK: Final = (1 << 64) - 1
_MIX: Final = 0x9E3779B97F4A7C15
_MIX_2: Final = 0xBF58476D1CE4E5B9


def digest(session: bytes) -> int:
    """64 bits that stand for a session's key."""
    return int.from_bytes(blake2b(session, digest_size=8).digest(), "little")


@lru_cache(4096)
def _replica_digest(replica: str) -> int:
    return digest(replica.encode())


def score(session: int, replica: str) -> int:
    """How much a session likes a replica; the highest wins."""
    mixed = ((session ^ _replica_digest(replica)) * _MIX) & _MASK
    return ((mixed ^ (mixed >> 29)) * _MIX_2) & _MASK


def prefer(session: int, replicas: Iterable[str]) -> list[str]:
    """Replicas by a session's liking, its home first. Same inputs, same order, whatever order they come in."""
    return sorted(replicas, key=lambda replica: (score(session, replica), replica), reverse=True)


def session_key(explicit: str | None, cache_key: str | None, client: str, system: str, first: str = "") -> bytes:
    """What identifies a session: the header, else `prompt_cache_key`, else client and opening of the conversation.

    Half of the opening's bytes are kept for the first user message: a long system prompt that a client's sessions share
    does not make one session of them.
    """
    if explicit:
        return explicit.encode()[:KEY_BYTES]
    if cache_key:
        return cache_key.encode()[:KEY_BYTES]
    own = first[: KEY_BYTES // 2]
    return f"{client[:256]}\0{system[: KEY_BYTES - len(own)]}\0{own}".encode()


def away_penalty(wait_seconds: float) -> float:
    """Seconds by which a waiter that has `wait_seconds` in all comes later at replicas that are not its home."""
    return min(AWAY_PENALTY_SECONDS, max(0.0, wait_seconds) * AWAY_PENALTY_SHARE)


class Choice(Struct, frozen=True, gc=False):
    """A replica to send a request to; or else, where `home` is named, one to wait for, for so many seconds."""

    replica: str = ""
    home: str = ""
    wait_seconds: float = 0.0


NOBODY: Final = Choice()


@dataclass(slots=True)
class SessionHome:
    """What is remembered of one session. Times are seconds."""

    last: str  # the replica that served it last
    served: float
    tokens: int  # of the prompt that it served
    before: str = ""  # the last other replica
    load: float = 0.0  # requests, fading over SHARE_SECONDS
    counted: float = 0.0

    def fade(self, now: float) -> float:
        """The load as of now."""
        if now > self.counted:
            self.load *= max(0.0, 1.0 - (now - self.counted) / SHARE_SECONDS)
            self.counted = now
        return self.load


@dataclass(slots=True)
class Sessions:
    """The sessions of one pool, the least recently served ones forgotten.

    `among` is the names of the replicas that serve, in any order.
    """

    limit: int = SESSIONS
    total: SessionHome = field(default_factory=lambda: SessionHome("", 0.0, 0))
    _known: OrderedDict[int, SessionHome] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def homes(self, session: int, among: tuple[str, ...], now: float) -> tuple[str, ...]:
        """Where its prefix is, or will be: one replica, or two for a session that draws more than its share."""
        known = self._fresh(session, now)
        if known is None or known.last not in among:
            return (_best(session, among),)
        if known.load < SHARE_LEAST or len(among) == 1 or known.fade(now) <= self.total.fade(now) / len(among):
            return (known.last,)
        if known.before in among:
            return (known.last, known.before)
        return (known.last, _best(session, tuple(name for name in among if name != known.last)))

    def cached(self, session: int, prompt_tokens: int, now: float) -> int:
        """Tokens of its prompt that its home is likely to have."""
        known = self._fresh(session, now)
        return 0 if known is None else min(prompt_tokens, known.tokens)

    def choose(
        self,
        session: int,
        prompt_tokens: int,
        among: tuple[str, ...],
        free: Callable[[str], int],
        ahead: Callable[[str], int],
        now: float,
        patient: bool = True,
    ) -> Choice:
        """Where a request goes now.

        `free` tells a replica's free slots, `ahead` the prompt tokens that wait there for their first token; `patient`:
        the request may still wait for its home.
        """
        homes, cached = self.homes(session, among, now), self.cached(session, prompt_tokens, now)
        worth = max(HOME_TOKENS, PREFIX_WEIGHT * cached)
        for home in homes:
            if free(home) > 0 and ahead(home) <= worth:
                return Choice(home)
        able = [name for name in among if free(name) > 0]
        if not able:
            return NOBODY
        costs = {name: max(0, ahead(name) - worth) if name in homes else ahead(name) for name in able}
        least = min(costs.values())
        if patient and cached and free(homes[0]) <= 0 and ahead(homes[0]) < least + cached:
            return Choice("", homes[0], patience(cached))
        return Choice(_best(session, tuple(name for name in able if costs[name] == least)))

    def serve(self, session: int, replica: str, prompt_tokens: int, now: float) -> None:
        """It is served there, so that is where its prefix is."""
        known = self._known.get(session)
        if known is None:
            known = self._known[session] = SessionHome(replica, now, prompt_tokens, counted=now)
            if len(self._known) > self.limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(session)
            if known.last != replica:
                known.before, known.last = known.last, replica
            known.served, known.tokens = now, prompt_tokens
        known.load = known.fade(now) + 1.0
        self.total.load = self.total.fade(now) + 1.0

    def _fresh(self, session: int, now: float) -> SessionHome | None:
        known = self._known.get(session)
        return known if known is not None and now - known.served < HOME_SECONDS else None


def patience(cached_tokens: int) -> float:
    """Seconds that it is worth to wait for the home: what computing the cached prefix anew would take."""
    return min(PATIENCE_SECONDS, cached_tokens / PREFILL_TOKENS_PER_SECOND)


@lru_cache(512)
def _digests(replicas: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((_replica_digest(replica), replica) for replica in replicas)


def _best(session: int, among: tuple[str, ...]) -> str:
    """The first of `prefer`, without sorting."""
    highest, best = -1, ""
    for number, replica in _digests(among):
        mixed = ((session ^ number) * _MIX) & _MASK
        liking = ((mixed ^ (mixed >> 29)) * _MIX_2) & _MASK
        if liking > highest or (liking == highest and replica > best):
            highest, best = liking, replica
    return best
