"""One started service for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.serve.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the session, on the embedded PostgreSQL."""
    running = Service(tmp_path_factory.mktemp("clone")).start()
    yield running
    running.stop()
