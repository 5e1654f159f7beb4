"""The smuggling corpus against both roles on real sockets: nothing hidden reaches the engine, nothing leaks."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from testing.smuggling import CASES, GOOD, HIDDEN, Case
from tests.router.wire import OK_BODY, SECONDS, Answer, Door, check_error, door, read_answer


@dataclass
class Running:
    """A door that stays open for all cases, on a loop of its own."""

    runner: asyncio.Runner
    door: Door


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        opened = door(tmp_path_factory.mktemp("door"))
        yield Running(runner, runner.run(opened.__aenter__()))
        runner.run(opened.__aexit__(None, None, None))


def ids(case: Any) -> str:
    return case.name[:60].encode("ascii", "backslashreplace").decode() if isinstance(case, Case) else str(case)


@pytest.mark.parametrize("role", ["sidecar", "gateway"])
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_each_request_is_read_in_one_way_or_refused(running: Running, case: Case, role: str) -> None:
    running.runner.run(asyncio.wait_for(drive(running.door, case, role), 2 * SECONDS))


async def drive(d: Door, case: Case, role: str) -> None:
    del d.engine.seen[:]
    reader, writer = await d.connect(role)
    sending = asyncio.create_task(send(writer, case))
    try:
        await converse(reader, writer, case)
        await sending
    finally:
        sending.cancel()
        writer.close()
    await d.at_rest()
    reached = [message for message in d.engine.seen if not message.startswith(b"GET /v1/models ")]
    bodies = [message.partition(b"\r\n\r\n")[2] for message in reached]
    assert bodies == [*case.reached, *([GOOD.partition(b"\r\n\r\n")[2]] if case.stays else [])]
    assert all(re.match(rb"POST /v1/chat/completions(\?\S*)? HTTP/1.1\r\n", message) for message in reached)
    assert not any(HIDDEN[:11] in message for message in d.engine.seen)
    assert not any(b"x-forebay" in message.lower() for message in d.engine.seen)


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Case) -> None:
    """Read what is expected, then prove that the connection is closed or in step."""
    got: list[Answer] = []
    for number in range(len(case.statuses)):
        method = case.methods[number] if number < len(case.methods) else "POST"
        answer = await asyncio.wait_for(read_answer(reader, method), SECONDS)
        assert answer is not None, f"closed after {[a.status for a in got]}"
        assert answer.whole
        got.append(answer)
    assert tuple(answer.status for answer in got) == case.statuses, got[-1].body[:200]
    for answer in got:
        if answer.status >= 400:
            check_error(answer)
    if case.stays:
        writer.write(GOOD)
        follow = await asyncio.wait_for(read_answer(reader), SECONDS)
        assert follow is not None and (follow.status, follow.body) == (200, OK_BODY), "out of step"
    else:
        assert await asyncio.wait_for(reader.read(), SECONDS) == b"", "more than the last answer"
        assert got[-1].header("connection") == "close"


async def send(writer: asyncio.StreamWriter, case: Case) -> None:
    step = max(1, len(case.data) // case.pieces)
    try:
        for start in range(0, len(case.data), step):
            writer.write(case.data[start : start + step])
            await writer.drain()
            if case.pieces > 1:
                await asyncio.sleep(0)
    except ConnectionError:
        pass  # it was refused before its end
