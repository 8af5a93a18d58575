"""What stores list: from where on, how much at most, in which order, and whose."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text

from configs.settings import DatabaseWaits
from pipelines.errors import Unavailable
from pipelines.machines.family import OWN_MARK
from serve_app.store import documents
from serve_app.store.database import Database
from serve_app.store.protocols import StoreParts
from serve_app.store.records_watching import Happened
from serve_app.store.repository import Store
from tests.service.houses import GIVEN, diagnosis_of, make_house, make_job
from tests.service.test_isolation import as_application
from tests.service.test_store_parts import make_plant

CONNECTIONS = 20  # more than a pool of one ever has


async def test_jobs_are_listed_newest_first(parts: StoreParts) -> None:
    """Those asked for before one, so many at most, each as it was asked for."""
    plant = await make_plant(parts)
    jobs = [await make_job(parts, plant.tenant_id, plant.system.system_id) for _ in range(3)]
    assert [each.job_id for each in await parts.jobs.page(plant.tenant_id)] == [each.job_id for each in jobs[::-1]]
    assert [each.job_id for each in await parts.jobs.page(plant.tenant_id, None, 2)] == [jobs[2].job_id, jobs[1].job_id]
    assert [each.job_id for each in await parts.jobs.page(plant.tenant_id, jobs[1].number)] == [jobs[0].job_id]
    made = jobs[0]
    assert (made.state, made.system_id, made.given, made.task) == ("queued", plant.system.system_id, GIVEN, "job")
    assert (made.bytes, made.created_by, made.created_at) == (20, "ann", made.updated_at)


async def test_a_job_that_rests_is_not_due(store: Store, url: str) -> None:
    """Nobody looks after it before its rest is over."""
    house = await make_house(store)
    await store.jobs.rest(house.tenant_id, house.job.job_id, 3600)
    with as_application(url, house.tenant_id) as connection:
        query = text("SELECT due > now() + interval '59 minutes' FROM jobs WHERE job_id = :id")
        assert connection.execute(query, {"id": house.job.job_id}).scalar() is True


async def test_events_are_listed_by_system(parts: StoreParts) -> None:
    """Those after one, or the last ones, the earliest first; never another system's."""
    plant = await make_plant(parts)
    other = await parts.systems.add(plant.tenant_id, "Mill", "generic", "")
    mine, theirs = plant.system.system_id, other.system_id
    said = [Happened(number, None, "window.unread", text) for number, text in ((mine, "1"), (theirs, "x"), (mine, "2"))]
    await parts.events.add(plant.tenant_id, [*said, Happened(mine, None, "window.unread", "3")])
    every = await parts.events.page(plant.tenant_id, mine)
    assert [each.text for each in every] == ["1", "2", "3"]
    assert [each.text for each in await parts.events.page(plant.tenant_id, mine, every[0].event_id, 1)] == ["2"]
    assert await parts.events.page(plant.tenant_id, mine, every[2].event_id) == []
    assert await parts.events.newest(plant.tenant_id, mine, 2) == every[1:]
    assert [each.text for each in await parts.events.newest(plant.tenant_id, theirs, 9)] == ["x"]


async def test_what_was_said_at_a_moment_is_said_since_it(store: Store) -> None:
    """Of answers, and of what was found on a system."""
    house = await make_house(store)
    (said,) = await store.answers.spoken_of(house.tenant_id, datetime.fromtimestamp(0, UTC), 9)
    assert await store.answers.spoken_of(house.tenant_id, said.said.created_at, 9) == [said]
    said_of_it = {"is_anomaly": True, "severity": "warning", "anomaly_type": "leak", "affected_components": []}
    stored = replace(diagnosis_of(house.system.system_id), answer=orjson.dumps({"prediction": said_of_it}))
    await store.diagnoses.record(house.tenant_id, stored, None)
    findings = await store.diagnoses.findings(house.tenant_id, house.system.system_id, stored.created_at)
    assert [each.trace_id for each in findings] == [stored.trace_id]


async def test_windows_end_after_one_moment_and_up_to_another(store: Store) -> None:
    """The first moment is not among them, and the last one is."""
    house = await make_house(store)
    ends = [datetime(2026, 3, 1, 12, minute, tzinfo=UTC) for minute in range(3)]
    for end in ends:
        window = replace(diagnosis_of(house.system.system_id), window_end=end)
        await store.diagnoses.record(house.tenant_id, window, None)
    assert await store.diagnoses.ends(house.tenant_id, house.system.system_id, ends[0], ends[2]) == set(ends[1:])


async def test_a_tenants_own_family_is_learned_in_all_versions(store: Store) -> None:
    """A shipped one is asked for by its name alone."""
    house, name = await make_house(store), uuid4().hex
    for version in ("one", "two"):
        stored = replace(diagnosis_of(house.system.system_id), family=f"{name}{OWN_MARK}{version}")
        await store.diagnoses.record(house.tenant_id, stored, None)
        await store.feedback.give(house.tenant_id, stored.trace_id, "confirmed", None, "", "ann")
    assert len(await store.feedback.labelled(name, 10, house.tenant_id, own=True)) == 2
    assert await store.feedback.labelled(name, 10, house.tenant_id) == []


async def test_documents_are_begun_from_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to go comes first, of each tenant so many; a document that is begun has nothing done."""
    house = await make_house(store)
    await store.documents.add(house.tenant_id, "mill", "mill.md", "1", b"# Mill")
    await store.documents.add(house.tenant_id, "pump", "pump.md", "2", b"# Pump")
    await store.documents.remove(house.tenant_id, "pump")
    waiting = [each for each in await store.documents.waiting() if each.tenant_id == house.tenant_id]
    assert [tuple(each)[1:] for each in waiting] == [("pump", True), ("press", False), ("mill", False)]
    monkeypatch.setattr(documents, "LOOKED_AT", 2)
    assert [each for each in await store.documents.waiting() if each.tenant_id == house.tenant_id] == waiting[:2]
    assert await store.documents.begin(house.tenant_id, "mill") == 1
    begun = await store.documents.get(house.tenant_id, "mill")
    assert (begun.state, begun.done, begun.total) == ("indexing", 0, 0)


async def test_why_there_is_no_answer_is_told(url: str) -> None:
    """A statement that takes too long is told from a server that ends, and from a pool that has nothing left."""
    waits = DatabaseWaits(connect_s=1, lock_s=1, statement_s=0.5, transaction_s=4)
    database = Database.open(url, 1, waits)
    with pytest.raises(Unavailable, match="took too long"):
        async with database.tenant(0) as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    with pytest.raises(Unavailable, match="does not answer"):
        async with database.tenant(0):
            raise TimeoutError
    async with AsyncExitStack() as taken:
        with pytest.raises(Unavailable, match="no connection became free"):
            for _ in range(CONNECTIONS):
                await taken.enter_async_context(database.tenant(0))
    await database.close()
