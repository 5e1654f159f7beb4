"""A connection between two routers that carries lines both ways, begun as an HTTP/1.1 upgrade."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from forebay.router.http.keep_alive import keep_alive
from forebay.router.http.message import request_head
from forebay.router.http.values import Headers

UPGRADE: Final = b"forebay-lines"
SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: " + UPGRADE + b"\r\n\r\n"
MAX_LINE: Final = 64 * 1024
MAX_UNSENT: Final = 256 * 1024
"""A peer that reads nothing is given up at this many bytes."""


class MessageChannel(asyncio.Protocol):
    """One end. `on_line` gets each line without its newline; `on_lost` is called once at the end."""

    def __init__(self, on_line: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self.on_line = on_line
        self.on_lost = on_lost
        self.transport: asyncio.Transport | None = None
        self._rest = b""
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self.close()
            return
        for line in lines:
            if line and not self._lost:
                self.on_line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self.on_lost()

    def send(self, line: bytes) -> None:
        """Write one line. A peer that falls too far behind is hung up on."""
        if self.transport is None or self._lost:
            return
        self.transport.write(line + b"\n")
        if self.transport.get_write_buffer_size() > MAX_UNSENT:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.abort()


class DialledChannel(MessageChannel):
    """The end that asks for the upgrade; `opened` is done once the other side agreed, or fails."""

    def __init__(self, target: str, headers: Headers, on_line: Callable[[bytes], None], on_lost: Callable[[], None]):
        super().__init__(on_line, on_lost)
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = request_head("GET", target, [*headers, (b"connection", b"upgrade"), (b"upgrade", UPGRADE)])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        keep_alive(transport.get_extra_info("socket"))
        cast(asyncio.Transport, transport).write(self._head)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            super().data_received(data)
            return
        self._rest += data
        head, found, rest = self._rest.partition(b"\r\n\r\n")
        if not found and len(head) <= MAX_LINE:
            return
        if not head.startswith(b"HTTP/1.1 101 "):
            self._refused(f"the other router answered {head[:40].decode('latin-1')!r}")
            return
        self._rest = b""
        self.opened.set_result(None)
        super().data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused("the connection broke off")
        super().connection_lost(exc)

    def _refused(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(why))
            self.opened.exception()  # whoever awaits it sees it
            self.close()
