"""Engines load and unload adapters as the table says, while they serve."""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from forebay.resources.report import ReplicaState
from forebay.router.engine_adapters import WORDS_LENGTH, refusal
from forebay.rules import adapters as rules
from testing.fleet import Fleet, Pool, adapter_entries, fleet
from tests.router.test_adapters import run

PAIR = Pool(slots=4, replicas=2)
ONE = Pool(slots=4, max_wait_seconds=10)
POET = {"poet": "org/poet"}


def want(f: Fleet, adapters: dict[str, str] | None) -> None:
    """Tell every router which adapters the pool has; None: as a table without a word of them."""
    for router in (f.gateway, *f.more_gateways, *f.sidecars.values()):
        known = router.context.table.table
        entry = msgspec.structs.replace(
            known.pools[0],
            served_names=("chat-model", *(adapters or {})),
            adapters=UNSET if adapters is None else adapter_entries(adapters),
        )
        number = known.generation + 1
        assert router.context.table.take(
            msgspec.structs.replace(known, generation=number, hash=str(number), pools=(entry,))
        )


async def have(f: Fleet, adapters: dict[str, str]) -> None:
    """Until all engines have these, and the gateway knows it."""
    await f.until(lambda: all(engine.adapters.loaded == adapters for engine in f.engines.values()))
    names = ("chat-model", *adapters)
    await f.until(lambda: all(set(r.names) == set(names) for r in f.gate.replicas.of("chat")))
    f.gate.replicas.pools["chat"].stale = True


def test_adapters_come_and_go_while_engines_serve(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": PAIR}, cloud=False) as f:
            assert (await f.ask(2, model="poet")).status_code == 404
            for wanted in (POET, {**POET, "clerk": "/adapters/clerk"}, {"clerk": "/adapters/clerk"}):
                want(f, wanted)
                await have(f, wanted)
                for door in (f.gateway, *f.sidecars.values()):
                    for name in wanted:
                        served = await f.ask(2, model=name, base=f.url(door))
                        assert (served.status_code, served.json()["model"]) == (200, name)
            assert (await f.ask(2, model="poet")).status_code == 404
            assert (await f.ask(2)).status_code == 200
            want(f, {})
            await have(f, {})

    run(work)


def test_no_client_may_load_one(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(ONE, wanted=POET)}, cloud=False) as f:
            body = {"lora_name": "mine", "lora_path": "/etc"}
            for door in (f.gateway, *f.sidecars.values()):
                for port in ("request", "control"):
                    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1//load_lora_adapter"):
                        refused = await f.http.post(f.url(door, port) + path, json=body)
                        assert refused.status_code in (401, 404)
            assert f.engines["chat-0"].adapters.loaded == POET

    run(work)


def test_a_replica_begins_to_serve_once_its_adapters_are_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(PAIR, wanted=POET)}, cloud=False) as f:
            assert all(engine.adapters.loaded == POET for engine in f.engines.values())
            assert (await f.ask(2, model="poet")).status_code == 200

    run(work)


def test_an_engine_that_lost_its_adapters_gets_them_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(PAIR, wanted=POET)}, cloud=False) as f:
            f.engines["chat-1"].adapters.loaded.clear()  # as one that was started anew
            await f.until(lambda: f.engines["chat-1"].adapters.loaded == POET)

    run(work)


def test_another_source_takes_the_place_of_the_one_before_and_nobody_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(ONE, wanted=POET)}, cloud=False) as f:
            engine, stop = f.engines["chat-0"], asyncio.Event()
            engine.faults = replace(
                engine.faults, slow_adapters=1.3
            )  # longer than from one look at its list to the next
            statuses: list[int] = []

            async def ask() -> None:
                while not stop.is_set():
                    statuses.append((await f.ask(3, model="poet")).status_code)

            asking = [asyncio.create_task(ask()) for _ in range(2)]
            long = asyncio.create_task(f.ask(12_000, model="poet"))
            await f.until(lambda: any(sequence.output > 9_000 for sequence in engine.batch.running))
            for source in ("org/poet-2", "org/poet-3"):
                want(f, {"poet": source})
                await have(f, {"poet": source})
                before = len(statuses)
                await f.until(lambda before=before: len(statuses) > before + 10)
            assert not long.done(), "what runs goes on: an engine ends it with what it began with"
            stop.set()
            long.cancel()
            await asyncio.gather(long, *asking, return_exceptions=True)
            assert set(statuses) == {200}
            assert f.side("chat-0").admission.paused is False

    run(work)


def test_an_adapter_goes_when_what_uses_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SETTLE_SECONDS", 0.1)

    async def work() -> None:
        async with fleet(tmp_path, {"chat": replace(ONE, wanted=POET)}, cloud=False) as f:
            engine = f.engines["chat-0"]
            answer = asyncio.create_task(f.ask(300, model="poet"))
            await f.until(lambda: engine.batch.running)
            want(f, {"clerk": "org/clerk"})
            await f.until(lambda: set(engine.adapters.loaded) == {"poet", "clerk"})
            await f.until(lambda: f.gate.replicas.of("chat")[0].names == ("chat-model", "clerk"))
            assert (await f.ask(2, model="poet")).status_code == 404
            await asyncio.sleep(0.7)
            assert "poet" in engine.adapters.loaded or answer.done()
            assert (await answer).status_code == 200
            await have(f, {"clerk": "org/clerk"})

    run(work)


def test_a_refusal_is_told_in_the_engines_words_and_the_rest_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "AGAIN_SECONDS", 0.2)

    async def work() -> None:
        async with fleet(tmp_path, {"chat": ONE}, cloud=False) as f:
            engine, side = f.engines["chat-0"], f.side("chat-0")
            engine.faults = replace(engine.faults, no_adapters=True)
            want(f, POET)
            await f.until(lambda: side.report().adapters[0].problem)
            (said,) = side.report().adapters
            assert (said.name, said.source, said.loaded) == ("poet", "org/poet", False)
            assert said.problem == "Loading lora poet failed: No adapter found for org/poet"
            assert side.admission.state is ReplicaState.SERVING
            assert [(await f.ask(2, model=name)).status_code for name in ("poet", "chat-model")] == [404, 200]
            engine.faults = replace(engine.faults, no_adapters=False)
            await have(f, POET)
            (said,) = side.report().adapters
            assert (said.loaded, said.problem) == (True, "")

    run(work)


def test_an_engine_without_leave_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": ONE}, cloud=False) as f:
            engine, side = f.engines["chat-0"], f.side("chat-0")
            engine.adapters.settings = replace(engine.adapters.settings, loads_adapters=False)
            want(f, POET)
            await f.until(lambda: side.report().adapters[0].problem)
            assert "was started without leave" in side.report().adapters[0].problem
            assert (await f.ask(2)).status_code == 200

    run(work)


def test_a_table_without_a_word_of_adapters_changes_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(adapters=("poet",))}, cloud=False) as f:
            want(f, None)
            await asyncio.sleep(1.5)
            assert f.engines["chat-0"].adapters.loaded == {"poet": "poet"}
            assert f.side("chat-0").report().adapters == ()

    run(work)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (0, b"", "no answer to /x"),
        (
            404,
            b'{"detail":"Not Found"}',
            "the engine has no /x: it was started without leave to load adapters as it runs",
        ),
        (404, b'{"error":{"message":"No adapter found for /a","code":404}}', "No adapter found for /a"),
        (400, b'{"error":{"message":"LoRA rank 64 is\\n greater than 16"}}', "LoRA rank 64 is greater than 16"),
        (500, b"oops", "/x was answered 500"),
        (500, b"\xff", "/x was answered 500"),
        (500, b'{"error":[]}', "/x was answered 500"),
        (400, b'{"error":{"message":"%b"}}' % (b"a" * 9000), "a" * WORDS_LENGTH),
    ],
)
def test_what_an_engine_says_is_read_with_care(status: int, answer: bytes, words: str) -> None:
    assert refusal("/x", status, answer) == words
