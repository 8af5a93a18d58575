"""Files that are more than one request takes become readings off the durable queue, whatever dies, on PostgreSQL."""

import asyncio
import gzip
import io
import os
import signal
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from procrastinate.exceptions import ConnectorException
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from configs.settings import Limits
from pipelines.errors import NotFound, Overloaded
from serve_app import jobs as jobs_module
from serve_app import reading_process
from serve_app.jobs import Jobs
from serve_app.replicas.worker import QueueWorker
from serve_app.store.migrate import migrate
from serve_app.store.records_jobs import OPEN, Job
from serve_app.store.repository import Store
from tests.service.houses import MANY, make_job
from tests.service.test_isolation import as_application
from tests.service.test_store_parts import Plant, make_plant
from tests.unit.workbooks import rows_xml, workbook

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
WORKER = """
import asyncio, sys
from configs.settings import Limits
from serve_app.jobs import Jobs
from serve_app.replicas.worker import QueueWorker
from serve_app.store.repository import Store

async def look(tenant_id, system_id):
    pass

async def run(url):
    await QueueWorker(url, look, jobs=Jobs(Store.open(url, 6), Limits())).run()

asyncio.run(run(sys.argv[1]))
"""

# Of tests of processes, which know nothing of a server's kind, and take long: on one is enough.
ONE_SERVER = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def url(database_url: str) -> str:
    """A database of its own, in whose queue nobody else's work stands."""
    migrate(database_url)
    return database_url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = Store.open(url, 8)
    yield opened
    await opened.close()


def file_of(rows: int, step: str = "s") -> bytes:
    """A logger's file with two values a moment."""
    times = pd.date_range(BEGIN, periods=rows, freq=step)
    values = {"pressure [bar]": 100 + np.arange(rows) % 7, "flow [l/min]": 25.5}
    return pd.DataFrame({"time": times.strftime("%Y-%m-%dT%H:%M:%SZ"), **values}).to_csv(index=False).encode()


async def look(tenant_id: int, system_id: int) -> None:
    """Judge nothing: these tests are of jobs."""


def worker_of(url: str, store: Store, watch: Callable[[int, int], Awaitable[None]] = look) -> QueueWorker:
    return QueueWorker(url, watch, jobs=Jobs(store, Limits()))


async def work(url: str, store: Store, tenant_id: int, *wanted: Job) -> list[Job]:
    """Have a worker run until jobs have ended."""
    running = asyncio.create_task(worker_of(url, store).run())
    try:
        return [await ended(store, tenant_id, job) for job in wanted]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(store: Store, tenant_id: int, job: Job, reached: Callable[[Job], bool]) -> Job:
    """Wait until a job is as far as is wanted."""
    for _ in range(3000):
        if reached(found := await store.jobs.get(tenant_id, job.job_id)):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def ended(store: Store, tenant_id: int, job: Job) -> Job:
    return await until(store, tenant_id, job, lambda found: found.state not in OPEN)


async def counts(store: Store, plant: Plant) -> dict[str, int]:
    """How many readings a system has of each channel."""
    span = BEGIN - timedelta(days=1), BEGIN + timedelta(days=300)
    return {each.channel: each.count for each in await store.readings.span(*own(plant), *span, 4)}


def own(plant: Plant) -> tuple[int, int]:
    return plant.tenant_id, plant.system.system_id


def parts(url: str, plant: Plant) -> int:
    """How many parts of files and pieces the database holds of a tenant."""
    with as_application(url, plant.tenant_id) as connection:
        found: int = connection.execute(text("SELECT count(*) FROM job_parts")).scalar_one()
    return found


def outcome(job: Job) -> dict[str, int]:
    return {name: count for name, count in job.report.items() if name != "notes" and count}


# --- what becomes of a file


async def test_a_file_becomes_readings(store: Store, url: str) -> None:
    """All of it, once; its report counts every value and says how it was read, and nothing is kept of the file."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(60_000))
    assert (job.state, job.done, job.total) == ("queued", 0, None)
    (done,) = await work(url, store, plant.tenant_id, job)
    assert (done.state, done.done, done.total, done.reason) == ("done", 120_000, 120_000, "")
    assert outcome(done) == {"written": 120_000}
    assert any("'pressure [bar]'" in line for line in done.report["notes"])
    assert await counts(store, plant) == {"pressure": 60_000, "flow": 60_000}
    assert parts(url, plant) == 0
    watch = await store.watches.get(*own(plant))
    assert watch is not None
    again = await make_job(store, *own(plant), file_of(60_000))
    (done,) = await work(url, store, plant.tenant_id, again)
    assert outcome(done) == {"unchanged": 120_000}


async def test_what_is_no_reading_is_set_aside(store: Store, url: str) -> None:
    """Of a column and reason the first thousand values; the rest is counted, and so is what is empty."""
    plant = await make_plant(store)
    frame = pd.read_csv(io.BytesIO(file_of(20_000)))
    frame["pressure [bar]"] = frame["pressure [bar]"].astype(object)
    frame.loc[:4_999, "pressure [bar]"] = 9999
    frame.loc[5_000:5_099, "pressure [bar]"] = None
    frame["cycle"] = np.arange(20_000) * 7 % 5 + 0.5
    job = await make_job(store, *own(plant), frame.to_csv(index=False).encode())
    (done,) = await work(url, store, plant.tenant_id, job)
    assert (done.done, done.total) == (60_000, 60_000)
    told = {"written": 34_900, "quarantined": 2_000, "left_out": 23_000, "empty": 100}
    assert outcome(done) == told
    assert len(await store.readings.quarantined(*own(plant), limit=5_000)) == 2_000


@ONE_SERVER
async def test_json_of_many_rows(store: Store, url: str) -> None:
    """JSON beyond the rows of a request is read as in one; a wrong row has the job fail by its name."""
    plant = await make_plant(store)
    rows = [{"at": (BEGIN + timedelta(seconds=n)).isoformat(), "pressure": 100 + n % 5} for n in range(30_000)]
    given = {"json": True, "columns": {}, "zone": None, "machine": ""}
    good = await make_job(store, *own(plant), jobs_json(rows), given)
    bad = await make_job(store, *own(plant), jobs_json([*rows, {"at": "yesterday", "pressure": 1}]), given)
    done, failed = await work(url, store, plant.tenant_id, good, bad)
    assert outcome(done) == {"written": 30_000}
    assert failed.state == "failed"
    assert failed.reason.startswith("readings[30000].at: must be a moment")


@ONE_SERVER
async def test_workbooks_and_parquet(store: Store, url: str) -> None:
    """Read within the bounds of the process that reads, each by its own reader."""
    plant = await make_plant(store)
    frame = pd.read_csv(io.BytesIO(file_of(20_000)))
    packed = io.BytesIO()
    frame.to_parquet(packed, index=False)
    book = workbook({"log": rows_xml([list(frame.columns), *frame.to_numpy(object).tolist()])})
    wanted = [await make_job(store, *own(plant), content) for content in (packed.getvalue(), book)]
    first, second = await work(url, store, plant.tenant_id, *wanted)
    assert (first.state, second.state) == ("done", "done"), (first.reason, second.reason)
    assert await counts(store, plant) == {"pressure": 20_000, "flow": 20_000}
    assert sum(each.report["written"] + each.report["unchanged"] for each in (first, second)) == 80_000


def jobs_json(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import orjson

    return orjson.dumps({"readings": rows})


# --- whatever dies


@ONE_SERVER
async def test_a_worker_killed_at_each_step_loses_nothing_and_doubles_nothing(store: Store, url: str) -> None:
    """Killed while it reads and after each few pieces, others go on where it was: every value is written once."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(150_000))
    steps: list[Callable[[Job], bool]] = [lambda found: found.state == "running"]
    steps += [lambda found, n=n: found.done >= n for n in (1, 100_000, 200_000)]  # type: ignore[misc]
    seen = []
    for reached in steps:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, url, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        seen.append((await until(store, plant.tenant_id, job, reached)).done)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(  # as half a minute later
                text("UPDATE hdx_queue.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
            )
    (done,) = await work(url, store, plant.tenant_id, job)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert (done.state, done.done) == ("done", 300_000)
    assert outcome(done) == {"written": 300_000}
    assert await counts(store, plant) == {"pressure": 150_000, "flow": 150_000}
    assert parts(url, plant) == 0


@ONE_SERVER
async def test_a_database_that_cuts_connections(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends that are terminated again and again cost time, and neither a value nor a second one."""
    monkeypatch.setattr(jobs_module, "PAUSE_S", 0.0)
    monkeypatch.setattr(jobs_module, "ATTEMPTS", 1000)
    monkeypatch.setattr("serve_app.replicas.worker.BEATS_S", 0.5)
    monkeypatch.setattr("serve_app.replicas.worker.MISSED_S", 3.0)
    monkeypatch.setattr("serve_app.store.jobs.DUE_S", 1.0)
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(150_000))
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
    cut += " AND usename = current_user"  # the server's own are not ours to end
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:

        async def cutting() -> int:
            killed = 0
            for pause in (1.5, 0.3, 0.4, 0.3, 0.4, 0.3, 0.4):
                await asyncio.sleep(pause)
                killed += connection.execute(text(f"{cut} AND pid <> pg_backend_pid()")).scalar_one()
            return killed

        running = asyncio.create_task(kept_running(url, store))
        killed = await cutting()
        done = await ended(store, plant.tenant_id, job)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert killed > 5
    assert (done.state, outcome(done)) == ("done", {"written": 300_000})
    assert await counts(store, plant) == {"pressure": 150_000, "flow": 150_000}


async def kept_running(url: str, store: Store) -> None:
    """Have a worker run, as its replica does it."""
    while True:
        try:
            await worker_of(url, store).run()
        except Exception:
            await asyncio.sleep(0.2)


@ONE_SERVER
async def test_a_worker_that_fails_while_it_is_ended_ends(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the database goes in the same moment: whoever keeps workers running would begin another."""
    worker = worker_of(url, store)
    taken = asyncio.Event()

    async def take(*_: object) -> None:
        taken.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectorException

    monkeypatch.setattr(worker, "_take", take)
    running = asyncio.create_task(worker.run())
    await taken.wait()
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)


@ONE_SERVER
async def test_a_queue_whose_beat_fails_is_taken_from_again(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that nobody hears any more has its work taken from it while it does it."""
    monkeypatch.setattr("serve_app.replicas.worker.BEATS_S", 0.1)
    worker = worker_of(url, store)
    manager, failed, heard = worker.queue.job_manager, set[int](), set[int]()
    beat = manager.update_heartbeat

    async def fails_at_first(worker_id: int) -> None:
        if len(failed) < 3:
            failed.add(worker_id)
            raise ConnectorException
        await beat(worker_id)
        heard.add(worker_id)

    monkeypatch.setattr(manager, "update_heartbeat", fails_at_first)
    running = asyncio.create_task(worker.run())
    for _ in range(600):
        if len(heard) == 3:
            break
        await asyncio.sleep(0.05)
    assert len(heard) == len(failed) == 3
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(12_000))
    assert (await ended(store, plant.tenant_id, job)).state == "done"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_job_that_nobody_was_heard_of_is_gone_on_with(store: Store, url: str) -> None:
    """Though its work has left the queue."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(12_000))
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("SET search_path = hdx_queue, public"))
        connection.execute(text("DELETE FROM procrastinate_jobs"))
        assert await store.jobs.look_after() == 0
        connection.execute(text("SELECT set_config('hdx.tenant', :id, false)"), {"id": str(plant.tenant_id)})
        connection.execute(text("UPDATE jobs SET due = now() - interval '1 second'"))
    assert await store.jobs.look_after() == 1
    (done,) = await work(url, store, plant.tenant_id, job)
    assert done.state == "done"


async def test_a_job_that_kills_its_worker_is_given_up(store: Store, url: str) -> None:
    """After some attempts that end without a word it fails."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(12_000))
    for _ in range(jobs_module.ATTEMPTS):
        await store.jobs.begin(plant.tenant_id, job.job_id)
    (done,) = await work(url, store, plant.tenant_id, job)
    assert done.state == "failed"
    assert done.reason.startswith("given up after 6 attempts")


# --- cancelled, and gone


@ONE_SERVER
@pytest.mark.parametrize("at", [-1, 0, 100_000])
async def test_a_cancelled_job_ends_at_once(store: Store, url: str, at: int) -> None:
    """Before it begins, while it is read and while it is kept: nothing more of it is kept."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(200_000))
    running = asyncio.create_task(worker_of(url, store).run()) if at >= 0 else None
    await until(store, plant.tenant_id, job, lambda found: at < 0 or (found.state == "running" and found.done >= at))
    cancelled = await store.jobs.cancel(plant.tenant_id, job.job_id, "ann")
    assert cancelled.state == "cancelled"
    kept = await counts(store, plant)
    assert sum(kept.values()) == sum(outcome(cancelled).values())
    await asyncio.sleep(2)
    assert await counts(store, plant) == kept
    assert parts(url, plant) == 0
    assert await store.jobs.cancel(plant.tenant_id, job.job_id, "ann") == cancelled
    notes = [note.action for note in await store.audit.newest(plant.tenant_id)]
    assert notes.count("job.cancelled") == 1
    small = await make_job(store, *own(plant), file_of(11_000))
    if running is not None:
        assert (await ended(store, plant.tenant_id, small)).state == "done"  # the worker lives, and nobody holds it up
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_job_of_a_system_that_is_gone_fails(store: Store, url: str) -> None:
    """Deleted before or in the midst of it; what was kept is gone with the system, and the job says why it ended."""
    plant = await make_plant(store)
    other = Plant(plant.tenant_id, await store.systems.add(plant.tenant_id, "Lift", "generic", ""))
    first = await make_job(store, *own(plant), file_of(200_000))
    second = await make_job(store, *own(other), file_of(11_000))
    await store.systems.delete(*own(other))
    running = asyncio.create_task(worker_of(url, store).run())
    await until(store, plant.tenant_id, first, lambda found: found.done > 0)
    await store.systems.delete(*own(plant))
    for job, each in ((first, plant), (second, other)):
        found = await ended(store, plant.tenant_id, job)
        assert (found.state, found.reason) == ("failed", f"no system {each.system.system_id}")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert parts(url, plant) == 0


# --- fair


@ONE_SERVER
async def test_a_large_file_holds_nobody_up(store: Store, url: str) -> None:
    """While one tenant's files are read and kept, another's small one, and a look at a system, are done."""
    busy, other = await make_plant(store), await make_plant(store)
    large = [await make_job(store, *own(busy), file_of(500_000)) for _ in range(2)]
    looked: list[tuple[int, float]] = []

    async def watch(tenant_id: int, system_id: int) -> None:
        looked.append((tenant_id, time.monotonic()))

    running = asyncio.create_task(worker_of(url, store, watch).run())
    await until(store, busy.tenant_id, large[0], lambda found: found.done > 0)
    for number in range(2):
        system = await store.systems.add(other.tenant_id, f"Lift {number}", "generic", "")
        small = await make_job(store, other.tenant_id, system.system_id, file_of(11_000))
        assert (await ended(store, other.tenant_id, small)).state == "done"
        if not number:
            assert {(await store.jobs.get(busy.tenant_id, job.job_id)).state for job in large} & set(OPEN)
    assert {tenant_id for tenant_id, _ in looked} == {busy.tenant_id, other.tenant_id}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@ONE_SERVER
async def test_long_files_of_tenants_take_turns(store: Store, url: str) -> None:
    """The second long file of a tenant is begun after the first one of another, who came later."""
    busy, other = await make_plant(store), await make_plant(store)
    asked = [await make_job(store, *own(plant), file_of(11_000), task="file") for plant in (busy, busy, busy, other)]
    query = "SELECT args ->> 'job_id' FROM hdx_queue.procrastinate_jobs ORDER BY priority DESC, id"
    with create_engine(url, poolclass=NullPool).connect() as connection:
        order = list(connection.execute(text(query)).scalars())
    assert order == [str(asked[place].job_id) for place in (0, 3, 1, 2)]


@ONE_SERVER
async def test_a_file_that_takes_long_waits_among_its_like(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not read in a moment is read in the queue of long files, and what is not read there fails."""
    monkeypatch.setattr(jobs_module, "QUICK", (8, 0.0))
    monkeypatch.setattr(jobs_module, "LOOK_S", 0.1)
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), file_of(11_000))
    (done,) = await work(url, store, plant.tenant_id, job)
    assert done.state == "done"
    monkeypatch.setattr(jobs_module, "LONG", (1, 600))
    job = await make_job(store, *own(plant), file_of(400_000))
    (failed,) = await work(url, store, plant.tenant_id, job)
    assert (failed.state, failed.task) == ("failed", "file")
    assert failed.reason == "file: must be read within 6442450944 bytes and 1 s: cut the file into parts"


# --- who sends to do harm


def zip_bomb() -> bytes:
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("xl/workbook.xml", b"<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 420_000_000)
    return book.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip bomb": (lambda: gzip.compress(b"1,2\n" * 68_000_000, 1), "must not exceed 268435456 bytes"),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(file_of(11_000))), "must be packed once"),
    "half a gzip": (lambda: gzip.compress(file_of(11_000))[:-100], "must be packed by gzip, and whole"),
    "zip bomb": (zip_bomb, "must not unpack to more than"),
    "empty lines": (lambda: b"\n" * 1_000_000, "must not be empty"),
    "endless header": (lambda: b"time," + b"x" * 20_000_000, "must have lines of at most"),
    "columns": (lambda: b"a," * 400_000 + b"\n1,2\n", "must have at most 2000 columns"),
    "noise": (lambda: np.random.default_rng(0).bytes(1_000_000), "file: must"),
    "no moments": (lambda: b"pressure [bar]\n" + b"100\n" * 20_000, "time: must have a column of moments"),
}


@ONE_SERVER
@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_file_fails_by_its_name(store: Store, url: str, kind: str) -> None:
    """With a reason that says what would be right, in bounded time, and the worker goes on with the next one."""
    made, rule = HOSTILE[kind]
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), made())
    small = await make_job(store, *own(plant), file_of(11_000))
    failed, done = await work(url, store, plant.tenant_id, job, small)
    assert (failed.state, done.state) == ("failed", "done")
    assert rule in failed.reason
    assert parts(url, plant) == 0


def wide_text() -> bytes:
    """Few cells, each a megabyte of letters of four bytes once they are read."""
    row = f"2026-03-01T00:00:00Z,100,\N{GRINNING FACE}{'x' * 1_000_000}\n"
    return gzip.compress(b"time,pressure [bar],text\n" + row.encode() * 200, 1)


GREEDY: dict[str, tuple[Callable[[], bytes], str]] = {
    "cells": (
        lambda: b"time" + b",1" * 99 + b"\n" * 30_000,
        "file: must have at most 2684354 cells; it has 3000100, and",
    ),
    "text": (wide_text, "file:"),
}


@ONE_SERVER
@pytest.mark.parametrize("kind", GREEDY)
async def test_memory_is_bounded(store: Store, url: str, kind: str) -> None:
    """A file that takes more memory than it may is refused by that rule, first among all, then among the long ones."""
    (made, rule), least = GREEDY[kind], 3 * 2**29
    plant = await make_plant(store)
    job = await make_job(store, *own(plant), made())
    running = asyncio.create_task(QueueWorker(url, look, jobs=Jobs(store, Limits(job_memory=least))).run())
    failed = await ended(store, plant.tenant_id, job)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (failed.state, failed.task) == ("failed", "file")
    assert failed.reason == f"{rule} must be read within {least} bytes and 600 s: cut the file into parts"


async def test_a_tenant_has_room_for_so_many(store: Store) -> None:
    """More jobs, or more bytes, than may wait are told to come later; another tenant's are its own."""
    plant, other = await make_plant(store), await make_plant(store)
    job = await make_job(store, *own(plant), file_of(100))
    with pytest.raises(Overloaded):
        await store.jobs.check_room(plant.tenant_id, 1)
    with pytest.raises(Overloaded):
        await store.jobs.keep_file(plant.tenant_id, job.job_id, 1, b"x" * 1000, job.bytes + 999)
    await store.jobs.keep_file(plant.tenant_id, job.job_id, 1, b"x" * 1000, job.bytes + 1000)
    await store.jobs.check_room(other.tenant_id, 1)
    await store.jobs.keep_file(other.tenant_id, job.job_id, 0, b"x" * 1000, 1000)
    await store.jobs.cancel(plant.tenant_id, job.job_id)
    await store.jobs.check_room(plant.tenant_id, 1)


async def test_parts_of_no_job_go(store: Store, url: str) -> None:
    """An hour after the file broke off; those of a job that waits, and younger ones, stay."""
    plant = await make_plant(store)
    await make_job(store, *own(plant), file_of(100))
    numbers = [(await make_job(store, *own(plant), b"x")).job_id for _ in range(2)]
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT set_config('hdx.tenant', :id, false)"), {"id": str(plant.tenant_id)})
        connection.execute(text("UPDATE job_parts SET created_at = now() - interval '2 hours'"))
        connection.execute(text("UPDATE jobs SET state = 'done' WHERE job_id = ANY(:ids)"), {"ids": numbers})
    await store.jobs.keep_file(plant.tenant_id, numbers[0], 7, b"young", MANY)
    await store.jobs.look_after()
    assert parts(url, plant) == 2


def test_a_piece_is_no_more_than_a_transaction_takes() -> None:
    """Readings in the order of time, cut by number and by days, none lost."""
    from serve_app.acquisition import Acquired
    from serve_app.store.columns import ReadingColumns
    from serve_app.store.pieces import Piece

    micros = np.arange(130_000) * 3_600_000_000  # one an hour: 15 years
    rows = ReadingColumns.joined([("flow", micros, np.arange(130_000.0)), ("pressure", micros[:5], np.ones(5))])
    found = [Piece.from_bytes(each.to_bytes()) for each in reading_process.pieces(Acquired(rows, [], 0))]
    assert max(len(each.rows.days()) for each in found) == reading_process.PIECE_DAYS
    assert sum(len(each.rows) for each in found) == 130_005
    assert [list(each.rows.micros) for each in found] == [sorted(each.rows.micros) for each in found]
    assert list(found[0].rows)[:2] == [rows[0], rows[130_000]]


async def test_a_job_that_is_not_there(store: Store) -> None:
    """Nobody's job is not found, and cannot be begun."""
    plant = await make_plant(store)
    job = await make_job(store, *own(plant))
    other = await make_plant(store)
    with pytest.raises(NotFound, match="job"):
        await store.jobs.get(other.tenant_id, job.job_id)
    assert await store.jobs.begin(other.tenant_id, job.job_id) is None
