"""TCP keep-alive on every connection: a balancer on the way is reminded of one that is silent for long, such as that of
a request that waits for its first token, and a peer that vanished without a word is noticed."""

import socket
from typing import Final

IDLE_SECONDS: Final = 30
EVERY_SECONDS: Final = 10
PROBES: Final = 3
"""So many without an answer, and the connection is taken for lost: a minute after its last byte."""

_TCP: Final = (("TCP_KEEPIDLE", IDLE_SECONDS), ("TCP_KEEPINTVL", EVERY_SECONDS), ("TCP_KEEPCNT", PROBES))
SOCKET_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _TCP if hasattr(socket, name)),
)


def keep_alive(sock: socket.socket) -> None:
    """Turn it on for a connection that is dialled, or for all that a listening socket will accept."""
    if sock.family != socket.AF_UNIX:
        for level, name, value in SOCKET_OPTIONS:
            sock.setsockopt(level, name, value)
