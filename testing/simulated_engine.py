"""The simulator as a process of this machine, with the handles of `testing/real_engine.py`: exchangeable."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

REPO: Final = Path(__file__).resolve().parents[1]
READY_SECONDS: Final = 180.0
QUICK: Final = {"FOREBAY_SIM_STEP_BASE_MS": "2", "FOREBAY_SIM_PREFILL_TOKENS_PER_SECOND": "1000000"}


class SimulatedProcess:
    """`forebay-simulator serve` on 127.0.0.1, stepping every 2 ms. Inside `with` it serves; afterwards it is gone."""

    def __init__(self, args: Sequence[str] = (), env: Mapping[str, str] = {}, port: int = 0) -> None:
        self.port = port or _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="simulator-")
        self.log = Path(self._scratch.name) / "log"
        self._command = [sys.executable, "-m", "forebay.simulator", "serve", "tiny", f"--port={self.port}", *args]
        path = os.environ.get("PYTHONPATH", f"{REPO / 'operator'}{os.pathsep}{REPO}")
        self._environment = {**os.environ, "PYTHONPATH": path, **QUICK, **env}

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start it and return at once."""
        self.kill()
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, env=self._environment, cwd=REPO)

    def wait_ready(self) -> None:
        """Until it answers. Raises RuntimeError when it ends before, or takes too long."""
        end = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.wait(0) is not None or time.monotonic() > end:
                raise RuntimeError(f"the simulator does not serve:\n{self.log_tail()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether /health says 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, once it ended; None when it runs after `seconds`."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def terminate(self) -> None:
        """SIGTERM, as a kubelet sends it; returns at once."""
        assert self._process is not None
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL; harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def close(self) -> None:
        """End it and forget its log."""
        self.kill()
        self._scratch.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
