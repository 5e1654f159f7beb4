"""Requests whose bodies take long to read: a step at a time, between everybody else's work."""

import asyncio
from collections.abc import Callable

from forebay.resources.clients import Client
from forebay.router.client_keys import allowed
from forebay.router.context import Context
from forebay.router.http.exchange import Exchange
from forebay.router.http.message import error
from forebay.router.http.values import Request
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.parse import parse_steps
from forebay.rules.dialect.parsed_request import ParsedRequest


class LargeBodies:
    """Those of one router. They take turns, and in each round of the loop one of them takes one step."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turn = asyncio.Lock()

    def read(
        self,
        request: Request,
        exchange: Exchange,
        client: Client,
        begin: Callable[[ParsedRequest], None],
        refuse: Callable[[BadRequestError], None],
        gone: Callable[[], None],
    ) -> None:
        """Read it, and call what is to come then: `begin` with what it says, `refuse`, or `gone` with its client."""
        task = self._context.spawn(self._read(request, exchange, client, begin, refuse))
        task.add_done_callback(lambda ended: gone() if ended.cancelled() else None)
        exchange.on_lost = task.cancel

    async def _read(
        self,
        request: Request,
        exchange: Exchange,
        client: Client,
        begin: Callable[[ParsedRequest], None],
        refuse: Callable[[BadRequestError], None],
    ) -> None:
        try:
            parsed = allowed(await self._parsed(request, client.name), client)
            exchange.on_lost = None
            begin(parsed)
        except BadRequestError as problem:
            refuse(problem)
        except asyncio.CancelledError:
            if not exchange.ended:  # not the client: this router ends
                exchange.abort()
            raise
        except Exception as problem:  # a bug must not leave a client hanging
            context = {"message": "a request could not be read", "exception": problem}
            asyncio.get_running_loop().call_exception_handler(context)
            if not exchange.started and not exchange.ended:
                exchange.keep_alive = False
                exchange.reply(error(500, "forebay failed to answer this request", "internal_error"))

    async def _parsed(self, request: Request, client: str) -> ParsedRequest:
        source = self._context.settings.gateway.task_source
        steps = parse_steps(request.target, request.fields, request.body, client, source)
        while True:
            async with self._turn:
                try:
                    next(steps)
                except StopIteration as end:
                    parsed: ParsedRequest = end.value
                    return parsed
                await asyncio.sleep(0)
