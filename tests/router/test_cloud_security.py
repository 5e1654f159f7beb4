"""Where a gateway connects to, whose certificate it believes, and where the key never is."""

import asyncio
import datetime
import ipaddress
import json
import logging
import socket
import ssl
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from forebay.resources.options import GatewayOptions
from forebay.router.cloud import transport
from forebay.router.cloud.transport import AddressRefusedError, CheckedTransport
from forebay.rules.addresses import networks
from forebay.simulator.http import Connection
from tests.router.clouds import KEY, clouds, settle
from tests.router.provider import ROLE, Provider, Script, answer, chunk, in_turn, refusal, stream
from tests.router.test_cloud import FAILS, run
from tests.router.test_cloud_streams import BREAKS, SHORT, breaking
from tests.router.test_fleet import decision

LOOPBACK = networks(["127.0.0.0/8"])
NAME = "api.acme.test"


# Addresses.


def test_a_provider_at_an_address_that_the_chart_does_not_allow_is_not_connected_to(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), gateway={"gateway": GatewayOptions()}) as c:
            refused = await c.ask()
            assert decision(refused)[1:] == ("none", "CloudUnavailable")
            assert c.acme.asked == c.bravo.asked == []
            await c.fleet.until(lambda: len(c.fleet.gate.report().provider_problems) == 2)
            assert c.fleet.gate.report().provider_problems[0] == (
                "default/acme: nothing is sent to 127.0.0.1: its address is loopback, and the chart's"
                " cloud.allowedNetworks does not name it"
            )
            assert c.standing().standing.breaker.faults == 0

    run(work)


@pytest.mark.parametrize(
    "host",
    ["localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]"],
)
def test_no_spelling_of_this_machine_is_connected_to(tmp_path: Path, host: str) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), gateway={"gateway": GatewayOptions()}) as c:
            c.retable(base_url=f"http://{host}:{c.acme.port}/v1")
            await c.ask()
            assert c.acme.asked == []

    run(work)


def test_plain_http_is_refused_for_a_public_address() -> None:
    async def work() -> None:
        checked = CheckedTransport(LOOPBACK, httpx.Limits(), httpx.create_ssl_context())
        with pytest.raises(AddressRefusedError, match="use https"):
            await checked.addresses(httpx.URL("http://1.1.1.1/"))
        assert await checked.addresses(httpx.URL("https://1.1.1.1/")) == ["1.1.1.1"]
        await checked.aclose()

    run(work)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            elsewhere = await Provider(answer()).start(stack)
            for status in (301, 302, 303, 307, 308):
                location = f"http://127.0.0.1:{elsewhere.port}/v1/chat/completions"
                async with clouds(tmp_path / str(status), refusal(status, location=location)) as c:
                    assert decision(await c.ask())[1] == "bravo/small"
            assert elsewhere.asked == []

    run(work)


def test_one_refused_address_among_good_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        checked = CheckedTransport((), httpx.Limits(), httpx.create_ssl_context())
        for bad in ("10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1"):

            async def resolve(name: str, port: int, bad: str = bad) -> list[str]:
                return ["1.1.1.1", bad]

            monkeypatch.setattr(transport, "_resolve", resolve)
            with pytest.raises(AddressRefusedError):
                await checked.addresses(httpx.URL(f"https://{NAME}/"))
        await checked.aclose()

    run(work)


def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext, list[str | None]]:
    """A server's context for NAME alone, a client's that believes its authority, and the names that were asked for."""
    now, key = datetime.datetime.now(datetime.UTC), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.sni_callback = lambda sock, name, context: asked.append(name)  # type: ignore[assignment]
    return _loaded(server, certificate, private), ssl.create_default_context(cadata=certificate.decode()), asked


def _loaded(context: ssl.SSLContext, certificate: bytes, private: bytes) -> ssl.SSLContext:
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + private)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def test_the_checked_address_is_the_one_connected_to_under_the_names_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that means this machine when it is looked up a second time (DNS rebinding) gains nothing."""
    server, client, asked = certificates()
    looked = []

    async def resolve(name: str, port: int) -> list[str]:
        looked.append(name)
        return ["127.0.0.2"] if len(looked) == 1 else ["10.0.0.1"]

    async def work() -> None:
        async with AsyncExitStack() as stack:
            monkeypatch.setattr(transport, "_resolve", resolve)
            provider = Provider(answer())
            loop = asyncio.get_running_loop()
            listening = await loop.create_server(lambda: Connection(provider.handle), "127.0.0.2", 0, ssl=server)
            stack.callback(listening.close)
            port = listening.sockets[0].getsockname()[1]
            allowed = networks(["127.0.0.2/32"])
            checked = CheckedTransport(allowed, httpx.Limits(), client)
            http = await stack.enter_async_context(httpx.AsyncClient(transport=checked))
            url = f"https://{NAME}:{port}/v1/chat/completions"
            assert (await http.post(url, json={"a": 1})).status_code == 200
            assert (asked, looked) == ([NAME], [NAME])
            assert provider.asked[0].headers[b"host"] == f"{NAME}:{port}".encode()
            assert provider.asked[0].body == b'{"a":1}'
            checked._found.clear()  # a moment later
            with pytest.raises(AddressRefusedError):
                await http.post(url, json={})
            assert len(provider.asked) == 1

    run(work)


def test_a_certificate_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    server, client, _ = certificates()

    async def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def work() -> None:
        async with AsyncExitStack() as stack:
            monkeypatch.setattr(transport, "_resolve", resolve)
            provider = await Provider(answer()).start(stack, server)
            checked = CheckedTransport(LOOPBACK, httpx.Limits(), client)
            http = await stack.enter_async_context(httpx.AsyncClient(transport=checked))
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.post(f"https://other.acme.test:{provider.port}/", json={})
            assert provider.asked == []

    run(work)


def test_an_address_that_does_not_answer_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]  # nobody listens at the first

    async def work() -> None:
        async with AsyncExitStack() as stack:
            monkeypatch.setattr(transport, "_resolve", resolve)
            provider = await Provider(answer()).start(stack)
            checked = CheckedTransport(LOOPBACK, httpx.Limits(), httpx.create_ssl_context())
            http = await stack.enter_async_context(httpx.AsyncClient(transport=checked))
            served = await http.post(f"http://{NAME}:{provider.port}/", json={"whole": "body"})
            assert served.status_code == 200
            assert json.loads(provider.asked[0].body) == {"whole": "body"}

    run(work)


def test_what_is_no_url_is_reported_and_the_next_provider_serves(tmp_path: Path) -> None:
    async def work() -> None:
        for url in ("https://acme.example:99999/v1", "https://[::1/v1", "https://a b/v1"):
            async with clouds(tmp_path / str(len(url)), answer(), entry={"base_url": url}) as c:
                assert decision(await c.ask())[1] == "bravo/small"
                await c.fleet.until(lambda c=c: c.fleet.gate.report().provider_problems != ())  # type: ignore[misc]

    run(work)


def test_a_name_that_does_not_resolve_is_a_failure_like_others(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer(), entry={"base_url": "https://no-such-name.invalid/v1"}) as c:
            assert decision(await c.ask())[1] == "bravo/small"
            await c.standing().look()
            assert c.fleet.gate.report().provider_problems == (
                "default/acme: no-such-name.invalid: the name does not resolve",
            )

    run(work)


# Keys.


@pytest.mark.slow
def test_a_rotated_key_is_used_without_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            await c.ask()
            path = c.keys / "default" / "acme" / "key"
            path.write_text("sk-rotated-9876543210\n")
            async with asyncio.timeout(20):
                while c.acme.asked[-1].headers[b"authorization"] != b"Bearer sk-rotated-9876543210":
                    await c.ask()
                    await asyncio.sleep(0.1)

    run(work)


def test_a_missing_key_is_reported_and_the_provider_left_out(tmp_path: Path) -> None:
    async def work() -> None:
        async with clouds(tmp_path, answer()) as c:
            (c.keys / "default" / "acme" / "key").unlink()
            c.standing().key._looked = float("-inf")
            assert decision(await c.ask())[1] == "bravo/small"
            assert c.fleet.gate.report().missing_keys == ("default/acme",)
            assert c.acme.asked == []

    run(work)


def echo(status: int) -> Script:
    """A provider that repeats the key wherever it can."""
    return refusal(status, f"Incorrect API key provided: {KEY}", x_request_id="r-1", retry_after="0")


LEAKS: dict[str, Script] = {
    **{f"an error {status}": echo(status) for status in (400, 401, 403, 404, 413, 422, 429, 500, 503)},
    "no JSON": answer(200, f"<html>{KEY}</html>".encode()),
    "an error in a 200": answer(200, {"error": {"message": KEY}}),
    "an error event": stream(ROLE, json.dumps({"error": {"message": KEY}}).encode()),
    "a late error event": stream(ROLE, chunk("Hi"), json.dumps({"error": {"message": KEY}}).encode()),
    "a malformed event": stream(ROLE, chunk("Hi"), b"{" + KEY.encode()),
    "a bad header": answer(200, b"{}", **{f"x-{KEY}\x00": KEY}),
    "a bad redirect": refusal(302, KEY, location=f"http://{KEY}/"),
    **{f"broken by {name}": breaking((ROLE, chunk("Hi")), name) for name in BREAKS},
    **FAILS,
}


@pytest.mark.slow
def test_the_key_is_in_no_log_metric_error_or_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """All that is said in a run with every fault, whole and streamed, with all libraries at their most talkative."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().set_debug(True)
        scripts = [script for script in LEAKS.values() for _ in range(2)]
        async with clouds(tmp_path, in_turn(*scripts), echo(500), entry=SHORT, gateway={"access_log": True}) as c:
            for number in range(len(scripts)):
                fresh = type(c.standing().standing)()
                c.standing().standing.breaker = fresh.breaker  # every script has its turn
                if number % 2:
                    got, _ = await c.stream()
                    said.append(got.decode("latin-1"))
                else:
                    reply = await c.ask()
                    said.append(f"{reply.text} {reply.headers}")
            assert len(c.acme.asked) == len(scripts) + 1  # a 408 on a kept connection is sent anew
            said.append(str(await c.metrics()))
            said.append(str(c.fleet.gate.report()))
            said.append(repr(c.standing()) + repr(c.standing().key))
            (c.keys / "default" / "acme" / "key").write_text(f"{KEY}\r\nx-evil: {KEY}")
            c.standing().key._looked = float("-inf")
            said.append((await c.ask()).text)
            await settle()

    run(work)
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text]
    assert "CapabilityGap" in captured.out
    assert not [text for text in said if KEY in text]


def test_this_machine_has_the_addresses_that_the_tests_above_use() -> None:
    for address in ("127.0.0.1", "127.0.0.2"):
        with socket.create_server((address, 0)):
            assert ipaddress.ip_address(address).is_loopback
