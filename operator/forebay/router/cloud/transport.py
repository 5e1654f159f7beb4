"""Connections to providers: a name is resolved, each of its addresses is judged, and exactly those are connected to.

A name that means something else a moment later (DNS rebinding) gains nothing: nobody resolves it again. The
certificate, the Host header and SNI stay those of the name. Redirects and proxies of the environment are not followed.

Through one of the chart's proxies it is otherwise: the proxy looks the name up, so that only the proxy's own address is
judged, and a provider's that is written as one. TLS goes through it, to the provider's name.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx

from forebay.router.http.keep_alive import SOCKET_OPTIONS
from forebay.rules.addresses import EVERYWHERE, Network, refusal

RESOLVE_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 5.0
"""How long addresses are kept, so that requests that come together share one look-up."""
MOST_ADDRESSES: Final = 4
"""So many are tried."""


class AddressRefusedError(httpx.ConnectError):
    """The provider is at an address that nothing is sent to."""


class CheckedTransport(httpx.AsyncBaseTransport):
    """A transport that connects only to addresses that the rule allows; one per provider.

    `tls` is None until there is a context for it (`use`); `proxy` is the URL of the proxy, empty for none, `proxy_tls`
    what an https one is known by: never by a provider's own authorities, and never shown a provider's certificate.
    """

    def __init__(
        self,
        allowed: tuple[Network, ...],
        limits: httpx.Limits,
        tls: ssl.SSLContext | None,
        proxy: str = "",
        proxy_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allowed = allowed
        self.proxy = httpx.URL(proxy) if proxy else None
        self._proxy_tls = proxy_tls if self.proxy is not None and self.proxy.scheme == "https" else None
        self._limits = limits
        self._inner = None if tls is None else self._made(tls)
        self._found: dict[tuple[str, int], tuple[float, list[str]]] = {}

    def use(self, tls: ssl.SSLContext | None) -> httpx.AsyncHTTPTransport | None:
        """Make connections by this context from now on, or none. The connections until now are the caller's to end."""
        old, self._inner = self._inner, None if tls is None else self._made(tls)
        return old

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the first of the name's addresses that takes the connection, or through the proxy."""
        inner, url = self._inner, request.url
        if inner is None:
            raise httpx.ConnectError("there is no TLS context")
        if self.proxy is not None:
            await self.check(url)
            return await _through_proxy(inner, request)
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
                return await inner.handle_async_request(hop)
            except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
                failed = problem
        raise failed or httpx.ConnectError("the name has no address")

    async def check(self, url: httpx.URL) -> None:
        """Whether something may be sent to this URL. Raises as `addresses` does."""
        if self.proxy is None:
            await self.addresses(url)
            return
        _judge_behind_proxy(url, self.allowed)
        await self.addresses(self.proxy, "https", EVERYWHERE)

    async def addresses(
        self, url: httpx.URL, scheme: str = "", allowed: tuple[Network, ...] | None = None
    ) -> list[str]:
        """Every address of a URL's name, judged.

        Raises httpx.ConnectError when there is none, and AddressRefusedError when one must not be connected to.
        """
        name, scheme = url.raw_host.decode("ascii"), scheme or url.scheme
        port = url.port or (443 if url.scheme == "https" else 80)
        now = asyncio.get_running_loop().time()
        known = self._found.get((name, port))
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        found = await _resolve(name, port)
        for address in found:
            if (why := refusal(address, scheme, self.allowed if allowed is None else allowed)) is not None:
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
        if self._inner is not None:
            await self._inner.aclose()

    def _made(self, tls: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=tls,
            limits=self._limits,
            trust_env=False,
            socket_options=SOCKET_OPTIONS,
            proxy=None if self.proxy is None else httpx.Proxy(self.proxy, ssl_context=self._proxy_tls),
        )


async def _through_proxy(inner: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    """Send a request whose tunnel, where one must be dug, is there within the time to connect."""
    loop = asyncio.get_running_loop()
    patience = request.extensions.get("timeout", {}).get("connect")
    bound, digging = asyncio.timeout(None), False

    async def watch(event: str, of: Mapping[str, Any]) -> None:
        nonlocal digging
        if event == "http11.send_request_headers.started" and of["request"].method == b"CONNECT":
            digging = True
            bound.reschedule(None if patience is None else loop.time() + patience)
        elif event == "http11.receive_response_headers.complete":
            digging = False
            bound.reschedule(None)

    request.extensions = {**request.extensions, "trace": watch}
    try:
        async with bound:
            return await inner.handle_async_request(request)
    except TimeoutError:
        raise httpx.ConnectTimeout("the proxy does not answer") from None
    except httpx.TransportError as failed:  # never its text: it is the proxy's
        if digging or isinstance(failed, httpx.ProxyError):
            raise httpx.ConnectError("the proxy does not connect") from None
        raise


def _judge_behind_proxy(url: httpx.URL, allowed: tuple[Network, ...]) -> None:
    """What can be known of a provider that the proxy looks up. Raises AddressRefusedError."""
    name = url.raw_host.decode("ascii").rstrip(".")
    if url.scheme != "https":
        raise AddressRefusedError(f"nothing is sent to {name}: through a proxy there is only https")
    if f".{name}".endswith(".localhost"):
        raise AddressRefusedError(f"nothing is sent to {name}: that is the proxy itself")
    try:
        found = socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return  # a name
    for item in found:
        if (why := refusal(str(item[4][0]), url.scheme, allowed)) is not None:
            raise AddressRefusedError(f"nothing is sent to {name}: {why}")


async def _resolve(name: str, port: int) -> list[str]:
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            loop = asyncio.get_running_loop()
            items = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise httpx.ConnectError(f"{name}: the name does not resolve") from None
    return list(dict.fromkeys(str(item[4][0]) for item in items))
