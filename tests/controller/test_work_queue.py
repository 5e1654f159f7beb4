"""The backlog: what is due when."""

import asyncio

import uvloop

from forebay.controller.work_queue import Backlog, QueueTimes, WorkQueue

PACE = QueueTimes(debounce=0.25, backoff_first=1.0, backoff_most=8.0)


def test_a_burst_of_marks_makes_one_pass() -> None:
    backlog = Backlog(PACE)
    for moment in (0.0, 0.1, 0.2):
        backlog.mark("a", moment)
    assert backlog.take(0.2) is None
    assert backlog.take(0.25) == "a"
    assert backlog.take(9.0) is None


def test_the_longest_due_key_comes_first() -> None:
    backlog = Backlog(PACE)
    backlog.mark("b", 0.0)
    backlog.mark("a", 0.1)
    assert [backlog.take(1.0), backlog.take(1.0)] == ["b", "a"]


def test_a_key_marked_during_its_pass_comes_back_at_once_and_only_after_it() -> None:
    backlog = Backlog(PACE)
    backlog.mark("a", 0.0)
    assert backlog.take(1.0) == "a"
    backlog.mark("a", 1.1)
    assert backlog.take(5.0) is None
    backlog.done("a", 6.0, 5.0)
    assert backlog.next_due() == 6.25


def test_a_key_comes_back_at_the_resync() -> None:
    backlog = Backlog(PACE)
    backlog.mark("a", 0.0)
    backlog.take(1.0)
    backlog.done("a", 1.0, 5.0)
    assert backlog.take(5.9) is None
    assert backlog.take(6.0) == "a"


def test_a_key_that_is_no_more_does_not_come_back_unless_marked() -> None:
    backlog = Backlog(PACE)
    for marked, due in ((False, None), (True, 2.25)):
        backlog.mark("a", 0.0)
        backlog.take(1.0)
        if marked:
            backlog.mark("a", 1.5)
        backlog.done("a", 2.0, None)
        assert backlog.next_due() == due


def test_failures_back_off_each_key_alone_and_a_success_forgives() -> None:
    backlog = Backlog(PACE)
    waits = []
    now = 0.0
    backlog.mark("a", now)
    for _ in range(5):
        now = backlog.next_due() or now
        assert backlog.take(now) == "a"
        backlog.failed("a", now)
        waits.append((backlog.next_due() or 0.0) - now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]
    backlog.mark("a", now)  # an event does not shorten the wait
    backlog.mark("b", now)
    assert backlog.take(now + 0.25) == "b"
    assert backlog.take(now + 7.9) is None
    assert backlog.take(now + 8.0) == "a"
    backlog.done("a", now + 8.0, 5.0)
    backlog.mark("a", now + 8.0)
    assert backlog.take(now + 8.25) == "a"


def test_one_worker_a_key_and_a_bound_on_all_of_them() -> None:
    async def scene() -> tuple[int, int, list[str]]:
        queue = WorkQueue(QueueTimes(debounce=0.0), concurrency=2)
        running: list[str] = []
        seen: list[str] = []
        most, most_of_one = 0, 0
        finished = asyncio.Event()

        async def work(key: str) -> None:
            nonlocal most, most_of_one
            running.append(key)
            most, most_of_one = max(most, len(running)), max(most_of_one, running.count(key))
            queue.mark(key) if seen.count(key) < 3 else None
            seen.append(key)
            await asyncio.sleep(0)
            running.remove(key)
            if len(seen) == 16:
                finished.set()

        for key in "abcd":
            queue.mark(key)
        runner = asyncio.create_task(queue.run(work))
        async with asyncio.timeout(20):
            await finished.wait()
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        return most, most_of_one, seen

    most, most_of_one, seen = uvloop.run(scene())
    assert most <= 2
    assert most_of_one == 1
    assert sorted(seen) == sorted("abcd" * 4)


def test_a_pass_that_raises_does_not_stop_the_others() -> None:
    async def scene() -> list[str]:
        queue = WorkQueue(QueueTimes(debounce=0.0), concurrency=1)
        seen: list[str] = []
        finished = asyncio.Event()

        async def work(key: str) -> None:
            seen.append(key)
            if key == "bad":
                raise ValueError(key)
            finished.set()

        queue.mark("bad")
        queue.mark("good")
        runner = asyncio.create_task(queue.run(work))
        async with asyncio.timeout(20):
            await finished.wait()
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        return seen

    assert uvloop.run(scene()) == ["bad", "good"]
