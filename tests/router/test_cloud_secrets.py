"""Secrets of a provider beyond its key: hidden wherever a provider repeats them, and in nothing that is said."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from forebay.resources import names
from forebay.resources.table import HeaderEntry
from forebay.router.cloud.keys import Key
from forebay.simulator.http import Connection, Request
from tests.router.authority import Authority, mount
from tests.router.clouds import KEY, clouds, settle
from tests.router.provider import Provider, answer, refusal
from tests.router.test_cloud import run
from tests.router.test_cloud_reach import SECRET, Private, look, reach
from tests.router.test_fleet import decision


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("a/b+c==/d", r"a/b+c==/d"),
        ("a/b+c==/d", r"a\/b+c==\/d"),
        ('say "open"', r"say \"open\""),
        (r"back\slash/9", r"back\\slash/9"),
        (r"back\slash/9", r"back\\slash\/9"),
        ("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ],
)
def test_a_secret_is_hidden_however_json_spells_it(tmp_path: Path, secret: str, said: str) -> None:
    (tmp_path / "one").write_text(secret)
    key = Key(tmp_path / "one", words=True)
    assert key.value(0.0) == secret
    assert key.hide(f'"{said}"'.encode()) == b'"[key]"'


def test_a_secret_that_comes_back_in_a_header_goes_no_further(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        repeats = answer(x_request_id=f"r-{KEY}", openai_processing_ms=KEY)
        async with clouds(tmp_path, repeats, gateway={"access_log": True}) as c:
            reply = await c.ask()
            assert decision(reply)[1] == "acme/big"
            assert reply.headers["openai-processing-ms"] == "[key]"
            assert KEY not in f"{reply.text} {reply.headers}"
            await settle()

    run(work)
    said = capfd.readouterr().out
    assert "r-[key]" in said
    assert KEY not in said


def test_no_secret_of_a_provider_is_in_a_log_metric_error_or_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Key, secret header and client certificate, in a run where each is repeated, missing, or of no use."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    clients = Authority("clients")
    pair = clients.leaf("gateway")
    inside = b"".join(pair[1].splitlines()[1:-1]).decode()

    async def echo(provider: Provider, request: Request, connection: Connection) -> None:
        status = (400, 401, 422, 500)[len(provider.asked) % 4]
        repeated = " ".join(value.decode() for value in request.headers.values())
        await refusal(status, f"no: {repeated}")(provider, request, connection)

    async def work() -> None:
        asyncio.get_running_loop().set_debug(True)
        async with AsyncExitStack() as stack:
            private = await Private(tmp_path, echo, clients).start(stack)
            headers = (HeaderEntry(name="x-tenant"),)
            entry = {"base_url": private.url, **reach(has_ca=True, has_certificate=True, headers=headers)}
            made = clouds(tmp_path, answer(), refusal(500), entry=entry, gateway={"access_log": True})
            c = await stack.enter_async_context(made)
            folder = c.keys / "default" / "acme"
            files = {
                names.CA_FILE: private.authority.pem,
                names.CERTIFICATE_FILE: pair[0],
                names.PRIVATE_KEY_FILE: pair[1],
                names.header_file("x-tenant"): f"Basic {SECRET}".encode(),
                "key": KEY.encode(),
            }
            odd = [{name: None} for name in files] + [{name: pair[1]} for name in files]
            for change in ({}, *odd):
                mount(folder, {name: content for name, content in (files | change).items() if content is not None})
                await look(c)
                for _ in range(5 if not change else 1):
                    c.standing().standing.breaker = type(c.standing().standing)().breaker
                    reply = await c.ask()
                    said.append(f"{reply.text} {reply.headers} {await c.stream()}")
                said.append(str(c.fleet.gate.report()) + repr(c.standing()) + c.standing().problem)
            said.append(str(await c.metrics()))
            assert private.asked >= 10
            assert "[key]" in "".join(said)
            await settle()

    run(work)
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text]
    assert "CapabilityGap" in captured.out
    for secret in (KEY, SECRET, inside, inside[:40], json.dumps(pair[1].decode())[1:-1]):
        assert not [text for text in said if secret in text]
