"""What both roles share: settings, the control token, the files that are watched, the background tasks."""

import asyncio
import hmac
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from forebay import __version__
from forebay.resources import names
from forebay.resources.report import token_digest
from forebay.router.access_log import AccessLog
from forebay.router.clients import Clients
from forebay.router.http.client import Address, Pool
from forebay.router.http.values import Request
from forebay.router.table import TableFile
from forebay.router.usage import Usage
from forebay.rules.facts import TOTAL_SECONDS

LOOK_SECONDS: Final = 0.2
VERSION: Final = __version__


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the four ports listen; 0 takes a free one."""

    request: int = names.PORT_REQUEST
    control: int = names.PORT_CONTROL
    metrics: int = names.PORT_METRICS
    health: int = names.PORT_HEALTH


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long is waited for another router or an engine, in seconds."""

    connect: float = 2.0
    first_token: float = 60.0  # at least; a gateway learns how long its pools need
    between_chunks: float = 30.0
    total: float = TOTAL_SECONDS


@dataclass(frozen=True, slots=True)
class Settings:
    """One router process. Folders are None where nothing is mounted."""

    role: str
    table: Path
    replica: str
    host: str = "0.0.0.0"  # noqa: S104 - a pod's only way to be reached
    ports: Ports = field(default_factory=Ports)
    timeouts: Timeouts = field(default_factory=Timeouts)
    pool: str = ""
    engine: Address = ("127.0.0.1", names.PORT_ENGINE)
    token_dir: Path | None = None
    clients_dir: Path | None = None
    providers_dir: Path | None = None
    provider_networks: tuple[str, ...] = ()  # CIDR: where providers may be besides public addresses
    access_log: bool = True


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


class Context:
    """The parts that gateway and sidecar both stand on."""

    def __init__(self, settings: Settings, table: TableFile) -> None:
        self.settings = settings
        self.table = table
        self.token = Token(settings.token_dir)
        self.clients = Clients(settings.clients_dir)
        self.upstream = Pool(settings.timeouts.connect, settings.timeouts.between_chunks)
        self.log = AccessLog(settings.access_log)
        self.usage = Usage()
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
