"""Clients that were not answered lately take half of the slots at most, while others send requests too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from forebay.router.placement.newcomers import KNOWN_SECONDS, Newcomers


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(work())


def test_a_client_that_is_alone_takes_what_there_is() -> None:
    door = Newcomers(lambda: 8)
    assert all(door.admits("batch", 1.0) for _ in range(100))


def test_beside_others_a_newcomer_has_half_until_it_is_answered() -> None:
    async def work() -> None:
        door = Newcomers(lambda: 8)
        assert door.admits("good", 1.0)
        assert [door.admits("bad", 2.0) for _ in range(6)] == [True] * 4 + [False] * 2
        assert door.admits("good", 2.0)
        waiting = [asyncio.create_task(door.wait("bad", 5.0)) for _ in range(2)]
        await asyncio.sleep(0)
        door.left("bad")
        assert await waiting[0]
        door.answered("bad", 3.0)
        assert await waiting[1]
        assert all(door.admits("bad", 3.0) for _ in range(20))

    run(work)


def test_who_was_answered_long_ago_is_a_newcomer_again() -> None:
    door = Newcomers(lambda: 2)
    door.answered("bad", 1.0)
    later = 1.0 + KNOWN_SECONDS
    door.saw("good", later)
    assert [door.admits("bad", later) for _ in range(3)] == [True, False, False]


def test_a_wait_ends_with_its_time_and_its_place_goes_to_the_next() -> None:
    async def work() -> None:
        door = Newcomers(lambda: 2)
        door.saw("good", 1.0)
        assert door.admits("bad", 1.0)
        late = asyncio.create_task(door.wait("bad", 0.01))
        left = asyncio.create_task(door.wait("bad", 5.0))
        last = asyncio.create_task(door.wait("bad", 5.0))
        assert not await late
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        door.left("bad")
        assert await last
        door.left("bad")
        assert door.admits("bad", 2.0)

    run(work)


def test_a_place_that_is_given_as_the_time_ends_is_taken_or_given_back() -> None:
    async def work() -> None:
        door = Newcomers(lambda: 2)
        door.saw("good", 1.0)
        for _ in range(20):
            assert door.admits("bad", 1.0)
            waiting = asyncio.create_task(door.wait("bad", 0.01))
            asyncio.get_running_loop().call_later(0.01, door.left, "bad")
            if await waiting:
                door.left("bad")
            await asyncio.sleep(0.005)
        assert not door._inside

    run(work)


def test_without_slots_nobody_waits_and_more_slots_let_more_in() -> None:
    async def work() -> None:
        slots = [0]
        door = Newcomers(lambda: slots[0])
        door.saw("good", 1.0)
        assert all(door.admits("bad", 1.0) for _ in range(4))
        slots[0] = 4
        waiting = asyncio.create_task(door.wait("bad", 5.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        slots[0] = 40
        assert await waiting

    run(work)
