"""A cluster with the chart and the examples; scenarios share it and leave it as they found it."""

from collections.abc import Iterator

import pytest

from e2e.demo import setup
from e2e.demo.setup import Fleet


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """The demo's fleet, ready."""
    yield setup.install()
