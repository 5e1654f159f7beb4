"""Draws the figures of a run. Run by the peers' Python, which has matplotlib: `plot.py RESULTS.json PICTURE.svg`."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS = "#0b7285", "#adb5bd"
LINES = {"direct": "#ced4da", "forebay": "#0b7285", "forebay gateway + sidecar": "#66a5ad",
         "forebay compiled": "#1864ab", "forebay compiled gateway + sidecar": "#74c0fc", "envoy": "#e8590c",
         "vllm-router": "#5f3dc4", "sglang-router": "#2b8a3e"}  # fmt: skip


def bars(axes: Any, found: dict[str, float], title: str, unit: str) -> None:
    """One bar a router, the smallest on top; one too long for the others is cut, and says so."""
    if not found:  # this part was not asked for
        axes.set_axis_off()
        return
    names = sorted(found, key=lambda name: found[name], reverse=True)
    usual = sorted(found.values())
    most = max([value for value in usual if value <= 6 * usual[len(usual) // 2]], default=usual[-1])
    colours = [OURS if name.startswith("forebay") else OTHERS for name in names]
    axes.barh(names, [min(found[name], most * 1.15) for name in names], color=colours)
    for row, name in enumerate(names):
        cut = found[name] > most * 1.15
        text = f"{found[name]:,.0f}" if found[name] >= 100 else f"{found[name]:.1f}"
        axes.text(min(found[name], most * 1.15), row, f" {text}{' →' if cut else ''}", va="center", fontsize=8)
    axes.set_xlim(0, most * 1.35)
    axes.set_title(f"{title}  ({unit})", loc="left", fontsize=9)
    axes.tick_params(labelsize=8, length=0)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def draw(results: dict[str, Any], picture: Path) -> None:
    """Six panels."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "svg.fonttype": "none", "svg.hashsalt": "forebay"})
    figure, panels = plt.subplots(3, 2, figsize=(10, 8.2), constrained_layout=True)

    def of(*path: str) -> dict[str, float]:
        found = {}
        for name, measured in results.items():
            value: Any = measured
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None and name not in ("direct", "alone"):
                found[name] = float(value)
        return found

    bars(panels[0][0], of("at 1000/s", "us"), "CPU of a request at 1,000 a second", "µs")
    bars(panels[0][1], of("chunk", "us"), "CPU of a streamed chunk", "µs")
    bars(panels[1][0], of("request", "us"), "CPU of a request at full load, 32 connections", "µs")
    bars(panels[1][1], of("idle_mib"), "memory, idle", "MiB")
    bars(panels[2][0], of("many", "mib"), "memory, about 10,000 open streams", "MiB")
    axes = panels[2][1]
    for name, colour in LINES.items():
        steps = results.get(name, {}).get("knee", {}).get("steps")
        if steps:
            axes.plot([s[0] / 1000 for s in steps], [min(s[1], 100) for s in steps], color=colour, label=name, lw=1.5)
    axes.axhline(20, color="#868e96", lw=0.8, ls=":")
    axes.set_ylim(0, 60)
    axes.set_title("p99 of a chunk on its way (ms) by thousand chunks a second", loc="left", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
    else:  # this part was not asked for
        axes.set_axis_off()
        axes.set_title("", loc="left")
        axes.lines[0].remove()
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["results"], Path(sys.argv[2]))
