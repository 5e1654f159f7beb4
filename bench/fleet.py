"""A fleet of real processes on loopback: engines without a model, sidecars, gateways, providers; and what they hold."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from forebay.resources.names import PATH_READY, PATH_REPORT
from forebay.resources.reasons import Capability
from forebay.resources.table import (
    ModelEntry,
    PolicyEntry,
    PoolEntry,
    ProviderEntry,
    QueueEntry,
    RoutingTable,
    TargetEntry,
    encode,
)
from forebay.resources.terms import Permission

PORTS: Final = ("request", "control", "metrics", "health")
KEYS: Final = {"clients": [{"name": "vip", "key": "sk-vip", "maxPriority": "High"}]}
_GAUGE = re.compile(r"^(forebay_[a-z_]+)(?:\{([^}]*)\})? ([-+0-9.e]+)$", re.M)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """One process of the fleet; `ports` of a router by name."""

    name: str
    popen: subprocess.Popen[bytes]
    ports: dict[str, int]
    ended: float | None = None  # when it was first seen to be over

    def get(self, port: str, path: str) -> bytes:
        """What a port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def report(self) -> dict[str, Any]:
        """What it tells the operator."""
        return dict(json.loads(self.get("control", PATH_REPORT)))

    def gauge(self, name: str, having: str = "") -> float:
        """A metric summed over its label sets that contain `having`."""
        text = self.get("metrics", "/metrics").decode()
        return sum(float(v) for n, labels, v in _GAUGE.findall(text) if n == name and having in labels)

    def memory(self) -> int:
        """Bytes that this process allocated itself. Pages of libraries do not count: their share changes with whoever
        else on this machine has them mapped."""
        text = Path(f"/proc/{self.popen.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Anonymous:"))

    def sockets(self) -> int:
        """Open sockets."""
        found = 0
        for entry in Path(f"/proc/{self.popen.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found += str(entry.readlink()).startswith("socket:")
        return found


@dataclass
class Shape:
    """What a fleet consists of. `engine` goes to each engine, `provider` to each provider (bench.engine)."""

    replicas: int = 2
    slots: int = 64
    queue: QueueEntry = field(default_factory=QueueEntry)
    engine: dict[str, Any] = field(default_factory=dict)
    provider: dict[str, Any] | None = None
    provider_limit: int = 100
    flags: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()  # whose key is sk-NAME


class Fleet:
    """One pool named chat behind one gateway."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape
        self.processes: list[Process] = []
        self.engines: list[Process] = []
        (folder / "clients").mkdir()
        more = [{"name": name, "key": f"sk-{name}"} for name in shape.clients]
        (folder / "clients" / "clients.json").write_text(json.dumps({"clients": KEYS["clients"] + more}))
        self.sidecars = [self._replica(f"chat-{number}") for number in range(shape.replicas)]
        addresses = tuple(f"127.0.0.1:{side.ports['control']}" for side in self.sidecars)
        policies = (self._policy(shape.provider),) if shape.provider is not None else ()
        table = RoutingTable(generation=1, pools=(self._pool(addresses),), policies=policies)
        self.gateway = self._router("gateway-0", "gateway", table)

    @property
    def routers(self) -> list[Process]:
        """Gateway and sidecars."""
        return [self.gateway, *self.sidecars]

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Until the gateway knows slots of every replica. Raises TimeoutError."""
        end = time.monotonic() + seconds
        wanted = self.shape.replicas * self.shape.slots
        while time.monotonic() < end:
            try:
                self.gateway.get("health", PATH_READY)
                if self.gateway.gauge("forebay_slots") == wanted:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"the fleet did not start; see the logs in {self.folder}")

    def revive(self, seconds: float) -> int:
        """Start engines again that ended so long ago or longer; how many were first seen to be over now."""
        now, over = time.monotonic(), 0
        for engine in self.engines:
            if engine.popen.poll() is None:
                continue
            if engine.ended is None:
                engine.ended, over = now, over + 1
            elif now - engine.ended >= seconds:
                engine.popen, engine.ended = self._popen(engine.name, engine.popen.args), None  # type: ignore[arg-type]
        return over

    def stop(self, at_once: bool = False) -> None:
        """End what was started; `at_once` without waiting for requests under way."""
        for process in self.processes:
            if at_once:
                process.popen.kill()
            else:
                process.popen.terminate()
        for process in self.processes:
            try:
                process.popen.wait(15)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()

    def _replica(self, name: str) -> Process:
        engine = self._engine(f"engine-{name}", self.shape.engine)
        self.engines.append(engine)
        table = RoutingTable(generation=1, pools=(self._pool(()),))
        url = f"http://127.0.0.1:{engine.ports['request']}"
        return self._router(name, "sidecar", table, "--pool=chat", f"--engine-url={url}")

    def _engine(self, name: str, settings: dict[str, Any]) -> Process:
        port = free_port()
        return self._start(name, {"request": port}, "-m", "bench.engine", json.dumps({"port": port, **settings}))

    def _router(self, name: str, role: str, table: RoutingTable, *more: str) -> Process:
        path = self.folder / f"{name}.json"
        path.write_text(encode(table))
        ports = {port: free_port() for port in PORTS}
        flags = [f"--{port}-port={number}" for port, number in ports.items()]
        return self._start(
            name, ports, "-m", "forebay.router", f"--role={role}", f"--table={path}", f"--replica={name}",
            "--host=127.0.0.1", "--access-log=off", f"--clients-dir={self.folder / 'clients'}", *flags, *more,
            "--provider-networks=127.0.0.0/8", *self.shape.flags,
        )  # fmt: skip

    def _start(self, name: str, ports: dict[str, int], *arguments: str) -> Process:
        self.processes.append(Process(name, self._popen(name, [sys.executable, *arguments]), ports))
        return self.processes[-1]

    def _popen(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def _pool(self, addresses: tuple[str, ...]) -> PoolEntry:
        return PoolEntry(
            name="chat", served_names=("m",), capabilities=tuple(Capability), slots_per_replica=self.shape.slots,
            queue=self.shape.queue, addresses=addresses, substitute=Permission.ALLOWED,
        )  # fmt: skip

    def _policy(self, settings: dict[str, Any]) -> PolicyEntry:
        names = ("primary", "secondary")
        providers = tuple(
            ProviderEntry(
                name=name,
                base_url=f"http://127.0.0.1:{self._engine(name, settings).ports['request']}/v1",
                models=(ModelEntry(name="m", context_tokens=100_000),),
                max_concurrent_requests=self.shape.provider_limit,
            )
            for name in names
        )
        first, second = ((TargetEntry(provider=name, model="m"),) for name in names)
        return PolicyEntry(name="default", providers=providers, primary=first, secondary=second)
