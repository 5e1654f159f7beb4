"""make demo ENGINE=vllm: a pool of a real vLLM on this machine: it answers, overflows when full, grows and shrinks.

Exits 0 only if each of it happened. Leaves the cluster up, without the pool.
"""

import sys

from rich.console import Console
from rich.table import Table

from e2e.cluster.shell import ClusterError, step, warn
from e2e.scenarios import real
from e2e.scenarios.real_story import STORY
from testing.real_engine import NEWEST, find, missing


def main() -> int:
    """Run it. Returns the exit status."""
    console = Console()
    table = Table(title=f"a pool of vLLM {NEWEST}", title_justify="left")
    for heading in ("", "step", "figures"):
        table.add_column(heading)
    passed = True
    try:
        if find(NEWEST) is None:
            raise ClusterError(missing(NEWEST))
        with real.fleet() as (door, seconds):
            table.add_row("[green]yes[/green]", "starts", f"served {seconds:.0f} s after its pool was made")
            for part in STORY:
                try:
                    with step(f"a real vLLM {part.__name__}"):
                        table.add_row("[green]yes[/green]", part.__name__, part(door))
                except AssertionError as error:
                    passed = False
                    table.add_row("[bold red]NO[/bold red]", part.__name__, str(error))
    except (ClusterError, OSError, AssertionError) as error:
        warn(f"error: {error}")
        return 1
    console.print(table)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
