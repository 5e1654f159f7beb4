"""An event loop whose time stands still while anything can be done, and jumps to the next timer when nothing can.

Sockets, protocols and processes' code are real; only waiting takes no time, and work takes none either. So a fleet on
loopback runs minutes in seconds, and a busy machine changes nothing of what it decides.
"""

import asyncio
import selectors
from typing import Any

GRACE_SECONDS = 0.002
"""Real time that another thread, or a kernel, is given while nothing else is to do."""


class _Selector(selectors.DefaultSelector):
    """Asks for what is ready; the time that would be waited is added to the loop's instead."""

    loop: "WarpLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.loop.patient:
            ready = super().select(GRACE_SECONDS)
        if not ready and timeout is not None:
            self.loop.now += max(0.0, timeout)
        return ready


class WarpLoop(asyncio.SelectorEventLoop):
    """`patient`: wait a moment before each jump, for names being resolved and the like."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        self.patient = False
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(work: Any) -> Any:
    """As asyncio.run, in warped time."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(work)
