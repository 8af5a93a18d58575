"""What many tests need and none changes, made once: a migrated database on each server, trained detectors, an index."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipelines.datasets.simulator import simulate_recordings
from pipelines.detectors.bundle import Bundle
from pipelines.knowledge.ingest.ingest import articles, ingest
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import BUILT_IN, Index
from pipelines.machines.family import read_family
from pipelines.training.train import train
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.store.migrate import beside, create_database, migrate
from serve_app.store.protocols import StoreParts
from serve_app.store.repository import Store
from tests.contract.memory_store import MemoryStore
from tests.service.audit_desk import Desk

DATABASE = "houses"


def migrated(server: str) -> str:
    """Return the address of the tests' database on a server, made and brought up to date when it is not."""
    create_database(server, DATABASE)
    address = beside(server, DATABASE)
    migrate(address)
    return address


@pytest.fixture(scope="session")
def embedded_url(embedded: EmbeddedPostgres) -> str:
    """Address of a migrated database on the embedded server, whose user is superuser."""
    return migrated(embedded.url("postgres"))


@pytest.fixture(scope="session")
def remote_migrated_url(remote_url: str) -> str:
    """Address of a migrated database on the server on TCP, whose user is no superuser."""
    return migrated(remote_url)


@pytest.fixture(scope="session", params=["embedded", "remote"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of a migrated database, once on each server; the user is superuser on the embedded one only."""
    address: str = request.getfixturevalue("embedded_url" if request.param == "embedded" else "remote_migrated_url")
    return address


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A store that knows only the address."""
    opened = Store.open(url, 8)
    yield opened
    await opened.close()


@pytest.fixture
def tenant(embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant's name; commands see the tests' database, and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDX_DATABASE__URL", embedded_url)
    return uuid4().hex


@pytest.fixture
async def desk(store: Store, url: str, tmp_path: Path) -> Desk:
    """Six notes in two checkpoints."""
    mine, other = [await store.tenants.ensure(uuid4().hex) for _ in range(2)]
    made = Desk(store, url, tmp_path / "audit", mine, other, [])
    await made.note()
    await made.note()
    return made


@pytest.fixture(params=["memory", "postgres"])
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[StoreParts]:
    """Each store in turn."""
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = Store.open(request.getfixturevalue("embedded_url"), 8)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def bundles() -> dict[str, Bundle]:
    """Every detector of `generic`, trained on a few simulated machines."""
    family = read_family("generic")
    trained = train(family, simulate_recordings(family, 24, 20, 3), 3, lambda *_: None)
    return {bundle.card.detector: bundle for bundle in trained}


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The encoder that needs no weights."""
    return Encoder.load("", "cpu")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """The folder of an index of the built-in articles; who adds to it takes a copy."""
    folder = tmp_path_factory.mktemp("shelf") / "index"
    assert not ingest(articles(), Index.open(folder, multilingual=False), encoder, BUILT_IN).failed
    return folder
