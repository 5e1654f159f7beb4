"""One simulator process: load, listen, end."""

import asyncio
import contextlib
import signal
import sys

import uvloop

from forebay.simulator.engine import SimulatedEngine
from forebay.simulator.http import Connection
from forebay.simulator.settings import Settings
from forebay.sockets import BACKLOG, bracketed, listening

ABORT_SECONDS = 1.0


async def serve(settings: Settings) -> None:
    """Load (that is: wait), listen, and run until SIGTERM. As vLLM does, running requests are aborted then,
    unless --shutdown-timeout gives them time: their answers end as if they were whole, but for a word."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loading = asyncio.create_task(asyncio.sleep(settings.startup_seconds))
    stopping = asyncio.create_task(ended.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if ended.is_set():
        return
    engine = SimulatedEngine(settings)
    running = asyncio.create_task(engine.run())
    if settings.uds:
        server = await loop.create_unix_server(lambda: Connection(engine.handle), settings.uds)
        where = settings.uds
    else:
        opened = listening(settings.host, settings.port)
        server = await loop.create_server(lambda: Connection(engine.handle), sock=opened, backlog=BACKLOG)
        host, port = opened.getsockname()[:2]
        where = f"{bracketed(host)}:{port}"
    print(f"forebay-simulator: {settings.role} {', '.join(settings.models)} on {where}", file=sys.stderr, flush=True)
    await stopping
    end = loop.time() + settings.shutdown_timeout
    while engine.in_flight and loop.time() < end:
        await asyncio.sleep(0.05)
    server.close()
    running.cancel()
    engine.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ABORT_SECONDS):
            while engine.in_flight:
                await asyncio.sleep(0.01)


def run(settings: Settings) -> int:
    """Run one simulator. Returns the exit status."""
    try:
        uvloop.run(serve(settings))
    except OSError as error:
        print(f"forebay-simulator: {error}", file=sys.stderr)
        return 1
    return 0
