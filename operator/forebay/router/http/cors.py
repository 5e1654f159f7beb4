"""What lets pages of other origins use a port from a browser (Fetch, 3.2): preflights, and a header in each answer."""

from collections.abc import Iterable
from typing import Final

from forebay.router.http.values import Headers, Reply, Request

ANY: Final = b"*"
METHODS: Final = b"GET, POST, DELETE"
KEPT_SECONDS: Final = 600
"""How long a browser need not ask again."""
VARY: Final = (b"vary", b"origin")


class Cors:
    """The origins that may. Keys come in headers, never in cookies, so that no answer depends on who has a session."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.origins = frozenset(origin.encode() for origin in origins)

    def headers(self, request: Request) -> Headers:
        """What every answer to this request carries; nothing where its page may not use it."""
        origin = request.fields.get(b"origin")
        if origin is None or not (origin in self.origins or ANY in self.origins):
            return []
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"*"), VARY]

    def preflight(self, request: Request) -> Reply | None:
        """The answer to a browser that asks whether a page may, if it may; what it wants to send is fine."""
        fields = request.fields
        if request.method != "OPTIONS" or b"access-control-request-method" not in fields or not self.headers(request):
            return None
        wanted = fields.get(b"access-control-request-headers", b"authorization, content-type")
        return Reply(
            204,
            [
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", wanted),
                (b"access-control-max-age", b"%d" % KEPT_SECONDS),
            ],
            b"",
        )
