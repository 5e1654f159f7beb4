"""Every test runs against both engines. Each kind of engine is started once."""

from collections.abc import Iterator

import pytest

from forebay.engines.vllm import VLLM
from tests.engine.engines import REAL, SIMULATOR, Engine, newer, running

ROUTES = VLLM.adapter_routes
BOTH = [SIMULATOR, pytest.param(REAL, marks=pytest.mark.engine)]


@pytest.fixture(scope="session", params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def generating(kind: str) -> Iterator[Engine]:
    """With all that a pool may ask for: tools, two adapters and leave to load others, answers that are kept."""
    args = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with running(kind, args, adapters=2, env={"VLLM_ENABLE_RESPONSES_API_STORE": "1", ROUTES.variable: "1"}) as engine:
        yield engine


@pytest.fixture(scope="session")
def plain(kind: str) -> Iterator[Engine]:
    """With nothing of it, and a bound of what is in flight."""
    newer(kind, "has no --max-num-queued-reqs")
    with running(kind, ("--max-num-queued-reqs", "16")) as engine:
        yield engine


@pytest.fixture(scope="session")
def pooling(kind: str) -> Iterator[Engine]:
    """One that embeds."""
    with running(kind, ("--runner", "pooling", "--convert", "embed")) as engine:
        yield engine
