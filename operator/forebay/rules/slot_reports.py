"""When a sidecar reports its free slots: at once when that changes what a gateway may do, gathered otherwise. Pure."""

from typing import Final

REPORT_SECONDS: Final = 0.02
"""How long changes are gathered that no gateway needs at once."""
SCARCE: Final = 2
"""With so few free slots each change is told at once: two gateways may be after the same one."""


def urgent(told: tuple[int, int], now: tuple[int, int]) -> bool:
    """Whether to report at once. Both are free slots, for anybody and for High: as last reported, and as they are."""
    return (told[0] > 0) != (now[0] > 0) or (told[1] > 0) != (now[1] > 0) or (now[1] <= SCARCE and now[1] != told[1])
