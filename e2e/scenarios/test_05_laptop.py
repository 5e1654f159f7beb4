"""examples/laptop.sh: the same gateway, sidecars and engines as plain processes, without Kubernetes."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from e2e.cluster.paths import REPO

DOOR = "http://127.0.0.1:8080"


@pytest.fixture
def laptop() -> Iterator[None]:
    script = subprocess.Popen([REPO / "examples" / "laptop.sh"], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        os.killpg(script.pid, signal.SIGTERM)  # its own group: the script and what it started
        script.wait(timeout=30)


def test_it_serves_by_capability(laptop: None) -> None:
    end = time.monotonic() + 30
    task, talk = (
        {"model": "auto", "messages": [{"role": "user", "content": words}]} for words in ("spam or not?", "hi")
    )
    while True:
        try:
            short = httpx.post(f"{DOOR}/v1/chat/completions", json={**task, "max_tokens": 5}, trust_env=False)
            if short.headers.get("x-forebay-reason") == "LocalCapacity":
                break
        except httpx.HTTPError:
            pass
        assert time.monotonic() < end, "the gateway does not serve"
        time.sleep(0.3)
    long = httpx.post(f"{DOOR}/v1/chat/completions", json={**talk, "max_tokens": 201}, trust_env=False, timeout=30)
    assert (short.headers["x-forebay-destination"], long.headers["x-forebay-destination"]) == ("sorter", "chat")
