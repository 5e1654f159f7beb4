"""A real vLLM as a process of this machine: what `make engine` installed, started with a tiny model, ended whole."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from e2e.cluster.paths import CACHE
from testing.engine_process import EngineError, EngineProcess

NEWEST: Final = "0.32.0"
OLDEST: Final = "0.11.0.post2"
ENGINES: Final = CACHE / "engines"
MODEL: Final = ENGINES / "models" / "tiny"
ADAPTERS: Final = {"adapter-a": ENGINES / "models" / "adapter-a", "adapter-b": ENGINES / "models" / "adapter-b"}
INSTALLED: Final = "installed"  # the file in an engine's folder that says its install was finished, and from which lock
SERVED_NAME: Final = "tiny"
READY_SECONDS: Final = 180.0
ARGUMENTS: Final = (
    "--served-model-name", SERVED_NAME, "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager",
)  # fmt: skip
ENVIRONMENT: Final = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
# Its JSON schemas end the engine in bfloat16, and it wants to bind threads to cores that a container may not have.
OF_011: Final = (("--dtype", "float32"), {"VLLM_CPU_OMP_THREADS_BIND": "0"})


def find(version: str) -> Path | None:
    """The folder of an engine that `make engine` or `make engine-oldest` finished installing; None if it did not."""
    folder = ENGINES / f"vllm-{version}"
    return folder if (folder / INSTALLED).exists() and (folder / "bin" / "vllm").exists() else None


def missing(version: str) -> str:
    """Why a test of this version is skipped: a sentence with what to do."""
    target = "engine-oldest" if version == OLDEST else "engine"
    return f"vLLM {version} is not installed here; run: make {target}"


def particulars(version: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a CPU build of this version needs beyond the rest: arguments, environment."""
    return OF_011 if version.startswith("0.11.") else ((), {})


class RealEngine(EngineProcess):
    """`vllm serve` on 127.0.0.1. Inside `with` it serves; afterwards none of its processes is left.

    folder: what `find` answers. port: 0 takes a free one, kept over restarts. args: more arguments, after ARGUMENTS; of
    two of a kind vLLM takes the last. adapters: name and folder of LoRA adapters, all usable at once. env: more of it.
    """

    def __init__(
        self, folder: Path, model: Path, *, port: int = 0, args: Sequence[str] = (),
        adapters: Mapping[str, Path] = {}, env: Mapping[str, str] = {}, seconds: float = READY_SECONDS,
    ) -> None:  # fmt: skip
        self.version = folder.name.removeprefix("vllm-")
        super().__init__(f"vLLM {self.version}", port, seconds, look=0.5)
        more, variables = particulars(self.version)
        lora = ("--enable-lora", "--max-loras", str(len(adapters)), "--lora-modules") if adapters else ()
        self._command = [
            "nice", "-n", "5", str(folder / "bin" / "vllm"), "serve", str(model), "--host", "127.0.0.1",
            "--port", str(self.port), *ARGUMENTS, *more, *args, *lora, *(f"{n}={p}" for n, p in adapters.items()),
        ]  # fmt: skip
        self._environment = {**_inherited(), **ENVIRONMENT, **variables, **self._homes(), **env}
        self._environment["PATH"] = f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when a container ends; harmless when none runs."""
        if self._process is None:
            return
        for _ in range(20):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            if not self.processes():
                return
            time.sleep(0.05)
        raise EngineError(f"processes of vLLM do not end: {self.processes()}")

    def processes(self) -> dict[int, str]:
        """Every process of it that runs, by pid: its command line (`VLLM::EngineCore` for an engine core)."""
        if self._process is None:
            return {}
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == self._process.pid and state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
        return found

    def _homes(self) -> dict[str, str]:
        names = ("HOME", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "HF_HOME", "VLLM_RPC_BASE_PATH")
        return dict.fromkeys(names, str(self.scratch))


def _inherited() -> dict[str, str]:
    """This process's environment, less what would reach into the engine."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("VLLM_", "PYTHON", "HF_"))}
