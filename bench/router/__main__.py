"""What a router costs, in one run (`make bench-router`).

The router has one core, the engine's stand-in and the load generator share the other. All routers run at the same time
and take turns, so that a busy machine is as unkind to one as to the next; what counts are the ratios and CPU time.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.router import measure, peers, report
from bench.router.alone import alone
from bench.router.routers import ROUTERS, Place, against, answers, free_port, pinned
from forebay import __version__

SLOW: Final = ("litellm",)
"""Hundreds of times dearer: they get less to do, and are left out where they would only fail."""
PARTS: Final = ("request", "chunk", "latency", "memory", "many", "knee", "alone")

Results = dict[str, dict[str, Any]]


class Bench:
    """The routers under test, and what was measured of them."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> None:
        self.chosen, self.folder, self.say = chosen, folder, say
        self.others = against(chosen.against) if chosen.against else {}
        self.engine = free_port()
        self.places: dict[str, tuple[Place, int]] = {}
        self.results: Results = {}
        self.missing: dict[str, str] = {}
        upstream = (sys.executable, "-m", "bench.router.upstream", str(self.engine))
        self.upstream = subprocess.Popen(pinned(measure.LOAD_CORE, *upstream))

    def start(self, names: list[str], environment: Path | None) -> None:
        """All of them, one after the other."""
        for number, name in enumerate(names):
            self.say(f"starting {name}")
            folder = self.folder / str(number)
            folder.mkdir()
            place = Place(folder, self.engine, 0, environment)
            try:
                port = (ROUTERS | self.others)[name](place)
            except FileNotFoundError as missing:
                self.missing[name] = f"{missing} is not installed"
                continue
            if answers(port, 90 if name in SLOW else 30):
                self.places[name] = (place, port)
                self.results[name] = {}
            else:
                self.missing[name] = "did not answer: " + _last_words(folder)
                place.stop()

    def stop(self) -> None:
        """End every process."""
        for place, _ in self.places.values():
            place.stop()
        self.upstream.terminate()
        self.upstream.wait(10)

    def rounds(self, part: str, work: Callable[[str, Place, int], dict[str, Any]], names: list[str]) -> None:
        """Let the routers take turns; of each figure the median of all rounds is kept, of failures the sum."""
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(self.chosen.rounds):
            for name in names:
                self.say(f"{part}: {name}, round {number + 1}")
                seen[name].append(work(name, *self.places[name]))
        for name in names:
            self.results[name][part] = {key: _join(key, [one.get(key) for one in seen[name]]) for key in seen[name][0]}

    def once(self, part: str, work: Callable[[str, Place, int], dict[str, Any]], names: list[str]) -> None:
        """One after the other, once."""
        for name in names:
            self.say(f"{part}: {name}")
            self.results[name][part] = work(name, *self.places[name])

    def run(self, parts: list[str]) -> None:
        """Every part that was asked for."""
        scale = 0.25 if self.chosen.quick else 1.0
        routers = [name for name in self.places if name != "direct"]
        quick_ones = [name for name in routers if name not in SLOW]
        if "memory" in parts:
            time.sleep(3)
            for name in routers:
                self.results[name]["idle_mib"] = round(self.places[name][0].memory(), 1)
        if "request" in parts or "chunk" in parts:
            count = {True: 100, False: int(6000 * scale)}
            self.rounds("request", lambda n, place, port: measure.per_request(place, port, count[n in SLOW]), routers)
        if "chunk" in parts:
            size = {True: (20, 20), False: (200, int(80 * scale))}
            self.rounds(
                "chunk",
                lambda n, place, port: measure.per_chunk(
                    place, port, *size[n in SLOW], self.results[n]["request"]["us"]
                ),
                quick_ones,  # LiteLLM writes chunks of its own, in which the engine's mark is lost
            )
        if "latency" in parts:
            for rate in (200, 1000):
                names = [name for name in self.places if name not in SLOW]
                self.rounds(
                    f"at {rate}/s", lambda _, place, port, r=rate: measure.latency(place, port, r, 8 * scale), names
                )  # type: ignore[misc]
        if "memory" in parts:
            self.once("streams", lambda _, p, port: measure.memory_with_streams(p, port, 2000, 12), quick_ones)
            self.once("slow", lambda _, p, port: measure.memory_with_slow_readers(p, port, 2000, 20), quick_ones)
        if "many" in parts:
            most = min(10_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 120) // 2)
            self.once("many", lambda _, p, port: measure.many_streams(p, port, most, 5, 60 * scale), quick_ones)
        if "knee" in parts:
            names = ["direct", *quick_ones]
            self.once("knee", lambda _, p, port: measure.knee(p, port, 4000, self.say), names)
        if "alone" in parts:
            self.say("the pure parts alone")
            self.results["alone"] = dict(alone())


def _join(key: str, values: list[Any]) -> Any:
    if key == "problem":
        return next(filter(None, values), "")
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return sum(numbers) if key == "failed" else measure.middle(numbers)


def _last_words(folder: Path) -> str:
    logs = sorted(folder.glob("*.log"))
    return logs[-1].read_text(errors="replace").strip()[-300:] if logs else ""


def machine() -> dict[str, Any]:
    """Where it was measured."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(),
            "load_before": os.getloadavg()[0]}  # fmt: skip


def main() -> int:
    """Measure, then print the table and write the JSON file and the plot."""
    parser = argparse.ArgumentParser(prog="bench.router", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(ROUTERS), default=list(ROUTERS), metavar="ROUTER")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a quarter of everything")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout, after `make compiled` in it")
    parser.add_argument("--json", type=Path, default=Path("build/bench-router.json"))
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    console = Console(stderr=True)
    console.print("installing the peers, once", style="dim")
    environment = (
        peers.environment() if set(chosen.only) & {"envoy", "vllm-router", "sglang-router", "litellm"} else None
    )
    with tempfile.TemporaryDirectory() as folder:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=None)
            bench = Bench(chosen, Path(folder), lambda text: progress.update(bar, description=text, advance=1))
            try:
                bench.start([*chosen.only, *bench.others], environment)
                bench.run(chosen.parts)
            finally:
                bench.stop()
    found = {"machine": machine(), "versions": {"forebay": __version__, **peers.versions(environment)},
             "missing": bench.missing, "results": bench.results}  # fmt: skip
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    chosen.json.with_suffix(".md").write_text(report.markdown(found))
    if environment is not None:
        picture = chosen.json.with_suffix(".svg")
        script = Path(__file__).with_name("plot.py")
        subprocess.run([environment / "bin/python", script, chosen.json, picture], check=True)
        console.print(f"figures in {chosen.json}, plot in {picture}", style="dim")
    report.show(found, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
