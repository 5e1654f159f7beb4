"""Run in a network namespace without IPv4 by test_sockets.py: starts everything, asks each, and prints the statuses."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

SECONDS = 60
KUBECONFIG = """{"apiVersion": "v1", "kind": "Config", "current-context": "x",
 "clusters": [{"name": "c", "cluster": {"server": "http://[::1]:1"}}], "users": [{"name": "u", "user": {"token": "t"}}],
 "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}"""


@contextmanager
def running(module: str, *arguments: str, **environment: str) -> Iterator[None]:
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)


def status(port: int, path: str, method: str = "GET", body: str | None = None) -> int:
    connection = http.client.HTTPConnection("::1", port, timeout=20)
    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
    return connection.getresponse().status


def becomes(wanted: int, port: int, path: str, method: str = "GET", body: str | None = None) -> int:
    """The status at last: that which is wanted, or another after a while."""
    end, found = time.monotonic() + SECONDS, 0
    while found != wanted and time.monotonic() < end:
        with suppress(OSError):
            found = status(port, path, method, body)
        time.sleep(0.1)
    return found


def main(folder: Path) -> None:
    (folder / "kubeconfig").write_text(KUBECONFIG)
    table = f"--table={folder / 'table.json'}"
    ports = [
        f"--{name}-port={8180 + number}" for number, name in enumerate(("request", "control", "metrics", "health"))
    ]
    operator = {
        "KUBECONFIG": str(folder / "kubeconfig"), "FOREBAY_ROUTER_IMAGE": "i", "FOREBAY_HEALTH_PORT": "8282",
        "FOREBAY_METRICS_PORT": "8290", "FOREBAY_WAKE_PORT": "8281",
    }  # fmt: skip
    chat = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2})
    with ExitStack() as all_of_it:
        for process in (
            running("forebay.simulator", "serve", "m", "--served-model-name=m", "--host=::1", "--port=8000"),
            running("forebay.router", "--role=sidecar", "--pool=chat", table, "--engine-url=http://[::1]:8000", *ports),
            running("forebay.router", "--role=gateway", table),
            running("forebay.controller", **operator),
        ):
            all_of_it.enter_context(process)
        found = {
            "gateway": becomes(200, 8082, "/readyz"),
            "sidecar": becomes(200, 8183, "/readyz"),
            "operator": becomes(200, 8282, "/livez"),
            "wake": becomes(401, 8281, "/forebay/v1/wake/f/chat", "POST"),
            "answer": becomes(200, 8080, "/v1/chat/completions", "POST", chat),
            "drain": subprocess.run([sys.executable, "-m", "forebay.router", "drain"], check=False).returncode,
        }
        found["drained"] = becomes(503, 8082, "/readyz")
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
