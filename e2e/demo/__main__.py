"""make demo: a cluster, the chart, the examples, a load that ramps past local capacity and back, and a verdict.

Exits 0 only if what the demo is meant to show happened. Leaves the cluster up.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from e2e.cluster.shell import ClusterError, say, warn
from e2e.demo.checks import Answer, Check, checks
from e2e.demo.load import Load
from e2e.demo.phases import RAMP, Phase, trace
from e2e.demo.setup import KEYS, Fleet, install
from e2e.demo.view import Picture, View, svg
from e2e.demo.watch import Watch, as_seen

SUMMARY = Path("demo-summary.json")
SETTLE_SECONDS = 120
"""Longest wait, after the load, for the fleet to be back at its smallest size."""


async def tell(load: Load, fleet: Fleet, view: View, rows: Path | None, keep: Path | None = None) -> dict[str, object]:
    """Run the load while watching; returns the summary. `keep`: where the fullest screen is drawn."""
    watch = Watch(str(fleet.kubeconfig), fleet.namespace)
    picture = Picture()
    known = {event.uid for event in await asyncio.to_thread(watch.events)}
    before = await asyncio.to_thread(watch.overflow)
    sizes: dict[str, list[int]] = {}
    stop = asyncio.Event()
    fullest = ("", -1)

    async def look() -> None:
        nonlocal fullest
        while not stop.is_set():
            with contextlib.suppress(Exception):  # a poll may fail; the next one tells
                await asyncio.to_thread(poll)
            picture.answered = Counter(_kind(answer) for answer in load.answers)
            view.show(picture)
            full = sum(pool.running + pool.queued for pool in picture.pools)
            if keep and full >= fullest[1]:
                fullest = (svg(picture), full)
            await asyncio.sleep(0.7)

    def poll() -> None:
        picture.pools = watch.pools()
        running, queued, slots = (watch.gauge(f"forebay_{name}") for name in ("slots_running", "queue_length", "slots"))
        for pool in picture.pools:
            pool.running, pool.queued = running[pool.name], queued[pool.name]
            pool.slots = slots[pool.name] or pool.slots
        picture.overflow = watch.overflow()
        picture.overflow.subtract(before)
        for event in watch.events():
            if event.uid not in known:
                known.add(event.uid)
                picture.events.append(event)
        for name, size in watch.sizes().items():
            seen = sizes.setdefault(name, [])
            if not seen or seen[-1] != size:
                seen.append(size)

    async def on_phase(phase: Phase) -> None:
        picture.phase = phase.name

    begun = time.monotonic()
    first = {event.uid for event in await asyncio.to_thread(watch.events)}
    looking = asyncio.create_task(look())
    if rows is None:
        await load.ramp(RAMP, on_phase)
    else:
        picture.phase = f"trace {rows.name}"
        await load.replay(trace(rows, random.Random(7)))
    picture.phase = "waiting for the fleet to shrink again"
    await _settle(watch, fleet)
    stop.set()
    await looking
    if keep:
        keep.write_text(fullest[0])
    events = [event for event in await asyncio.to_thread(watch.events) if event.uid not in first]
    verdict = checks(load.answers, as_seen(events), sizes, ramp=rows is None)
    return {
        "passed": all(check.passed for check in verdict),
        "checks": [asdict(check) for check in verdict],
        "seconds": round(time.monotonic() - begun, 1),
        "answers": _table(load.answers),
        "sizes": sizes,
        "events": [f"{event.time[11:19]} {event.pool} {event.reason}: {event.note}" for event in events],
    }


async def _settle(watch: Watch, fleet: Fleet) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            sizes = await asyncio.to_thread(watch.sizes)
            stopped = all(pool.overflow == "None" for pool in await asyncio.to_thread(watch.pools))
            if stopped and all(size <= fleet.smallest.get(name, 1) for name, size in sizes.items()):
                return
        await asyncio.sleep(1)


def _kind(answer: Answer) -> str:
    if answer.status != 200:
        return f"refused {answer.status}"
    return answer.provider or "local"


def _table(answers: list[Answer]) -> list[dict[str, object]]:
    counts = Counter(
        (a.phase, a.kind, a.who, a.asked, a.provider or a.destination, a.reason, a.status) for a in answers
    )
    names = ("phase", "kind", "client", "asked", "destination", "reason", "status")
    return [{**dict(zip(names, key, strict=True)), "requests": n} for key, n in sorted(counts.items())]


def show(console: Console, summary: dict[str, object], verdict: list[Check]) -> None:
    """The summary as a table."""
    table = Table(title="what the demo was to show", title_justify="left")
    for heading in ("", "check", "figure"):
        table.add_column(heading)
    for check in verdict:
        mark = "[green]yes[/green]" if check.passed else "[bold red]NO[/bold red]"
        table.add_row(mark, check.name, check.figure)
    console.print(table)
    console.print(f"summary: {SUMMARY} ({summary['seconds']} s under load)")


def what_next(console: Console, fleet: Fleet) -> None:
    """Commands to try."""
    console.print(
        f"""
The cluster is up. Try next:

  export KUBECONFIG={fleet.kubeconfig}
  kubectl -n {fleet.namespace} get localmodelpools,cloudfallbackpolicies
  kubectl -n {fleet.namespace} get events
  .venv/bin/kubectl-forebay explain chat -n {fleet.namespace}    # or status, top, cost
  curl -i {fleet.door}/v1/chat/completions -H 'authorization: Bearer {KEYS["interactive"]}' \\
    -H 'content-type: application/json' -d '{{"model":"auto","messages":[{{"role":"user","content":"Hello"}}]}}'
  export OPENAI_BASE_URL={fleet.door}/v1 OPENAI_API_KEY={KEYS["interactive"]}

  (no kubectl here? .venv/bin/python -m e2e.cluster kubectl ...)
  make cluster-down ends it and leaves nothing behind.
""",
        highlight=False,
        soft_wrap=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the demo. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("--load", type=Path, help="a trace (time,prompt tokens,output tokens) instead of the ramp")
    parser.add_argument("--picture", type=Path, help="draw the fullest screen into this SVG file")
    chosen = parser.parse_args(argv)
    console = Console()
    begun = time.monotonic()
    try:
        if chosen.load:
            trace(chosen.load, random.Random(7))  # refuse a bad file before anything is started
        fleet = install()
        say(f"ready after {time.monotonic() - begun:.0f} s; the load begins")
        with View(console) as view:
            summary = asyncio.run(tell(Load(fleet.door, KEYS), fleet, view, chosen.load, chosen.picture))
    except (ClusterError, ValueError, OSError) as error:
        warn(f"error: {error}")
        return 1
    summary["total_seconds"] = round(time.monotonic() - begun, 1)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
    verdict = [Check(**check) for check in summary["checks"]]  # type: ignore[attr-defined]
    show(console, summary, verdict)
    what_next(console, fleet)
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
