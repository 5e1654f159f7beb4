"""The mounted routing table: taken when it is good and newer, kept otherwise."""

from collections.abc import Callable
from pathlib import Path

from forebay.resources.table import RoutingTable, TableError, decode


class TableFile:
    """Watches one file. `table` is the last good one; `problem` says why a newer one was not taken."""

    def __init__(self, path: Path, on_change: Callable[[RoutingTable], None] = lambda _: None) -> None:
        self.path = path
        self.on_change = on_change
        self.table = RoutingTable()
        self.loaded = False
        self.problem = ""
        self.refused_total = 0
        self._stamp: tuple[int, int] | None = None

    def look(self) -> None:
        """Read the file if it changed. Cheap: one stat, called every 0.2 s."""
        try:
            stat = self.path.stat()  # follows the links that a ConfigMap mount swaps
        except OSError:
            return  # not there yet
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.take(decode(self.path.read_bytes()))
        except (OSError, TableError) as error:
            self.problem = str(error)
            self.refused_total += 1

    def take(self, table: RoutingTable) -> bool:
        """Take a table of a higher generation; False and a `problem` for an older one. The same one again is fine."""
        if self.loaded and table.generation < self.table.generation:
            self.problem = f"generation {table.generation} is older than {self.table.generation}"
            self.refused_total += 1
            return False
        if self.loaded and table.generation == self.table.generation and table.hash != self.table.hash:
            self.problem = f"generation {table.generation} has two contents"
            self.refused_total += 1
            return False
        changed = not self.loaded or table.hash != self.table.hash
        self.table, self.loaded, self.problem = table, True, ""
        if changed:
            self.on_change(table)
        return True
