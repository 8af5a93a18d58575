"""Days of readings go into files before their tables go, and are read as before: on PostgreSQL and real files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from serve_app.api.app import create_app
from serve_app.store import archive as archive_module
from serve_app.store.migrate import migrate
from serve_app.store.records import Reading
from serve_app.store.repository import Store
from tests.contract.stand_ins import make_bench
from tests.service.archives import BEGIN, age, clear, files_of, rows, sent, span, spans, tables
from tests.service.houses import make_house, reading_of
from tests.service.test_isolation import as_application


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a read as long as a busy machine may take; the bound has its own test."""
    monkeypatch.setattr(archive_module, "READ_S", 300.0)


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


# --- what is read is what was


async def test_archived_days_are_read_as_before(store: Store, url: str, folder: Path) -> None:
    """Any span with any number of points answers the same: with all days in tables, with some in files, and with all.

    Spans begin and end within days, and mix days of both kinds.
    """
    plant, other = await sent(store), await sent(store, rows(5))
    before, others = await spans(store, plant), await spans(store, other)
    age(url, date(2024, 5, 1), date(2024, 5, 2), date(2024, 5, 4))
    assert await clear(store) == 3
    assert [path.name[:10] for path in files_of(folder, plant)] == ["2024-05-01", "2024-05-02", "2024-05-04"]
    assert tables(url) == [f"{name}_2024050{day}" for name in ("readings", "rollups") for day in (3, 5, 6)]
    assert await spans(store, plant) == before
    age(url)
    assert await clear(store) == 3
    assert (tables(url), len(files_of(folder, plant))) == ([], 6)
    assert await spans(store, plant) == before
    assert await spans(store, other) == others
    assert await clear(store) == 0


async def test_a_file_is_plain_parquet(store: Store, url: str, folder: Path) -> None:
    """One of each tenant, system and day, with its readings to the bit, in the order of channel and time."""
    plant = await sent(store)
    age(url)
    await clear(store)
    found = [pq.read_table(path).to_pylist() for path in files_of(folder, plant)]
    assert [{row["at"].date() for row in day} for day in found] == [{date(2024, 5, n)} for n in range(1, 7)]
    flat = [Reading(row["channel"], row["at"], row["value"]) for day in found for row in day]
    assert sorted(flat) == sorted(rows())
    assert all(day == sorted(day, key=lambda row: (row["channel"], row["at"])) for day in found)


async def test_many_readings_are_written_in_parts(
    store: Store, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of more readings than memory shall hold is whole in its file, and with what came late, too."""
    monkeypatch.setattr(archive_module, "READINGS_MAX", 100)
    plant = await sent(store)
    before = await spans(store, plant)
    age(url)
    assert await clear(store) == 6
    assert await spans(store, plant) == before
    assert pq.ParquetFile(files_of(folder, plant)[1]).metadata.num_row_groups > 10
    await store.readings.add(plant.tenant_id, plant.system.system_id, rows())
    assert await spans(store, plant) == before
    await clear(store)
    assert await spans(store, plant) == before


def test_all_formats_answer_the_same(url: str, folder: Path, tmp_path: Path) -> None:
    """JSON, CSV and Arrow, whole and thinned, of a span that mixes days, are to the byte what they were."""
    opened = Store.open(url, 4, archive=str(folder))
    with TestClient(create_app(replace(make_bench(tmp_path).services, store=opened))) as client:
        house = client.portal.call(make_house, opened)  # type: ignore[union-attr]
        path, key = f"/api/systems/{house.system.system_id}/readings/", {"x-api-key": house.username}
        lines = [{"at": row.at.isoformat(), row.channel: row.value} for row in rows()]
        for first in range(0, len(lines), 9000):
            reply = client.post(path, json={"readings": lines[first : first + 9000]}, headers=key)
            assert reply.status_code == 200, reply.text

        def answers() -> list[bytes]:
            span = {"from": (BEGIN + timedelta(hours=7)).isoformat(), "to": (BEGIN + timedelta(days=4)).isoformat()}
            replies = [
                client.get(path, params=span | {"points": points}, headers=key | {"accept": kind})
                for points in (40, 5000)
                for kind in ("application/json", "text/csv", "application/vnd.apache.arrow.stream")
            ]
            assert {reply.status_code for reply in replies} == {200}
            assert pa.ipc.open_stream(replies[-1].content).read_all().num_rows > 5000
            return [reply.content for reply in replies]

        before = answers()
        age(url, date(2024, 5, 2), date(2024, 5, 3))
        assert client.portal.call(clear, opened) == 2  # type: ignore[union-attr]
        assert answers() == before
        broken = next(folder.glob("*/*/*/2024-05-03*"))
        broken.write_bytes(broken.read_bytes()[:-100])
        reply = client.get(path, params={"from": BEGIN.isoformat()}, headers=key)
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:hdx:problem:unavailable")
        assert reply.json()["detail"] == "archive: readings of 2024-05-03 cannot be read"
        assert str(folder) not in reply.text


# --- what comes late


async def test_what_comes_late_is_joined(store: Store, url: str, folder: Path) -> None:
    """New readings of an archived day, and others in the place of those it has, are read with it, and count once.

    So it is before the next clearing joins them, after it, and when the day is dropped a second time.
    """
    plant, twin = await sent(store), await sent(store)
    changed = [row._replace(value=7.0) for row in rows() if row.channel == "pressure"][1000:1300]
    late = [*changed, *(Reading("vibration", BEGIN + timedelta(hours=n), float(n)) for n in range(9)), *rows()[:40]]
    age(url)
    await clear(store)
    old = files_of(folder, plant)
    await store.readings.add(plant.tenant_id, plant.system.system_id, late)
    other = Store.open(url, 4)
    await other.readings.add(twin.tenant_id, twin.system.system_id, late)  # of the same, all of which is in tables
    await other.readings.add(twin.tenant_id, twin.system.system_id, rows())
    await other.readings.add(twin.tenant_id, twin.system.system_id, late)
    right = await spans(other, twin)
    await other.close()
    assert await spans(store, plant) == right
    assert await clear(store) == 0
    joined = files_of(folder, plant)
    assert [path.name[:10] for path in joined] == [path.name[:10] for path in old]
    assert {path.name[:10] for path in set(joined) - set(old)} == {"2024-05-01", "2024-05-02"}
    assert await spans(store, plant) == right
    age(url)
    assert await clear(store) > 0
    assert await spans(store, plant) == right
    assert files_of(folder, plant) == joined


async def test_a_day_that_changes_meanwhile_stays(store: Store, url: str) -> None:
    """Whoever writes between the file and the drop keeps the table; a system that came since does so, too."""
    plant = await sent(store, [reading_of(1.0, BEGIN)])
    own, day = (plant.tenant_id, plant.system.system_id), BEGIN.date()
    age(url)
    drop = text("SELECT hdx_drop_day(:day, now() - interval '2 days', true)")

    def dropped() -> bool:
        with as_application(url, None) as connection:
            found = bool(connection.execute(drop, {"day": day}).scalar())
            connection.commit()
            return found

    assert not dropped()  # nothing is archived yet
    await store.archive.keep(day)
    await store.readings.add(*own, [reading_of(2.0, BEGIN)])
    assert not dropped()
    await store.archive.keep(day)
    second = await store.systems.add(plant.tenant_id, "Lift", "generic", "")
    await store.readings.add(plant.tenant_id, second.system_id, [reading_of(3.0, BEGIN)])
    assert not dropped()
    await store.archive.keep(day)
    assert dropped()
    (found,) = await span(store, plant)
    assert found.points == ((BEGIN, 2.0),)


async def test_writers_at_once_lose_nothing(store: Store, url: str) -> None:
    """Archived and dropped while readings of the same days come, each of them is read once."""
    plant = await sent(store, rows()[:500])
    own = plant.tenant_id, plant.system.system_id

    async def write() -> None:
        waiting = [rows()[first : first + 700] for first in range(0, len(rows()), 700)]
        while waiting:
            with suppress(IntegrityError):  # its day was dropped each time it was made: the sender sends again
                await store.readings.add(*own, waiting[0])
                waiting.pop(0)

    async def archive() -> None:
        for _ in range(6):
            age(url)
            await clear(store)

    await asyncio.gather(write(), archive())
    found = {each.channel: each.count for each in await span(store, plant)}
    right = [row.channel for row in rows()]
    assert found == {name: right.count(name) for name in set(right)}
    age(url)
    await clear(store)
    assert {each.channel: each.count for each in await span(store, plant)} == found


async def test_two_at_once_lose_nothing(store: Store, url: str, folder: Path) -> None:
    """Two that archive the same days at the same time leave one file of each, which holds all."""
    plant = await sent(store)
    before = await spans(store, plant)
    other = Store.open(url, 4, archive=str(folder))
    age(url)
    await asyncio.gather(clear(store), clear(other))
    await clear(store)
    await other.close()
    assert tables(url) == []
    assert await spans(store, plant) == before
    assert len(files_of(folder, plant)) == 6
