"""Pictures of the chart's dashboards without a Grafana.

A Prometheus scrapes the demo's cluster under its load, and the queries of every panel are drawn into one HTML page
a dashboard. Needs a cluster with the demo's fleet (make demo).

    python -m e2e.dashboards --out FOLDER
"""

import argparse
import asyncio
import io
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from charts.dashboards import DASHBOARDS, Dashboard, Panel
from e2e.cluster import tools
from e2e.cluster.shell import ClusterError, say, step
from e2e.demo.load import Load
from e2e.demo.phases import RAMP, Phase
from e2e.demo.setup import KEYS, NAMESPACE, SYSTEM_NAMESPACE, Fleet, fleet
from forebay.cli.problem import Problem
from forebay.cli.report import (
    Axis,
    Curves,
    Figure,
    Figures,
    Heading,
    PlotCurve,
    ReportBlock,
    dollars,
    page,
    percent,
    short,
)
from forebay.cli.report.plot import TONES
from forebay.cli.running.cluster import ClusterReader
from forebay.cli.running.summary_reader import read
from forebay.cli.running.top import View, screen
from forebay.resources.names import LABEL_POOL

LOOK_SECONDS = 5
VALUES = {"$namespace": NAMESPACE, "$pool": "chat", "$model": "bravo-small", "$__rate_interval": "20s"}
STROKES = ("", "dashed", "dotted")
SAY = {"percentunit": percent, "currencyUSD": dollars}


def targets(cluster: ClusterReader) -> list[dict[str, Any]]:
    """What the chart's PodMonitors would have scraped, with the labels that they give."""
    found = []
    for namespace in (NAMESPACE, SYSTEM_NAMESPACE):
        for pod in cluster.list("v1", "pods", namespace):
            address, labels = pod["status"].get("podIP"), pod["metadata"].get("labels") or {}
            port = _metrics_port(pod["spec"])
            if address and port and not pod["metadata"].get("deletionTimestamp"):
                mine = {"namespace": namespace, "pod": pod["metadata"]["name"]}
                pool = {"pool": labels[LABEL_POOL]} if LABEL_POOL in labels else {}
                found.append({"targets": [f"{address}:{port}"], "labels": {**mine, **pool}})
    return found


def _metrics_port(spec: dict[str, Any]) -> int | None:
    containers = (*spec["containers"], *(spec.get("initContainers") or ()))
    ports = (port for container in containers for port in container.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "metrics"), None)


def scrape_config(folder: Path) -> dict[str, Any]:
    """Debian's Prometheus is built without discovery in Kubernetes: it follows a file."""
    found = [{"files": [str(folder / "targets.json")], "refresh_interval": "2s"}]
    job = {"job_name": "forebay", "honor_labels": True, "file_sd_configs": found}
    return {"global": {"scrape_interval": f"{LOOK_SECONDS}s"}, "scrape_configs": [job]}


@contextmanager
def prometheus(cluster: ClusterReader) -> Iterator[str]:
    """A Prometheus on loopback with a folder of its own. Raises ClusterError where it is not installed."""
    binary = tools.prometheus()
    if binary is None:
        raise ClusterError("there is no Prometheus here; run: make tools")
    with tempfile.TemporaryDirectory(prefix="forebay-prometheus-") as made, socket.socket() as free:
        folder = Path(made)
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(scrape_config(folder)))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address={address}"], stdout=log, stderr=log,
            )  # fmt: skip
        ended = threading.Event()
        following = threading.Thread(target=_follow, args=(cluster, folder / "targets.json", ended), daemon=True)
        following.start()
        try:
            yield f"http://{address}"
        finally:
            ended.set()
            following.join(30)
            process.terminate()
            process.wait(timeout=20)


def _follow(cluster: ClusterReader, file: Path, ended: threading.Event) -> None:
    """Keep the file up to date: pods come and go with the load."""
    while not ended.is_set():
        with suppress(Problem):
            new = file.with_suffix(".new")
            new.write_text(json.dumps(targets(cluster)))
            new.rename(file)
        ended.wait(LOOK_SECONDS)


class Top:
    """Looks at the operator's summary beside the load, and keeps the fullest view that `top` would have shown."""

    def __init__(self, here: Fleet) -> None:
        self.cluster = ClusterReader.connect(str(here.kubeconfig))
        self.fullest: View | None = None
        self.ended = threading.Event()

    def look(self) -> None:
        """Until the load has ended."""
        before, most = None, -1
        while not self.ended.wait(LOOK_SECONDS):
            try:
                now = read(self.cluster)
            except Problem:
                continue  # the next one tells
            busy = sum(pool.running + pool.queued for fleet in now.fleets for pool in fleet.pools)
            if busy > most:
                self.fullest, most = View(now, before, NAMESPACE), busy
            before = now

    def picture(self) -> str:
        """As SVG."""
        console = Console(record=True, width=132, file=io.StringIO())
        if self.fullest is not None:
            console.print(screen(self.fullest))
        return console.export_svg(title="kubectl forebay top -n demo")


def load(here: Fleet) -> Top:
    """The demo's ramp with some quiet before and after; what `top` showed meanwhile."""
    top = Top(here)
    looking = threading.Thread(target=top.look, daemon=True)
    looking.start()

    async def nothing(_: Phase) -> None:
        return

    quiet = Phase("quiet", 30, chat=3, sort=2)
    asyncio.run(Load(here.door, KEYS).ramp((quiet, *RAMP, quiet), nothing))
    top.ended.set()
    looking.join(30)
    return top


def series(
    http: httpx.Client, url: str, query: str, begin: float, end: float
) -> list[tuple[dict[str, str], list[Any]]]:
    """One query over the whole time."""
    for name, value in VALUES.items():
        query = query.replace(name, value)
    asked = {"query": query, "start": begin, "end": end, "step": LOOK_SECONDS}
    answer = http.get(f"{url}/api/v1/query_range", params=asked).json()
    if answer["status"] != "success":
        raise ClusterError(f"{query}: {answer['error']}")
    return [(item["metric"], item["values"]) for item in answer["data"]["result"]]


def drawn(http: httpx.Client, url: str, panel: Panel, begin: float, end: float) -> Figure | Curves | None:
    """A panel as a figure or as curves; None where it has no data."""
    curves = []
    for query in panel.queries:
        for labels, values in series(http, url, query.whole, begin, end):
            legend = query.legend
            for name, value in labels.items():
                legend = legend.replace("{{" + name + "}}", value)
            points = [(float(time) - begin, float(value)) for time, value in values if value not in ("NaN", "+Inf")]
            if points:
                curves.append((legend, points))
    say_it = SAY.get(panel.unit, short)
    if panel.stat:
        return Figure(say_it(curves[0][1][-1][1]) if curves else "no data", panel.title, panel.says)
    if not curves:
        return None
    made = [
        PlotCurve(name, points, TONES[number % len(TONES)], STROKES[number // len(TONES) % len(STROKES)])
        for number, (name, points) in enumerate(curves)
    ]
    return Curves(panel.title, Axis("seconds", say=short), Axis("", say=say_it), made, note=panel.says)


def picture(http: httpx.Client, url: str, dashboard: Dashboard, begin: float, end: float) -> str:
    """One dashboard as a page."""
    found = [(panel, drawn(http, url, panel, begin, end)) for panel in dashboard.panels]
    blocks: list[ReportBlock] = [Figures([item for _, item in found if isinstance(item, Figure)])]
    blocks += [item for _, item in found if isinstance(item, Curves)]
    if empty := [panel.title for panel, item in found if item is None]:
        blocks.append(Heading(f"No data in this time: {', '.join(empty)}"))
    return page(dashboard.title, blocks, dashboard.says)


def main() -> int:
    """Draw all dashboards. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.dashboards", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pages")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    try:
        here = fleet(NAMESPACE)
        with (
            prometheus(ClusterReader.connect(str(here.kubeconfig))) as url,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            begin = time.time()
            with step("sending the demo's load"):
                (out / "top.svg").write_text(load(here).picture())
            time.sleep(2 * LOOK_SECONDS)
            for dashboard in DASHBOARDS:
                file = out / f"{dashboard.name}.html"
                file.write_text(picture(http, url, dashboard, begin, time.time()))
                say(str(file))
    except (ClusterError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
