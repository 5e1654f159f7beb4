"""Requests leave nothing for the collector of cycles, which looks through old objects next to never in a router."""

import asyncio
import gc
from collections import Counter
from pathlib import Path

import pytest
import uvloop

from forebay.resources.reasons import Capability
from testing.fleet import Fleet, Pool, fleet
from tests.router.test_fleet import stop


async def everything(f: Fleet) -> None:
    """Answers, streams, refusals, errors, hand-overs, clients that wait or leave, engines that break off."""
    for base in (f.url(f.gateway), f.url(f.sidecars["chat-0"])):
        assert (await f.ask(20, base=base)).status_code == 200
        assert (await f.ask(20, base=base, stream=True)).status_code == 200
        assert (await f.ask(base=base, model="nobody")).status_code == 404
        assert (await f.ask(0, base=base, min_tokens=None)).status_code == 400
        leaving = [asyncio.create_task(f.ask(12_000, base=base, stream=n % 2 == 0)) for n in range(4)]
        await asyncio.sleep(0.1)
        await stop(leaving)
    f.engines["chat-0"].faults.error_5xx = True
    for _ in range(4):
        assert (await f.ask(20)).status_code in (429, 503)
    f.engines["chat-0"].faults.error_5xx = False
    await f.http.aclose()  # its connections end at the routers as well


@pytest.mark.slow
def test_requests_leave_no_cycles_behind(tmp_path: Path) -> None:
    async def work() -> Counter[str]:
        pool = Pool(max_wait_seconds=1, capabilities=tuple(Capability))
        async with fleet(tmp_path, {"chat": pool}, cloud=False) as f:
            gc.collect()
            gc.disable()
            await everything(f)
            await f.until(lambda: not f.gate.in_flight and not f.side("chat-0").admission.running)
            f.gate.context.upstream.close()
            await asyncio.sleep(0.1)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return Counter(type(o).__qualname__ for o in gc.garbage if type(o).__module__.startswith("forebay.router"))

    try:
        assert uvloop.run(work()) == Counter()
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
