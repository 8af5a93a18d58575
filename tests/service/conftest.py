"""One database on each server, migrated once, for tests that bring tenants of their own."""

from collections.abc import AsyncIterator

import pytest

from serve_app.store.migrate import beside, create_database, migrate
from serve_app.store.repository import Store

DATABASE = "houses"


@pytest.fixture(scope="session", params=["embedded", "remote"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of a migrated database, once on each server; the user is superuser on the embedded one only."""
    if request.param == "embedded":
        server: str = request.getfixturevalue("embedded").url("postgres")
    else:
        server = request.getfixturevalue("remote_url")
    create_database(server, DATABASE)
    address = beside(server, DATABASE)
    migrate(address)
    return address


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A store that knows only the address."""
    opened = Store.open(url, 8)
    yield opened
    await opened.close()
