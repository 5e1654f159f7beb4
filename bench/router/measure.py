"""One router at a time under one load: what it costs, what it adds, what it holds."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from bench.router.routers import Place, pinned

LOAD_CORE: Final = 1
LATE_MS: Final = 20.0
SLOW_FILL: Final = 32 * 1024

Say = Callable[[str], None]


class Load:
    """A run of the load generator in a process of its own."""

    def __init__(self, **plan: Any) -> None:
        self._process = subprocess.Popen(
            pinned(LOAD_CORE, sys.executable, "-m", "bench.router.load", json.dumps(plan)),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._lines = iter(self._process.stdout.readline, "")
        # The generator bounds itself; this is for the case that it cannot.
        self._guard = threading.Timer(float(plan.get("hold") or plan.get("seconds", 60.0)) + 60, self._process.kill)
        self._guard.start()

    def connected(self) -> None:
        """Until every connection stands."""
        next(self._lines, None)

    def result(self) -> dict[str, Any]:
        """What it saw. Raises RuntimeError when it saw nothing."""
        line = next(self._lines, "")
        self._process.wait()
        self._guard.cancel()
        if not line:
            raise RuntimeError("the load generator ended without a result")
        return dict(json.loads(line))


def under(place: Place, **plan: Any) -> tuple[dict[str, Any], float]:
    """A run from the moment all are connected: its result, and the router's CPU seconds meanwhile."""
    load = Load(**plan)
    load.connected()
    before = place.cpu()
    result = load.result()
    return result, place.cpu() - before


def per_request(place: Place, port: int, requests: int) -> dict[str, Any]:
    """CPU microseconds of one answer of half a kilobyte to a request of two, 32 connections, closed loop."""
    result, cpu = under(place, port=port, requests=requests, connections=32, seconds=60)
    return {
        "us": round(cpu / max(1, result["done"]) * 1e6, 2), "failed": result["failed"], "problem": result["problem"],
        "per_second": round(result["done"] / result["seconds"]),
    }  # fmt: skip


def per_chunk(place: Place, port: int, streams: int, chunks: int, request_us: float) -> dict[str, Any]:
    """CPU microseconds of one streamed chunk, at 20 chunks a second and stream; the requests' own share taken off."""
    result, cpu = under(place, port=port, connections=streams, requests=streams, chunks=chunks, hold=0, seconds=90)
    cpu -= result["done"] * request_us / 1e6
    return {"us": round(cpu / max(1, result["events"]) * 1e6, 2), "failed": result["failed"]}


def latency(place: Place, port: int, rate: float, seconds: float) -> dict[str, Any]:
    """First byte of an answer at a fixed rate, in milliseconds, and the CPU of a request at that rate."""
    result, cpu = under(place, port=port, requests=int(rate * seconds), rate=rate, connections=64, seconds=seconds + 10)
    return {**result["first_ms"], "us": round(cpu / max(1, result["done"]) * 1e6, 2), "failed": result["failed"]}


def memory_with_streams(place: Place, port: int, streams: int, seconds: float) -> dict[str, Any]:
    """Resident MiB with so many streams open, a chunk every second each."""
    load = Load(port=port, connections=streams, chunks=10_000, pace=1000, hold=seconds)
    load.connected()
    time.sleep(seconds / 2)
    held = place.memory()
    result = load.result()
    return {"mib": round(held, 1), "failed": result["failed"], "problem": result["problem"][:200]}


def memory_with_slow_readers(place: Place, port: int, streams: int, seconds: float) -> dict[str, Any]:
    """Resident MiB while so many clients read nothing of streams of 32 KiB chunks."""
    load = Load(port=port, connections=streams, chunks=10_000, pace=1000, fill=SLOW_FILL, hold=seconds, read=False)
    load.connected()
    time.sleep(seconds * 0.9)
    held = place.memory()
    return {"mib": round(held, 1), "failed": load.result()["failed"]}


def many_streams(place: Place, port: int, streams: int, pace_seconds: float, seconds: float) -> dict[str, Any]:
    """So many streams at one chunk per `pace_seconds` each."""
    load = Load(port=port, connections=streams, chunks=10_000, pace=int(pace_seconds * 1000), hold=seconds, ramp=800)
    load.connected()
    time.sleep(seconds / 2)
    held, before, begun = place.memory(), place.cpu(), time.monotonic()
    time.sleep(seconds / 4)
    cpu = (place.cpu() - before) / (time.monotonic() - begun)
    result = load.result()
    lags = result["lag_ms"]
    return {
        "streams": streams, "mib": round(held, 1), "cpu_percent": round(cpu * 100, 1), "failed": result["failed"],
        "chunks": result["events"], "p50_ms": lags.get("p50"), "p99_ms": lags.get("p99"),
        "problem": result["problem"][:200],
    }  # fmt: skip


def knee(place: Place, port: int, most: int, say: Say) -> dict[str, Any]:
    """The most chunks a second, at 20 a second and stream, before their p99 on the way passes 20 ms."""
    steps: list[tuple[float, float]] = []
    streams = 100
    while streams <= most:
        say(f"{streams} streams")
        result, _ = under(place, port=port, connections=streams, chunks=10_000, hold=6, ramp=1000)
        rate, late = result["events"] / result["seconds"], result["lag_ms"].get("p99", 1e9)
        rate = min(rate, streams * 20.0)
        steps.append((rate, late))
        if late > LATE_MS or result["failed"]:
            break
        streams = int(streams * 1.3)
    best = max((rate for rate, late in steps if late <= LATE_MS), default=0.0)
    return {"chunks_per_second": round(best), "steps": [(round(rate), round(late, 2)) for rate, late in steps]}


def middle(values: list[float]) -> float:
    """The median."""
    return round(statistics.median(values), 2)
