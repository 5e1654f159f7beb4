"""A gateway and a sidecar as processes in front of an engine that runs already, or will."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from forebay.rules.endpoints import CHAT
from testing.engine_process import free_port
from testing.simulated_engine import REPO
from tests.engine.cases import HELLO
from tests.engine.engines import SLOTS, START_SECONDS, Engine

MIDST: Final = 2000
"""Characters of a stream, all of its events', until it counts as begun."""
PORTS: Final = ("request", "control", "metrics", "health")


@dataclass(frozen=True)
class Routed:
    """Where clients ask, and what the sidecar says."""

    url: str
    control: str

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.control}/forebay/v1/report", trust_env=False, verify=False).json()
        return found

    def until_answering(self, seconds: float = 180.0) -> None:
        """Both listen, whatever the engine does."""
        end = time.monotonic() + seconds
        for url in (f"{self.url}/v1/models", f"{self.control}/forebay/v1/report"):
            while True:
                try:
                    httpx.get(url, trust_env=False, verify=False)
                    break
                except httpx.TransportError:
                    assert time.monotonic() < end, url
                    time.sleep(0.05)

    def until_serving(self, seconds: float = 180.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                if self.report()["state"] == "Serving":
                    return
            time.sleep(0.05)
        raise TimeoutError(str(self.report()))


@contextmanager
def routed(engine: Engine, folder: Path, **pool: Any) -> Iterator[Routed]:
    """One pool of one replica; the gateway has no provider."""
    sides = {role: {port: free_port() for port in PORTS} for role in ("sidecar", "gateway")}
    control = f"127.0.0.1:{sides['sidecar']['control']}"
    entry = {"name": "chat", "servedNames": ["tiny"], "maxNumSeqs": SLOTS, "addresses": [control], **pool}
    entry["queue"] = {"maxWaitSeconds": 120, "maxRequests": 256, "coldStartWaitSeconds": START_SECONDS}
    gateway = f"127.0.0.1:{sides['gateway']['control']}"
    table = {"schema": 1, "generation": 1, "fleet": "x", "gatewayAddresses": [gateway], "pools": [entry]}
    file = folder / "table.json"
    file.write_text(json.dumps(table))
    more = {"sidecar": ("--pool", "chat", "--replica", "chat-0", "--engine-url", engine.url),
            "gateway": ("--replica", "gateway-0")}  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'operator'}{os.pathsep}{REPO}"}
    with (folder / "routers.log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "forebay.router", "--role", role, "--table", str(file), "--host", "127.0.0.1",
                 "--access-log", "off", *(w for p in PORTS for w in (f"--{p}-port", str(sides[role][p]))), *more[role]],
                env=environment, stdout=log, stderr=log, cwd=REPO,
            )
            for role in sides
        ]  # fmt: skip
        try:
            up = Routed(f"http://127.0.0.1:{sides['gateway']['request']}", f"http://{control}")
            up.until_answering()
            yield up
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait(10)


def cut_stream(router: Routed, tokens: int, then: Callable[[], None]) -> str:
    """What a client has of a stream of so many tokens; `then`, which ends the engine, is called once in its midst."""
    got, told = "", False
    asked = {"model": "tiny", "messages": HELLO, "stream": True}
    asked |= {"max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True}
    with (
        suppress(httpx.RemoteProtocolError),
        httpx.stream("POST", router.url + CHAT, json=asked, timeout=120, trust_env=False) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        for piece in answer.iter_text():
            got += piece
            if len(got) > MIDST and not told:
                told = True
                then()
    assert told, got
    return got
