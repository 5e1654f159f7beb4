"""Waiting at a gateway, on the event loop that it runs on."""

import asyncio

import uvloop

from forebay.resources.reasons import Priority
from forebay.resources.table import PoolEntry
from forebay.router.placement.gateway_queue import GatewayQueue
from forebay.rules.queue import Waiter


def test_two_that_join_in_the_same_instant_both_wait_and_the_replicas_are_told_once() -> None:
    told: list[str] = []

    async def scene() -> list[object]:
        waiting, now = GatewayQueue(told.append), asyncio.get_running_loop().time()
        waiting.follow((PoolEntry(name="chat", served_names=()),))
        places = [Waiter(number, Priority.NORMAL, now, now + 9, 10) for number in (1, 2)]
        return await asyncio.gather(*(waiting.wait("chat", place, now + 0.05, frozenset()) for place in places))

    assert uvloop.run(scene()) == [None, None]
    assert told[:1] == ["chat"]
