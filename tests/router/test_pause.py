"""A router that was held up, or stopped, listens first and judges then: what runs, runs on, and new requests stay."""

import asyncio
import time
from pathlib import Path

import pytest
import uvloop

from forebay.resources.options import RouterTimeouts
from forebay.rules.facts import REPORT_TTL_SECONDS
from forebay.simulator.batch import ServiceTime
from testing.fleet import Pool, fleet

pytestmark = pytest.mark.slow

PAUSE = 3 * REPORT_TTL_SECONDS
TIMEOUTS = RouterTimeouts(connect=1.0, first_token=2.0, between_chunks=2.0, silence=2.0, total=60.0)
SLOW = ServiceTime(base=0.02, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=1e6)


@pytest.mark.parametrize("pauses", [1, 3])
def test_after_a_pause_of_its_own_a_router_serves_on(pauses: int, tmp_path: Path) -> None:
    async def work() -> None:
        pool = Pool(slots=8, replicas=2)
        async with fleet(tmp_path, {"chat": pool}, times=SLOW, timeouts=TIMEOUTS) as f:
            await f.ask(1)
            running = [asyncio.create_task(f.ask(100, stream=n % 2 == 0)) for n in range(4)]
            await asyncio.sleep(0.2)
            for _ in range(pauses):
                running += [asyncio.create_task(f.ask(10, stream=n % 2 == 0)) for n in range(2)]
                await asyncio.sleep(0)
                time.sleep(PAUSE)  # the whole process stands still
                await asyncio.sleep(0.3)
            answers = await asyncio.gather(*running)
            assert [answer.status_code for answer in answers] == [200] * len(running)
            assert {answer.headers["x-forebay-destination"] for answer in answers} == {"chat"}
            assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers[::2])
            asked = sum(f.side(name).admission.admitted_total for name in f.sidecars)
            assert asked == len(running) + 1, "none was computed twice"

    uvloop.run(work())
