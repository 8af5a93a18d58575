"""Windows are cut from what machines send and judged without being asked, off a durable queue, on PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pipelines.machines.commissioning import NEEDED
from pipelines.machines.family import read_family
from pipelines.signals.windows import stored_window
from serve_app import watching
from serve_app.detection import Detection
from serve_app.replicas import worker as worker_module
from serve_app.replicas.worker import QueueWorker
from serve_app.shared import logs
from serve_app.store.migrate import migrate
from serve_app.store.records import Reading
from serve_app.store.records_watching import Event
from serve_app.store.repository import Store
from serve_app.watching import Watching, floor
from tests.contract.stand_ins import make_bench
from tests.service.test_isolation import as_application
from tests.service.test_store_parts import Plant, make_plant

FAMILY = read_family("generic")
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)  # a whole number of windows since 1970
W = int(FAMILY.window_s)  # seconds and samples of a window
WINDOW = timedelta(seconds=W)
LEVELS = {"pressure": 100.0, "temperature": 45.0, "flow": 25.0, "vibration": 2.0}


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


@pytest.fixture
def detection(store: Store, tmp_path: Path) -> Detection:
    """Detection over the stand-in ensemble of contract tests, and a real store."""
    services = replace(make_bench(tmp_path).services, store=store)
    return Detection(services)


def sent(begin_s: float, end_s: float, level: float = 1.0, names: Sequence[str] = tuple(LEVELS)) -> list[Reading]:
    """One reading a second of each channel, after `begin_s` and up to `end_s`."""
    random = np.random.default_rng(int(begin_s))
    return [
        Reading(name, BEGIN + timedelta(seconds=at), level * LEVELS[name] * (1 + 0.01 * random.normal()))
        for at in range(int(begin_s) + 1, int(end_s) + 1)
        for name in names
    ]


async def work(url: str, detection: Detection) -> None:
    """Do all that waits in the queue."""
    waiting = "SELECT count(*) FROM hdx_queue.procrastinate_jobs WHERE status = 'todo'"
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        while connection.execute(text(waiting)).scalar():
            await QueueWorker(url, Watching(detection).look).run(wait=False)


def windows(url: str, plant: Plant) -> list[tuple[datetime, bool]]:
    """When the judged windows of a system ended, in the order of time, and which of them were late."""
    query = "SELECT window_end, late FROM diagnoses ORDER BY window_end, created_at"
    with as_application(url, plant.tenant_id) as connection:
        return [(row.window_end.astimezone(UTC), row.late) for row in connection.execute(text(query))]


def forget(url: str, plant: Plant, changes: str) -> None:
    """Change how far a system is watched."""
    with as_application(url, plant.tenant_id) as connection:
        found = connection.execute(text(f"UPDATE watches SET {changes}"), {"begin": BEGIN})  # noqa: S608 (constants)
        assert found.rowcount == 1
        connection.commit()


async def events(store: Store, plant: Plant) -> list[Event]:
    return list(await store.events.page(plant.tenant_id, plant.system.system_id))


async def late_events(store: Store, plant: Plant) -> list[Event]:
    return [each for each in await events(store, plant) if each.kind == "window.late"]


async def test_whole_windows_are_judged(store: Store, url: str, detection: Detection) -> None:
    """Each window once, in its order, by what was sent in it; the one that is under way waits for its end."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 2.5 * W))
    await work(url, detection)
    assert windows(url, plant) == [(BEGIN + WINDOW, False), (BEGIN + 2 * WINDOW, False)]
    watch = await store.watches.get(*own)
    assert watch is not None
    assert (watch.judged_until, watch.due) == (BEGIN + 2 * WINDOW, BEGIN + 3 * WINDOW)
    kept = await store.diagnoses.last(*own)
    assert kept is not None
    window = stored_window(kept.window)
    rows = [row.value for row in sent(0, 2.5 * W) if row.channel == "flow"]
    assert window.values["flow"].tolist() == rows[W : 2 * W]
    assert (await store.systems.get(*own)).learned == 2
    await store.readings.add(*own, sent(2 * W, 3 * W))
    await work(url, detection)
    assert len(windows(url, plant)) == 3


async def test_nothing_is_judged_twice(store: Store, url: str, detection: Detection) -> None:
    """Looked at again, and sent again, nothing changes: neither answers, nor what was learned."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 2 * W))
    await work(url, detection)
    await store.readings.add(*own, sent(0, 2 * W))
    forget(url, plant, "judged_until = :begin, due = :begin")  # as a worker leaves it that dies before it says so
    await store.watches.again(*own)
    await work(url, detection)
    assert [late for _, late in windows(url, plant)] == [False, False]
    assert (await store.systems.get(*own)).learned == 2


async def test_late_readings_are_judged_again(store: Store, url: str, detection: Detection) -> None:
    """The windows that they change, marked; those teach nothing, and what did not change is not judged again."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    rows = sent(0, 4 * W)
    gap = [row for row in rows if row.channel == "flow" and row.at - BEGIN == timedelta(seconds=W + 2)]
    await store.readings.add(*own, [row for row in rows if row not in gap])
    await work(url, detection)
    await store.readings.add(*own, gap)
    await work(url, detection)
    assert windows(url, plant) == [
        (BEGIN + n * WINDOW, late) for n, late in ((1, False), (2, False), (2, True), (3, False), (4, False))
    ]
    assert (await store.systems.get(*own)).learned == 4
    (event,) = await events(store, plant)
    assert (event.kind, event.at) == ("window.late", BEGIN + 2 * WINDOW)
    watch = await store.watches.get(*own)
    assert watch is not None
    assert watch[3:7] == (None,) * 4
    kept = await store.diagnoses.get(plant.tenant_id, event.trace_id) if event.trace_id else None
    assert kept is not None
    assert kept.late


async def test_late_windows_are_told_once(
    store: Store, url: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many looks judge them, and though the first one dies before it tells; those that come later by their own.

    The event bears the trace id of one of them, and says up to when they are.
    """
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    monkeypatch.setattr(watching, "ENOUGH_S", 0.0)  # a look for each window
    await store.readings.add(*own, sent(0, 12 * W, names=["pressure", "temperature"]))
    await work(url, detection)
    flow = sent(0, 12 * W, names=["flow"])
    await store.readings.add(*own, flow[W : 5 * W])
    tell = detection.services.store.watches.tell_late

    async def fail(*given: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(detection.services.store.watches, "tell_late", fail)
    with pytest.raises(ConnectionError):
        await Watching(detection).look(*own)
    monkeypatch.setattr(detection.services.store.watches, "tell_late", tell)
    await work(url, detection)
    assert sum(late for _, late in windows(url, plant)) == 4
    (event,) = await late_events(store, plant)
    assert (event.at, str(BEGIN + 5 * WINDOW).replace(" ", "T") in event.text) == (BEGIN + 2 * WINDOW, True)
    assert event.trace_id is not None
    assert (await store.diagnoses.get(plant.tenant_id, event.trace_id)).window_end == event.at
    await store.readings.add(*own, flow[8 * W : 9 * W])
    await work(url, detection)
    assert [each.at for each in await late_events(store, plant)] == [BEGIN + 2 * WINDOW, BEGIN + 9 * WINDOW]


async def test_a_missing_family_is_logged_once(
    store: Store, url: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is found to be gone, and not with each look; once more when it was there in between."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, W))
    lines: list[str] = []
    monkeypatch.setattr(logs, "write", lambda event, *_, **__: lines.append(event))

    def rename(family: str) -> None:
        with as_application(url, plant.tenant_id) as connection:
            connection.execute(text("UPDATE systems SET family = :family"), {"family": family})
            connection.commit()

    looker = Watching(detection)
    for family, count in (("gone", 1), ("gone", 1), ("generic", 1), ("gone", 2)):
        rename(family)
        await looker.look(*own)
        await looker.look(*own)
        assert lines.count("watch.without") == count


async def test_what_is_judged_again_stays_so(
    store: Store, url: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that lags, ever more of which comes while its windows are judged again, has each judged once more."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    monkeypatch.setattr(watching, "ENOUGH_S", 0.0)  # a look for each window
    await store.readings.add(*own, sent(0, 20 * W, names=["pressure", "temperature"]))
    await work(url, detection)
    look, flow = Watching(detection).look, sent(0, 20 * W, names=["flow"])
    for number in range(20):
        await store.readings.add(*own, flow[number * W : (number + 1) * W])
        await look(*own)
    await work(url, detection)
    again = [end for end, late in windows(url, plant) if late]
    assert again == [BEGIN + (number + 1) * WINDOW for number in range(20)]


async def test_a_look_that_takes_long_keeps_what_it_did(
    store: Store, url: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the ensemble, each look judges a window at least, and the next one goes on behind it."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    monkeypatch.setattr(watching, "ENOUGH_S", 0.0)
    await store.readings.add(*own, sent(0, 3 * W))
    await Watching(detection).look(*own)
    watch = await store.watches.get(*own)
    assert watch is not None
    assert (watch.judged_until, len(windows(url, plant))) == (BEGIN + WINDOW, 1)
    await work(url, detection)
    assert len(windows(url, plant)) == 3


async def test_a_worker_that_is_to_stop_hands_its_work_on(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not end in time is done by the next one."""
    monkeypatch.setattr(worker_module, "ENDING_S", 0.1)
    plant = await make_plant(store)
    begun, done = asyncio.Event(), []

    async def hang(tenant_id: int, system_id: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def look(tenant_id: int, system_id: int) -> None:
        done.append(system_id)

    await store.watches.again(plant.tenant_id, plant.system.system_id)
    stopping = asyncio.create_task(QueueWorker(url, hang).run())
    await asyncio.wait_for(begun.wait(), 20)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await QueueWorker(url, look).run(wait=False)
    assert done == [plant.system.system_id]


async def test_a_reading_belongs_to_the_window_that_it_ends(store: Store, url: str, detection: Detection) -> None:
    """Corrected at the very border, the window before it is judged again, and no other."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 3 * W))
    await work(url, detection)
    await store.readings.add(*own, [Reading("flow", BEGIN + 2 * WINDOW, 26.5)])
    await work(url, detection)
    assert [end for end, late in windows(url, plant) if late] == [BEGIN + 2 * WINDOW]


async def test_channels_are_waited_for(store: Store, url: str, detection: Detection) -> None:
    """Sent one after the other they make one window; one that stays away is waited for as long as a window."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, W + 1))
    for name in LEVELS:
        await work(url, detection)
        assert len(windows(url, plant)) == 1
        await store.readings.add(*own, sent(W + 1, 2 * W + 1, names=[name]))
    await work(url, detection)
    assert len(windows(url, plant)) == 2
    await store.readings.add(*own, sent(2 * W + 1, 4 * W - 1, names=["flow"]))
    await work(url, detection)
    assert len(windows(url, plant)) == 2
    await store.readings.add(*own, sent(4 * W - 1, 4 * W, names=["flow"]))
    await work(url, detection)
    assert windows(url, plant)[2:] == [(BEGIN + 3 * WINDOW, False)]


async def test_a_gap_is_passed_over_and_told(store: Store, url: str, detection: Detection) -> None:
    """A week of silence costs one event, and windows go on behind it."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    week = 7 * 86_400
    await store.readings.add(*own, sent(0, W))
    await store.readings.add(*own, sent(week, week + W))
    await work(url, detection)
    last = BEGIN + timedelta(seconds=week)
    assert windows(url, plant) == [(BEGIN + WINDOW, False), (last + WINDOW, False)]
    (event,) = await events(store, plant)
    assert (event.kind, event.at) == ("readings.missing", last + timedelta(seconds=1))
    await store.readings.add(*own, sent(week + 4 * W, week + 5 * W))
    await work(url, detection)
    assert [(each.kind, each.at) for each in (await events(store, plant))[1:]] == [
        ("readings.missing", last + timedelta(seconds=4 * W + 1))
    ]
    assert len(windows(url, plant)) == 3


async def test_much_at_once_is_judged_in_turns(store: Store, url: str, detection: Detection) -> None:
    """More windows than one look judges are all judged, one after the other, and none twice."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    count = 120
    await store.readings.add(*own, sent(0, W * count, names=["pressure", "flow"]))
    await work(url, detection)
    assert windows(url, plant) == [(BEGIN + (n + 1) * WINDOW, False) for n in range(count)]


async def test_slow_readings_make_long_windows(store: Store, url: str, detection: Detection) -> None:
    """One reading a minute makes windows of as many samples as the family's; it is no gap, nor more than a few are."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    slow = [row._replace(at=BEGIN + 60 * (row.at - BEGIN)) for row in sent(0, 4 * W)]
    await store.readings.add(*own, slow)
    await work(url, detection)
    assert windows(url, plant) == [(BEGIN + timedelta(minutes=W * n), False) for n in (1, 2, 3, 4)]
    assert await events(store, plant) == []
    kept = await store.diagnoses.last(*own)
    assert kept is not None
    window = stored_window(kept.window)
    assert window.samples == W
    assert window.rate_hz == pytest.approx(1 / 60)


async def test_fast_readings_make_windows_of_the_familys_length(store: Store, url: str, detection: Detection) -> None:
    """Far more of them than the family's rate asks for are no other windows: at each step stands the last value."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    fast = [row._replace(at=BEGIN + 0.05 * (row.at - BEGIN)) for row in sent(0, 20 * 4 * W, names=["pressure"])]
    await store.readings.add(*own, fast)
    await work(url, detection)
    assert windows(url, plant) == [(BEGIN + WINDOW * n, False) for n in (1, 2, 3, 4)]
    kept = await store.diagnoses.last(*own)
    assert kept is not None
    assert stored_window(kept.window).values["pressure"].tolist() == [
        row.value
        for row in fast
        if row.at > BEGIN + 3 * WINDOW and (row.at - BEGIN) % timedelta(seconds=1) == timedelta()
    ]


@pytest.mark.parametrize("step_s", [1, 10, 60])
async def test_single_readings_are_judged(store: Store, url: str, detection: Detection, step_s: int) -> None:
    """Sent one by one, however slowly: once it is known how often they come, every window of them is judged."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    for row in sent(0, 4 * W, names=["pressure"]):
        await store.readings.add(*own, [row._replace(at=BEGIN + step_s * (row.at - BEGIN))])
        await work(url, detection)
    length = timedelta(seconds=step_s * W)
    assert windows(url, plant) == [(floor(BEGIN, length) + length * n, False) for n in (1, 2, 3, 4)]
    assert await events(store, plant) == []


async def test_a_machine_that_stopped_within_a_window_goes_on(store: Store, url: str, detection: Detection) -> None:
    """Off for longer than one look reads, in the middle of a window: what it sends then is judged."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 2.5 * W))
    await work(url, detection)
    await store.readings.add(*own, sent(400 * W, 402 * W))
    await work(url, detection)
    assert windows(url, plant)[-2:] == [(BEGIN + 401 * WINDOW, False), (BEGIN + 402 * WINDOW, False)]


async def test_what_fills_a_gap_is_judged(store: Store, url: str, detection: Detection) -> None:
    """The newest first, and then what was kept while nobody could be reached: all of its windows are judged, late."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    for begin, end in ((0, W), (300 * W, 301 * W)):
        await store.readings.add(*own, sent(begin, end))
        await work(url, detection)
    await store.readings.add(*own, sent(W, 300 * W))
    await work(url, detection)
    judged = {end for end, _ in windows(url, plant)}
    assert sorted({BEGIN + WINDOW * (n + 1) for n in range(301)} - judged) == []


async def test_a_look_that_died_while_another_waits_holds_nobody_up(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits does what it did; and what fails is tried again by itself."""
    monkeypatch.setattr(worker_module, "ENDING_S", 0.1)
    monkeypatch.setattr(worker_module, "PAUSE_S", 0.01)
    plant = await make_plant(store)
    begun, done = asyncio.Event(), []

    async def hang(tenant_id: int, system_id: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def look(tenant_id: int, system_id: int) -> None:
        done.append(system_id)
        if len(done) < 2:
            raise ConnectionError

    await store.watches.again(plant.tenant_id, plant.system.system_id)
    dying = asyncio.create_task(QueueWorker(url, hang, together=1).run())  # so that it takes nothing more
    await asyncio.wait_for(begun.wait(), 20)
    await store.watches.again(plant.tenant_id, plant.system.system_id)
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(
            text("UPDATE hdx_queue.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
        )
        worker = QueueWorker(url, look)
        async with worker.queue.open_async():
            await worker.take_back(30)
        await QueueWorker(url, look).run(wait=False)
        assert done == [plant.system.system_id] * 2
        assert connection.execute(text("SELECT count(*) FROM hdx_queue.procrastinate_jobs")).scalar() == 0
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_a_tenant_with_much_to_do_holds_nobody_up(store: Store, url: str) -> None:
    """Work of one tenant that has asked for much is done after that of one who asks for little, asked later."""
    busy, other = await make_plant(store), await make_plant(store)
    numbers = [(await store.systems.add(busy.tenant_id, "Press", "generic", "")).system_id for _ in range(20)]
    begun = time.monotonic()
    for number in numbers:
        await store.watches.again(busy.tenant_id, number)
    await store.watches.again(other.tenant_id, other.system.system_id)
    took = time.monotonic() - begun
    done: list[int] = []

    async def look(tenant_id: int, system_id: int) -> None:
        done.append(tenant_id)

    await QueueWorker(url, look, together=1).run(wait=False)
    ours = [tenant_id for tenant_id in done if tenant_id in (busy.tenant_id, other.tenant_id)]
    assert len(ours) == 21
    # What is asked a second later waits behind one more.
    assert ours.index(other.tenant_id) <= 2 + took


async def test_work_of_a_worker_that_died_is_done(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had begun is taken back and done by another; a failure is tried again."""
    plant = await make_plant(store)
    await store.watches.again(plant.tenant_id, plant.system.system_id)
    begun, done = asyncio.Event(), []
    monkeypatch.setattr(worker_module, "ENDING_S", 0.1)

    async def hang(tenant_id: int, system_id: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def look(tenant_id: int, system_id: int) -> None:
        done.append((tenant_id, system_id))

    dying = asyncio.create_task(QueueWorker(url, hang, together=1).run())  # so that it takes nothing more
    await asyncio.wait_for(begun.wait(), 20)
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        # As after kill -9: no farewell, and no beat since.
        connection.execute(
            text("UPDATE hdx_queue.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
        )
        worker = QueueWorker(url, look)
        async with worker.queue.open_async():
            await worker.take_back(30)
    await QueueWorker(url, look).run(wait=False)
    assert (plant.tenant_id, plant.system.system_id) in done
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_history_that_comes_after_a_newer_reading_commissions(
    store: Store, url: str, detection: Detection
) -> None:
    """Its windows are late, and yet what is normal is learned from them; evidence they are none."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(40 * W, 41 * W))
    await work(url, detection)
    await store.readings.add(*own, sent(0, 24 * W))
    await work(url, detection)
    assert len(windows(url, plant)) == 25
    system = await store.systems.get(*own)
    assert system.state == "monitoring"
    assert len(await store.diagnoses.newest(*own, 100)) == NEEDED
    assert [(each.kind, each.at) for each in await late_events(store, plant)] == [("window.late", BEGIN + WINDOW)]
    await store.readings.add(*own, sent(24 * W, 26 * W))
    await work(url, detection)
    after = await store.systems.get(*own)
    assert (after.learned, after.evidence, len(windows(url, plant))) == (system.learned, system.evidence, 27)
    assert [each.at for each in await late_events(store, plant)] == [BEGIN + WINDOW, BEGIN + 25 * WINDOW]
    assert len(await store.diagnoses.newest(*own, 100)) == NEEDED


async def test_a_window_counts_once_whatever_changes_it(store: Store, url: str, detection: Detection) -> None:
    """A look dies after it judged, and its readings are corrected before the next, which counts for nothing."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 2 * W))
    await work(url, detection)
    forget(url, plant, "judged_until = :begin, read_until = :begin, due = :begin")
    await store.readings.add(*own, [Reading("flow", BEGIN + timedelta(seconds=1), 26.5)])
    await work(url, detection)
    assert [late for _, late in windows(url, plant)] == [False] * 3
    assert (await store.systems.get(*own)).learned == 2


async def test_a_question_counts_for_nothing(store: Store, url: str, detection: Detection) -> None:
    """Who asks for the newest window beside watching, however often, teaches nothing twice."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    await store.readings.add(*own, sent(0, 2 * W))
    for _ in range(3):
        await detection.own(*own, None, None, uuid4(), time.perf_counter())
    assert (await store.systems.get(*own)).learned == 0
    await work(url, detection)
    assert (await store.systems.get(*own)).learned == 2
    assert len(await store.diagnoses.newest(*own, 100)) == 2


async def test_what_is_overdue_is_looked_at(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that failed to its end, and readings of a clock that ran ahead, need no further reading."""
    monkeypatch.setattr(worker_module, "PAUSE_S", 0.001)
    monkeypatch.setattr(worker_module, "EACH_MINUTE", "* * * * * *")  # each second
    plant, ahead = await make_plant(store), await make_plant(store)
    await store.readings.add(plant.tenant_id, plant.system.system_id, sent(0, 2 * W))
    soon = datetime.now(UTC) + timedelta(hours=1)
    await store.readings.add(ahead.tenant_id, ahead.system.system_id, [Reading("flow", soon, 25.0)])
    done: list[int] = []

    async def fail(tenant_id: int, system_id: int) -> None:
        raise ConnectionError

    async def look(tenant_id: int, system_id: int) -> None:
        done.append(system_id)

    await QueueWorker(url, fail).run(wait=False)
    running = asyncio.create_task(QueueWorker(url, look).run())
    await until_in(plant.system.system_id, done)
    assert ahead.system.system_id not in done
    forget(url, ahead, "due = :begin, newest = :begin")  # as if the hour had passed
    await until_in(ahead.system.system_id, done)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until_in(wanted: int, found: list[int]) -> None:
    """Wait for something to be found."""
    for _ in range(600):
        if wanted in found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_many_readings_are_read_in_parts(
    store: Store, url: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all channels together have more than one look reads, fewer windows are judged at once, and none less."""
    monkeypatch.setattr(watching, "POINTS_MAX", 4 * 4 * W)
    plant = await make_plant(store)
    await store.readings.add(plant.tenant_id, plant.system.system_id, sent(0, 12 * W))
    await work(url, detection)
    assert windows(url, plant) == [(BEGIN + (n + 1) * WINDOW, False) for n in range(12)]


async def test_the_application_cannot_enter_the_queue(store: Store, url: str) -> None:
    """Its role reads no work of anybody, and asks for none but that of the tenant that is set."""
    plant = await make_plant(store)
    for statement in ("SELECT * FROM hdx_queue.procrastinate_jobs", "DELETE FROM hdx_queue.procrastinate_jobs"):
        with as_application(url, plant.tenant_id) as connection, pytest.raises(Exception, match="permission denied"):
            connection.execute(text(statement))
    for tenant, task in ((plant.tenant_id, "other"), (None, "watch")):
        with as_application(url, tenant) as connection, pytest.raises(Exception, match="hdx_defer"):
            connection.execute(text(f"SELECT hdx_defer('{task}', '1', '{{}}')"))
