"""`make bench-calibrate TRACES=folder`: recorded runs of vLLM through the simulated engine, and how far it is off."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.calibrate import hardware
from bench.calibrate.fit import fitted, times_of
from bench.calibrate.measure import Off, compare
from bench.calibrate.report import as_json, picture, show
from bench.calibrate.runs import runs
from forebay.rules.hardware import MEASURED
from forebay.simulator.batch import ServiceTime

OTHER_GPU = {"rtx4090-llama-3.1-8b": "rtxpro6000-llama-3.1-8b", "rtxpro6000-llama-3.1-8b": "rtx4090-llama-3.1-8b"}
"""The same model on the same number of GPUs: the one case in which a run may be told from another one's shares."""


def main() -> int:
    """Print the tables, write the JSON file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, help="folder with vllm-run-*-{meta.json,requests.jsonl,timeseries.csv}")
    parser.add_argument("--json", type=Path, default=Path("bench-calibrate.json"))
    parser.add_argument("--svg", type=Path, default=Path("bench-calibrate.svg"))
    chosen = parser.parse_args()
    found = list(runs(chosen.traces)) if chosen.traces.is_dir() else []
    if not found:
        parser.error(f"there are no recorded runs in {chosen.traces}: give the folder that has vllm-run-*-meta.json")
    console, rows, lines, times = Console(), {}, [], {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("")
        own = {}
        for run in found:
            progress.update(task, description=f"fitting {run.name}")
            own[run.name] = fitted(run)
        for run in found:
            progress.update(task, description=f"holding out half of {run.name}")
            middle = len(run.requests) // 2
            first = fitted(run, slice(middle))
            mine, line = compare(run, times_of(run, own[run.name]))
            ways: dict[str, Off] = {
                "itself": mine,
                "first half, on the other": compare(run, times_of(run, first), slice(middle, None))[0],
            }
            if (other := OTHER_GPU.get(run.name)) in own:
                ways["other GPU's run"] = compare(run, times_of(run, own[other]))[0]
            ways["table of hardware"] = compare(run, times_of(run, MEASURED))[0]
            if run.name == "rtx4090-llama-3.1-8b":
                ways["defaults"] = compare(run, ServiceTime())[0]
            rows[run.name] = ways
            lines.append((run, line, mine))
            times[run.name] = {**asdict(times_of(run, own[run.name])), "shares": asdict(own[run.name])}
    show(rows, console)
    for name, each in times.items():
        console.print(
            f"{name}: {1e3 * each['base']:.1f} ms + {1e3 * each['per_running']:.3f} ms x running + "
            f"{1e6 * each['per_kv_token']:.3f} us x KV tokens; {each['prefill_tokens_per_second']:,.0f} prompt tokens/s"
        )
    if (chosen.traces / hardware.FILE).exists():
        _table_of_hardware(chosen.traces, console)
    chosen.json.write_text(json.dumps(as_json(rows, times), indent=1) + "\n")
    chosen.svg.write_text(picture(lines))
    print(f"wrote {chosen.json} and {chosen.svg}")
    return 0


def _table_of_hardware(folder: Path, console: Console) -> None:
    """The five numbers of rules/hardware, fitted anew, and from one GPU to the other."""
    all_of_them = hardware.batches(folder)
    a100s = [batch for batch in all_of_them if batch.gpu.startswith("a100")]
    h100s = [batch for batch in all_of_them if not batch.gpu.startswith("a100")]
    for title, shares, on in (
        ("rules/hardware on all", MEASURED, all_of_them),
        ("fitted to all, on all", hardware.fitted(all_of_them), all_of_them),
        ("fitted to A100, on H100", hardware.fitted(a100s), h100s),
        ("fitted to H100, on A100", hardware.fitted(h100s), a100s),
    ):
        middle, most = hardware.off(on, shares)
        console.print(
            f"{title} ({len(on)} batches): off by {middle:.1%} in the median, {most:.1%} at p90; bandwidth "
            f"{shares.bandwidth:.2f}, compute {shares.compute:.2f}, {1e3 * shares.step:.2f} ms a step, "
            f"{1e3 * shares.request:.3f} ms a request, {1e3 * shares.layer:.3f} ms a layer with several GPUs"
        )


if __name__ == "__main__":
    sys.exit(main())
