"""Sockets that a process listens on, in clusters of either IP family or of both."""

import errno
import socket
from typing import Any, Final

EVERY_ADDRESS: Final = "::"
"""All addresses of this host: of both families, or of IPv4 where the host has no IPv6."""
LOOPBACKS: Final = ("127.0.0.1", "::1")
_MAPPED: Final = "::ffff:"
BACKLOG: Final = 2048
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, a host's name, or EVERY_ADDRESS. Port 0 takes a free one. Raises OSError."""
    if host == EVERY_ADDRESS and socket.has_dualstack_ipv6():
        try:
            return _tcp(
                socket.create_server((host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
            )
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    wanted = "0.0.0.0" if host == EVERY_ADDRESS else host  # noqa: S104 - a pod's own address is not known beforehand
    family, _, _, _, address = socket.getaddrinfo(wanted, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return _tcp(socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG))


def _tcp(made: socket.socket) -> socket.socket:
    """The same, with its protocol's number: without it asyncio leaves Nagle's algorithm on in what it accepts."""
    return socket.socket(fileno=made.detach())


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def peer_of(name: Any) -> str:
    """The address in a connection's `peername`, an IPv4 one as such: a socket of both families has it mapped into IPv6.
    Empty where there is none."""
    return str(name[0]).removeprefix(_MAPPED) if isinstance(name, tuple) and name else ""
