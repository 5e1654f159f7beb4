"""Sessions find their replica again, whichever gateway takes their next request."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from forebay.router.placement.prefill import TOLD_AT_ONCE, Prefill, read
from forebay.rules.affinity import digest, prefer
from forebay.simulator.batch import ServiceTime
from testing.fleet import Fleet, Pool, fleet

NAME = "chat-model"
SLOW_PREFILL = ServiceTime(base=0.001, per_running=0.0, per_kv_token=0.0, prefill_tokens_per_second=4000)


def ahead(f: Fleet) -> dict[str, list[int]]:
    """Prompt tokens that wait at each replica, as the gateways know them."""
    return {
        name: [r.ahead for gate in f.gates for r in gate.replicas.of("chat") if r.name == name] for name in f.sidecars
    }


def test_every_gateway_follows_a_session_to_where_it_was_served(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=3, slots=4)}, cloud=False, gateways=2) as f:
            session = digest(b"s")
            served = prefer(session, f.sidecars)[-1]
            own = f.url(f.sidecars[served])
            assert (await f.ask(4, model=NAME, base=own, x_forebay_session="s")).status_code == 200
            known = [gate.replicas.pools["chat"].sessions for gate in f.gates]
            await f.until(lambda: all(len(sessions) for sessions in known))
            for router in (f.gateway, *f.more_gateways):
                assert (
                    await f.ask(4, model=NAME, base=f.url(router), x_forebay_session="s", stream=True)
                ).status_code == 200
            assert f.side(served).admission.admitted_total == 3

    uvloop.run(scene())


@pytest.mark.slow
def test_every_gateway_knows_how_much_waits_for_its_first_token(tmp_path: Path) -> None:
    async def scene() -> None:
        pools = {"chat": Pool(replicas=2, slots=4)}
        async with fleet(tmp_path, pools, cloud=False, gateways=2, times=SLOW_PREFILL) as f:
            long = [{"role": "user", "content": "word " * 4000}]
            asked = asyncio.create_task(f.ask(2, model=NAME, messages=long, stream=True, x_forebay_session="s"))
            (busy, idle) = prefer(digest(b"s"), f.sidecars)
            await f.until(lambda: ahead(f)[busy] == [5000, 5000])
            assert ahead(f)[idle] == [0, 0]
            assert (await asked).status_code == 200
            await f.until(lambda: ahead(f)[busy] == [0, 0])

    uvloop.run(scene())


def test_a_prompt_counts_until_its_first_token_or_its_end() -> None:
    async def scene() -> None:
        told: list[int] = []
        prefill = Prefill(lambda: told.append(prefill.ahead))
        one, other = prefill.begin(1, 100, streams=True), prefill.begin(2, 50, streams=True)
        assert prefill.ahead == 150
        one.computed()
        one.given_up()
        other.given_up()
        assert (prefill.ahead, told) == (0, [50])
        assert (prefill.take(), prefill.take()) == (((1, 100),), ())
        hidden = prefill.begin(3, 4, streams=False)  # 1 ms at the speed that is assumed
        assert hidden.waits
        await asyncio.sleep(0.01)
        assert (prefill.take(), prefill.ahead) == (((3, 4),), 0)
        for session in range(2 * TOLD_AT_ONCE):
            prefill.begin(session, 1, streams=True).computed()
        assert len(prefill.take()) == TOLD_AT_ONCE

    uvloop.run(scene())


def test_a_header_that_is_not_understood_counts_nothing() -> None:
    assert read(b"7 100 1") == (7, 100, True)
    assert read(b"7 100 0") == (7, 100, False)
    for words in (b"", b"1 2", b"a b c", b"1 2 3 4"):
        assert read(words)[:2] == (0, 0)
