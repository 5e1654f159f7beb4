"""One router process: its event loop, its signals, its end."""

import asyncio
import gc
import signal
import sys
from typing import Final

import uvloop

from forebay.resources.options import RouterOptions
from forebay.router.context import Context
from forebay.router.ports import Router
from forebay.router.table_file import TableFile
from forebay.rules import learned

GARBAGE: Final = (20_000, 20, 1_000)
"""When the collector looks for cycles, by generation. The usual (700, 10, 10) has it walk over every open stream again
and again: with 10,000 of them each walk holds up all others for 70 ms. Requests leave few cycles behind."""


async def serve(settings: RouterOptions) -> None:
    """Run until SIGTERM or SIGINT, then finish what runs."""
    router = Router.of(Context(settings, TableFile(settings.table)))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await router.start()
    print(
        f"forebay {settings.role} {settings.replica}: request {router.request.port}, control {router.control.port},"
        f" metrics {router.metrics.port}, health {router.health.port}",
        file=sys.stderr,
        flush=True,
    )
    # What was imported and built lives as long as the process.
    learned.load()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    await ended.wait()
    await router.finish()


def run(settings: RouterOptions) -> int:
    """Run one router. Returns the exit status."""
    try:
        uvloop.run(serve(settings))
    except OSError as error:
        print(f"forebay-router: {error}", file=sys.stderr)
        return 1
    return 0
