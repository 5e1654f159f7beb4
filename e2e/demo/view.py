"""The live picture of the demo: one screen in a terminal, plain lines elsewhere."""

import io
import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from e2e.demo.watch import ClusterEvent, PoolLine

EVENT_LINES = 12
STYLES = {
    "ScaledUp": "bold green",
    "ScaledDown": "bold cyan",
    "OverflowStarted": "bold yellow",
    "OverflowStopped": "green",
}


@dataclass(slots=True)
class Picture:
    """Everything the view shows; the demo's loop fills it."""

    phase: str = "starting"
    pools: list[PoolLine] = field(default_factory=list)
    in_flight: dict[str, int] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    overflow: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    events: deque[ClusterEvent] = field(default_factory=lambda: deque(maxlen=EVENT_LINES))


class View:
    """Shows a Picture. Without a terminal it prints a line every two seconds and each Event once."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None
        self._printed: set[tuple[str, int]] = set()
        self._last = 0.0

    def __enter__(self) -> "View":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, picture: Picture) -> None:
        """Draw the picture as it is now."""
        if self.live:
            self.live.update(render(picture))
            return
        for event in picture.events:
            if (event.uid, event.count) not in self._printed:
                self._printed.add((event.uid, event.count))
                self.console.print(
                    f"  event {event.time[11:19]} {event.pool}: {event.reason}: {event.note}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
        if time.monotonic() - self._last >= 2:
            self._last = time.monotonic()
            self.console.print(plain(picture), highlight=False, markup=False, soft_wrap=True)


def plain(picture: Picture) -> str:
    """One line: phase, pools, spill."""
    pools = "  ".join(
        f"{p.name}: {p.running}/{p.slots} running, {p.queued} queued, {p.ready}/{p.replicas} replicas"
        for p in picture.pools
    )
    spill = (
        ", ".join(f"{tier} {reason} {n}" for (_, tier, reason), n in sorted(picture.overflow.items()) if n) or "none"
    )
    return f"[{picture.phase}] {pools} | cloud: {spill} | answered {sum(picture.answered.values())}"


def render(picture: Picture) -> RenderableType:
    """The whole screen."""
    spill = Table(title="spilled to the cloud", expand=True, title_justify="left")
    for heading in ("pool", "tier", "reason", "requests"):
        spill.add_column(heading, justify="right" if heading == "requests" else "left")
    for (pool, tier, reason), count in sorted(picture.overflow.items()):
        spill.add_row(pool or "-", tier, reason, str(count))
    return Group(
        Text(f"forebay demo: {picture.phase}", style="bold"),
        _pools(picture.pools),
        spill,
        Panel(_events(picture.events), title="kubectl get events", title_align="left"),
        Text("answered: " + "  ".join(f"{name} {count}" for name, count in sorted(picture.answered.items()))),
    )


def svg(picture: Picture) -> str:
    """The screen as an SVG that needs no network: fonts are whatever is at hand."""
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    console.print(render(picture))
    drawn = console.export_svg(title="make demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S).replace("Fira Code", "ui-monospace")


def _pools(pools: list[PoolLine]) -> Table:
    table = Table(expand=True)
    for heading in ("pool", "slots in use", "running", "queued", "replicas", "demand", "spilling"):
        table.add_column(heading)
    for pool in pools:
        share = pool.running / pool.slots if pool.slots else 0.0
        colour = "red" if share >= 1 else "yellow" if share > 0.7 else "green"
        table.add_row(
            pool.name,
            Bar(1.0, 0, min(share, 1.0), width=24, color=colour),
            f"{pool.running}/{pool.slots}",
            str(pool.queued),
            f"{pool.ready}/{pool.replicas}",
            pool.demand,
            Text(pool.overflow, style="yellow" if pool.overflow == "Active" else "dim"),
        )
    return table


def _events(events: deque[ClusterEvent]) -> Text:
    text = Text()
    for event in events:
        times = f" (x{event.count})" if event.count > 1 else ""
        text.append(f"{event.time[11:19]} {event.pool:10.10} ", style="dim")
        text.append(f"{event.reason}{times} ", style=STYLES.get(event.reason, ""))
        text.append(event.note + "\n")
    return text
