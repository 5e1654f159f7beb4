"""A company's egress proxy, as small as it can be: CONNECT, and a list of where names are."""

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field


@dataclass
class EgressProxy:
    """Connects `names` to ports of this machine. `says`: what it answers to CONNECT instead; empty: nothing at all."""

    names: dict[str, int] = field(default_factory=dict)
    says: bytes | None = None
    asked: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    port: int = 0

    async def start(self, stack: AsyncExitStack, tls: ssl.SSLContext | None = None) -> "EgressProxy":
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.split(b" ", 2)
            self.asked.append(target)
            name = target.decode().rpartition(":")[0]
            if self.says is not None or method != b"CONNECT" or name not in self.names:
                said = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n" if self.says is None else self.says
                writer.write(said)
                if not said:
                    await reader.read()
            else:
                there, back = await asyncio.open_connection("127.0.0.1", self.names[name])
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_carry(reader, back), _carry(there, writer))
        writer.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
    sink.close()
