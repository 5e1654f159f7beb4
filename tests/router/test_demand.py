"""What a gateway tells the operator of demand: each request once, at the pool the rule would have chosen, and only for
lack of a slot. And how it wakes a pool without replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forebay.controller.cluster import wake_port
from forebay.resources.reasons import Capability, Reason
from forebay.resources.report import PoolDemand
from forebay.resources.table import ModelEntry, PolicyEntry, RoutingTable, decode, encode
from forebay.resources.terms import GapAction, Modality
from testing.fleet import Fleet, Pool, fleet
from tests.router.test_fleet import decision, fill, run, stop

ONE = {"chat": Pool(slots=1)}


def demand(f: Fleet, pool: str = "chat") -> PoolDemand:
    return next(item for item in f.gate.report().pools if item.pool == pool)


def lost(f: Fleet, pool: str = "chat") -> tuple[int, int, int]:
    """Overflowed, rejected, expired."""
    found = demand(f, pool)
    return found.overflowed_total, found.rejected_total, found.expired_total


def changed(f: Fleet, **fields: Any) -> None:
    """The gateway takes another table."""
    table = f.gateway.context.table
    new: RoutingTable = msgspec.structs.replace(table.table, generation=table.table.generation + 1, **fields)
    table.take(decode(encode(new)))


def priced(entry: PolicyEntry) -> PolicyEntry:
    """The policy with a price for each model: a thousand dollars for a million tokens of an answer."""

    def model(item: ModelEntry) -> ModelEntry:
        return msgspec.structs.replace(item, input_price="0", output_price="1000")

    providers = tuple(
        msgspec.structs.replace(item, models=tuple(model(one) for one in item.models)) for item in entry.providers
    )
    return msgspec.structs.replace(entry, providers=providers)


def test_overflow_is_counted_once_with_its_reason_and_its_money(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, ONE) as f:
            changed(f, policies=tuple(priced(entry) for entry in f.gateway.context.table.table.policies))
            tasks = await fill(f, "chat", 1)
            answer = await f.ask(20)
            assert decision(answer) == (200, "bravo/bravo-model", "AllPoolsFull")
            await f.until(lambda: demand(f).overflow_running == 0)  # the client may be quicker
            assert lost(f) == (1, 0, 0)
            assert demand(f).overflow_by_reason == {Reason.ALL_POOLS_FULL: 1}
            tokens = answer.json()["usage"]["completion_tokens"]
            assert demand(f).overflow_cost_total == Decimal(tokens) / 1000
            await stop(tasks)

    run(work)


def test_a_request_sent_again_by_the_clients_library_is_no_new_demand(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, ONE) as f:
            tasks = await fill(f, "chat", 1)
            again = {"x_stainless_retry_count": "1"}
            assert (await f.ask(20, **again)).status_code == 200
            assert lost(f) == (0, 0, 0)
            assert demand(f).requests_total == 0
            await stop(tasks)

    run(work)


def test_a_wait_that_the_clients_own_time_ends_counts_as_expired(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, ONE, cloud=False) as f:
            tasks = await fill(f, "chat", 1)
            answer = await f.ask(20, x_forebay_timeout_seconds="0.3")
            assert answer.status_code == 503
            assert answer.headers["x-forebay-reason"] == "DeadlineExceeded"
            assert lost(f) == (0, 0, 1)
            await stop(tasks)

    run(work)


@pytest.mark.slow
def test_a_wait_in_vain_and_a_full_line_count(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=1, max_wait_seconds=1, max_requests=1)}, cloud=False) as f:
            tasks = await fill(f, "chat", 1)
            first = asyncio.create_task(f.ask(20))
            await f.until(lambda: demand(f).queued == 1)
            refused = await f.ask(20)
            assert (refused.status_code, refused.headers["x-forebay-reason"]) == (429, "QueueFull")
            assert (await first).status_code == 429
            assert lost(f) == (0, 1, 1)
            await stop(tasks)

    run(work)


def test_gaps_are_no_demand_wherever_they_go(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"chat": Pool(slots=1, capabilities=(Capability.GENERAL,))}
        async with fleet(tmp_path, pools) as f:
            gap = await f.ask(300, x_forebay_complexity_score="0.9")
            assert decision(gap) == (200, "bravo/bravo-model", "CapabilityGap")
            picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
            blind = await f.ask(300, messages=[{"role": "user", "content": picture}])
            assert blind.headers["x-forebay-reason"] in ("ModalityGap", "NotPortable")
            assert lost(f) == (0, 0, 0)
            assert demand(f).requests_total == 0

    run(work)


def test_what_waits_at_a_gap_is_not_counted_as_queued(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"chat": Pool(slots=1, inputs=(Modality.TEXT,))}
        async with fleet(tmp_path, pools, policy={"gap": GapAction.QUEUE}) as f:
            entry = f.gateway.context.table.table.pools[0]
            queue = msgspec.structs.replace(entry.queue, cold_start_wait_seconds=20)
            changed(f, pools=(msgspec.structs.replace(entry, queue=queue),))
            tasks = await fill(f, "chat", 1)
            picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
            waits = asyncio.create_task(f.ask(300, messages=[{"role": "user", "content": picture}]))
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            assert demand(f).queued == 0
            await stop([waits, *tasks])
            assert lost(f) == (0, 0, 0)

    run(work)


def test_polls_of_the_model_list_are_no_requests(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, ONE) as f:
            assert (await f.http.get(f.url(f.gateway) + "/v1/models")).status_code == 200
            assert demand(f).last_request == 0.0
            assert f.side("chat-0").last_request == 0.0
            await f.ask(20)
            assert demand(f).last_request > 0.0

    run(work)


@asynccontextmanager
async def operator(f: Fleet, asked: list[tuple[str, str]], token: str = "none") -> AsyncIterator[None]:
    """The operator's own port, known to the gateway."""

    def wanted(fleet_name: str, pool: str) -> None:
        asked.append((fleet_name, pool))

    server = await wake_port.serve("127.0.0.1", 0, lambda name, given: name == "team" and given == token, wanted)
    port = server.sockets[0].getsockname()[1]
    changed(f, fleet="team", operator_addresses=(f"127.0.0.1:{port}",))
    try:
        yield
    finally:
        server.close()


ASLEEP = {"chat": Pool(slots=1, replicas=0), "sorter": Pool(capabilities=(Capability.CLASSIFICATION,))}


@pytest.mark.slow
def test_a_pool_without_replicas_is_asked_for_once_however_many_requests_come(tmp_path: Path) -> None:
    async def work() -> None:
        asked: list[tuple[str, str]] = []
        async with fleet(tmp_path, ASLEEP) as f, operator(f, asked):
            answers = await asyncio.gather(*(f.ask(300) for _ in range(5)))
            assert {decision(answer) for answer in answers} == {(200, "bravo/bravo-model", "NoReplicas")}
            await f.until(lambda: asked != [])
            await f.ask(300, key="sk-vip", x_forebay_priority="High")
            await asyncio.sleep(0.1)
            assert asked == [("team", "chat")]
            assert lost(f)[0] == 6

    run(work)


def test_a_pool_with_replicas_is_not_asked_for_however_full(tmp_path: Path) -> None:
    async def work() -> None:
        asked: list[tuple[str, str]] = []
        async with fleet(tmp_path, ONE) as f, operator(f, asked):
            tasks = await fill(f, "chat", 1)
            await f.ask(20)
            await asyncio.sleep(0.1)
            assert asked == []
            await stop(tasks)

    run(work)


def test_an_operator_that_is_away_or_refuses_hurts_nobody_and_the_report_says_what_is_wanted(tmp_path: Path) -> None:
    async def work() -> None:
        asked: list[tuple[str, str]] = []
        async with fleet(tmp_path, ASLEEP, cloud=False) as f:
            changed(f, fleet="team", operator_addresses=("127.0.0.1:9",))
            assert (await f.ask(300)).headers["x-forebay-reason"] == "NoReplicas"
            async with operator(f, asked, token="another"):
                f.gate.sleepers._asked.clear()
                assert (await f.ask(300)).status_code == 503
                await asyncio.sleep(0.1)
            assert asked == []
            assert lost(f) == (0, 0, 2)

    run(work)
