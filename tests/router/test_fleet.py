"""The rule at work: real sockets, simulated engines, both roles."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvloop

from forebay.resources.options import GatewayOptions
from forebay.resources.reasons import Capability
from forebay.resources.report import ReplicaState
from forebay.resources.table import TargetEntry
from forebay.resources.terms import Permission, TaskSource
from testing.fleet import Fleet, Pool, fleet
from tests.router.taps import lines

SORTER = Pool(capabilities=(Capability.CLASSIFICATION, Capability.EXTRACTION))
SLOW = 20_000  # tokens: longer than any test


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(work())


def decision(response: httpx.Response) -> tuple[int, str, str]:
    return response.status_code, response.headers["x-forebay-destination"], response.headers["x-forebay-reason"]


async def fill(f: Fleet, pool: str, count: int, replica: str = "") -> list[asyncio.Task[httpx.Response]]:
    """Occupy slots of a pool with answers that do not end by themselves."""
    tasks = [
        asyncio.create_task(f.ask(12_000, model=f"{pool}-model", key="sk-vip", x_forebay_priority="High"))
        for _ in range(count)
    ]
    names = [name for name in f.sidecars if name.startswith(pool)]
    await f.until(lambda: sum(f.side(name).admission.running for name in names) == count)
    await f.until(lambda: sum(len(f.engines[name].batch.running) for name in names) == count)  # not on its way there
    await f.until(
        lambda: (
            sum(r.free_high for r in f.gate.replicas.of(pool))
            == sum(f.side(name).admission.slots for name in names) - count
        )
    )
    return tasks


async def stop(tasks: list[asyncio.Task[httpx.Response]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_request_is_served_locally_and_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            answer = await f.ask()
            assert decision(answer) == (200, "chat", "LocalCapacity")
            assert answer.headers["x-forebay-capability"] == "general"
            assert answer.headers["x-forebay-request-id"].startswith("req-")
            assert answer.json()["usage"]["completion_tokens"] == 300

    run(work)


def test_a_stream_comes_through_whole(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            answer = await f.ask(20, stream=True, stream_options={"include_usage": True}, model="chat-model")
            events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert events[-1] == "[DONE]"
            assert json.loads(events[-2])["usage"]["completion_tokens"] == 20

    run(work)


@pytest.mark.slow
def test_capability_decides_where_the_model_is_left_open(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            spam = [{"role": "user", "content": "Is this spam or not? Answer yes or no.\n\nYou have won!"}]
            assert decision(await f.ask(300, messages=spam))[1] == "sort"
            assert decision(await f.ask(300))[1] == "chat"
            assert decision(await f.ask(10, x_forebay_task_type="short"))[1] == "sort"
            assert decision(await f.ask(300, x_forebay_task_type="extract"))[1] == "sort"

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "pool"), [(TaskSource.ANYWHERE, "sort"), (TaskSource.USER, "chat")])
def test_a_gateway_looks_for_the_task_where_its_fleet_says(tmp_path: Path, source: TaskSource, pool: str) -> None:
    async def work() -> None:
        options = {"gateway": GatewayOptions(task_source=source)}
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}, cloud=False, gateway=options) as f:
            template = {"role": "system", "content": "Classify the message as spam or ham. Answer with one word."}
            asked = [template, {"role": "user", "content": "I will be in Rome on Friday, see you there!"}]
            assert decision(await f.ask(300, messages=asked))[1] == pool

    run(work)


@pytest.mark.slow
def test_high_goes_to_the_primary_when_the_pool_is_full_and_normal_waits_while_another_has_room(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            held = await fill(f, "chat", 2)
            high = await f.ask(key="sk-vip", x_forebay_priority="High")
            assert decision(high) == (200, "acme/acme-model", "HighPriorityOverflow")
            assert high.json()["model"] == "acme-model"
            normal = asyncio.create_task(f.ask())
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            assert not normal.done()
            await stop(held)
            answer = await normal
            assert decision(answer) == (200, "chat", "Queued")
            assert int(answer.headers["x-forebay-queue-ms"]) > 0

    run(work)


def test_normal_goes_to_the_secondary_when_every_pool_is_full(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            held = await fill(f, "chat", 2) + await fill(f, "sort", 2)
            answer = await f.ask(stream=True)
            assert decision(answer) == (200, "bravo/bravo-model", "AllPoolsFull")
            assert answer.text.rstrip().endswith("data: [DONE]")
            assert '"usage"' not in answer.text  # asked for on the client's behalf, and taken out again
            report = f.gate.report()
            assert [(p.pool, p.overflowed_total, p.overflow_running) for p in report.pools] == [
                ("chat", 1, 0),
                ("sort", 0, 0),
            ]
            await stop(held)

    run(work)


def test_who_has_no_key_asks_for_high_in_vain(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            held = await fill(f, "chat", 2)
            asked = asyncio.create_task(f.ask(x_forebay_priority="High", key="sk-unknown"))
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            await stop([*held, asked])

    run(work)


def test_without_a_policy_full_means_429_with_retry_after(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(max_wait_seconds=0)}, cloud=False) as f:
            held = await fill(f, "chat", 2)
            answer = await f.ask()
            assert decision(answer) == (429, "none", "NoPolicy")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["type"] == "rate_limit_error"
            assert f.gate.report().pools[0].expired_total == 1
            await stop(held)

    run(work)


def test_a_full_queue_refuses(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(max_requests=1)}, cloud=False) as f:
            held = await fill(f, "chat", 2)
            waiting = asyncio.create_task(f.ask())
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            answer = await f.ask()
            assert decision(answer) == (429, "none", "QueueFull")
            assert "retry-after" in answer.headers
            await stop([*held, waiting])
            await f.until(lambda: f.gate.waiting.length("chat") == 0)  # who leaves gives up the place

    run(work)


def test_a_client_that_leaves_frees_its_slot_and_the_engine_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            held = await fill(f, "chat", 2)
            await stop(held)
            await f.until(lambda: f.side("chat-0").admission.running == 0)
            await f.until(lambda: not f.engines["chat-0"].batch.running)

    run(work)


@pytest.mark.parametrize("door", ["gateway", "replica"])
def test_each_answer_that_is_made_side_by_side_takes_a_slot(tmp_path: Path, door: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}) as f:
            base = f.url(f.sidecars["chat-0"]) if door == "replica" else ""
            asked = asyncio.create_task(f.ask(2_000, n=3, base=base))
            await f.until(lambda: f.side("chat-0").admission.running == 3)
            await stop([asked])
            await f.until(lambda: f.side("chat-0").admission.running == 0)

    run(work)


@pytest.mark.slow
def test_a_draining_replica_gets_nothing_new_and_reports_drained_when_idle(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=2)}) as f:
            health = f.url(f.sidecars["chat-0"], "health")
            assert (await f.http.post(health + "/drain")).status_code == 200
            await f.until(lambda: sum(r.state is ReplicaState.SERVING for r in f.gate.replicas.of("chat")) == 1)
            assert (await f.http.get(health + "/readyz")).status_code == 503
            for _ in range(4):
                assert (await f.ask()).status_code == 200
            assert f.side("chat-0").admission.admitted_total == 0
            assert (await f.http.get(health + "/drained")).text == "drained\n"

    run(work)


def test_drained_waits_for_what_runs(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            held = await fill(f, "chat", 1)
            drained = asyncio.create_task(f.http.get(f.url(f.sidecars["chat-0"], "health") + "/drained"))
            await f.until(lambda: not f.side("chat-0").ready)
            assert not drained.done()
            await stop(held)
            assert (await drained).status_code == 200

    run(work)


@pytest.mark.slow
def test_a_replica_that_fails_before_the_first_byte_is_replaced_by_another(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=2)}) as f:
            f.side("chat-0").engine.address = ("127.0.0.1", 1)  # nobody listens there
            answers = [await f.ask(x_forebay_session=f"s{i}") for i in range(6)]
            assert {a.status_code for a in answers} == {200}

    run(work)


def test_a_cut_stream_ends_with_an_error_event_and_not_cleanly(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            f.engines["chat-0"].faults.cut = True
            received = b""
            with pytest.raises(httpx.RemoteProtocolError):
                url = f.url(f.gateway) + "/v1/chat/completions"
                messages = [{"role": "user", "content": "hello"}]
                body = {
                    "model": "chat-model", "messages": messages, "stream": True, "max_tokens": 50, "min_tokens": 50,
                }  # fmt: skip
                async with f.http.stream("POST", url, json=body) as response:
                    async for piece in response.aiter_raw():
                        received += piece
            assert b'data: {"error":' in received
            assert b"[DONE]" not in received

    run(work)


def test_an_engines_context_length_error_becomes_a_gap_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(engine_context=100)}) as f:
            answer = await f.ask(300)
            assert decision(answer) == (200, "bravo/bravo-model", "ContextLengthGap")

    run(work)


def test_a_clients_own_mistake_comes_back_from_the_engine_as_it_is(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            answer = await f.ask(0, min_tokens=None)
            assert answer.status_code == 400
            assert "max_tokens must be at least 1" in answer.json()["error"]["message"]

    run(work)


@pytest.mark.slow
def test_a_provider_that_fails_hands_over_to_the_next_and_then_to_the_queue(tmp_path: Path) -> None:
    both = tuple(TargetEntry(provider=p, model=f"{p}-model") for p in ("acme", "bravo"))

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, policy={"primary": both}) as f:
            held = await fill(f, "chat", 2)
            f.providers["acme"].faults.error_5xx = True
            assert decision(await f.ask(key="sk-vip", x_forebay_priority="High"))[1] == "bravo/bravo-model"
            f.providers["bravo"].faults.reject_429 = True
            waiting = asyncio.create_task(f.ask(key="sk-vip", x_forebay_priority="High"))
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            await stop(held)
            assert decision(await waiting) == (200, "chat", "Queued")

    run(work)


def test_a_named_model_leaves_only_where_its_pool_allows_a_substitute(tmp_path: Path) -> None:
    async def work() -> None:
        pools = {"chat": Pool(max_wait_seconds=0), "open": Pool(substitute=Permission.ALLOWED)}
        async with fleet(tmp_path, pools) as f:
            held = await fill(f, "chat", 2) + await fill(f, "open", 2)
            assert decision(await f.ask(model="chat-model")) == (429, "none", "SubstitutionDenied")
            assert decision(await f.ask(model="open-model"))[1] == "bravo/bravo-model"
            await stop(held)

    run(work)


def test_a_request_that_must_stay_local_does(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(max_wait_seconds=0)}) as f:
            held = await fill(f, "chat", 2)
            assert decision(await f.ask(x_forebay_cloud="Never")) == (429, "none", "LocalOnly")
            await stop(held)

    run(work)


def test_a_client_with_a_limit_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=8)}) as f:
            first = asyncio.create_task(f.ask(12_000, key="sk-one"))
            await f.until(lambda: f.side("chat-0").admission.running == 1)
            assert decision(await f.ask(key="sk-one")) == (429, "none", "ClientLimit")
            await stop([first])

    run(work)


def test_what_is_not_served_is_404_in_the_form_that_clients_parse(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            assert decision(await f.ask(model="nope")) == (404, "none", "ModelNotFound")
            base = f.url(f.gateway)
            for path in ("/metrics", "/pause", "/v1/../pause", "/v1/%2e%2e/pause", "/v1/load_lora_adapter"):
                answer = await f.http.post(base + path, json={})
                assert answer.status_code == 404
                assert answer.json()["error"]["type"] == "not_found_error"
            listed = (await f.http.get(base + "/v1/models")).json()
            assert [m["id"] for m in listed["data"]] == ["auto", "chat-model"]

    run(work)


@pytest.mark.slow
def test_the_pools_own_service_serves_and_hands_on_what_has_no_slot(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            base = f.url(f.sidecars["chat-0"])
            assert decision(await f.ask(base=base)) == (200, "chat", "LocalCapacity")
            assert decision(await f.ask(base=base, model="sort-model"))[1] == "sort"
            held = await fill(f, "chat", 2)
            answer = await f.ask(base=base, key="sk-vip", x_forebay_priority="High")
            assert decision(answer)[1:] == ("acme/acme-model", "HighPriorityOverflow")
            await stop(held)

    run(work)


def test_without_any_gateway_a_sidecar_has_a_short_line_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            held = await fill(f, "chat", 2)
            side = f.side("chat-0")
            alone = msgspec.structs.replace(side.context.table.table, generation=3, gateway_addresses=("127.0.0.1:1",))
            side.context.table.take(alone)
            asked = asyncio.create_task(f.ask(base=f.url(f.sidecars["chat-0"])))
            await f.until(lambda: side.slotless.waiting == 1)
            await stop(held)
            answer = await asked
            assert decision(answer) == (200, "chat", "Queued")
            assert int(answer.headers["x-forebay-queue-ms"]) > 0

    run(work)


@pytest.mark.parametrize("moment", ["before the first step", "in the line", "at a gateway"])
def test_a_client_that_leaves_where_no_slot_is_free_has_one_line_in_one_log(tmp_path: Path, moment: str) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            held = await fill(f, "chat", 2)
            side, log, gateways = f.side("chat-0"), lines(f.sidecars["chat-0"]), lines(f.gateway)
            if moment != "at a gateway":
                table = side.context.table.table
                side.context.table.take(
                    msgspec.structs.replace(table, generation=3, gateway_addresses=("127.0.0.1:1",))
                )
            spawn = side.context.spawn
            if moment == "before the first step":

                def cancelled(work: Any) -> Any:
                    task = spawn(work)
                    task.cancel()
                    return task

                side.context.spawn = cancelled  # type: ignore[method-assign]
            asked = asyncio.create_task(f.ask(base=f.url(f.sidecars["chat-0"])))
            match moment:
                case "in the line":
                    await f.until(lambda: side.slotless.waiting == 1)
                case "at a gateway":
                    await f.until(lambda: f.gate.waiting.length("chat") == 1)
            if moment != "before the first step":
                asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await f.until(lambda: len(log()) + len(gateways()) == 1)
            assert [line["status"] for line in (log() or gateways())] == [499]
            assert bool(log()) is (moment != "at a gateway")
            await f.until(lambda: (side.without_slot, side.slotless.waiting) == (0, 0))
            side.context.spawn = spawn  # type: ignore[method-assign]
            await stop(held)

    run(work)


def test_a_replica_that_drains_waits_for_what_it_handed_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}, cloud=False) as f:
            side = f.side("chat-0")
            asked = asyncio.create_task(f.ask(3_000, base=f.url(f.sidecars["chat-0"]), model="sort-model"))
            await f.until(lambda: f.side("sort-0").admission.running == 1)
            drained = asyncio.create_task(side.drained())
            await asyncio.sleep(0.3)
            assert not drained.done()
            assert (await asked).status_code == 200
            await asyncio.wait_for(drained, 5)

    run(work)


def test_internal_headers_of_a_client_mean_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            held = await fill(f, "chat", 2)
            forged = asyncio.create_task(f.ask(x_forebay_client="vip", x_forebay_hop="1", x_forebay_priority="High"))
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            await stop([*held, forged])

    run(work)


def test_metrics_and_report_speak_of_the_fleet(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            await f.ask()
            text = (await f.http.get(f.url(f.gateway, "metrics") + "/metrics")).text
            assert 'forebay_slots{pool="chat"} 2.0' in text
            assert 'reason="LocalCapacity"' in text
            assert "forebay_connections 1.0" in text
            assert "forebay_body_bytes 0.0" in text
            assert "forebay_upstream_calls 0.0" in text
            side = (await f.http.get(f.url(f.sidecars["chat-0"], "control") + "/forebay/v1/report")).json()
            assert (side["role"], side["state"], side["finishedTotal"]) == ("sidecar", "Serving", 1)
            assert (await f.http.get(f.url(f.gateway, "health") + "/readyz")).status_code == 200

    run(work)
