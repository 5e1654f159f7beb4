"""Looking at what passes by: requests that reach an engine, lines of the access log."""

from collections.abc import Callable
from typing import Any

import msgspec

from forebay.router.ports import Router
from forebay.simulator.engine import SimulatedEngine
from forebay.simulator.http import Connection, Request


def tap(engine: SimulatedEngine) -> list[Request]:
    """Every request that reaches an engine or a provider from now on, probes aside."""
    seen: list[Request] = []
    routed = engine._route

    async def noting(request: Request, connection: Connection) -> None:
        if request.method != "GET":
            seen.append(request)
        await routed(request, connection)

    engine._route = noting  # type: ignore[method-assign]
    return seen


def lines(router: Router) -> Callable[[], list[dict[str, Any]]]:
    """The access log's lines from now on, as documents."""
    kept: list[dict[str, Any]] = []
    router.context.log.write = lambda line: kept.append(msgspec.to_builtins(line))  # type: ignore[method-assign]
    return lambda: kept
