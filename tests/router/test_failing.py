"""What bounds failing over: tries, budget, breakers, deadlines; and what must not be tried elsewhere at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.options import RouterTimeouts
from forebay.resources.reasons import Capability, Priority
from forebay.resources.report import OfferAnswer, SlotOffer, WaitingWord, decode_from_gateway
from forebay.resources.table import PoolEntry, TargetEntry
from forebay.router.http.exchange import Budget
from forebay.router.http.message_channel import DialledChannel
from forebay.router.placement.gateway_queue import GatewayQueue
from forebay.router.placement.pool_replicas import PoolReplicas, Replica
from forebay.router.request_flow import RequestFlow
from forebay.rules.breaker import Breaker, CallResult, Phase, phase
from forebay.rules.queue import Waiter
from testing.fleet import Fleet, Pool, fleet
from tests.router.compiled import patches_a_method
from tests.router.faulty import RETRY_AFTER, Fault, Faulty, Moment
from tests.router.test_fleet import SORTER, decision, fill, stop

QUICK = RouterTimeouts(connect=1.0, first_token=0.6, between_chunks=0.6, total=20.0)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(work())


@asynccontextmanager
async def all_faulty(tmp: Path, fault: Fault, replicas: int, **more: Any) -> AsyncIterator[tuple[Fleet, list[Faulty]]]:
    """A fleet of which every engine misbehaves."""
    peers: list[Faulty] = []

    async def front(name: str, port: int) -> int:
        if not name.startswith("engine"):
            return port
        peers.append(Faulty(("127.0.0.1", port), fault))
        await peers[-1].start()
        return peers[-1].port

    pool = Pool(replicas=replicas, max_wait_seconds=2)
    async with fleet(tmp, {"chat": pool}, timeouts=QUICK, front=front, **more) as f:
        try:
            yield f, peers
        finally:
            for peer in peers:
                await peer.stop()


@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.SERVER_ERROR])
def test_a_request_is_sent_to_three_replicas_at_most(tmp_path: Path, fault: Fault) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, fault, 5, cloud=False) as (f, peers):
            answer = await f.ask()
            wanted = (429, "none", "NoPolicy") if fault is Fault.TOO_MANY else (503, "none", "ReplicaFailed")
            assert decision(answer) == wanted
            assert sum(peer.posts for peer in peers) == 3
            least = RETRY_AFTER if fault is Fault.TOO_MANY else 1
            assert int(answer.headers["retry-after"]) >= least
            assert answer.json()["error"]["message"]

    run(work)


@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.SERVER_ERROR])
def test_what_every_replica_failed_goes_to_a_provider_where_the_rule_allows(tmp_path: Path, fault: Fault) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, fault, 4) as (f, peers):
            answer = await f.ask()
            reason = "QueueExpired" if fault is Fault.TOO_MANY else "ReplicaFailed"
            assert decision(answer) == (200, "bravo/bravo-model", reason)
            assert sum(peer.posts for peer in peers) == 3
            assert f.gate.report().pools[0].overflowed_total == (1 if fault is Fault.TOO_MANY else 0)

    run(work)


@pytest.mark.parametrize("high", [True, False])
def test_a_request_is_sent_four_times_at_most_providers_included(tmp_path: Path, high: bool) -> None:
    many = tuple(TargetEntry(provider=p, model=f"{p}-model") for p in ("acme", "bravo"))

    async def work() -> None:
        tiers = {"primary": many, "secondary": many}
        async with all_faulty(tmp_path, Fault.TOO_MANY, 5, policy=tiers) as (f, peers):
            for provider in f.providers.values():
                provider.faults.error_5xx = True
            lines: list[AccessLogEntry] = []
            f.gate.context.log.write = lines.append  # type: ignore[method-assign]
            asking = {"key": "sk-vip", "x_forebay_priority": "High"} if high else {}
            answer = await f.ask(**asking)
            assert decision(answer) == (429, "none", "CloudUnavailable")
            assert sum(peer.posts for peer in peers) == 3
            assert lines[0].tries == 4

    run(work)


def test_the_only_replica_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.RESET, 1) as (f, peers):
            assert decision(await f.ask()) == (200, "bravo/bravo-model", "ReplicaFailed")
            assert peers[0].posts == 1
            low = await f.ask(key="sk-vip", x_forebay_priority="Low")
            assert decision(low)[1] == "none"

    run(work)


def test_without_retry_budget_the_first_fault_is_the_last(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.SERVER_ERROR, 3) as (f, peers):
            budget = f.gate.replicas.pools["chat"].retries
            budget.left, budget.counted = 0.0, asyncio.get_running_loop().time()
            assert decision(await f.ask()) == (503, "none", "ReplicaFailed")
            assert sum(peer.posts for peer in peers) == 1

    run(work)


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET])
def test_an_engine_that_fails_even_its_sidecar_gets_nothing_until_it_is_well(tmp_path: Path, fault: Fault) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, fault, 1) as (f, peers):
            replica, loop = f.gate.replicas.of("chat")[0], asyncio.get_running_loop()
            assert decision(await f.ask())[1:] == ("bravo/bravo-model", "ReplicaFailed")
            await f.until(lambda: not replica.serves(loop.time()))
            assert replica.breaker.openings == 0, "one sender's faults are no proof"
            peers[0].fault = Fault.SLOW_START
            await f.until(lambda: replica.serves(loop.time()))
            assert decision(await f.ask())[1] == "chat"
            assert replica.breaker == Breaker()

    run(work)


def test_a_request_whose_task_ends_before_its_first_step_is_counted_no_longer(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, cloud=False) as f:
            held = await fill(f, "chat", 2)
            context = f.gate.context
            before, spawn = f.gate.in_flight, context.spawn
            spawned: list[asyncio.Task[None]] = []

            def cancelled(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                task = spawn(work)
                task.cancel()
                spawned.append(task)
                return task

            context.spawn = cancelled  # type: ignore[method-assign]
            asked = asyncio.create_task(f.ask(key="sk-one"))
            await f.until(lambda: spawned)
            await asyncio.sleep(0.1)
            assert f.gate.in_flight == before
            assert "one" not in context.clients.in_flight
            await stop([asked, *held])

    run(work)


def test_the_first_token_opens_the_door_to_a_newcomers_further_streams(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=2)}, cloud=False) as f:
            assert decision(await f.ask())[1] == "chat"
            held = [
                asyncio.create_task(f.ask(12_000, stream=True, key="sk-vip", x_forebay_priority="High"))
                for _ in range(2)
            ]
            await f.until(lambda: f.side("chat-0").admission.running == 2)
            await stop(held)

    run(work)


def test_an_engine_without_an_api_is_no_failing_engine(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.SERVER_ERROR, 1, cloud=False) as (f, peers):
            peers[0].poison = b'"messages"'
            replica, loop = f.gate.replicas.of("chat")[0], asyncio.get_running_loop()
            for _ in range(3):
                assert (await f.ask()).status_code == 503
                await asyncio.sleep(0.7)
            assert replica.serves(loop.time())

    run(work)


def test_one_senders_faults_shut_nobody_out_and_cost_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.SERVER_ERROR, 1) as (f, peers):
            peers[0].poison = b"poison"
            replica, loop = f.gate.replicas.of("chat")[0], asyncio.get_running_loop()
            for turn in range(20):
                bad = await f.ask(key="sk-one", messages=[{"role": "user", "content": "poison"}])
                assert decision(bad)[1] == ("bravo/bravo-model" if turn == 0 else "none")
                assert decision(await f.ask())[1] == "chat"
            assert replica.serves(loop.time())
            assert replica.breaker == Breaker()

    run(work)


def test_a_stream_that_breaks_each_time_opens_the_breaker(tmp_path: Path) -> None:
    pool = PoolReplicas(PoolEntry(name="chat", served_names=()))
    replica = Replica(("127.0.0.1", 1), "chat")
    for now in (1.0, 2.0, 3.0):
        pool.tried(replica, CallResult.FAULT, now, sender=f"client {now}")
    assert phase(replica.breaker, 3.5) is Phase.OPEN


@pytest.mark.slow
def test_an_engine_whose_answers_all_break_off_gets_nothing_though_each_begins_well(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.CUT, 1, cloud=False) as (f, peers):
            peers[0].moment = Moment.AFTER
            replica = f.gate.replicas.of("chat")[0]
            loop = asyncio.get_running_loop()
            with pytest.raises(httpx.HTTPError):
                await f.ask(stream=True)
            await f.until(lambda: not replica.serves(loop.time()))

    run(work)


def test_a_stream_under_way_brings_a_replica_back_before_it_ends(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=4)}, cloud=False) as f:
            replica = f.gate.replicas.of("chat")[0]
            replica.breaker = Breaker(faults=3, openings=1)  # half-open
            f.gate.replicas.pools["chat"].stale = True
            held = [asyncio.create_task(f.ask(12_000, stream=True))]
            await f.until(lambda: phase(replica.breaker, 0.0) is Phase.CLOSED)
            assert not held[0].done()
            assert decision(await f.ask())[1] == "chat"
            assert replica.breaker == Breaker(), "a whole answer forgets the faults"
            await stop(held)

    run(work)


def test_a_fault_says_nothing_of_the_queue(tmp_path: Path) -> None:
    async def work() -> None:
        async with all_faulty(tmp_path, Fault.SERVER_ERROR, 1, cloud=False) as (f, _):
            for _ in range(3):  # a quiet pool drains slowly
                answer = await f.ask()
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) <= 2

    run(work)


@pytest.mark.slow
def test_a_probe_that_finds_the_replica_full_leaves_room_for_the_next(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(max_wait_seconds=1)}, cloud=False) as f:
            held = await fill(f, "chat", 2)
            replica = f.gate.replicas.of("chat")[0]
            replica.breaker = Breaker(faults=3, openings=1)
            replica.free = replica.free_high = 1  # as an old report would say
            f.gate.replicas.pools["chat"].stale = True
            assert decision(await f.ask())[0] == 429
            assert not replica.breaker.probing
            await stop(held)

    run(work)


@pytest.mark.parametrize("port", ["gateway", "sidecar"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_request_ends_with_its_own_time_which_is_no_fault_of_the_replica(
    tmp_path: Path, port: str, stream: bool
) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            f.engines["chat-0"].faults.dead_gpu = True
            base = f.url(f.gateway if port == "gateway" else f.sidecars["chat-0"])
            answer = await f.ask(base=base, stream=stream, x_forebay_timeout_seconds="0.4")
            assert decision(answer) == (503, "none", "DeadlineExceeded")
            assert "retry-after" in answer.headers
            assert f.gate.replicas.of("chat")[0].breaker == Breaker()
            await f.until(lambda: f.side("chat-0").admission.running == 0)
            assert not f.gate.context.upstream.active

    run(work)


@pytest.mark.slow
def test_an_answer_that_is_not_streamed_may_take_longer_than_a_first_token(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}, timeouts=QUICK, cloud=False) as f:
            for base in (f.url(f.gateway), f.url(f.sidecars["chat-0"])):
                assert decision(await f.ask(500, base=base)) == (200, "chat", "LocalCapacity")  # a second and more

    run(work)


def test_a_token_that_a_replica_does_not_know_is_no_clients_fault(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(replicas=2)}) as f:
            folder = tmp_path / "token"
            folder.mkdir()
            (folder / "current").write_text("another")
            token = f.side("chat-0").context.token
            token.folder, token.valid = folder, [b"another"]
            answers = [await f.ask(20, x_forebay_session=f"s{n}") for n in range(6)]
            assert {answer.status_code for answer in answers} == {200}

    run(work)


def test_back_pressure_cuts_the_slots_to_what_ran_without_the_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=4)}) as f:
            held = await fill(f, "chat", 2)
            f.engines["chat-0"].faults.reject_429 = True
            assert (await f.ask(key="sk-vip", x_forebay_priority="High")).status_code == 200  # elsewhere
            assert f.side("chat-0").admission.slots == 2
            await stop(held)

    run(work)


def test_an_offer_of_a_replica_that_asked_to_be_left_alone_is_declined() -> None:
    async def work() -> None:
        said: list[OfferAnswer | WaitingWord] = []
        waiting, loop = GatewayQueue(lambda pool: None), asyncio.get_running_loop()
        waiting.follow((PoolEntry(name="chat", served_names=()),))
        replica = Replica(("127.0.0.1", 1), "chat", heard=loop.time())
        replica.state = replica.state.__class__.SERVING
        replica.channel = DialledChannel("/", [], lambda line: None, lambda: None)
        replica.channel.send = lambda line: said.append(decode_from_gateway(line))  # type: ignore[method-assign]
        replica.breaker = Breaker(paused_until=loop.time() + 9)
        waiter = Waiter(1, Priority.NORMAL, loop.time(), loop.time() + 9)
        waits = asyncio.create_task(waiting.wait("chat", waiter, loop.time() + 9, frozenset()))
        await asyncio.sleep(0)
        waiting.offered(replica, SlotOffer(id=1))
        assert said == [OfferAnswer(id=1, taken=False, spent=True)]
        replica.breaker = Breaker()
        waiting.offered(replica, SlotOffer(id=2))
        bound = await waits
        assert bound is not None
        assert bound.offer == 2

    run(work)


@pytest.mark.slow
def test_a_request_that_waits_leaves_when_every_pool_has_become_full(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": SORTER}) as f:
            held = await fill(f, "chat", 2)
            waiting = asyncio.create_task(f.ask())
            await f.until(lambda: f.gate.waiting.length("chat") == 1)
            held += await fill(f, "sort", 2)
            assert decision(await waiting) == (200, "bravo/bravo-model", "AllPoolsFull")
            await stop(held)

    run(work)


@pytest.mark.slow
def test_stored_state_goes_to_its_keeper_or_nowhere(tmp_path: Path) -> None:
    async def work() -> None:
        pool = Pool(replicas=3, capabilities=tuple(Capability), max_wait_seconds=1)
        async with fleet(tmp_path, {"chat": pool}) as f:
            url = f.url(f.gateway) + "/v1/responses"
            first = await f.http.post(url, json={"input": "x", "max_output_tokens": 2})
            keeper = next(name for name in f.sidecars if f.side(name)._stored)
            follow = {"input": "y", "max_output_tokens": 2, "previous_response_id": first.json()["id"]}
            before = f.side(keeper).admission.admitted_total
            for _ in range(5):
                assert decision(await f.http.post(url, json=follow))[1] == "chat"
            assert f.side(keeper).admission.admitted_total == before + 5

            unknown = await f.http.post(url, json={**follow, "previous_response_id": "resp_nobody"})
            assert decision(unknown) == (404, "none", "StateNotFound")
            held = await fill(f, "chat", 6)  # High would leave for a provider at once, but for its state
            headers = {"authorization": "Bearer sk-vip", "x-forebay-priority": "High"}
            assert decision(await f.http.post(url, json=follow, headers=headers)) == (429, "none", "LocalOnly")
            await stop(held)
            await f.until(lambda: f.side(keeper).admission.running == 0)
            f.side(keeper).engine.address = ("127.0.0.1", 1)
            assert decision(await f.http.post(url, json=follow))[0] == 503

    run(work)


def test_bodies_of_one_gateway_are_bounded_together(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool()}) as f:
            assert f.gateway.request.budget is f.gateway.control.budget
            assert Budget().limit == 256 * 1024 * 1024
            f.gateway.request.budget.limit = 1000
            answer = await f.ask(user="x" * 1000)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert json.loads(answer.text)["error"]["type"] == "server_error"
            assert (await f.ask()).status_code == 200
            assert f.gateway.request.budget.used == 0

    run(work)


@patches_a_method
def test_clients_without_a_key_behind_one_sidecar_are_told_apart(tmp_path: Path) -> None:
    """By the address that the sidecar says; a client's own word counts for nothing."""

    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(), "sort": Pool(capabilities=())}, cloud=False) as f:
            senders: list[str] = []
            finish = f.gate.finish

            def noting(flow: RequestFlow) -> None:
                senders.append(flow.sender)
                finish(flow)

            f.gate.finish = noting  # type: ignore[method-assign]
            control = f.url(f.gateway, "control")
            for base, said in ((control, "10.1.2.3"), (control, "2001:db8::7"), (f.url(f.gateway), "10.1.2.3")):
                assert (await f.ask(base=base, x_forebay_peer=said)).status_code == 200
            assert (await f.ask(base=control, x_forebay_peer="10.1.2.3", x_forebay_client="vip")).status_code == 200
            forged = await f.ask(base=f.url(f.sidecars["chat-0"]), model="sort-model", x_forebay_peer="10.1.2.3")
            assert forged.headers["x-forebay-destination"] == "sort"
            assert senders == ["@10.1.2.3", "@2001:db8::/64", "@127.0.0.1", "vip", "@127.0.0.1"]

    run(work)
