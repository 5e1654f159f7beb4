"""The two engines that the contract is held against, as processes: the simulator, and a real vLLM if there is one."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from forebay.engines.vllm import VLLM
from testing.real_engine import ADAPTERS, MODEL, NEWEST, OLDEST, RealEngine, find, missing
from testing.simulated_engine import SimulatedProcess

CONTEXT: Final = 1024
SLOTS: Final = 8
VERSION: Final = {"newest": NEWEST, "oldest": OLDEST}.get(os.environ.get("FOREBAY_TEST_ENGINE", ""), "")
"""The vLLM that the suite is to run against, beside the simulator: `make test-engine` says which."""
USUAL: Final = ("--served-model-name", "tiny", "--max-model-len", str(CONTEXT), "--max-num-seqs", str(SLOTS))
START_SECONDS: Final = 600
"""For a machine that does much else: alone it takes 15 to 60."""
ONE, TWO = ADAPTERS
SIMULATOR, REAL = "simulator", "vllm"
Process = SimulatedProcess | RealEngine


class Engine:
    """One engine, and what a test asks it. It serves unless `start` says otherwise."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.real = isinstance(process, RealEngine)
        self.url = process.base_url
        # One connection a request: an engine ends an idle one after 5 seconds.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False, verify=False, limits=limits)

    def post(self, path: str, document: Any = None, **more: Any) -> httpx.Response:
        """A request with a JSON body."""
        return self.http.post(path, json=document, **more)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All that /metrics says, by name and labels."""
        families = text_string_to_metric_families(self.http.get(VLLM.metrics_path).text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one metric over all series that have these labels."""
        wanted = set(labels.items())
        return sum(value for (one, has), value in self.samples().items() if one == name and wanted <= has)

    def until(self, name: str, value: float, seconds: float = 10.0) -> float:
        """Wait until a metric has a value; returns the seconds that it took."""
        began = time.monotonic()
        while (found := self.metric(name)) != value:
            assert time.monotonic() - began < seconds, f"{name} is {found}, not {value}"
            time.sleep(0.02)
        return time.monotonic() - began


def newer(kind: str, what: str) -> None:
    """Skip where the oldest supported vLLM does not have what a test is about."""
    if kind == REAL and VERSION == OLDEST:
        pytest.skip(f"vLLM {OLDEST} {what}")


def wanted(kind: str) -> None:
    """Skip where this engine is not to be had."""
    if kind == REAL and not VERSION:
        pytest.skip("a real vLLM is asked by make test-engine")
    if kind == REAL and find(VERSION) is None:
        pytest.skip(missing(VERSION))


def made(kind: str, args: Sequence[str] = (), adapters: int = 0, env: Mapping[str, str] | None = None) -> Process:
    """An engine that was not started yet."""
    wanted(kind)
    chosen = {name: ADAPTERS[name] for name in (ONE, TWO)[:adapters]}
    if kind == REAL:
        folder = find(VERSION)
        assert folder is not None
        return RealEngine(folder, MODEL, args=args, adapters=chosen, env=env or {}, seconds=START_SECONDS)
    lora = ("--enable-lora", "--max-loras", str(adapters), "--lora-modules") if adapters else ()
    return SimulatedProcess([*USUAL, *args, *lora, *(f"{name}={Path(name)}" for name in chosen)], env or {})


@contextmanager
def running(
    kind: str, args: Sequence[str] = (), adapters: int = 0, env: Mapping[str, str] | None = None
) -> Iterator[Engine]:
    """An engine that serves."""
    with ExitStack() as stack:
        engine = Engine(stack.enter_context(made(kind, args, adapters, env)))
        stack.callback(engine.http.close)
        yield engine
