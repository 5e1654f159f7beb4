"""What another reader (h11) makes of the same bytes."""

from dataclasses import dataclass
from typing import Final

import h11

STRICTER: Final = (
    "no request line received",  # empty lines before it, which RFC 9112 (2.2) lets pass
    "Missing mandatory Host",  # HTTP/1.1's rule, which an HTTP/1.0 request need not keep
    "illegal chunk header",  # more than 20 digits
    "illegal request line",  # targets of other characters than it knows
    "Too much data for declared Content-Length",
)
"""Where h11 refuses what forebay takes, by the beginning of its message."""

Read = tuple[str, str, bytes]
"""Method, target, body."""


@dataclass
class Answered:
    """One answer. `complete`: it ended as its framing says; `rest`: what came after it."""

    status: int = 0
    body: bytes = b""
    complete: bool = False
    rest: bytes = b""
    refused: str = ""


def requests(data: bytes) -> tuple[list[Read], str, bool]:
    """The requests, why it refused what came next, and whether it would have gone on."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[Read] = []
    try:
        while True:
            event = connection.next_event()
            if type(event) is not h11.Request:
                return found, "", connection.their_state not in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)
            head, body = event, b""
            while type(event := connection.next_event()) is h11.Data:
                body += bytes(event.data)
            if type(event) is not h11.EndOfMessage:
                return found, "", True
            found.append((head.method.decode("latin-1"), head.target.decode("latin-1"), body))
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found, "", False
            connection.start_next_cycle()
    except h11.RemoteProtocolError as problem:
        return found, str(problem), False


def answer(data: bytes, method: str = "POST", *, ended: bool) -> Answered:
    """The first answer. `ended`: the connection was closed after these bytes."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    got = Answered()
    try:
        connection.receive_data(data)
        if ended:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if type(event) is h11.Response:
                got.status = event.status_code
            elif type(event) is h11.Data:
                got.body += bytes(event.data)
            elif type(event) is h11.EndOfMessage:
                got.complete, got.rest = True, connection.trailing_data[0]
                return got
            elif type(event) is not h11.InformationalResponse:
                return got
    except h11.RemoteProtocolError as problem:
        got.refused = str(problem) or "refused"
        return got
