"""Which replica a session goes to: rendezvous hashing, so that a scale step moves only the sessions it must."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 4096
"""Longest prefix of a prompt that identifies a session."""


def score(session: bytes, replica: str) -> bytes:
    """How much a session likes a replica; the highest wins."""
    return blake2b(replica.encode() + b"\0" + session, digest_size=8).digest()


def prefer(session: bytes, replicas: Iterable[str]) -> list[str]:
    """Replicas by a session's liking, its home first. Same inputs, same order, whatever order they come in."""
    return sorted(replicas, key=lambda replica: (score(session, replica), replica), reverse=True)


def session_key(explicit: str | None, cache_key: str | None, client: str, opening: str) -> bytes:
    """What identifies a session: the header, else `prompt_cache_key`, else client + the conversation's opening."""
    if explicit:
        return explicit.encode()[:KEY_BYTES]
    if cache_key:
        return cache_key.encode()[:KEY_BYTES]
    return f"{client}\0{opening}".encode()[:KEY_BYTES]
