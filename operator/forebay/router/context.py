"""What both roles share: settings, the control token, the files that are watched, the background tasks."""

import asyncio
import hmac
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from forebay import __version__
from forebay.resources import names
from forebay.resources.options import RouterOptions, RouterTimeouts
from forebay.resources.report import token_digest
from forebay.router.access_log_writer import AccessLog
from forebay.router.client_keys import Clients
from forebay.router.http.call import Waits
from forebay.router.http.client import ConnectionPool
from forebay.router.http.values import Request
from forebay.router.table_file import TableFile
from forebay.router.usage_counters import UsageCounters

LOOK_SECONDS: Final = 0.2
VERSION: Final = __version__


class Token:
    """The fleet's control token: two are valid at a time. Without a folder only loopback may come in."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.valid: list[bytes] = []
        self.reload()

    def reload(self) -> None:
        """Read the mounted files again."""
        if self.folder is None:
            return
        found = []
        for key in (names.TOKEN_CURRENT_KEY, names.TOKEN_PREVIOUS_KEY):
            path = self.folder / key
            if path.exists() and (value := path.read_bytes().strip()):
                found.append(value)
        self.valid = found

    @property
    def digests(self) -> tuple[str, ...]:
        """For the reports, so that the operator knows how far a rotation is."""
        return tuple(token_digest(token) for token in self.valid)

    @property
    def header(self) -> tuple[bytes, bytes]:
        """Authorization for calls to other routers."""
        return (b"authorization", b"Bearer " + (self.valid[0] if self.valid else b"none"))

    def admits(self, request: Request) -> bool:
        """Whether a request on the control port is from operator or fleet."""
        if self.folder is None:
            return request.peer.startswith("127.") or request.peer == "::1"
        given = (request.header(b"authorization") or "").encode("latin-1", "replace")
        kind, _, value = given.partition(b" ")
        return kind.lower() == b"bearer" and any(hmac.compare_digest(value.strip(), token) for token in self.valid)


def waits(timeouts: RouterTimeouts) -> Waits:
    """The timeouts of a call."""
    return Waits(timeouts.connect, timeouts.between_chunks, timeouts.silence, timeouts.idle)


class Context:
    """The parts that gateway and sidecar both stand on."""

    def __init__(self, settings: RouterOptions, table: TableFile) -> None:
        self.settings = settings
        self.table = table
        self.token = Token(settings.token_dir)
        self.clients = Clients(settings.clients_dir)
        self.upstream = ConnectionPool(waits(settings.timeouts))
        self.log = AccessLog(settings.access_log)
        self.usage = UsageCounters()
        self.started = time.time()
        self._offset = time.time() - time.monotonic()  # the event loop's clock is the monotonic one
        self._tasks: set[asyncio.Task[Any]] = set()

    def unix(self, loop_time: float) -> float:
        """Unix seconds of a moment of the event loop."""
        return loop_time + self._offset

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside the requests; `stop` ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def watch_files(self) -> None:
        """Look at the mounted files for ever."""
        turn = 0
        while True:
            self.table.look()
            if turn % 5 == 0:
                self._offset = time.time() - time.monotonic()
                self.clients.reload()
                self.token.reload()
            turn += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """End what was spawned."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.upstream.close()
        self.log.close()
