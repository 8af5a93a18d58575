"""What the archive costs: a day that is written, and spans of a year that are read back. A part of `bench-readings`."""

import asyncio
import time
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import psutil
from sqlalchemy import insert, update

from benchmarks.plant import Plant, archive_of
from benchmarks.readings import BEGIN, CHANNELS
from serve_app.store.archive import midnight
from serve_app.store.archive_files import ArchiveFiles, name_after
from serve_app.store.chunks import Chunk
from serve_app.store.columns import SECOND, ReadingColumns, micros_of
from serve_app.store.database import Database
from serve_app.store.repository import Store
from serve_app.store.tables import archived_days

DAYS, A_DAY, TIMES = 365, 86_400, 5
TENANT = 1


def chunk(day: date, name: str) -> Chunk:
    """Return a channel of a day, read each second."""
    random = np.random.default_rng(day.toordinal())
    micros = micros_of(midnight(day)) + SECOND * np.arange(A_DAY)
    return Chunk(name, micros, random.normal(CHANNELS[name], CHANNELS[name] / 50, A_DAY).round(3))


async def written(made: Plant) -> float:
    """Return how long it takes to archive a day of four channels at 1 Hz that lies in the database."""
    store, day = Store.open(made.url, 4, archive=archive_of(made.folder)), BEGIN.date() - timedelta(days=1)
    own = TENANT, made.systems[0]
    for name in CHANNELS:
        found = chunk(day, name)
        await store.readings.add(*own, ReadingColumns.joined([(name, found.micros, found.values)]))
    begun = time.perf_counter()
    await store.archive.keep_of(*own, day)
    taken = time.perf_counter() - begun
    await store.close()
    return taken


async def fill(made: Plant) -> None:
    """Make a year of files, of one channel read each second."""
    database, files, rows = Database.open(made.url, 2), ArchiveFiles(archive_of(made.folder)), []
    store = Store(database, archive_of(made.folder))
    folder = await store.archive.folder(TENANT, made.systems[0])
    for number in range(DAYS):
        day = BEGIN.date() + timedelta(days=number)
        name = name_after(day, None)
        file = files.create(f"{folder}/{name}")
        file.write(chunk(day, "pressure"))
        file.finish()
        rows.append({"tenant_id": TENANT, "system_id": made.systems[0], "day": day, "held": 0, "file": name})
    async with database.tenant(TENANT) as connection:
        await connection.execute(insert(archived_days), rows)
        await connection.execute(update(archived_days).values(dropped=True))
    await store.close()


def read(made: Plant, days: int, points: int) -> float:
    """Return the median time of reading days of one channel."""
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(days=days)).isoformat(), "channel": "pressure"}
    path, taken = f"http://127.0.0.1:{made.port}/api/systems/{made.systems[0]}/readings/", []
    for _ in range(TIMES):
        begun = time.perf_counter()
        answer = httpx.get(path, params=span | {"points": str(points)}, headers={"x-api-key": made.key}, timeout=60)
        taken.append(time.perf_counter() - begun)
        assert answer.raise_for_status().json()["channels"][0]["count"] == days * A_DAY
    return float(np.median(taken))


def measure(made: Plant) -> dict[str, float]:
    """Measure writing and reading, and the memory that the gateway has more by it."""
    assert made.process is not None
    found = {"a day of four channels at 1 Hz is archived, s": asyncio.run(written(made))}
    asyncio.run(fill(made))
    sizes = [each.stat().st_size for each in Path(archive_of(made.folder)).rglob("*.parquet")]
    found["disk of a reading in a file, bytes"] = sum(sizes) / (A_DAY * (DAYS + len(CHANNELS)))
    found["a day of a channel at 1 Hz, s"] = read(made, 1, 1000)
    before = psutil.Process(made.process.pid).memory_info().rss
    found["a year of a channel at 1 Hz, 1000 points, s"] = read(made, DAYS, 1000)
    found["the same, 5000 points, s"] = read(made, DAYS, 5000)
    found["memory of the gateway that this adds, MB"] = (
        psutil.Process(made.process.pid).memory_info().rss - before
    ) / 1e6
    return found
