"""Who used what: the row in which routers count and the operator adds up. Beside the reports that carry it."""

from typing import Final

from forebay.resources.table import Frozen

LOCAL: Final = "local"
"""The destination of what was served in the cluster."""
OTHERS: Final = "others"
"""The client of what came after USAGE_ROWS combinations were known."""
USAGE_ROWS: Final = 256
"""Most rows that one router counts in."""


class UsageRow(Frozen, frozen=True):
    """What one client's requests of one kind took at one destination, since the router began.

    `input_tokens` of local requests are the routers' estimate; those of a provider, and all other tokens and dollars,
    are what the provider counted. What a local engine generated is counted by the engine, for the pool as a whole.
    """

    pool: str  # that it was served by or overflowed from; empty at a gap
    destination: str  # `local`, or provider/model
    client: str
    priority: str
    capability: str
    requests: int = 0
    seconds: float = 0.0  # of service: without the wait for a slot
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: str = "0"  # decimal
