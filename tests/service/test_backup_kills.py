"""Backups and restores that are killed, find no room, or run beside a service that writes."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import make_url

from configs.settings import Settings
from pipelines.errors import InvalidInput, Unavailable
from pipelines.knowledge.ingest.ingest import ingest_document
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from serve_app.backups import making
from serve_app.backups.copying import UNFINISHED
from serve_app.backups.making import make
from serve_app.backups.mark import mark_of
from serve_app.backups.restoring import examine, restore
from serve_app.local.bootstrap import database
from serve_app.local.permissions import private_home
from serve_app.sealing import Sealer
from serve_app.store.migrate import beside, create_database, current, downgrade, known_revisions
from serve_app.store.repository import Store
from tests.service.archives import BEGIN, rows, spans
from tests.service.backups import KILL, Kept, counts, fill, more, scalars
from tests.service.houses import SIGNER
from tests.service.test_store_parts import Plant


def silent(_: str) -> None:
    """Be told nothing."""


class Source(Kept):
    """The home that is backed up, its server running as beside a service.

    Attributes:
        url: Of its tables.
        backup: Of it, as it was filled.
    """

    url: str
    plant: Plant
    backup: Path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """A filled home."""
    folder = tmp_path_factory.mktemp("backups")
    made = Source(folder / "source")
    private_home(made.home)
    with database(made.settings) as (made.url, _):
        made.plant = asyncio.run(fill(made.url, made.settings))
        made.backup = folder / "whole"
        make(made.settings, made.backup, silent)
        yield made


HALF_DUMP = f"""
whole = making.dump
def half(*given):
    yield next(whole(*given))[:5000]
    {KILL}
making.dump = half"""
BACKUPS = {
    "before the tables": f"making._copy_days = lambda *_: {KILL}",
    "in the tables": HALF_DUMP,
    "before the manifest": f"making._manifest = lambda *_: {KILL}",
    "before its name": f"from serve_app.backups import copying\ncopying.settle = lambda *_: {KILL}",
}


@pytest.mark.parametrize("moment", BACKUPS)
def test_a_backup_that_is_killed_is_none(source: Source, tmp_path: Path, moment: str) -> None:
    """Nothing has its name, what was written before the manifest is refused, and the next one takes its place."""
    target = tmp_path / "copy"
    assert source.hdx("backup", str(target), before=BACKUPS[moment])[0] == -9
    left = tmp_path / f"copy{UNFINISHED}"
    assert left.exists()
    assert not target.exists()
    if moment != "before its name":  # there all of it was on the disk
        with pytest.raises(InvalidInput, match="written to its end"):
            examine(source.settings, left)
    make(source.settings, target, silent)
    assert not left.exists()
    examine(source.settings, target)


def test_two_at_once_do_not_mix(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second is told, and takes nothing from the first."""
    copied = making._copy_days

    def meanwhile(*given: object) -> None:
        with pytest.raises(Unavailable, match="another one is being written"):
            make(source.settings, tmp_path / "copy", silent)
        copied(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "_copy_days", meanwhile)
    make(source.settings, tmp_path / "copy", silent)
    examine(source.settings, tmp_path / "copy")


HALF_LOAD = f"""
dumps.TOGETHER = 20
whole = dumps._feed
def half(url, content):
    def pieces():
        read = b"".join(content)
        yield read[:-100]
        with dumps.connected(url) as connection:
            while not connection.execute(dumps.text("SELECT to_regclass('audit')")).scalar():
                pass
        {KILL}
    whole(url, pieces())
dumps._feed = half"""
RESTORES = {
    "before the files": f"restoring._put_files = lambda *_: {KILL}",
    "before the tables": f"restoring._put_database = lambda *_: {KILL}",
    "in the tables": HALF_LOAD,
    "before the migration": f"restoring.migrate = lambda *_: {KILL}",
    "before the end": f"restoring.remove_mark = lambda *_: {KILL}",
}


ELSEWHERE = [("in the tables", True), ("before the migration", True)]


@pytest.mark.parametrize(("moment", "elsewhere"), [*((moment, False) for moment in RESTORES), *ELSEWHERE])
def test_a_restore_that_is_killed_is_repeated(
    source: Source, tmp_path: Path, moment: str, elsewhere: bool, request: pytest.FixtureRequest
) -> None:
    """Until it has come to its end every other command refuses the home; done once more, all rows are there."""
    target = Kept(tmp_path / "target", source.secret)
    if elsewhere:
        server = request.getfixturevalue("remote_url")
        target.database = beside(server, f"killed_{abs(hash(tmp_path)) % 10**9}")
        for name in ("", "_mlflow"):
            create_database(server, make_url(target.database + name).database or "")
    assert target.hdx("restore", str(source.backup), before=RESTORES[moment])[0] == -9
    assert mark_of(target.home)
    with pytest.raises(Unavailable, match="has not come to its end: repeat `hdx restore`"), database(target.settings):
        pass
    restore(target.settings, source.backup, silent)
    assert mark_of(target.home) is None
    with database(target.settings) as (url, _):
        superuser = make_url(url).set(username="postgres").render_as_string(hide_password=False)
        assert counts(superuser) == more(counts(source.url))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of so many bytes in a folder; skipped where none can be made."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said(source: Source, tmp_path: Path) -> None:
    """A backup that finds no room says so and leaves nothing; a restore says so, and its home stays marked."""
    with small_disk(tmp_path / "disk", "96k"):
        code, said = source.hdx("backup", str(tmp_path / "disk" / "copy"))
        assert code == 1
        assert "no space is left" in said
        assert list((tmp_path / "disk").iterdir()) == []
        target = Kept(tmp_path / "disk" / "target", source.secret)
        with pytest.raises(Unavailable, match="no space is left"):
            restore(target.settings, source.backup, silent)
        assert mark_of(target.home)


async def joined(source: Source, day: int) -> None:
    """Send late readings of archived days, and have them joined: the files of before go."""
    store = Store.open(source.url, 2, archive=source.settings.archive_url)
    late = rows(seed=day, every_s=9001.7)
    await store.readings.add(source.plant.tenant_id, source.plant.system.system_id, late)
    await store.archive.keep_late(BEGIN.replace(year=2025))
    await store.close()


def test_files_that_go_meanwhile_are_followed(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days that are joined with late readings between freezing and copying are copied as they then are."""
    copied = making._copy_days
    calls: list[object] = []

    def late(*given: object) -> None:
        if not calls:
            asyncio.run(joined(source, 1))
        calls.append(given)
        copied(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "_copy_days", late)
    manifest = make(source.settings, tmp_path / "copy", silent)
    assert (len(calls), manifest.lost) == (2, [])
    examine(source.settings, tmp_path / "copy")


async def worked(source: Source, begun: Event, stop: Event) -> int:
    """Write as a service does: notes that are sealed, late readings, documents that come and go; return how often."""
    settings, rounds = source.settings, 0
    store = Store.open(source.url, 2, archive=settings.archive_url)
    index, encoder = Index.open(settings.home / "knowledge", False), Encoder.load("", "cpu")
    sealer, tenant_id = Sealer.of(store.seals, settings), await store.tenants.ensure("demo")
    while not stop.is_set():
        rounds += 1
        name, content = f"{rounds}.md", f"# Hoist\n\nThe hoist {rounds} takes {rounds} litres of oil.\n".encode()
        await store.audit.note(tenant_id, "ann", "did", name, "")
        with suppress(BlockingIOError):
            await sealer.seal()
        done = ingest_document(name, content, index, encoder, tenant_id)
        key = done.document.document_id
        await store.documents.add(tenant_id, key, name, done.document.sha256, content)
        await store.documents.begin(tenant_id, key)
        await store.documents.finish(tenant_id, key, state="ready", passages=done.document.passages)
        if rounds % 2:
            await store.documents.remove(tenant_id, key)
            index.remove(tenant_id, key)
            await store.documents.drop(tenant_id, key)
        if rounds % 5 == 0:
            await joined(source, rounds)
        begun.set()
    await store.close()
    return rounds


def test_what_the_tables_name_is_there(source: Source, tmp_path: Path) -> None:
    """Made while documents come and go, notes are sealed and days joined: all that is restored fits together."""
    begun, stop = Event(), Event()
    rounds: list[int] = []
    writer = Thread(target=lambda: rounds.append(asyncio.run(worked(source, begun, stop))))
    writer.start()
    assert begun.wait(60)
    try:
        made = [make(source.settings, tmp_path / f"copy{number}", silent) for number in range(3)]
    finally:
        stop.set()
        writer.join()
    assert rounds[0] > 1
    assert [manifest.lost for manifest in made] == [[], [], []]
    for number in range(3):
        target = Kept(tmp_path / f"target{number}", source.secret)
        restore(target.settings, tmp_path / f"copy{number}", silent)
        code, said = target.hdx("audit", "verify", "--without-files", f"--key={SIGNER.public_key}")
        assert code == 0, said
        with database(target.settings) as (url, _):
            index = Index.open(target.home / "knowledge", False)
            ready = scalars(url, "SELECT document_id FROM documents WHERE state = 'ready'")
            known = {each.document_id for tenant_id in index.tenants() for each in index.documents(tenant_id)}
            assert set(ready) <= known
            asyncio.run(read_all(url, target.settings, source.plant))


async def read_all(url: str, settings: Settings, plant: Plant) -> None:
    """Read every archived day, whose file would be missing otherwise; and seal on."""
    store = Store.open(url, 2, archive=settings.archive_url)
    await spans(store, plant)
    await store.audit.note(plant.tenant_id, "ann", "did", "more", "")
    assert await Sealer.of(store.seals, settings).seal() > 0
    await store.close()


def test_an_older_backup_is_brought_up_to_date(source: Source, tmp_path: Path) -> None:
    """One of an earlier revision is migrated once it is there."""
    older = Kept(tmp_path / "older", source.secret)
    restore(older.settings, source.backup, silent)
    with database(older.settings) as (url, _):
        downgrade(url, "0021")
        made = make(older.settings, tmp_path / "copy", silent)
    assert made.db_schema == "0021"
    target = Kept(tmp_path / "target", source.secret)
    restore(target.settings, tmp_path / "copy", silent)
    with database(target.settings) as (url, _):
        assert "request_counts" in counts(url)
        assert current(url) == known_revisions()[0]


def test_a_file_that_is_lost_is_said(source: Source, tmp_path: Path) -> None:
    """What the tables name and no disk has any more stops no backup: it is named in the manifest, and told."""
    lost = next(path for path in sorted((source.home / "archive").rglob("*.parquet")))
    lost.rename(tmp_path / "kept")
    code, said = source.hdx("backup", str(tmp_path / "copy"))
    (tmp_path / "kept").rename(lost)
    assert code == 0, said
    assert f"{lost.name} is named by the tables, and was not there." in said
