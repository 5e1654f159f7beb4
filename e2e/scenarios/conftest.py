"""A cluster with the chart and the examples; scenarios share it and leave it as they found it."""

from collections.abc import Iterator

import pytest

from e2e.demo import setup
from e2e.demo.setup import Fleet
from e2e.scenarios import own
from e2e.scenarios.own import Own


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """The demo's fleet, ready."""
    yield setup.install()


@pytest.fixture(scope="session")
def held(fleet: Fleet) -> Iterator[Own]:
    """A fleet of the scenarios' own, which they may hurt."""
    try:
        yield own.make()
    finally:
        own.remove()
