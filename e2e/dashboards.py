"""Pictures of the chart's dashboards without a Grafana: a Prometheus scrapes the demo's cluster, and the queries of every
panel are drawn into one HTML page a dashboard. Needs a cluster with the demo's fleet (make demo) and Debian's prometheus.

    python -m e2e.dashboards --out FOLDER
"""

import argparse
import asyncio
import base64
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from charts.dashboards import DASHBOARDS, Dashboard, Panel
from e2e.cluster.shell import ClusterError, say, step
from e2e.demo.load import Load
from e2e.demo.phases import RAMP, Phase
from e2e.demo.setup import KEYS, NAMESPACE, Fleet, fleet
from forebay.cli.report import Axis, Block, Curve, Curves, Figure, Figures, Heading, dollars, page, percent, short

LOOK_SECONDS = 5
VALUES = {"$namespace": NAMESPACE, "$pool": "chat", "$model": "bravo-small", "$__rate_interval": "20s"}
POD = "__meta_kubernetes_pod_"
TONES = ("local", "cloud", "third", "fourth", "other")
STROKES = ("", "dashed", "dotted")
SAY = {"percentunit": percent, "currencyUSD": dollars}


def scrape_config(kubeconfig: Path, folder: Path) -> dict[str, Any]:
    """What the chart's PodMonitors ask for, in Prometheus' own words."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    files = {}
    for name, held in (("ca", cluster), ("certificate", user), ("key", user)):
        kind = {"ca": "certificate-authority", "certificate": "client-certificate", "key": "client-key"}[name]
        files[name] = Path(held[kind]) if kind in held else folder / f"{name}.pem"
        if kind not in held:
            files[name].write_bytes(base64.b64decode(held[f"{kind}-data"]))
    tls = {"ca_file": str(files["ca"]), "cert_file": str(files["certificate"]), "key_file": str(files["key"])}
    return {
        "global": {"scrape_interval": f"{LOOK_SECONDS}s"},
        "scrape_configs": [{
            "job_name": "forebay",
            "honor_labels": True,
            "kubernetes_sd_configs": [{"role": "pod", "api_server": cluster["server"], "tls_config": tls}],
            "relabel_configs": [
                {"source_labels": [f"{POD}container_port_name"], "regex": "metrics", "action": "keep"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": [f"{POD}name"], "target_label": "pod"},
                {"source_labels": [f"{POD}label_forebay_dev_pool"], "target_label": "pool"},
            ],
        }],
    }  # fmt: skip


@contextmanager
def prometheus(kubeconfig: Path) -> Iterator[str]:
    """A Prometheus on loopback with a folder of its own. Raises ClusterError where it is not installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise ClusterError("there is no prometheus here; run: apt-get install prometheus")
    with tempfile.TemporaryDirectory(prefix="forebay-prometheus-") as made, socket.socket() as free:
        folder = Path(made)
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(scrape_config(kubeconfig, folder)))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address={address}"], stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def load(here: Fleet) -> None:
    """The demo's ramp with some quiet before and after."""

    async def nothing(_: Phase) -> None:
        return

    quiet = Phase("quiet", 30, chat=3, sort=2)
    asyncio.run(Load(here.door, KEYS).ramp((quiet, *RAMP, quiet), nothing))


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
        Curve(name, points, TONES[number % len(TONES)], STROKES[number // len(TONES) % len(STROKES)])
        for number, (name, points) in enumerate(curves)
    ]
    return Curves(panel.title, Axis("seconds", say=short), Axis("", say=say_it), made, note=panel.says)


def picture(http: httpx.Client, url: str, dashboard: Dashboard, begin: float, end: float) -> str:
    """One dashboard as a page."""
    found = [(panel, drawn(http, url, panel, begin, end)) for panel in dashboard.panels]
    blocks: list[Block] = [Figures([item for _, item in found if isinstance(item, Figure)])]
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
        with prometheus(here.kubeconfig) as url, httpx.Client(timeout=30, trust_env=False) as http:
            begin = time.time()
            with step("sending the demo's load"):
                load(here)
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
