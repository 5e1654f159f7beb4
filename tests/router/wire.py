"""Bytes on real sockets: an engine that writes down what it is sent, one router of each role before it, raw answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router.gateway import Gateway
from forebay.router.http.server import Server
from forebay.router.ports import Router
from forebay.router.sidecar import Sidecar
from testing.fleet import KEYS, Pool, _entry, _router, replace_addresses

SECONDS = 10.0
"""How long anything here may take before it counts as hanging."""
OK_BODY = b'{"object":"chat.completion","choices":[{"message":{"content":"hi"}}]}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(OK_BODY), OK_BODY)
PROBES = tuple(
    b"GET %b HTTP/1.1\r\nhost: engine\r\naccept: */*\r\n\r\n" % path
    for path in (b"/v1/models", b"/version", b"/metrics")
)
MODELS = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"data":[]}'

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Stub:
    """An engine that reads by Content-Length alone and keeps every byte that is not forebay's own probe."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.answer: bytes = OK
        self.script: Script | None = None  # instead of `answer`; the connection ends with it
        self.gone = 0  # connections that the router closed while a script ran
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024 * 1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(length_of(head))
                if head in PROBES:
                    writer.write(MODELS)
                    continue
                self.seen.append(head + body)
                if self.script is not None:
                    await self.script(reader, writer)
                    break
                writer.write(MODELS if b"/v1/models" in head else self.answer)
        except asyncio.IncompleteReadError as cut:
            if cut.partial:
                self.seen.append(b"<cut>" + cut.partial)
        except ConnectionError:
            self.gone += 1
        finally:
            writer.close()


def length_of(head: bytes) -> int:
    """Content-Length, 0 without one."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


@dataclass
class Answer:
    """One answer as a client reads it. `whole`: it came to its proper end."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = True

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


async def read_answer(reader: asyncio.StreamReader, method: str = "POST") -> Answer | None:
    """The next answer, read as strictly as RFC 9112 lets a client; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        assert not cut.partial, f"the connection ended in a head: {cut.partial!r}"
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    answer = Answer(int(status), headers)
    length, coding = answer.header("content-length"), answer.header("transfer-encoding")
    assert length is None or coding is None, "an answer must not have both"
    try:
        if answer.status < 200 or answer.status in (204, 304) or method == "HEAD":
            assert answer.status >= 200 or (length is None and coding is None)
        elif coding is not None:
            assert coding == "chunked"
            while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
                answer.body += await reader.readexactly(size)
                assert await reader.readexactly(2) == b"\r\n"
            assert await reader.readexactly(2) == b"\r\n"
        elif length is not None:
            answer.body = await reader.readexactly(int(length))
        else:
            assert answer.header("connection") == "close"
            answer.body = await reader.read()
    except asyncio.IncompleteReadError as cut:
        answer.body += cut.partial
        answer.whole = False
    return answer


def check_error(answer: Answer) -> None:
    """Every refusal is an error that OpenAI's clients can parse."""
    assert answer.header("content-type") == "application/json"
    if answer.body:
        error = json.loads(answer.body)["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert error["message"] and error["type"]


@dataclass
class Door:
    """A stub engine, its sidecar, and a gateway."""

    engine: Stub
    sidecar: Router
    gateway: Router

    def server(self, role: str) -> Server:
        return (self.sidecar if role == "sidecar" else self.gateway).request

    async def connect(self, role: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server(role).port, limit=64 * 1024 * 1024)

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"still not: {what or condition}") from None

    async def at_rest(self) -> None:
        """Nothing that a request took is still held: slots, places, bytes, sockets."""
        side, gate = self.sidecar.role, self.gateway.role
        assert isinstance(side, Sidecar) and isinstance(gate, Gateway)
        await self.until(lambda: side.admission.running == 0 == side.admission.requests, "slots")
        await self.until(lambda: gate.in_flight == 0 and not gate.context.clients.in_flight, "places")
        await self.until(lambda: not gate.context.upstream.active, "calls")
        for router in (self.sidecar, self.gateway):
            await self.until(lambda router=router: not router.request.connections, "sockets")  # type: ignore[misc]
            assert router.request.budget.used == 0 == router.control.budget.used
        await self.until(lambda: any(r.free_high for r in gate.replicas.of("chat")), "the slot is offered again")


@asynccontextmanager
async def door(tmp: Path, slots: int = 4) -> AsyncIterator[Door]:
    """Start everything; ready when the gateway knows a free slot."""
    async with AsyncExitStack() as stack:
        (tmp / "clients").mkdir()
        (tmp / "clients" / "clients.json").write_text(json.dumps(KEYS))
        engine = Stub()
        listening = await engine.listen()
        stack.callback(listening.close)
        entry: PoolEntry = _entry("chat", Pool(slots=slots))
        sidecar = await _router(
            stack, tmp, "chat-0", RoutingTable(generation=1, pools=(entry,)), role="sidecar", pool="chat",
            engine=("127.0.0.1", engine.port),
        )  # fmt: skip
        known = replace_addresses(entry, [f"127.0.0.1:{sidecar.control.port}"])
        gateway = await _router(stack, tmp, "gateway-0", RoutingTable(generation=1, pools=(known,)), role="gateway")
        back = RoutingTable(generation=2, gateway_addresses=(f"127.0.0.1:{gateway.control.port}",), pools=(entry,))
        sidecar.context.table.take(back)
        made = Door(engine, sidecar, gateway)
        assert isinstance(gateway.role, Gateway)
        gate = gateway.role
        await made.until(lambda: any(r.free_high for r in gate.replicas.of("chat")), "a free slot is known")
        yield made
