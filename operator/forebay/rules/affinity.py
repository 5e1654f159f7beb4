"""Which replica a session goes to: rendezvous hashing, so that a scale step moves only the sessions it must.

A session that had to be served elsewhere keeps the other replica, which has its prefix in its cache now, for
HOME_SECONDS. One that draws more than an equal share of its pool's requests has two homes.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 4096
"""Longest prefix of a prompt that identifies a session."""
HOME_SECONDS: Final = 600.0
PATIENCE_SECONDS: Final = 2.0
PREFILL_TOKENS_PER_SECOND: Final = 4000.0
"""What a cached token saves: the order of what an A100 prefills of a 7B model."""
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


def session_key(explicit: str | None, cache_key: str | None, client: str, opening: str) -> bytes:
    """What identifies a session: the header, else `prompt_cache_key`, else client + the conversation's opening."""
    if explicit:
        return explicit.encode()[:KEY_BYTES]
    if cache_key:
        return cache_key.encode()[:KEY_BYTES]
    return f"{client}\0{opening[:KEY_BYTES]}".encode()[:KEY_BYTES]


@dataclass(slots=True)
class Session:
    """What is remembered of one session."""

    home: str = ""  # by hashing
    among: tuple[str, ...] = ()  # the replicas that `home` was chosen from
    away: str = ""  # where it had to go instead
    away_until: float = 0.0
    served: float = float("-inf")
    load: float = 0.0  # requests, fading over SHARE_SECONDS
    counted: float = 0.0

    def fade(self, now: float) -> float:
        """The load as of now."""
        self.load *= max(0.0, 1.0 - (now - self.counted) / SHARE_SECONDS)
        self.counted = now
        return self.load


@dataclass(slots=True)
class Sessions:
    """The sessions of one pool at one gateway, the least recently served ones forgotten. Times are seconds.

    `among` is the names of the replicas that serve: the same tuple as long as they are the same.
    """

    limit: int = SESSIONS
    total: Session = field(default_factory=Session)
    _known: OrderedDict[int, Session] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def homes(self, session: int, among: tuple[str, ...], now: float) -> tuple[str, ...]:
        """Where its prefix is, or will be: one replica, or two for a session that draws more than its share."""
        known = self._known.get(session)
        if known is None:
            return (_best(session, among),)
        if known.away and now < known.away_until and known.away in among:
            return (known.away,)
        if known.among is not among:
            known.home, known.among = _best(session, among), among
        if known.load >= SHARE_LEAST and len(among) > 1 and known.fade(now) > self.total.fade(now) / len(among):
            return tuple(prefer(session, among)[:2])
        return (known.home,)

    def patience(self, session: int, prompt_tokens: int, now: float) -> float:
        """Seconds that it is worth to wait for the home: what computing the cached prefix anew would take."""
        known = self._known.get(session)
        if known is None or now - known.served >= HOME_SECONDS:
            return 0.0
        return min(PATIENCE_SECONDS, prompt_tokens / PREFILL_TOKENS_PER_SECOND)

    def serve(self, session: int, replica: str, among: tuple[str, ...], now: float) -> None:
        """It is served there now, so that is where its prefix is."""
        homes = self.homes(session, among, now)
        known = self._known.get(session)
        if known is None:
            known = self._known[session] = Session(homes[0], among, counted=now)
            if len(self._known) > self.limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(session)
        if replica not in homes:
            known.away, known.away_until = replica, now + HOME_SECONDS
        known.served = now
        known.load = known.fade(now) + 1.0
        self.total.load = self.total.fade(now) + 1.0


def _best(session: int, among: tuple[str, ...]) -> str:
    return max(among, key=lambda replica: (score(session, replica), replica)) if len(among) > 1 else among[0]
