"""Carrying one answer from upstream to the client: nothing before the first content byte, nothing rebuilt after.

Until the first content byte the client has heard nothing, so another replica may still answer. After it, a break ends
with an honest error event and a closed connection, never with what looks like a clean end.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from forebay.router.http.client import Response, UpstreamError
from forebay.router.http.message import Headers, end_to_end, error_body, get
from forebay.router.http.server import Exchange

BETWEEN_SECONDS: Final = 30.0
OWN_HEADERS: Final = frozenset({b"content-length", b"date", b"server", b"connection"})


@dataclass(slots=True)
class Relayed:
    """What became of an answer. `first` is the loop time of the first content byte."""

    status: int
    complete: bool
    first: float = 0.0
    problem: str = ""


async def relay(
    response: Response,
    exchange: Exchange,
    headers: Headers,
    first_seconds: float,
    total_seconds: float,
    between_seconds: float = BETWEEN_SECONDS,
) -> Relayed:
    """Send `response` on with `headers` added. Raises UpstreamError while nothing has been sent yet."""
    loop = asyncio.get_running_loop()
    await _first_byte(response, first_seconds)
    first = loop.time()
    length = get(response.headers, b"content-length")
    passed = [(k, v) for k, v in end_to_end(response.headers) if k not in OWN_HEADERS]
    exchange.start(response.status, [*passed, *headers], int(length) if length else None)
    connection = response.connection
    exchange.on_writable(lambda writable: connection.resume() if writable else connection.pause())
    try:
        await response.relay(exchange.write, between_seconds, total_seconds)
    except UpstreamError as problem:
        _break(exchange, response, str(problem))
        return Relayed(response.status, False, first, str(problem))
    finally:
        exchange.on_writable(None)
    exchange.end()
    return Relayed(response.status, True, first)


async def _first_byte(response: Response, seconds: float) -> None:
    """Wait for the first piece of the body, or its end."""
    done, _ = await asyncio.wait((response.first,), timeout=seconds)
    if not done:
        raise UpstreamError(f"no token within {seconds:.0f} s")
    response.first.result()


def _break(exchange: Exchange, response: Response, problem: str) -> None:
    """Tell a stream's reader what happened, then close; a plain answer's length already shows that it is cut."""
    kind = get(response.headers, b"content-type") or b""
    if kind.startswith(b"text/event-stream"):
        message = f"the answer broke off: {problem}"
        exchange.write(b"data: " + error_body(502, message, "upstream_error") + b"\n\n")
    exchange.abort()
