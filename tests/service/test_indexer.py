"""Rules of the one writer of the index, over real PostgreSQL and LanceDB: a part that is away costs no document."""

import asyncio
import hashlib
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import numpy as np
import pytest
from pydantic import SecretStr
from ray.exceptions import ActorDiedError
from structlog.testing import capture_logs

from configs.settings import Database
from pipelines.errors import Unavailable
from pipelines.knowledge.ingest import ingest
from pipelines.knowledge.ingest.documents import document_key
from pipelines.knowledge.records import Made
from pipelines.knowledge.search import tables
from pipelines.knowledge.search.index import Index
from pipelines.knowledge.search.tables import Tables
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.replicas import indexer as indexers
from serve_app.replicas.indexer import ATTEMPTS, Indexer
from serve_app.shared import logs
from serve_app.store.migrate import beside, create_database, migrate
from serve_app.store.records import StoredDocument
from serve_app.store.repository import Store
from tests.contract.stand_ins import settings_for

GIVEN_UP = f"could not be indexed in {ATTEMPTS} attempts; the last one failed: LookupError"
TEXT = "The relief valve of the press opens at {} bar. Set it with the lock nut loose."


class Embedder:
    """An encoder behind its handle: it may be away, and may be waited for."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.away: set[str] = set()
        self.encode = SimpleNamespace(remote=self._encode)

    async def _encode(self, texts: list[str]) -> tuple[object, Made]:
        if ("passages" if texts else "probe") in self.away:
            raise ActorDiedError
        if texts and self.meanwhile is not None:
            await self.meanwhile()
        return np.ones((len(texts), 4)), Made("stand-in", 4)


class Desk:
    """An indexer with what stands around it, and a tenant."""

    def __init__(self, store: Store, embedder: Embedder, indexer: Any, tenant_id: int, home: Path) -> None:
        self.store, self.embedder, self.indexer, self.tenant_id = store, embedder, indexer, tenant_id
        self.folder = home / "knowledge"

    async def upload(self, name: str, bar: int = 217) -> str:
        """Add a document as the route does; return its id."""
        content = TEXT.format(bar).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        key = document_key(name, sha256)
        await self.store.documents.add(self.tenant_id, key, name, sha256, content)
        return key

    async def state(self, key: str) -> StoredDocument:
        return await self.store.documents.get(self.tenant_id, key)

    async def states(self) -> dict[str, str]:
        return {each.name: each.state for each in await self.store.documents.page(self.tenant_id, "", 10)}

    def quoted(self) -> str:
        """Return all text that a question could find."""
        index = Index.open(self.folder, multilingual=False)
        ids = [each.document_id for each in index.documents(self.tenant_id)]
        return " ".join(part.text for key in ids for part in index.passages(self.tenant_id, key))


@pytest.fixture(scope="module")
def own_url(embedded: EmbeddedPostgres) -> str:
    """A database of this module's own: the indexer works for all tenants that it finds."""
    server = embedded.url("postgres")
    create_database(server, "indexer")
    migrate(beside(server, "indexer"))
    return beside(server, "indexer")


@pytest.fixture
async def desk(own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(indexers, "keep_to_node_address", lambda: None)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    monkeypatch.setattr(indexers, "PAUSE_S", 0)
    settings = settings_for(tmp_path, database=Database(url=SecretStr(own_url)))
    store, embedder, deployment = Store.open(own_url, 4), Embedder(), cast(Any, Indexer)
    made = deployment.func_or_class(settings, embedder)
    yield Desk(store, embedder, made, await store.tenants.ensure(uuid4().hex), tmp_path)
    for tenant_id, document_id in await store.documents.waiting():  # what a test left would be the next one's work
        await store.documents.remove(tenant_id, document_id)
        await store.documents.drop(tenant_id, document_id)
    await made._store.close()
    await store.close()


async def test_an_encoder_that_is_away_costs_no_document(desk: Desk) -> None:
    """However often it is looked for: the document waits with no attempt counted, and is ready once it is back."""
    key = await desk.upload("press.md")
    for away in ("probe", "passages"):
        desk.embedder.away = {away}
        for _ in range(ATTEMPTS + 1):
            await desk.indexer.look()
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", 0)
    desk.embedder.away = set()
    await desk.indexer.look()
    assert (await desk.state(key)).state == "ready"
    assert "217 bar" in desk.quoted()


async def test_a_failing_document_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose reading fails in a way nobody foresaw is tried three times and given up; those behind it are read."""
    real = ingest.prepare

    def failing(name: str, content: bytes) -> Any:
        if name == "first.md":
            raise LookupError("of a library")
        return real(name, content)

    monkeypatch.setattr(ingest, "prepare", failing)
    first = await desk.upload("first.md")
    await desk.upload("second.md")
    await desk.indexer.look()
    assert await desk.states() == {"first.md": "queued", "second.md": "ready"}
    for _ in range(ATTEMPTS):
        await desk.indexer.look()
    found = await desk.state(first)
    assert (found.state, found.attempts, found.reason) == ("failed", ATTEMPTS, GIVEN_UP)


async def test_what_the_index_always_refuses_is_given_up(desk: Desk) -> None:
    """Vectors that do not fit into the table: refused by LanceDB itself, three times, and then no more."""
    await desk.upload("before.md")
    await desk.indexer.look()
    encode = desk.embedder.encode.remote
    desk.embedder.encode.remote = lambda texts: _reply((np.ones((len(texts), 3)), Made("stand-in", 4)))
    key = await desk.upload("after.md")
    for attempt in range(1, ATTEMPTS):
        await desk.indexer.look()
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", attempt)
    await desk.indexer.look()
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("failed", ATTEMPTS)
    assert found.reason.startswith(f"could not be indexed in {ATTEMPTS} attempts; the last one failed: ")
    desk.embedder.encode.remote = encode
    await desk.store.documents.change(desk.tenant_id, key, state="queued", reason="", attempts=0)
    await desk.indexer.look()
    assert (await desk.state(key)).state == "ready"


async def test_a_document_that_kills_the_replica_is_given_up(desk: Desk) -> None:
    """Attempts whose end nobody saw count, too."""
    key = await desk.upload("press.md")
    for _ in range(ATTEMPTS):
        await desk.store.documents.begin(desk.tenant_id, key)
    await desk.indexer.look()
    found = await desk.state(key)
    assert (found.state, found.reason) == ("failed", f"could not be indexed in {ATTEMPTS} attempts")


async def test_a_full_disk_costs_no_document(desk: Desk) -> None:
    """What the file system refuses is no fault of the file, however often: it is ready once there is room."""
    await desk.upload("before.md")
    await desk.indexer.look()
    key = await desk.upload("after.md")
    with capture_logs(), files_of_at_most(100):  # the log of the test run is a file, too
        for _ in range(ATTEMPTS + 1):
            await desk.indexer.look()
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("queued", 0)
    await desk.indexer.look()
    assert (await desk.state(key)).state == "ready"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse this process to write more bytes into any file."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_document_in_vain_waits_longer_every_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again after a pause that doubles up to its bound, or at once when it is announced; others do not wait."""
    now, read = 1000.0, []
    monkeypatch.setattr(indexers, "PAUSE_S", 5)
    monkeypatch.setattr(indexers, "time", SimpleNamespace(monotonic=lambda: now))
    desk.embedder.away = {"passages"}
    real = ingest.prepare

    def noted(name: str, content: bytes) -> Any:
        read.append(now)
        return real(name, content)

    monkeypatch.setattr(ingest, "prepare", noted)
    key = await desk.upload("press.md")
    for second in range(200):
        now = 1000.0 + second
        await desk.indexer.look()
    assert read == [1000.0, 1005.0, 1015.0, 1035.0, 1075.0, 1135.0, 1195.0]
    desk.embedder.away = set()
    await desk.upload("other.md")
    await desk.indexer.look()
    assert await desk.states() == {"other.md": "ready", "press.md": "queued"}
    await desk.indexer.work(desk.tenant_id, key)
    await desk.indexer.look()
    assert (await desk.states(), desk.indexer._pauses) == ({"other.md": "ready", "press.md": "ready"}, {})


async def test_an_index_of_another_encoder_fails_no_document(desk: Desk) -> None:
    """What the index refuses is no fault of the file: it waits until the index is made anew."""
    await desk.upload("before.md")
    await desk.indexer.look()
    other = Made("another", 4)
    desk.embedder.encode.remote = lambda texts: _reply((np.ones((len(texts), 4)), other))
    await desk.upload("after.md")
    await desk.indexer.look()
    assert await desk.states() == {"after.md": "queued", "before.md": "ready"}


async def _reply(value: object) -> object:
    return value


async def test_another_writer_is_not_waited_for_without_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process writes the document waits, and the indexer sees to the next; then it is ready."""
    monkeypatch.setattr(tables, "WRITER_S", 0.2)
    key = await desk.upload("press.md")
    with Tables(desk.folder).writing():
        await asyncio.wait_for(desk.indexer.look(), 20)
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", 0)
    await desk.indexer.look()
    assert (await desk.state(key)).state == "ready"


async def test_what_is_removed_while_it_is_indexed_is_gone(desk: Desk) -> None:
    """The removal waits for the reading, then takes all of it away: no row, no passage."""
    removed: list[asyncio.Task[None]] = []

    async def remove() -> None:
        await desk.store.documents.remove(desk.tenant_id, key)
        removed.append(asyncio.create_task(desk.indexer.work(desk.tenant_id, key)))

    desk.embedder.meanwhile = remove
    key = await desk.upload("press.md")
    await desk.indexer.work(desk.tenant_id, key)
    await removed[0]
    assert (await desk.states(), desk.quoted()) == ({}, "")


async def test_a_new_version_replaces_the_one_being_indexed(desk: Desk) -> None:
    """Uploaded meanwhile under the same name, the new one alone is quoted."""

    async def again() -> None:
        desk.embedder.meanwhile = None
        await desk.upload("press.md", 222)

    desk.embedder.meanwhile = again
    await desk.upload("press.md", 100)
    await desk.indexer.look()
    await desk.indexer.look()
    assert await desk.states() == {"press.md": "ready"}
    assert "222 bar" in desk.quoted()
    assert "100 bar" not in desk.quoted()


async def test_whoever_leaves_stops_no_work(desk: Desk) -> None:
    """A caller that is cancelled leaves the document to its end, with one attempt."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    desk.embedder.meanwhile = wait
    key = await desk.upload("press.md")
    caller = asyncio.create_task(desk.indexer.work(desk.tenant_id, key))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await asyncio.wait_for(desk.indexer.work(desk.tenant_id, key), 20)
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("ready", 1)


async def test_a_reading_without_end_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document fails with the reason, those behind it are read, and the replica asks to be replaced."""
    real = ingest.prepare

    def endless(name: str, content: bytes) -> Any:
        if name == "first.md":
            time.sleep(0.5)
        return real(name, content)

    monkeypatch.setattr(ingest, "prepare", endless)
    monkeypatch.setattr(indexers, "READ_S", 0.2)
    first = await desk.upload("first.md")
    await desk.upload("second.md")
    await desk.indexer.look()
    assert await desk.states() == {"first.md": "failed", "second.md": "ready"}
    assert "within 0.2 s" in (await desk.state(first)).reason
    with pytest.raises(Unavailable, match="does not end"):
        await desk.indexer.check_health()


async def test_the_sweep_outlives_whatever_is_raised(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw ends one look and not the looking."""
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        raise LookupError("of a library")

    monkeypatch.setattr(indexers, "SWEEP_S", 0.01)
    monkeypatch.setattr(desk.indexer, "look", look)
    await desk.indexer.check_health()
    await asyncio.sleep(0.1)
    assert looks > 2
    assert not desk.indexer._sweeping.done()
    desk.indexer._sweeping.cancel()
