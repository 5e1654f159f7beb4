"""A loop and transports without sockets or time: what a target sees depends on its input alone."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final


class Loop:
    """As much of an event loop as the state machines use. `run` does what was put off."""

    def __init__(self) -> None:
        self.now = 1.0
        self.soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.problems: list[BaseException] = []

    def time(self) -> float:
        self.now += 0.001
        return self.now

    def call_soon(self, call: Callable[..., object], *args: Any, context: object = None) -> None:
        self.soon.append((call, args))

    def call_later(self, _seconds: float, _call: Callable[..., object], *_args: Any) -> "Later":
        return Later()

    def create_task(self, work: Any) -> "Later":
        work.close()
        return Later()

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.problems.append(context["exception"])

    def run(self) -> None:
        while self.soon:
            call, args = self.soon.popleft()
            call(*args)
        if self.problems:
            raise self.problems[0]


class Later:
    """A task or timer that never comes: nothing is dialled here, and nobody loses patience."""

    def cancel(self) -> None:
        pass

    def add_done_callback(self, _call: object) -> None:
        pass


class Transport:
    """Records what is written. `open` until it is closed or broken off; then nothing more is fed."""

    def __init__(self) -> None:
        self.sent = b""
        self.open = True
        self.ended = False  # nothing may be written any more
        self.reading = True
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes), "what is written must be bytes"
        assert not self.ended, "written after the end"
        if self.open:
            self.sent += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.open = False

    abort = close

    def is_closing(self) -> bool:
        return not self.open

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> object:
        return QUIET[0] if name == "socket" else ("127.0.0.1", 1)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int = 0) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


QUIET: Final = socket.socketpair()
"""For `ClientConnection.silent`, which asks a real socket: nothing ever waits on this one."""


@contextmanager
def playing() -> Iterator[Loop]:
    """The running loop, for as long as it lasts."""
    loop = Loop()
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]
    try:
        yield loop
    finally:
        asyncio._set_running_loop(before)


def pieces(data: bytes, seed: int) -> list[bytes]:
    """The same bytes in parts; `seed` (0 to 255) says how: 0 whole, 1 byte by byte, else of changing lengths."""
    if seed == 0:
        return [data]
    parts, at, step = [], 0, seed
    while at < len(data):
        size = 1 if seed == 1 else 1 + step % 37
        parts.append(data[at : at + size])
        at += size
        step = (step * 5 + 3) % 251
    return parts
