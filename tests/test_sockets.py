"""Clusters of either IP family: every port answers at both, and all of forebay starts where there is no IPv4."""

import asyncio
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from forebay.resources.option import argument, read, rows
from forebay.resources.options import RouterOptions
from forebay.router.http.server import Server
from forebay.router.http.values import Reply, Request
from forebay.router.placement.resolve import resolve
from forebay.sockets import EVERY_ADDRESS, bracketed, listening, peer_of

REPO = Path(__file__).resolve().parents[1]
has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


async def answer(port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    whole = await reader.read()
    writer.close()
    return whole.rpartition(b"\r\n\r\n")[2].decode()


@has_ipv6
def test_a_port_answers_in_both_families_and_knows_who_asks() -> None:
    async def scene() -> None:
        async def who(request: Request, exchange: object) -> None:
            exchange.reply(Reply(200, [], request.peer.encode()))  # type: ignore[attr-defined]

        server = Server(who)
        await server.listen(EVERY_ADDRESS, 0)
        assert [await answer(server.port, host) for host in ("127.0.0.1", "::1")] == ["127.0.0.1", "::1"]
        server.close()

    uvloop.run(scene())


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_host_without_ipv6_listens_on_ipv4(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.create_server

    def without(address: tuple[str, int], *, family: int, **more: object) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(code, "no IPv6 here")
        return made(address, family=family, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_server", without)
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    with listening(EVERY_ADDRESS, 0) as opened:
        assert opened.getsockname()[0] == "0.0.0.0"


def test_a_port_that_is_taken_is_told_and_not_shared() -> None:
    with listening(EVERY_ADDRESS, 0) as first, pytest.raises(OSError, match="in use"):
        listening(EVERY_ADDRESS, first.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("::ffff:10.0.0.1", 1, 0, 0), "10.0.0.1"),
        (("10.0.0.1", 1), "10.0.0.1"),
        (("fd00::1", 1, 0, 0), "fd00::1"),
        (("::1", 1, 0, 0), "::1"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_peer_is_named_in_its_own_family(name: object, peer: str) -> None:
    assert peer_of(name) == peer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fd00::1", "fe80::1", "engine"])
def test_an_address_is_written_as_it_is_read(host: str) -> None:
    row = next(row for row in rows(RouterOptions) if row.name == "engine_url")
    assert read(row, argument(row, (host, 8000)).partition("=")[2]) == (host, 8000)
    assert asyncio.run(resolve("", 0, [f"{bracketed(host)}:8081"])) == [(host, 8081)]


WITHOUT_IPV4 = "ip link set lo up && ip addr del 127.0.0.1/8 dev lo && exec"


def namespaces() -> bool:
    """Whether this process may make a network namespace."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    made = subprocess.run(["unshare", "--net", "sh", "-c", f"{WITHOUT_IPV4} true"], capture_output=True, check=False)
    return made.returncode == 0


@pytest.mark.slow
def test_operator_gateway_and_sidecar_start_without_ipv4(tmp_path: Path) -> None:
    if not namespaces():
        pytest.skip("needs the right to make a network namespace")
    pools = [{"name": "chat", "servedNames": ["m"], "capabilities": ["general"], "slotsPerReplica": 2,
              "addresses": ["[::1]:8181"]}]  # fmt: skip
    table = {"schema": 1, "generation": 1, "fleet": "f", "gatewayAddresses": ["[::1]:8081"], "pools": pools}
    (tmp_path / "table.json").write_text(json.dumps(table))
    child = [sys.executable, str(REPO / "tests" / "without_ipv4.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'operator'}"}
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{WITHOUT_IPV4} "$@"', "sh", *child],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "gateway": 200, "sidecar": 200, "operator": 200, "wake": 401, "answer": 200, "drain": 0, "drained": 503,
    }  # fmt: skip
