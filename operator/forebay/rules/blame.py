"""Whose fault a refusal is. No status and no phrase tells: an empty wallet, a void key, a limit and a bad request may
all be a 400. What does tell is who else meets it.

One request may be at fault itself, however often it comes. Several different ones in a row, without an answer to
anybody between them, are the upstream's fault: each that has not been seen in this row counts as one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

MOST_SEEN: Final = 64
EDGE: Final = 64 * 1024
"""Bytes of a body's beginning and end that tell it from others: conversations differ at their end."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests that an upstream has refused in a row, as digests."""

    seen: tuple[bytes, ...] = ()


NONE_REFUSED: Final = Refusals()


def digest_of(client: str, body: bytes) -> bytes:
    """What tells one request from another: who sends it, and what it says."""
    parts: Iterable[bytes] = (client.encode("utf-8", "replace"), b"%d" % len(body), body[:EDGE], body[-EDGE:])
    return blake2b(b"\0".join(parts), digest_size=16).digest()


def refused(known: Refusals, request: bytes) -> tuple[Refusals, bool]:
    """The upstream refused this request; whether that counts as a fault, because it had not refused this one yet."""
    if request in known.seen:
        return known, False
    return Refusals((*known.seen[1 - MOST_SEEN :], request)), True
