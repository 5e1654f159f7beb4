"""An engine that ends, behind routers: with time to finish nothing is cut, and no answer that was cut looks whole."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from forebay.rules.endpoints import CHAT
from testing.real_engine import RealEngine
from tests.engine.cases import HELLO
from tests.engine.engines import SIMULATOR, Engine, Process, made, newer
from tests.engine.routed import Routed, cut_stream, routed

TOKENS: Final = 600
WHOLE: Final = "[DONE]\n\n"
GRACE: Final = ("--shutdown-timeout", "60")


class Scene:
    """One engine behind a sidecar and a gateway. It serves at a test's beginning."""

    def __init__(self, process: Process, router: Routed) -> None:
        self.process, self.router = process, router

    def serving(self) -> Routed:
        if not self.process.answers():
            self.process.start()
            self.process.wait_ready()
        self.router.until_serving()
        return self.router


def scene(kind: str, folder: Path, *args: str) -> Iterator[Scene]:
    process = made(kind, args)
    engine = Engine(process)
    with ExitStack() as stack:
        stack.callback(engine.http.close)
        stack.push(process)
        yield Scene(process, stack.enter_context(routed(engine, folder)))


@pytest.fixture(scope="module")
def abrupt(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Ends as engines do by default."""
    yield from scene(kind, tmp_path_factory.mktemp("abrupt"))


@pytest.fixture(scope="module")
def patient(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Finishes what runs, as forebay's manifests ask."""
    newer(kind, "has no --shutdown-timeout")
    yield from scene(kind, tmp_path_factory.mktemp("patient"), *GRACE)


def looks_whole(text: str) -> bool:
    """Whether a client would take it for the model's whole answer."""
    return any(f'"finish_reason":"{word}"' in text.replace(" ", "") for word in ("length", "stop", "abort"))


def test_sigterm_with_time_to_finish_cuts_nothing(patient: Scene) -> None:
    text = cut_stream(patient.serving(), TOKENS, patient.process.terminate)
    assert text.endswith(WHOLE)
    assert '"finish_reason":"length"' in text
    assert patient.process.wait(60) is not None


@pytest.mark.parametrize("how", ["sigterm", "kill", "core"])
def test_what_is_cut_does_not_look_whole_and_the_engine_that_comes_back_is_served(
    abrupt: Scene, kind: str, how: str
) -> None:
    def end() -> None:
        if how == "sigterm":
            abrupt.process.terminate()
        elif how == "kill":
            abrupt.process.kill()
        else:
            assert isinstance(abrupt.process, RealEngine)
            for pid, command in abrupt.process.processes().items():
                if "EngineCore" in command:
                    os.kill(pid, signal.SIGKILL)

    if how == "core" and kind == SIMULATOR:
        pytest.skip("the simulator is one process")
    text = cut_stream(abrupt.serving(), TOKENS, end)
    assert not looks_whole(text), text[-400:]
    assert not text.endswith(WHOLE) or '"error"' in text
    if abrupt.process.wait(30) is None:
        abrupt.process.kill()  # at SIGTERM vLLM may wait for a client that has long left
    assert asked(abrupt.serving()).status_code == 200


def asked(router: Routed) -> httpx.Response:
    document: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 5}
    return httpx.post(router.url + CHAT, json=document, timeout=120, trust_env=False)
