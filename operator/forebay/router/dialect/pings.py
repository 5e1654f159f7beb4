"""Streams that are kept open while they wait for their first token, for proxies that cut what is silent."""

from functools import partial
from typing import Final

from forebay.resources.access_log import AccessLogEntry
from forebay.router.dialect.answers import identity
from forebay.router.dialect.error_shapes import event_of, is_anthropic
from forebay.router.http.exchange import Exchange, Opening
from forebay.rules.dialect.parsed_request import ParsedRequest

COMMENT: Final = b": ping\n\n"
"""Server-sent events' own way to say nothing; every client skips it."""
EVENT: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
"""Anthropic's."""
_HEAD: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))


def keep_open(exchange: Exchange, record: AccessLogEntry, parsed: ParsedRequest, every: float) -> None:
    """Send the head after `every` seconds without a first token, and a ping as often; nothing where it comes sooner.

    The head carries the request's id, not its decision: that may still change.
    """
    ping = EVENT if is_anthropic(parsed.path) else COMMENT
    exchange.keep_open(Opening(every, [*_HEAD, *identity(record)], ping, partial(event_of, parsed.path)))
