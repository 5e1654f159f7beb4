"""Providers behind an egress proxy of the chart: what goes through it, what it may see, and what is judged."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from forebay.resources import names
from forebay.resources.options import GatewayOptions
from forebay.router.cloud.transport import AddressRefusedError, CheckedTransport
from tests.router.authority import NAME, Authority, mount
from tests.router.clouds import KEY, Clouds, clouds
from tests.router.egress import EgressProxy
from tests.router.provider import answer
from tests.router.test_cloud import run
from tests.router.test_cloud_reach import Private, asks, errors, reach


async def behind_proxy(stack: AsyncExitStack, tmp: Path, proxy: EgressProxy, **entry: Any) -> tuple[Clouds, Private]:
    """acme is NAME, which this machine cannot look up, behind a proxy that can."""
    private = await Private(tmp).start(stack)
    proxy.names = {NAME: private.provider.port}
    await proxy.start(stack)
    options = GatewayOptions(("127.0.0.0/8",), (f"corp=http://127.0.0.1:{proxy.port}",))
    fields = {"base_url": f"https://{NAME}/v1", **reach(has_ca=True, proxy="corp"), **entry}
    c = await stack.enter_async_context(clouds(tmp, answer(), entry=fields, gateway={"gateway": options}))
    mount(c.keys / "default" / "acme", {names.CA_FILE: private.authority.pem, "key": KEY.encode()})
    return c, private


def test_a_request_goes_through_the_proxy_to_the_providers_own_certificate(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            proxy = EgressProxy()
            c, private = await behind_proxy(stack, tmp_path, proxy)
            assert await asks(c) == "acme/big"
            assert await asks(c) == "acme/big"
            assert proxy.asked == [f"{NAME}:443".encode()]  # a name, and one tunnel for both
            assert private.provider.asked[0].headers[b"host"] == NAME.encode()
            assert private.provider.asked[0].headers[b"authorization"] == f"Bearer {KEY}".encode()
            assert KEY.encode() not in b"".join(proxy.heads)
            assert c.standing().problem == ""

    run(work)


def test_a_proxy_cannot_pose_as_the_provider(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            proxy = EgressProxy()
            c, _ = await behind_proxy(stack, tmp_path, proxy, base_url="https://other.acme.test/v1")
            proxy.names["other.acme.test"] = proxy.names[NAME]  # whose certificate is NAME's
            assert await asks(c) == "bravo/small"

    run(work)


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
        b"hello\r\n\r\n",
        b"",
    ],
    ids=["407", "502", "302", "no HTTP", "silence"],
)
def test_a_proxy_that_does_not_connect_is_a_failed_connection(tmp_path: Path, says: bytes) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            c, private = await behind_proxy(stack, tmp_path, EgressProxy(says=says), connect_seconds=1)
            before = await errors(c, "ConnectFailed")
            began = asyncio.get_running_loop().time()
            assert await asks(c) == "bravo/small"
            assert asyncio.get_running_loop().time() - began < 10
            assert private.asked == 0
            assert await errors(c, "ConnectFailed") == before + 1

    run(work)


@pytest.mark.parametrize(
    ("url", "proxy", "says"),
    [
        ("https://api.acme.test/v1", "http://169.254.169.254:3128", "it is a metadata service"),
        ("https://api.acme.test/v1", "http://0.0.0.0:3128", "its address is unspecified"),
        ("https://api.acme.test/v1", "http://224.0.0.1:3128", "its address is multicast"),
        ("https://10.0.0.5/v1", "http://127.0.0.1:3128", "its address is private"),
        ("https://169.254.169.254/v1", "http://127.0.0.1:3128", "it is a metadata service"),
        ("https://2852039166/v1", "http://127.0.0.1:3128", "it is a metadata service"),
        ("https://0x7f.1/v1", "http://127.0.0.1:3128", "its address is loopback"),
        ("https://[::1]/v1", "http://127.0.0.1:3128", "its address is loopback"),
        ("https://10.0.0.5./v1", "http://127.0.0.1:3128", "its address is private"),
        ("https://localhost/v1", "http://127.0.0.1:3128", "that is the proxy itself"),
        ("https://LOCALHOST./v1", "http://127.0.0.1:3128", "that is the proxy itself"),
        ("https://a.localhost/v1", "http://127.0.0.1:3128", "that is the proxy itself"),
        ("http://api.acme.test/v1", "http://127.0.0.1:3128", "through a proxy there is only https"),
    ],
)
def test_what_can_be_judged_behind_a_proxy_is(url: str, proxy: str, says: str) -> None:
    async def work() -> None:
        checked = CheckedTransport((), httpx.Limits(), httpx.create_ssl_context(), proxy)
        with pytest.raises(AddressRefusedError, match=says):
            await checked.check(httpx.URL(url))
        with pytest.raises(AddressRefusedError, match=says):
            await checked.handle_async_request(httpx.Request("POST", url))
        await checked.aclose()

    run(work)


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:3128", "http://10.1.2.3", "http://[fd00::1]:80", "https://1.1.1.1"]
)
def test_a_proxy_that_the_chart_names_needs_no_other_leave(proxy: str) -> None:
    async def work() -> None:
        checked = CheckedTransport((), httpx.Limits(), httpx.create_ssl_context(), proxy)
        await checked.check(httpx.URL("https://api.acme.test/v1"))
        await checked.aclose()

    run(work)


def test_an_https_proxy_is_known_by_public_authorities_and_the_provider_by_its_own(tmp_path: Path) -> None:
    """Neither poses as the other, and the proxy is never shown the provider's client certificate."""

    async def work() -> None:
        async with AsyncExitStack() as stack:
            private, ours = await Private(tmp_path).start(stack), Authority("public")
            proxy = EgressProxy(names={NAME: private.provider.port})
            await proxy.start(stack, ours.server(tmp_path))
            believes = [ssl.create_default_context(cadata=one.pem.decode()) for one in (private.authority, ours)]
            url = f"https://127.0.0.1:{proxy.port}"
            for tls, proxy_tls in (believes, believes[::-1]):
                checked = CheckedTransport((), httpx.Limits(), tls, url, proxy_tls)
                async with httpx.AsyncClient(transport=checked, timeout=5.0) as client:
                    if tls is believes[0]:
                        body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
                        got = await client.post(f"https://{NAME}/v1/chat/completions", json=body)
                        assert (got.status_code, private.asked) == (200, 1)
                    else:
                        with pytest.raises(httpx.ConnectError):
                            await client.get(f"https://{NAME}/v1")
            assert proxy.asked == [f"{NAME}:443".encode()]

    run(work)
