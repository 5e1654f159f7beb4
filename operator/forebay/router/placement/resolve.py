"""Names to addresses, off the event loop's back. A static list of host:port stands in where there is no DNS name."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable

from forebay.router.http.call import Address


async def resolve(service: str, port: int, static: Iterable[str] = ()) -> list[Address]:
    """Every address of a Service, sorted; the static ones if there are any. Empty when the name is unknown."""
    fixed = [_split(address) for address in static]
    if fixed or not service:
        return fixed
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            found = await loop.getaddrinfo(service, port, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
            return sorted({(str(item[4][0]), int(item[4][1])) for item in found})
    return []


def _split(address: str) -> Address:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
