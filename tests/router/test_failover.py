"""Every fault at every place, through a whole fleet: what the client gets, and that nothing is left behind."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import uvloop

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Capability
from forebay.resources.table import TargetEntry
from forebay.rules.affinity import digest, score, session_key
from forebay.rules.breaker import Breaker, CallResult
from forebay.rules.retry import RETRY_BURST
from testing.fleet import Fleet, Pool, fleet
from tests.router.faults import Case, Ending, Expected, Place, cases, expected, render
from tests.router.faulty import BAD_REQUEST, RETRY_AFTER, Fault, Faulty
from tests.router.test_fleet import fill, stop

pytestmark = pytest.mark.slow

QUICK = RouterTimeouts(connect=1.0, first_token=0.6, between_chunks=0.6, silence=1.0, total=20.0)
WHERE = {
    Place.ENGINE: "engine chat-0",
    Place.OWN_ENGINE: "engine chat-0",
    Place.SIDECAR: "sidecar chat-0",
    Place.CLOUD: "provider acme",
}
TOKENS = 4


@dataclass
class Seen:
    """What a client saw."""

    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    broken: bool = False


class InOrder(Random):
    """The first gateway first."""

    def shuffle(self, x: Any) -> None:
        pass


def at_home_in(replica: str, others: tuple[str, ...]) -> str:
    """A session whose home is this replica."""
    for number in range(1000):
        known = digest(session_key(f"s{number}", None, "anonymous", ""))
        if max(others, key=lambda name: (score(known, name), name)) == replica:
            return f"s{number}"
    raise AssertionError


@asynccontextmanager
async def with_fault(tmp: Path, case: Case) -> AsyncIterator[tuple[Fleet, Faulty]]:
    """A fleet with the faulty peer in its place."""
    peers: list[Faulty] = []

    async def front(name: str, port: int) -> int:
        if WHERE.get(case.place) != name:
            return port
        peers.append(Faulty(("127.0.0.1", port), case.fault, case.moment))
        await peers[-1].start()
        return peers[-1].port

    both = tuple(TargetEntry(provider=p, model=f"{p}-model") for p in ("acme", "bravo"))
    pools = {"chat": Pool(replicas=2, capabilities=tuple(Capability)), "sort": Pool(capabilities=())}
    async with fleet(tmp, pools, timeouts=QUICK, front=front, policy={"primary": both}) as f:
        if case.place is Place.GATEWAY:
            peers.append(Faulty(("127.0.0.1", f.gateway.control.port), case.fault, case.moment, bare=True))
            await peers[-1].start()
            side = f.side("chat-0")
            side.slotless.gateways.rng = InOrder()
            ports = (peers[-1].port, f.gateway.control.port)
            known = side.context.table.table.__class__(
                generation=3,
                pools=side.context.table.table.pools,
                gateway_addresses=tuple(f"127.0.0.1:{port}" for port in ports),
            )
            side.context.table.take(known)
        if case.fault is Fault.REFUSED:
            peers[0].refuse()
        try:
            yield f, peers[0]
        finally:
            await peers[0].stop()


async def ask(f: Fleet, case: Case) -> Seen:
    """The request that meets the fault."""
    router = f.sidecars["chat-0"] if case.place in (Place.GATEWAY, Place.OWN_ENGINE) else f.gateway
    headers = {"x-forebay-session": at_home_in("chat-0", ("chat-0", "chat-1"))}
    if case.place is Place.CLOUD:
        headers |= {"x-forebay-priority": "High", "authorization": "Bearer sk-vip"}
    if case.place is Place.GATEWAY and case.fault is Fault.STALL:
        headers["x-forebay-timeout-seconds"] = "2"
    model = "sort-model" if case.place is Place.GATEWAY else "auto"
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": case.stream,
            "max_tokens": TOKENS, "min_tokens": TOKENS}  # fmt: skip
    seen = Seen()
    try:
        url = f.url(router) + "/v1/chat/completions"
        async with f.http.stream("POST", url, json=body, headers=headers) as response:
            seen.status, seen.headers = response.status_code, response.headers
            async for piece in response.aiter_raw():
                seen.body += piece
    except httpx.RemoteProtocolError:
        seen.broken = True
    return seen


def check(case: Case, wanted: Ending, seen: Seen) -> None:
    events = seen.body.decode().split("\n\n")
    match wanted:
        case Ending.ELSEWHERE | Ending.SAME:
            assert (seen.status, seen.broken) == (200, False)
            if case.stream:
                assert events[-2:] == ["data: [DONE]", ""]
                assert not any('"error"' in event for event in events)
            else:
                assert json.loads(seen.body)["usage"]["completion_tokens"] == TOKENS
        case Ending.EVENT | Ending.TOLD:
            assert (seen.status, seen.broken) == (200, wanted is Ending.EVENT)
            assert b'"content":" half"' in seen.body
            assert [event.startswith('data: {"error":') for event in events[-2:]] == [True, False]
            assert sum('"error":' in event for event in events) == 1
            assert b"[DONE]" not in seen.body
        case Ending.SHORT:
            assert (seen.status, seen.broken) == (200, True)
            assert seen.body.endswith(b"xxxx")
        case Ending.PASSED:
            codes = {Fault.BAD_REQUEST: 400, Fault.TOO_MANY: 429, Fault.SERVER_ERROR: 500}
            assert (seen.status, seen.broken) == (codes[case.fault], False)
            assert case.fault is not Fault.BAD_REQUEST or seen.body == BAD_REQUEST
            assert case.fault is not Fault.TOO_MANY or seen.headers["retry-after"] == str(RETRY_AFTER)
        case Ending.LATE:
            assert (seen.status, seen.broken) == (503, False)
            assert seen.headers["x-forebay-reason"] == "DeadlineExceeded"
            assert "retry-after" in seen.headers


def test_the_page_on_faults_is_made_from_this_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
    assert page.read_text() == render(), "make docs"


def breaker_of(f: Fleet, place: Place) -> Breaker | None:
    if place is Place.GATEWAY:
        gateways = f.side("chat-0").slotless.gateways
        return next(iter(gateways.breakers.values()), None)
    return next(replica.breaker for replica in f.gate.replicas.of("chat") if replica.name == "chat-0")


def counted(breaker: Breaker | None, now: float) -> CallResult | None:
    if breaker is None:
        return None
    if breaker.faults:
        return CallResult.FAULT
    return CallResult.BACK_PRESSURE if breaker.paused_until > now else CallResult.SUCCESS


async def nothing_left(f: Fleet) -> None:
    """Every slot, place, byte and call is given back."""
    sides, gate = [f.side(name) for name in f.sidecars], f.gate
    routers = [f.gateway, *f.sidecars.values()]
    await f.until(lambda: not any(s.admission.running + s.admission.requests + s.admission.offers.held for s in sides))
    await f.until(lambda: gate.in_flight == 0 and not gate.context.clients.in_flight and not gate.waiting._places)
    await f.until(lambda: all(r.request.budget.used == r.control.budget.used == 0 for r in routers))
    await f.until(lambda: all(provider.running == 0 for provider in gate.cloud._providers.values()))
    for router in routers:
        await f.until(lambda router=router: not router.context.upstream.active)


CASES = [pytest.param(case, id=str(case)) for case in cases() if isinstance(expected(case), Expected)]


@pytest.mark.parametrize("case", CASES)
def test_fault(case: Case, tmp_path: Path) -> None:
    async def work() -> None:
        wanted = expected(case)
        assert isinstance(wanted, Expected)
        async with with_fault(tmp_path, case) as (f, peer):
            held = await fill(f, "chat", 4) if case.place is Place.CLOUD else []
            lines: list[AccessLogEntry] = []
            f.gate.context.log.write = lines.append  # type: ignore[method-assign]
            began = time.monotonic()
            seen = await ask(f, case)
            assert time.monotonic() - began < QUICK.total / 2
            loop_time = asyncio.get_running_loop().time()
            check(case, wanted.ending, seen)
            # fewer where the sidecar has found its engine gone before the gateway could send anything there
            assert peer.posts == wanted.posts or (case.fault is Fault.RESET and peer.posts == 1)
            if wanted.outcome is not None:
                assert counted(breaker_of(f, case.place), loop_time) is wanted.outcome
            assert all(line.tries <= 3 for line in lines)
            assert f.gate.replicas.pools["chat"].retries.left > RETRY_BURST - 1.01
            await stop(held)
            await nothing_left(f)

    uvloop.run(work())
