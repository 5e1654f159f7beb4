"""How each router is started in front of one engine, and what its processes cost."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from forebay.resources.table import PoolEntry, RoutingTable, encode


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(core: int, *command: str) -> list[str]:
    """A command that runs on one core."""
    return ["taskset", "-c", str(core), *command]


@dataclass
class Place:
    """Where a router finds its engine and its files. `core`: the CPU it may use."""

    folder: Path
    engine: int
    core: int
    peers: Path | None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *command: str | Path, **environment: str) -> None:
        """Start one process on the router's core; what it prints goes to a file."""
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        log = (self.folder / f"{name}.log").open("wb")
        self.processes.append(
            subprocess.Popen(
                pinned(self.core, *map(str, command)), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=keep | environment, cwd=self.folder,
            )
        )  # fmt: skip

    def stop(self) -> None:
        """End what was started."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def cpu(self) -> float:
        """CPU seconds of all processes so far."""
        return sum(_cpu(pid) for process in self.processes for pid in family(process.pid))

    def memory(self) -> float:
        """Resident memory of all processes, in MiB, without what they share."""
        return sum(_memory(pid) for process in self.processes for pid in family(process.pid)) / 2**20


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:
        pass
    return found


def _cpu(pid: int) -> float:
    """From the scheduler's own account in nanoseconds, of every thread."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0.0
    return total / 1e9


def _memory(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          stream_idle_timeout: 600s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: engine, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: engine
    type: STATIC
    connect_timeout: 2s
    circuit_breakers:
      thresholds: [{{max_connections: 65536, max_pending_requests: 65536, max_requests: 65536}}]
    load_assignment:
      cluster_name: engine
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {engine}}}}}}}}}]}}]
"""  # noqa: E501


def envoy(place: Place) -> int:
    """A plain proxy: no access log, no filter but the router."""
    port, config = free_port(), place.folder / "envoy.yaml"
    config.write_text(ENVOY.format(port=port, engine=place.engine))
    place.start("envoy", peer(place, "envoy"), "-c", config, "--concurrency", "1", "-l", "error",
                "--disable-hot-restart")  # fmt: skip
    return port


def vllm_router(place: Place) -> int:
    """Round robin over one worker."""
    port = free_port()
    place.start("vllm-router", peer(place, "vllm-router"), "--host", "127.0.0.1", "--port", str(port),
                "--worker-urls", f"http://127.0.0.1:{place.engine}", "--policy", "round_robin",
                "--prometheus-port", str(free_port()), "--log-level", "warning",
                TOKIO_WORKER_THREADS="1")  # fmt: skip
    return port


def sglang_router(place: Place) -> int:
    """Round robin over one worker."""
    port = free_port()
    place.start("sglang-router", peer(place, "sglang-router"), "launch", "--host", "127.0.0.1", "--port", str(port),
                "--worker-urls", f"http://127.0.0.1:{place.engine}", "--policy", "round_robin",
                "--prometheus-port", str(free_port()), "--log-level", "warn",
                TOKIO_WORKER_THREADS="1")  # fmt: skip
    return port


def litellm(place: Place) -> int:
    """The proxy with one OpenAI-compatible model and no key."""
    port, config = free_port(), place.folder / "litellm.yaml"
    config.write_text(json.dumps({
        "model_list": [{"model_name": "m", "litellm_params": {
            "model": "openai/m", "api_base": f"http://127.0.0.1:{place.engine}/v1", "api_key": "none"}}],
        "litellm_settings": {"telemetry": False},
    }))  # fmt: skip
    place.start("litellm", peer(place, "litellm"), "--config", config, "--host", "127.0.0.1", "--port", str(port),
                "--num_workers", "1", LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True",
                NO_DOCS="True")  # fmt: skip
    return port


SLOTS = 32_768


COMPILED = Path(__file__).parents[2] / "build/compiled"


def forebay_sidecar(place: Place, compiled: Path | None = None) -> int:
    """One router with everything on: keys, rule, slots, breaker, metrics, access log."""
    entry = PoolEntry(name="chat", served_names=("m",), slots_per_replica=SLOTS)
    return _forebay(place, "sidecar", RoutingTable(generation=1, pools=(entry,)), "chat-0", compiled)[0]


def forebay_deployed(place: Place, compiled: Path | None = None) -> int:
    """Gateway and sidecar, as the operator deploys them."""
    entry = PoolEntry(name="chat", served_names=("m",), slots_per_replica=SLOTS)
    _, control = _forebay(place, "sidecar", RoutingTable(generation=1, pools=(entry,)), "chat-0", compiled)
    entry = PoolEntry(
        name="chat", served_names=("m",), slots_per_replica=SLOTS, addresses=(f"127.0.0.1:{control}",)
    )  # fmt: skip
    return _forebay(place, "gateway", RoutingTable(generation=1, pools=(entry,)), "gateway-0", compiled)[0]


def _forebay(place: Place, role: str, table: RoutingTable, name: str, compiled: Path | None) -> tuple[int, int]:
    environment = {} if compiled is None else {"PYTHONPATH": str(compiled)}
    if compiled is not None and not compiled.exists():
        raise FileNotFoundError(f"{compiled} (make compiled)")
    clients = place.folder / "clients"
    clients.mkdir(exist_ok=True)
    (clients / "clients.json").write_text(json.dumps({"clients": [{"name": "bench", "key": "sk-bench"}]}))
    path = place.folder / f"{name}.json"
    path.write_text(encode(table))
    ports = {port: free_port() for port in ("request", "control", "metrics", "health")}
    place.start(name, sys.executable, "-m", "forebay.router", f"--role={role}", f"--table={path}", "--pool=chat",
                f"--replica={name}", "--host=127.0.0.1", f"--engine-url=http://127.0.0.1:{place.engine}",
                f"--clients-dir={clients}", *(f"--{port}-port={number}" for port, number in ports.items()),
                **environment)  # fmt: skip
    return ports["request"], ports["control"]


def peer(place: Place, name: str) -> Path:
    """A program of the peers' environment."""
    if place.peers is None or not (place.peers / "bin" / name).exists():
        raise FileNotFoundError(name)
    return place.peers / "bin" / name


def direct(place: Place) -> int:
    """No router: what the others are measured against."""
    return place.engine


ROUTERS: dict[str, Callable[[Place], int]] = {
    "direct": direct,
    "forebay": forebay_sidecar,
    "forebay gateway + sidecar": forebay_deployed,
    "forebay compiled": partial(forebay_sidecar, compiled=COMPILED),
    "forebay compiled gateway + sidecar": partial(forebay_deployed, compiled=COMPILED),
    "envoy": envoy,
    "vllm-router": vllm_router,
    "sglang-router": sglang_router,
    "litellm": litellm,
}


def against(tree: Path) -> dict[str, Callable[[Place], int]]:
    """The routers of another checkout, beside which this one is measured; it has been compiled there."""
    compiled = tree.resolve() / "build/compiled"
    return {
        "other compiled": partial(forebay_sidecar, compiled=compiled),
        "other compiled gateway + sidecar": partial(forebay_deployed, compiled=compiled),
    }


def answers(port: int, seconds: float) -> bool:
    """Wait until a chat completion comes back."""
    import httpx  # noqa: PLC0415

    end = time.monotonic() + seconds
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    while time.monotonic() < end:
        try:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            answer = httpx.post(url, json=body, timeout=10, headers={"authorization": "Bearer sk-bench"})
            if answer.status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    return False
