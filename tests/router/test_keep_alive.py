"""Every connection of a router has TCP keep-alive: to clients, engines, other routers and providers."""

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest
import uvloop

from forebay.router.http.keep_alive import SOCKET_OPTIONS
from testing.fleet import Fleet, Pool, fleet

pytestmark = pytest.mark.slow


def kept_alive(f: Fleet) -> list[tuple[str, bool]]:
    """With whom each connection of a router is, and whether it has the options."""
    routers = [f.gateway, *f.sidecars.values()]
    accepted = {getattr(router, name).port: f"{name} port" for router in routers for name in ("request", "control")}
    dialled = {router.control.port: "a sidecar" for router in f.sidecars.values()}
    dialled |= {router.role.engine.address[1]: "an engine" for router in f.sidecars.values()}  # type: ignore[union-attr]
    dialled |= {engine.port: "a provider" for engine in f.providers.values()}  # type: ignore[attr-defined]
    found = []
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as end:
                if end.family == socket.AF_INET:
                    who = accepted.get(end.getsockname()[1]) or dialled.get(end.getpeername()[1])
                    said = [(level, name, end.getsockopt(level, name)) for level, name, _ in SOCKET_OPTIONS]
                    found += [(who, said == [*SOCKET_OPTIONS])] if who else []
    return found


def test_every_connection_of_a_router_is_kept_alive(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1)}) as f:
            await asyncio.gather(*(f.ask(100, key="sk-vip") for _ in range(3)), f.ask(base=f.url(f.sidecars["chat-0"])))
            found = kept_alive(f)
            assert [who for who, kept in found if not kept] == []
            assert {who for who, _ in found} == {"request port", "control port", "a sidecar", "an engine", "a provider"}

    uvloop.run(work())
