"""Connections to providers: a name is resolved, each of its addresses is judged, and exactly those are connected to.

A name that means something else a moment later (DNS rebinding) gains nothing: nobody resolves it again. The
certificate, the Host header and SNI stay those of the name. Redirects and proxies are not followed.
"""

import asyncio
import socket
import ssl
from typing import Final

import httpx

from forebay.rules.addresses import Network, refusal

RESOLVE_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 5.0
"""How long addresses are kept, so that requests that come together share one look-up."""
MOST_ADDRESSES: Final = 4
"""So many are tried."""


class AddressRefusedError(httpx.ConnectError):
    """The provider is at an address that nothing is sent to."""


class CheckedTransport(httpx.AsyncBaseTransport):
    """A transport that connects only to addresses that the rule allows; one per provider."""

    def __init__(self, allowed: tuple[Network, ...], limits: httpx.Limits, tls: ssl.SSLContext) -> None:
        self.allowed = allowed
        self._inner = httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False)
        self._found: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the first of the name's addresses that takes the connection."""
        url = request.url
        name = url.raw_host.decode("ascii")
        failed: httpx.TransportError | None = None
        for address in (await self.addresses(url))[:MOST_ADDRESSES]:
            hop = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name},
            )
            try:
                return await self._inner.handle_async_request(hop)
            except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
                failed = problem
        raise failed or httpx.ConnectError("the name has no address")

    async def addresses(self, url: httpx.URL) -> list[str]:
        """Every address of a URL's name, judged.

        Raises httpx.ConnectError when there is none, and AddressRefusedError when one must not be connected to.
        """
        name, scheme = url.raw_host.decode("ascii"), url.scheme
        port = url.port or (443 if scheme == "https" else 80)
        now = asyncio.get_running_loop().time()
        known = self._found.get((name, port))
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        found = await _resolve(name, port)
        for address in found:
            if (why := refusal(address, scheme, self.allowed)) is not None:
                raise AddressRefusedError(f"nothing is sent to {name}: {why}")
        self._found = {(name, port): (now, found)}
        return found

    async def forget_idle(self) -> None:
        """End the connections that carry nothing now: one of them was closed at the other end."""
        pool = getattr(self._inner, "_pool", None)
        for connection in list(pool.connections) if pool is not None else ():
            if connection.is_idle():
                await connection.aclose()

    async def aclose(self) -> None:
        """End all connections."""
        await self._inner.aclose()


async def _resolve(name: str, port: int) -> list[str]:
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            loop = asyncio.get_running_loop()
            items = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise httpx.ConnectError(f"{name}: the name does not resolve") from None
    return list(dict.fromkeys(str(item[4][0]) for item in items))
