"""Rules of the one writer of the index, over real PostgreSQL and LanceDB: a part that is away costs no document."""

import asyncio
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipelines.errors import Unavailable
from pipelines.knowledge.ingest.document_reader import read_apart
from pipelines.knowledge.records import Made
from pipelines.knowledge.search import tables
from pipelines.knowledge.search.tables import Tables
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.replicas import document_steps
from serve_app.replicas import indexer as indexers
from serve_app.replicas.indexer import ATTEMPTS, INTERRUPTED
from serve_app.shared import logs
from serve_app.store.migrate import beside, create_database, migrate
from tests.service.desk import Desk

GIVEN_UP = f"could not be indexed in {ATTEMPTS} attempts; the last one failed: LookupError"


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
    opened = await Desk.open(own_url, tmp_path)
    yield opened
    await opened.close()


async def test_an_encoder_that_is_away_costs_no_document(desk: Desk) -> None:
    """However often it is looked for: the document waits with no attempt counted, and is ready once it is back."""
    key = await desk.upload("press.md")
    for away in ("probe", "passages"):
        desk.embedder.away = {away}
        for _ in range(ATTEMPTS + 1):
            await desk.finish()
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", 0)
    desk.embedder.away = set()
    await desk.finish()
    assert (await desk.state(key)).state == "ready"
    assert "217 bar" in desk.quoted()


async def test_a_failing_document_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose reading fails in a way nobody foresaw is tried three times and given up; those behind it are read."""

    def failing(name: str, *given: Any) -> Any:
        if name == "first.md":
            raise LookupError("of a library")
        return read_apart(name, *given)

    monkeypatch.setattr(document_steps, "read_apart", failing)
    first = await desk.upload("first.md")
    await desk.upload("second.md")
    await desk.finish()
    assert await desk.states() == {"first.md": "queued", "second.md": "ready"}
    for _ in range(ATTEMPTS):
        await desk.finish()
    found = await desk.state(first)
    assert (found.state, found.attempts, found.reason) == ("failed", ATTEMPTS, GIVEN_UP)


async def test_what_the_index_always_refuses_is_given_up(desk: Desk) -> None:
    """Vectors that do not fit into the table: refused by LanceDB itself, three times, and then no more."""
    await desk.upload("before.md")
    await desk.finish()
    encode = desk.embedder.encode.remote
    desk.embedder.encode.remote = lambda texts: _reply((np.ones((len(texts), 3)), Made("stand-in", 4)))
    key = await desk.upload("after.md")
    for attempt in range(1, ATTEMPTS):
        await desk.finish()
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", attempt)
    await desk.finish()
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("failed", ATTEMPTS)
    assert found.reason.startswith(f"could not be indexed in {ATTEMPTS} attempts; the last one failed: ")
    desk.embedder.encode.remote = encode
    await desk.store.documents.change(desk.tenant_id, key, state="queued", reason="", attempts=0)
    await desk.finish()
    assert (await desk.state(key)).state == "ready"


async def test_a_document_that_kills_the_replica_is_given_up(desk: Desk) -> None:
    """Though not as soon as one that fails by itself: a replica ends for reasons of its own, too."""
    key = await desk.upload("press.md")
    for _ in range(INTERRUPTED):
        await desk.store.documents.begin(desk.tenant_id, key)
    await desk.finish()
    found = await desk.state(key)
    assert found.state == "failed"
    assert found.reason == f"could not be indexed: the indexer ended {INTERRUPTED} times while it was in work"


async def test_a_full_disk_costs_no_document(desk: Desk) -> None:
    """What the file system refuses is no fault of the file, however often: it is ready once there is room."""
    await desk.upload("before.md")
    await desk.finish()
    key = await desk.upload("after.md")
    with capture_logs(), files_of_at_most(1000):  # the log of the test run is a file, too
        for _ in range(ATTEMPTS + 1):
            await desk.finish()
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("queued", 0)
    await desk.finish()
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

    def noted(*given: Any) -> Any:
        read.append(now)
        return read_apart(*given)

    monkeypatch.setattr(document_steps, "read_apart", noted)
    key = await desk.upload("press.md")
    for second in range(200):
        now = 1000.0 + second
        await desk.finish()
    assert read == [1000.0, 1005.0, 1015.0, 1035.0, 1075.0, 1135.0, 1195.0]
    desk.embedder.away = set()
    await desk.upload("other.md")
    await desk.finish()
    assert await desk.states() == {"other.md": "ready", "press.md": "queued"}
    await desk.indexer.settle(desk.tenant_id, key)
    await desk.finish()
    assert (await desk.states(), desk.indexer._pauses) == ({"other.md": "ready", "press.md": "ready"}, {})


async def test_an_index_of_another_encoder_fails_no_document(desk: Desk) -> None:
    """What the index refuses is no fault of the file: it waits until the index is made anew."""
    await desk.upload("before.md")
    await desk.finish()
    other = Made("another", 4)
    desk.embedder.encode.remote = lambda texts: _reply((np.ones((len(texts), 4)), other))
    await desk.upload("after.md")
    await desk.finish()
    assert await desk.states() == {"after.md": "queued", "before.md": "ready"}


async def _reply(value: object) -> object:
    return value


async def test_another_writer_is_not_waited_for_without_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process writes the document waits, and the indexer sees to the next; then it is ready."""
    monkeypatch.setattr(tables, "WRITER_S", 0.2)
    key = await desk.upload("press.md")
    with Tables(desk.folder).writing():
        await asyncio.wait_for(desk.finish(), 20)
        found = await desk.state(key)
        assert (found.state, found.attempts) == ("queued", 0)
    await desk.finish()
    assert (await desk.state(key)).state == "ready"


async def test_what_is_removed_while_it_is_indexed_is_gone(desk: Desk) -> None:
    """The removal waits for the reading, then takes all of it away: no row, no passage."""
    removed: list[asyncio.Task[None]] = []

    async def remove() -> None:
        await desk.store.documents.remove(desk.tenant_id, key)
        removed.append(asyncio.create_task(desk.indexer.settle(desk.tenant_id, key)))
        await asyncio.sleep(0.5)  # in which the work on it is ended

    desk.embedder.meanwhile = remove
    key = await desk.upload("press.md")
    await desk.indexer.settle(desk.tenant_id, key)
    await removed[0]
    assert (await desk.states(), desk.quoted()) == ({}, "")


async def test_what_is_removed_while_it_is_written_is_gone(desk: Desk) -> None:
    """However often the work on it is told to end: what its thread still writes comes before the removal, not after."""
    writing, go_on, written = threading.Event(), threading.Event(), threading.Event()
    index = desk.indexer._steps._index
    add = index.add

    def slowly(*given: Any) -> None:
        writing.set()
        assert go_on.wait(60)
        add(*given)
        written.set()

    index.add = slowly
    key = await desk.upload("press.md")
    await desk.indexer.look()
    assert await asyncio.to_thread(writing.wait, 60)
    await desk.store.documents.remove(desk.tenant_id, key)
    for _ in range(3):
        await desk.indexer.look()
        await asyncio.sleep(0.05)
    removed = asyncio.create_task(desk.indexer.settle(desk.tenant_id, key))
    await asyncio.sleep(0.5)
    go_on.set()
    assert await asyncio.to_thread(written.wait, 60)
    await removed
    await desk.finish()
    assert (await desk.states(), desk.quoted()) == ({}, "")


async def test_a_new_version_replaces_the_one_being_indexed(desk: Desk) -> None:
    """Uploaded meanwhile under the same name, the new one alone is quoted."""

    async def again() -> None:
        desk.embedder.meanwhile = None
        await desk.upload("press.md", 222)

    desk.embedder.meanwhile = again
    await desk.upload("press.md", 100)
    await desk.finish()
    await desk.finish()
    assert await desk.states() == {"press.md": "ready"}
    assert "222 bar" in desk.quoted()
    assert "100 bar" not in desk.quoted()


async def test_whoever_leaves_stops_no_work(desk: Desk) -> None:
    """A caller that is cancelled leaves the document to its end, and another one waits for the same work."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    desk.embedder.meanwhile = wait
    key = await desk.upload("press.md")
    caller = asyncio.create_task(desk.indexer.settle(desk.tenant_id, key))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await asyncio.wait_for(desk.indexer.settle(desk.tenant_id, key), 20)
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("ready", 0)


async def test_a_step_without_end_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document waits on, and the replica asks to be replaced: no thread can be stopped."""
    monkeypatch.setattr(document_steps, "INDEX_S", 0.2)
    monkeypatch.setattr(tables, "WRITER_S", 2)
    key = await desk.upload("press.md")
    with Tables(desk.folder).writing():
        await desk.finish()
    found = await desk.state(key)
    assert (found.state, found.attempts) == ("queued", 0)
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
