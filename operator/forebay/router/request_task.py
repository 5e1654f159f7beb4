"""Requests that are served by a task: however it ends, the client is not left hanging, and somebody is told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from forebay.router.context import Context
from forebay.router.dialect.error_shapes import body_of
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import json_reply


def serve(
    context: Context, exchange: Exchange, path: str, work: Coroutine[Any, Any, bool], over: Callable[[bool], None]
) -> None:
    """Run `work` until it ends or its client leaves, then call `over`: with what it returned, which is whether somebody
    else has the request now, and with False where it failed or was cancelled, even before its first step."""
    task = context.spawn(work)
    exchange.on_lost = task.cancel

    def ended(task: asyncio.Task[bool]) -> None:
        goes_on = False
        if task.cancelled():
            if not exchange.ended:  # not the client: this router ends
                exchange.abort()
        elif (problem := task.exception()) is not None:
            failed(exchange, path, problem)
        else:
            goes_on = task.result()
        over(goes_on)

    task.add_done_callback(ended)


def failed(exchange: Exchange, path: str, problem: BaseException) -> None:
    """A bug must not leave a client hanging."""
    context = {"message": "a request failed", "exception": problem}
    asyncio.get_running_loop().call_exception_handler(context)
    if exchange.started or exchange.ended:
        exchange.abort()
    else:
        exchange.keep_alive = False
        text = "forebay failed to answer this request"
        exchange.reply(json_reply(body_of(path, 500, text, "internal_error"), 500))
