"""The simulator as a process of this machine, with the handles of `testing/real_engine.py`: exchangeable."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from testing.engine_process import EngineProcess

REPO: Final = Path(__file__).resolve().parents[1]
READY_SECONDS: Final = 180.0
QUICK: Final = {"FOREBAY_SIM_STEP_BASE_MS": "2", "FOREBAY_SIM_PREFILL_TOKENS_PER_SECOND": "1000000"}


class SimulatedProcess(EngineProcess):
    """`forebay-simulator serve` on 127.0.0.1, stepping every 2 ms."""

    def __init__(self, args: Sequence[str] = (), env: Mapping[str, str] = {}, port: int = 0) -> None:
        super().__init__("the simulator", port, READY_SECONDS, look=0.02)
        self._command = [sys.executable, "-m", "forebay.simulator", "serve", "tiny", f"--port={self.port}", *args]
        path = os.environ.get("PYTHONPATH", f"{REPO / 'operator'}{os.pathsep}{REPO}")
        self._environment = {**os.environ, "PYTHONPATH": path, **QUICK, **env}
        self._folder = REPO
