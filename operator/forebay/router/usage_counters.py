"""Who used what, counted as requests end: one entry a combination, no more than USAGE_ROWS of them."""

from dataclasses import dataclass
from decimal import Decimal

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.usage import LOCAL, OTHERS, USAGE_ROWS, UsageRow

Key = tuple[str, str, str, str, str]
"""Pool, destination, client, priority, capability: the labels of the metrics."""


@dataclass(slots=True)
class Cell:
    """Totals of one combination since the process began."""

    requests: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: Decimal = Decimal(0)


class UsageCounters:
    """The totals of one router."""

    def __init__(self) -> None:
        self.cells: dict[Key, Cell] = {}

    def count(self, record: AccessLogEntry, pool: str, seconds: float) -> None:
        """Count a request that was served; `seconds` from its first byte to the answer's last. Refusals are none."""
        destination = record.destination
        if destination in ("", "none"):
            return
        local = "/" not in destination
        key = (
            destination if local else pool, LOCAL if local else destination, record.client, record.priority,
            record.capability,
        )  # fmt: skip
        cell = self.cells.get(key) or self._new(key)
        cell.requests += 1
        cell.seconds += max(0.0, seconds - record.queue_ms / 1000)
        if local:
            cell.input_tokens += record.prompt_tokens
            return
        cell.input_tokens += record.input_tokens
        cell.output_tokens += record.output_tokens
        if record.cost_usd:
            cell.dollars += Decimal(record.cost_usd)

    def _new(self, key: Key) -> Cell:
        """A cell for a new combination; once there are as many as may be, one that all other clients share."""
        if len(self.cells) >= USAGE_ROWS:
            key = (key[0], key[1], OTHERS, key[3], "")
        return self.cells.setdefault(key, Cell())

    def report(self) -> tuple[UsageRow, ...]:
        """For the operator."""
        return tuple(
            UsageRow(
                pool=key[0], destination=key[1], client=key[2], priority=key[3], capability=key[4],
                requests=cell.requests, seconds=round(cell.seconds, 3), input_tokens=cell.input_tokens,
                output_tokens=cell.output_tokens, dollars=format(cell.dollars.normalize(), "f"),
            )
            for key, cell in self.cells.items()
        )  # fmt: skip
