"""An engine as a process of this machine: started, asked whether it answers, ended, with the end of its log."""

import contextlib
import http.client
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class EngineError(RuntimeError):
    """The engine ended or did not become ready; with the end of its log."""


class EngineProcess:
    """One that serves on 127.0.0.1. Inside `with` it serves; afterwards it is gone. `name` is what errors call it.

    port: 0 takes a free one, kept over restarts. seconds: longest time until it serves, looked at every `look` seconds.
    """

    def __init__(self, name: str, port: int, seconds: float, look: float) -> None:
        self.port = port or free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._name, self._seconds, self._look = name, seconds, look
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="engine-")
        self.scratch = Path(self._scratch.name)
        self.log = self.scratch / "log"
        self._command: Sequence[str] = ()
        self._environment: Mapping[str, str] = {}
        self._folder = self.scratch  # where it runs

    @property
    def pid(self) -> int:
        """The process that serves. Raises EngineError before `start`."""
        if self._process is None:
            raise EngineError("the engine was not started")
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start it and return at once; again after `kill`, `terminate` or an end of its own."""
        self.kill()
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environment,
                start_new_session=True, cwd=self._folder,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Until it answers. Raises EngineError when it ends before, or takes too long."""
        end = time.monotonic() + self._seconds
        while not self.answers():
            code = self.wait(0)
            if code is not None:
                raise EngineError(f"{self._name} ended with {code} before it served:\n{self.log_tail()}")
            if time.monotonic() > end:
                raise EngineError(f"{self._name} did not serve in {self._seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(self._look)

    def answers(self) -> bool:
        """Whether /health says 200, within two seconds."""
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
        """SIGTERM to the process that serves, as a kubelet sends it; returns at once."""
        assert self._process is not None, "the engine was not started"
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that it wrote, of all its starts."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def close(self) -> None:
        """End it and forget its log."""
        self.kill()
        self._scratch.cleanup()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
