"""Requests whose bodies take long to read: a step at a time, between everybody else's work."""

import asyncio
from collections.abc import Callable

from forebay.resources.clients import Client
from forebay.router.client_keys import allowed
from forebay.router.context import Context
from forebay.router.http.exchange import Exchange
from forebay.router.http.values import Request
from forebay.router.request_task import failed, serve
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.parse import parse_steps
from forebay.rules.dialect.parsed_request import ParsedRequest


class LargeBodies:
    """Those of one router, `reading` of them now. They take turns: in each round of the loop one takes one step."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turn = asyncio.Lock()
        self.reading = 0

    def read(
        self,
        request: Request,
        exchange: Exchange,
        client: Client,
        begin: Callable[[ParsedRequest], None],
        refuse: Callable[[BadRequestError], None],
        gone: Callable[[], None],
    ) -> None:
        """Read it, and call what is to come then: `begin` with what it says, `refuse`, or `gone` where its client left
        or it could not be read for a reason of ours."""

        def over(goes_on: bool) -> None:
            self.reading -= 1
            if not goes_on:
                gone()

        self.reading += 1
        work = self._read(request, exchange, client, begin, refuse)
        serve(self._context, exchange, request.target, work, over)

    async def _read(
        self,
        request: Request,
        exchange: Exchange,
        client: Client,
        begin: Callable[[ParsedRequest], None],
        refuse: Callable[[BadRequestError], None],
    ) -> bool:
        try:
            parsed = allowed(await self._parsed(request, client.name), client)
        except BadRequestError as problem:
            refuse(problem)
            return True
        exchange.on_lost = None
        try:
            begin(parsed)
        except Exception as problem:
            failed(exchange, request.target, problem)
        return True

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
