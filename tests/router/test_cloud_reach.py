"""Providers as companies have them: other headers, queries, private authorities, client certificates, proxies."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from forebay.resources import names
from forebay.resources.options import GatewayOptions
from forebay.resources.table import HeaderEntry, ReachEntry
from forebay.router.cloud import tls_files
from forebay.simulator.http import Connection, Request
from tests.router.authority import Authority, mount
from tests.router.clouds import KEY, Clouds, clouds
from tests.router.provider import Provider, Script, answer, refusal
from tests.router.test_cloud import run
from tests.router.test_fleet import decision

SECRET = "tenant-0123456789abcdef"


def reach(**fields: Any) -> dict[str, Any]:
    return {"reach": ReachEntry(**fields)}


def azure(provider: Provider, request: Request, connection: Connection) -> Any:
    """Takes the key in `api-key` alone, and wants an API version."""
    fine = request.headers.get(b"api-key") == KEY.encode() and b"authorization" not in request.headers
    script = answer() if fine and request.query == "api-version=2024-10-21" else refusal(401)
    return script(provider, request, connection)


# What is sent.


def test_a_provider_that_wants_its_key_in_a_header_of_its_own_and_an_api_version(tmp_path: Path) -> None:
    async def work() -> None:
        entry = reach(key_header="api-key", key_prefix="", query=(("api-version", "2024-10-21"),))
        async with clouds(tmp_path, azure, entry=entry) as c:
            assert decision(await c.ask())[:2] == (200, "acme/big")
            assert c.acme.asked[0].path == "/v1/chat/completions"

    run(work)


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({}, b"authorization", f"Bearer {KEY}"),
        ({"key_header": "x-api-key", "key_prefix": ""}, b"x-api-key", KEY),
        ({"key_prefix": ""}, b"authorization", KEY),
        ({"key_prefix": "Key"}, b"authorization", f"Key {KEY}"),
        ({"key_header": "x-auth", "key_prefix": "Token"}, b"x-auth", f"Token {KEY}"),
    ],
)
def test_the_key_goes_where_the_policy_says(tmp_path: Path, fields: dict[str, str], header: bytes, value: str) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), entry=reach(**fields)) as c:
            assert decision(await c.ask())[1] == "acme/big"
            sent = c.acme.asked[0].headers
            assert sent[header] == value.encode()
            assert [name for name, said in sent.items() if KEY.encode() in said] == [header]

    run(work)


def test_headers_of_the_policy_are_sent_those_from_a_secret_too(tmp_path: Path) -> None:
    async def work() -> None:
        headers = (HeaderEntry(name="anthropic-version", value="2023-06-01"), HeaderEntry(name="x-tenant"))
        async with clouds(tmp_path, answer(), entry=reach(headers=headers)) as c:
            (c.keys / "default" / "acme" / "header-x-tenant").write_text(f"Basic {SECRET}\n")
            assert await asks(c) == "acme/big"
            sent = c.acme.asked[0].headers
            assert sent[b"anthropic-version"] == b"2023-06-01"
            assert sent[b"x-tenant"] == f"Basic {SECRET}".encode()
            assert sent[b"content-type"] == b"application/json"

    run(work)


def test_a_query_is_encoded(tmp_path: Path) -> None:
    async def work() -> None:
        query = (("api-version", "a b&c=d#e"), ("region", "eu"))
        async with clouds(tmp_path, answer(), entry=reach(query=query)) as c:
            await c.ask()
            assert c.acme.asked[0].query == "api-version=a+b%26c%3Dd%23e&region=eu"

    run(work)


# Certificates.


class Private:
    """A provider with a private authority's certificate, which wants one of `clients`."""

    def __init__(self, tmp: Path, script: Script | None = None, clients: Authority | None = None) -> None:
        self.authority = Authority()
        self.provider = Provider(script or answer())
        self._tls = self.authority.server(tmp, clients)

    async def start(self, stack: AsyncExitStack) -> "Private":
        await self.provider.start(stack, self._tls)
        return self

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.provider.port}/v1"

    @property
    def asked(self) -> int:
        return len(self.provider.asked)


async def errors(c: Clouds, code: str) -> float:
    return (await c.metrics()).get(f'forebay_cloud_errors_total{{code="{code}",provider="acme"}}', 0.0)


async def look(c: Clouds) -> None:
    """A gateway's next look at what is mounted."""
    standing = c.standing()
    async with standing._reading:  # a look of the gateway's own that is under way may not have seen all
        for secret in (standing.key, *(one for _, one in standing._secrets)):
            secret._looked = float("-inf")
        standing._looked = float("-inf")
    await c.standing().look()


async def asks(c: Clouds) -> str:
    """Who answers a request after a look, and with a breaker that is closed."""
    await look(c)
    c.standing().standing.breaker = type(c.standing().standing)().breaker
    answered = decision(await c.ask())
    assert answered[0] == 200
    return answered[1]


def test_a_private_authority_is_believed_and_no_other_is(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            private = await Private(tmp_path).start(stack)
            c = await stack.enter_async_context(clouds(tmp_path, answer(), entry={"base_url": private.url}))
            assert await asks(c) == "bravo/small"  # the system does not know it
            c.retable(base_url=private.url, reach=ReachEntry(has_ca=True))
            assert await asks(c) == "bravo/small"  # nothing is mounted
            folder = c.keys / "default" / "acme"
            mount(folder, {names.CA_FILE: Authority().pem, "key": KEY.encode()})
            assert await asks(c) == "bravo/small"  # another authority of the same name
            assert private.asked == 0
            mount(folder, {names.CA_FILE: b"# ours \xc3\xa9\n" + private.authority.pem, "key": KEY.encode()})
            assert await asks(c) == "acme/big"
            assert c.standing().problem == ""

    run(work)


def test_the_first_request_waits_for_the_certificates(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            private = await Private(tmp_path).start(stack)
            c = await stack.enter_async_context(clouds(tmp_path, answer()))
            mount(c.keys / "default" / "acme", {names.CA_FILE: private.authority.pem, "key": KEY.encode()})
            for number in range(3):
                c.retable(base_url=private.url, reach=ReachEntry(has_ca=True), requests_per_minute=1000 + number)
                answers = await asyncio.gather(*(c.ask() for _ in range(5)))
                assert {decision(one)[1] for one in answers} == {"acme/big"}

    run(work)


def test_a_client_certificate_is_shown_and_a_rotated_one_without_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            clients, strangers = Authority("clients"), Authority("strangers")
            private = await Private(tmp_path, clients=clients).start(stack)
            entry = {"base_url": private.url, **reach(has_ca=True, has_certificate=True)}
            c = await stack.enter_async_context(clouds(tmp_path, answer(), entry=entry))
            folder, ca = c.keys / "default" / "acme", private.authority.pem

            def shows(pair: tuple[bytes, bytes]) -> None:
                files = {names.CA_FILE: ca, names.CERTIFICATE_FILE: pair[0], names.PRIVATE_KEY_FILE: pair[1]}
                mount(folder, {**files, "key": KEY.encode()})

            shows(strangers.leaf("gateway"))
            assert await asks(c) == "bravo/small"
            assert private.asked == 0
            shows(clients.leaf("gateway"))
            assert await asks(c) == "acme/big"
            used = c.standing().transport._inner
            assert await asks(c) == "acme/big"
            assert c.standing().transport._inner is used  # nothing new is mounted
            shows(clients.leaf("gateway"))
            assert await asks(c) == "acme/big"
            assert c.standing().transport._inner is not used

    run(work)


def test_answers_that_run_go_on_when_a_certificate_changes(tmp_path: Path) -> None:
    async def work() -> None:
        going = asyncio.Event()

        async def slow(provider: Provider, request: Request, connection: Connection) -> None:
            await going.wait()
            await answer()(provider, request, connection)

        async with AsyncExitStack() as stack:
            private = await Private(tmp_path, slow).start(stack)
            entry = {"base_url": private.url, **reach(has_ca=True)}
            c = await stack.enter_async_context(clouds(tmp_path, answer(), entry=entry))
            folder = c.keys / "default" / "acme"
            mount(folder, {names.CA_FILE: private.authority.pem, "key": KEY.encode()})
            asking = asyncio.create_task(c.ask())
            while private.asked == 0:  # a look of the gateway's own may have come between the two files
                if asking.done():
                    await look(c)
                    asking = asyncio.create_task(c.ask())
                await asyncio.sleep(0.01)
            mount(folder, {names.CA_FILE: private.authority.pem + b"\n", "key": KEY.encode()})
            await look(c)
            going.set()
            assert decision(await asking)[:2] == (200, "acme/big")

    run(work)


def test_a_change_is_taken_over_beside_the_requests(tmp_path: Path) -> None:
    """No look in between: requests alone make a gateway see what is mounted, a second later at most."""

    async def work() -> None:
        async with AsyncExitStack() as stack:
            private = await Private(tmp_path).start(stack)
            entry = {"base_url": private.url, **reach(has_ca=True)}
            c = await stack.enter_async_context(clouds(tmp_path, answer(), entry=entry))
            assert decision(await c.ask())[1] == "bravo/small"
            mount(c.keys / "default" / "acme", {names.CA_FILE: private.authority.pem, "key": KEY.encode()})
            async with asyncio.timeout(10):
                while decision(await c.ask())[1] != "acme/big":
                    await asyncio.sleep(0.1)

    run(work)


# What is missing or wrong is told, and the next provider serves.

OURS = Authority()
CERTIFICATE, PRIVATE = OURS.leaf("gateway")
_key = serialization.load_pem_private_key(PRIVATE, None)
LOCKED = _key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pass")
)
CA_WHERE = "the key that tls.caConfigMapRef or tls.caSecretRef names"
PAIR_WHERE = "the Secret that tls.clientCertificateSecretRef names"
NO_PEM = f"the client certificate or its private key is no PEM without a password: correct {PAIR_WHERE}"
BAD_FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "no CA": ({names.CA_FILE: b""}, f"its CA is no certificate in PEM: correct {CA_WHERE}"),
    "a CA that is none": ({names.CA_FILE: b"hello"}, f"its CA is no certificate in PEM: correct {CA_WHERE}"),
    "a broken CA": (
        {names.CA_FILE: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        f"its CA is no certificate in PEM: correct {CA_WHERE}",
    ),
    "a private key for a CA": ({names.CA_FILE: PRIVATE}, f"its CA is no certificate in PEM: correct {CA_WHERE}"),
    "no certificate": (
        {names.PRIVATE_KEY_FILE: PRIVATE},
        f"the client certificate has no tls.crt: put it into {PAIR_WHERE}",
    ),
    "no private key": (
        {names.CERTIFICATE_FILE: CERTIFICATE},
        f"the client certificate has no tls.key: put it into {PAIR_WHERE}",
    ),
    "another's private key": (
        {names.CERTIFICATE_FILE: CERTIFICATE, names.PRIVATE_KEY_FILE: OURS.leaf()[1]},
        f"the client certificate and its private key do not belong together: correct {PAIR_WHERE}",
    ),
    "a private key with a password": (
        {names.CERTIFICATE_FILE: CERTIFICATE, names.PRIVATE_KEY_FILE: LOCKED},
        NO_PEM,
    ),
    "a certificate that is none": ({names.CERTIFICATE_FILE: b"x", names.PRIVATE_KEY_FILE: PRIVATE}, NO_PEM),
    "a private key that is none": ({names.CERTIFICATE_FILE: CERTIFICATE, names.PRIVATE_KEY_FILE: b"x"}, NO_PEM),
}


@pytest.mark.parametrize(("files", "says"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_no_good_are_told_in_one_sentence(tmp_path: Path, files: Mapping[str, bytes], says: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    kind = ReachEntry(has_ca=names.CA_FILE in files, has_certificate=names.CA_FILE not in files)
    found = tls_files.load(tmp_path, kind)
    assert found is not None and (found.context, found.problem) == (None, says)
    assert tls_files.load(tmp_path, kind, found.digest) is None


def test_a_missing_folder_lacks_everything(tmp_path: Path) -> None:
    found = tls_files.load(tmp_path / "none", ReachEntry(has_ca=True, has_certificate=True))
    assert found is not None and found.problem == f"its CA is missing: fill {CA_WHERE}"


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "no CA": (reach(has_ca=True), f"default/acme: its CA is missing: fill {CA_WHERE}"),
    "no certificate": (
        reach(has_certificate=True),
        f"default/acme: the client certificate has no tls.crt: put it into {PAIR_WHERE}",
    ),
    "no header": (
        reach(headers=(HeaderEntry(name="x-tenant"),)),
        "default/acme: its header x-tenant has no value: fill the Secret key that its valueSecretRef names",
    ),
    "no such proxy": (
        reach(proxy="corp"),
        "default/acme: its proxy corp is not in the chart's cloud.proxies: add it there, or name one of dmz",
    ),
}


@pytest.mark.parametrize(("entry", "says"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_set_up_that_lacks_something_is_told_and_the_next_provider_serves(
    tmp_path: Path, entry: dict[str, Any], says: str
) -> None:
    async def work() -> None:
        options = GatewayOptions(("127.0.0.0/8",), ("dmz=http://127.0.0.1:1",))
        async with clouds(tmp_path, answer(), entry=entry, gateway={"gateway": options}) as c:
            before = await errors(c, "Misconfigured")
            assert decision(await c.ask())[:2] == (200, "bravo/small")
            assert await errors(c, "Misconfigured") == before + 1
            await c.fleet.until(lambda: c.fleet.gate.report().provider_problems == (says,))
            assert c.acme.asked == [] and c.standing().standing.breaker.faults == 0
            assert c.fleet.gate.report().missing_keys == ()

    run(work)


def test_public_authorities_are_held_to_the_letter_and_private_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / names.CA_FILE).write_bytes(OURS.pem)
    found = tls_files.load(tmp_path, ReachEntry(has_ca=True))
    assert found is not None and found.context is not None
    assert not found.context.verify_flags & ssl.VERIFY_X509_STRICT
    assert tls_files.system_tls().verify_flags & ssl.VERIFY_X509_STRICT
    for context in (found.context, tls_files.system_tls()):
        assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
