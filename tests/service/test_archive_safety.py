"""What becomes of archived days when something fails, whom they are shown, and what they may cost."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from pipelines.errors import InvalidInput, Overloaded, Unavailable
from serve_app.store import archive as archive_module
from serve_app.store.migrate import migrate
from serve_app.store.records import Reading
from serve_app.store.repository import Store
from tests.service.archives import ALWAYS, BEGIN, age, clear, files_of, rows, sent, span, spans, tables
from tests.service.test_isolation import as_application
from tests.service.test_store_parts import Plant, make_plant


@pytest.fixture
def url(database_url: str) -> str:
    """A database of its own, as clearing up is of all tenants."""
    migrate(database_url)
    return database_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files go."""
    return tmp_path / "archive"


@pytest.fixture
async def store(url: str, folder: Path) -> AsyncIterator[Store]:
    opened = Store.open(url, 8, archive=str(folder))
    yield opened
    await opened.close()


# --- what fails


async def test_a_day_that_cannot_be_written_stays(store: Store, url: str, folder: Path, tmp_path: Path) -> None:
    """It is not dropped, people are warned, and the next clearing does it."""
    plant = await sent(store)
    before = await spans(store, plant)
    age(url)
    await asyncio.to_thread(folder.touch)
    assert await clear(store) == 0
    assert len(tables(url)) == 12
    assert await spans(store, plant) == before
    await asyncio.to_thread(folder.unlink)
    assert await clear(store) == 6
    assert await spans(store, plant) == before


WORK = """
import asyncio, sys
from configs.settings import Retention
from serve_app.store.repository import Store

async def work():
    store = Store.open(sys.argv[1], 4, archive=sys.argv[2])
    await store.ping()
    print("ready", flush=True)
    await store.retention.clear(Retention())
    print("done", flush=True)
    sys.stdin.readline()

asyncio.run(work())
"""


async def test_a_kill_loses_nothing(store: Store, url: str, folder: Path) -> None:
    """Killed at any moment of it, days are in tables, in files or in both, and all are read once each time."""
    plant = await sent(store, rows(every_s=20.0))
    before = await spans(store, plant)
    age(url)
    left = 12
    for delay in (0.02, 0.05, 0.1, 0.2):
        command, pipe = (sys.executable, "-c", WORK, url, str(folder)), asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(delay)
        process.kill()
        await process.wait()
        assert await spans(store, plant) == before
        assert len(tables(url)) <= left
        left = len(tables(url))
    await clear(store)
    assert tables(url) == []
    assert await spans(store, plant) == before
    assert [path.name[:10] for path in files_of(folder, plant)] == [f"2024-05-0{n}" for n in range(1, 7)]


async def test_a_broken_file_is_told(store: Store, url: str, folder: Path) -> None:
    """The day is named, the others are read; what comes late for it waits in its table."""
    plant = await sent(store)
    age(url)
    await clear(store)
    broken = files_of(folder, plant)[2]
    broken.write_bytes(b"PAR1" + os.urandom(99))
    with pytest.raises(Unavailable, match="archive: readings of 2024-05-03 cannot be read"):
        await span(store, plant)
    assert await span(store, plant, BEGIN, datetime(2024, 5, 3, tzinfo=UTC))
    late = Reading("pressure", datetime(2024, 5, 3, tzinfo=UTC), 1.0)
    await store.readings.add(plant.tenant_id, plant.system.system_id, [late])
    age(url)
    assert await clear(store) == 0
    assert [name[-2:] for name in tables(url)] == ["03", "03"]
    broken.unlink()
    with pytest.raises(Unavailable, match="2024-05-03"):
        await span(store, plant)


async def test_a_file_that_is_gone_is_written_again(store: Store, url: str, folder: Path) -> None:
    """As long as the table is there: a day whose file was lost, or cut short, since it was written is not dropped."""
    plant = await sent(store)
    before = await spans(store, plant)
    age(url)
    for day in (date(2024, 5, 2), date(2024, 5, 3), date(2024, 5, 4)):
        await store.archive.keep(day)
    lost, short, whole = files_of(folder, plant)
    lost.unlink()
    short.write_bytes(short.read_bytes()[:-20])
    assert await clear(store) == 6
    assert await spans(store, plant) == before
    assert whole in files_of(folder, plant)
    assert len(files_of(folder, plant)) == 6


async def test_a_file_of_another_is_told(store: Store, url: str, folder: Path) -> None:
    """Copied into the place of one's own, a file of another tenant or of another day is not read."""
    ours, theirs = await sent(store), await sent(store, rows(5))
    age(url)
    await clear(store)
    own, foreign = files_of(folder, ours), files_of(folder, theirs)
    own[1].write_bytes(foreign[1].read_bytes())
    own[3].write_bytes(own[4].read_bytes())
    for day in ("2024-05-02", "2024-05-04"):
        begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
        with pytest.raises(Unavailable, match=f"archive: readings of {day} cannot be read"):
            await span(store, ours, begin, begin + timedelta(days=1))


# --- what a stranger may cost, and see


async def test_days_of_a_span_are_bounded(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More archived days than a request reads are refused by name; those in tables do not count."""
    plant = await sent(store)
    age(url, date(2024, 5, 1), date(2024, 5, 2), date(2024, 5, 3))
    await clear(store)
    monkeypatch.setattr(archive_module, "DAYS_READ", 2)
    with pytest.raises(InvalidInput, match="from: must leave at most 2 archived days in the span"):
        await span(store, plant)
    assert await span(store, plant, datetime(2024, 5, 2, tzinfo=UTC))
    assert await span(store, plant, BEGIN, datetime(2024, 5, 3, tzinfo=UTC))


async def test_few_are_read_at_once(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits too long for a turn is told to come again; turns are given back."""
    plant = await sent(store)
    age(url)
    await clear(store)
    monkeypatch.setattr(archive_module, "WAIT_S", 0.05)
    async with AsyncExitStack() as places:
        for tenant_id in range(-archive_module.AT_ONCE, 0):
            await places.enter_async_context(store.archive._turns.turn(tenant_id))
        with pytest.raises(Overloaded):
            await span(store, plant)
    async with store.archive._turns.turn(-1):
        with pytest.raises(Overloaded):  # one tenant holds no more than its own
            await store.archive._turns.taken(-1, 0.05)
        assert await span(store, plant)
    for _ in range(2 * archive_module.AT_ONCE):
        assert await span(store, plant)
    monkeypatch.setattr(archive_module, "READ_S", 0.0)
    with pytest.raises(Unavailable, match="ask for fewer days"):
        await span(store, plant)


async def test_files_are_their_tenants(store: Store, url: str, folder: Path) -> None:
    """Another tenant reads none of them, whichever system it names, and the application's role sees no row of them."""
    ours, theirs = await sent(store), await make_plant(store)
    age(url)
    await clear(store)
    foreign = await store.readings.span(theirs.tenant_id, ours.system.system_id, *ALWAYS, 9, archived=True)
    assert foreign == []
    for tenant_id, count in ((ours.tenant_id, 6), (theirs.tenant_id, 0), (None, 0)):
        with as_application(url, tenant_id) as connection:
            assert connection.execute(text("SELECT count(*) FROM archived_days")).scalar() == count
    with as_application(url, theirs.tenant_id) as connection:
        row = {"own": ours.tenant_id, "system": ours.system.system_id}
        for statement in (
            "UPDATE archived_days SET file = 'x' WHERE tenant_id = :own",
            "DELETE FROM archived_days WHERE system_id = :system",
        ):
            assert connection.execute(text(statement), row).rowcount == 0
    with as_application(url, theirs.tenant_id) as connection, pytest.raises(ProgrammingError, match="row-level"):
        connection.execute(
            text("INSERT INTO archived_days (tenant_id, system_id, day) VALUES (:own, :system, now())"), row
        )


async def test_files_go_with_their_system(store: Store, url: str, folder: Path) -> None:
    """At once; where that fails, with the next clearing; those of others stay."""
    plant, other = await sent(store), await sent(store)
    second = Plant(plant.tenant_id, await store.systems.add(plant.tenant_id, "Lift", "generic", ""))
    await store.readings.add(second.tenant_id, second.system.system_id, rows())
    age(url)
    await clear(store)
    await store.systems.delete(plant.tenant_id, plant.system.system_id)
    assert files_of(folder, plant) == []
    without = Store.open(url, 2)
    await without.systems.delete(second.tenant_id, second.system.system_id)
    await without.close()
    assert len(files_of(folder, second)) == 6
    await clear(store)
    assert files_of(folder, second) == []
    assert len(files_of(folder, other)) == 6
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT set_config('hdx.tenant', :own, true)"), {"own": str(plant.tenant_id)})
        assert connection.execute(text("UPDATE archived_days SET gone_at = now() - interval '2 days'")).rowcount >= 12
    await clear(store)
    with as_application(url, plant.tenant_id) as connection:
        assert connection.execute(text("SELECT count(*) FROM archived_days")).scalar() == 0


async def test_a_system_that_goes_meanwhile_leaves_no_file(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted after its file was begun, it has none in the end."""
    plant = await sent(store)
    own = plant.tenant_id, plant.system.system_id
    run = store.archive._run

    async def delete_first(work: Any, *given: Any) -> None:
        await run(work, *given)
        if work is archive_module._write:
            await store.systems.delete(*own)

    monkeypatch.setattr(store.archive, "_run", delete_first)
    await store.archive.keep_of(*own, date(2024, 5, 2))
    assert files_of(folder, plant) == []
    assert await store.archive.begin(*own, date(2024, 5, 2)) is None


# --- settings


async def test_switched_off_days_are_gone(url: str, folder: Path) -> None:
    """Without an archive a day is dropped as it always was."""
    store = Store.open(url, 4)
    plant = await sent(store)
    age(url)
    assert await clear(store) == 6
    assert await span(store, plant) == []
    await store.close()


async def test_an_object_store_holds_days(url: str, tmp_path: Path) -> None:
    """What pyarrow opens by its address is an archive as good as a folder."""
    store = Store.open(url, 4, archive=f"fsspec+memory:/{tmp_path}")
    plant = await sent(store)
    before = await spans(store, plant)
    age(url)
    assert await clear(store) == 6
    await store.readings.add(plant.tenant_id, plant.system.system_id, rows()[:50])
    assert await spans(store, plant) == before
    await clear(store)
    assert await spans(store, plant) == before
    await store.systems.delete(plant.tenant_id, plant.system.system_id)
    await store.close()
    unopened = Store.open(url, 4, archive="none://where")
    other = await sent(unopened)
    age(url)
    assert await clear(unopened) == 0
    assert len(await span(unopened, other)) == 3
    await unopened.close()


async def test_databases_share_no_files(url: str, store: Store, folder: Path) -> None:
    """Two databases over one folder have the same numbers of tenants and systems, and different files."""
    names = {await store.archive.folder(1, 1)}
    with create_engine(url, poolclass=NullPool).connect() as connection:
        found = connection.execute(text("SELECT hdx_archive()")).scalar_one()
    assert names == {f"{found}/tenant=1/system=1"}
    assert len(found) == 32
