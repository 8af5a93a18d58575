"""Readings: each kept once, summed up, and read without losing a peak; by day on PostgreSQL."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from configs.settings import Retention
from pipelines.errors import InvalidInput, NotFound, Unavailable
from serve_app.store.columns import ReadingColumns
from serve_app.store.protocols import StoreParts
from serve_app.store.readings import DAYS_MAX, NEWEST, VALUES_MAX, _write
from serve_app.store.records import Reading, Series, Suspect
from serve_app.store.repository import Store
from serve_app.store.spans import STEPS
from serve_app.store.tables import readings
from tests.contract.memory_store import MemoryStore
from tests.service.houses import reading_of, suspect_of
from tests.service.test_isolation import as_application
from tests.service.test_store_parts import Plant, make_plant

BEGIN = datetime(2026, 3, 1, 22, 10, 30, tzinfo=UTC)


def series(values: Iterable[float], every_s: float = 1.0, channel: str = "pressure") -> list[Reading]:
    """Return readings one after another."""
    return [Reading(channel, BEGIN + timedelta(seconds=every_s * n), float(v)) for n, v in enumerate(values)]


async def span(parts: StoreParts, plant: Plant, points: int, days: float = 100.0) -> Sequence[Series]:
    """Read what a system sent from `BEGIN` on."""
    end = BEGIN + timedelta(days=days)
    return await parts.readings.span(plant.tenant_id, plant.system.system_id, BEGIN, end, points)


# --- what every store promises


async def test_the_newest_reading_is_known(parts: StoreParts) -> None:
    """Whatever the order in which they came; of a system that sent none, and to another tenant, there is none."""
    ours, theirs = await make_plant(parts), await make_plant(parts)
    moments = [BEGIN + timedelta(days=1, seconds=7), BEGIN + timedelta(days=2, microseconds=250_000), BEGIN]
    last, number = moments[1], ours.system.system_id
    assert await parts.readings.newest(ours.tenant_id, number, ["flow"], last) is None
    for at in moments:
        await parts.readings.add(ours.tenant_id, number, [Reading("flow", at, 25.0)])
    assert await parts.readings.newest(ours.tenant_id, number, ["flow", "level"], last) == last
    for later in (timedelta(days=1), timedelta(days=30), timedelta(days=3000)):
        assert await parts.readings.newest(ours.tenant_id, number, ["flow"], last + later) == last
    assert await parts.readings.newest(ours.tenant_id, number, ["level"], last) is None
    assert await parts.readings.newest(theirs.tenant_id, number, ["flow"], last) is None


async def test_what_is_ahead_of_a_moment_is_not_the_newest(parts: StoreParts) -> None:
    """Later readings of the same day hide none that came before; none before is none."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    await parts.readings.add(*own, series(range(3), every_s=1200))
    until = BEGIN + timedelta(seconds=1300)
    assert await parts.readings.newest(*own, ["pressure"], until) == BEGIN + timedelta(seconds=1200)
    assert await parts.readings.newest(*own, ["pressure"], BEGIN - timedelta(seconds=1)) is None


async def test_a_reading_is_kept_once(parts: StoreParts) -> None:
    """Sent again it is unchanged; another value takes its place and is noted; each value is counted once."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    rows = series([1, 2, 3])
    assert await parts.readings.add(*own, rows) == (3, 0, 0, 0)
    assert await parts.readings.add(*own, rows) == (0, 3, 0, 0)
    more = [*series([1, 2.5, 3]), *series([7], channel="flow"), *series([7], channel="flow")]
    assert await parts.readings.add(*own, more, actor="ann") == (1, 3, 1, 0)
    found = {each.channel: [value for _, value in each.points] for each in await span(parts, plant, 10)}
    assert found == {"flow": [7.0], "pressure": [1.0, 2.5, 3.0]}
    newest = (await parts.audit.newest(plant.tenant_id, 1))[0]
    assert (newest.actor, newest.action) == ("ann", "readings.corrected")
    assert newest.detail.startswith("1 values between 2026-03-01T22:10:30+00:00")


async def test_what_is_set_aside_is_listed_once(parts: StoreParts) -> None:
    """A bad value is found with its reason, page by page; sent again it stands there once, a second one beside it."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    assert await parts.readings.add(*own, [], [suspect_of("a"), suspect_of("b")]) == (0, 0, 0, 2)
    assert await parts.readings.add(*own, [reading_of()], [suspect_of("b"), suspect_of("c")]) == (1, 0, 0, 2)
    page = await parts.readings.quarantined(*own, limit=2)
    assert [(each.channel, each.value, each.reason) for each in page] == [
        ("pressure", value, "must be between 0 and 700 bar") for value in "ab"
    ]
    rest = await parts.readings.quarantined(*own, after=page[-1].quarantine_id)
    assert [each.value for each in rest] == ["c"]


async def test_what_is_set_aside_is_decided_on_once(parts: StoreParts) -> None:
    """Accepted it is a reading, dismissed none; neither waits any more, sent again neither, and the audit knows who."""
    plant, other = await make_plant(parts), await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    await parts.readings.add(*own, [], [suspect_of(value) for value in ("800", "801", "802")])
    one, two, three = await parts.readings.quarantined(*own)
    first = Reading("pressure", one.at, 800.0)
    for stranger in ((other.tenant_id, own[1]), (other.tenant_id, other.system.system_id)):
        with pytest.raises(NotFound, match="quarantine_id"):
            await parts.readings.settle(*stranger, {}, [two.quarantine_id])
    with pytest.raises(NotFound, match="quarantine_id"):
        await parts.readings.settle(*own, {one.quarantine_id: first}, [two.quarantine_id, 2**60])
    assert len(await parts.readings.quarantined(*own)) == 3
    await parts.readings.settle(*own, {one.quarantine_id: first}, [two.quarantine_id], "ann")
    assert await parts.readings.quarantined(*own) == [three]
    assert await parts.readings.set_aside(*own, [three.quarantine_id]) == [three]
    day = timedelta(days=1)
    (found,) = await parts.readings.span(*own, one.at - day, one.at + day, 10)
    assert found.points == ((one.at, 800.0),)
    for number in (one.quarantine_id, two.quarantine_id):
        with pytest.raises(NotFound, match="quarantine_id"):
            await parts.readings.settle(*own, {}, [number])
    await parts.readings.add(*own, [], [suspect_of("800"), suspect_of("801")])
    assert await parts.readings.quarantined(*own) == [three]
    notes = [note for note in await parts.audit.newest(plant.tenant_id, 9) if note.action.startswith("readings.")]
    assert {(note.actor, note.action) for note in notes} == {
        ("ann", "readings.accepted"),
        ("ann", "readings.dismissed"),
    }


@pytest.mark.parametrize(("points", "days"), [(100, 0.02), (100, 1.0), (40, 30.0), (8, 90.0), (1000, 0.02)])
async def test_no_peak_is_lost(parts: StoreParts, points: int, days: float) -> None:
    """However few points are asked for, the least, the greatest, the first and the last reading are among them."""
    plant = await make_plant(parts)
    values = np.random.default_rng(3).normal(100, 1, 4000)
    values[[1234, 2500]] = 650, 0.5
    rows = series(values, every_s=days * 86_400 / 4000)
    await parts.readings.add(plant.tenant_id, plant.system.system_id, rows)
    (found,) = await span(parts, plant, points, days)
    within = [(row.at, row.value) for row in rows if row.at < BEGIN + timedelta(days=days)]
    assert found.count == len(within) == 4000
    assert len(found.points) <= points
    assert list(found.points) == sorted(found.points)
    assert {within[0], within[1234], within[2500], within[-1]} <= set(found.points) <= set(within)


async def test_few_readings_are_shown_as_they_are(parts: StoreParts) -> None:
    """A channel with no more readings than points is shown whole beside one that is thinned; others are left out."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    await parts.readings.add(*own, [*series(range(500)), *series(range(10), channel="flow")])
    found = {each.channel: each for each in await span(parts, plant, 12)}
    assert (len(found["flow"].points), found["pressure"].count) == (10, 500)
    assert len(found["pressure"].points) <= 12
    end = BEGIN + timedelta(days=1)
    assert [each.channel for each in await parts.readings.span(*own, BEGIN, end, 12, ["flow", "level"])] == ["flow"]


async def test_a_span_ends_before_its_end(parts: StoreParts) -> None:
    """The reading at its begin belongs to it, the one at its end to the next; one of no length holds none."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    await parts.readings.add(*own, series(range(4)))
    second = timedelta(seconds=1)
    for begin, end, values in ((0, 2, [0, 1]), (2, 3, [2]), (3, 9, [3]), (1, 1, []), (2, 1, [])):
        found = await parts.readings.span(*own, BEGIN + begin * second, BEGIN + end * second, 10)
        assert [value for each in found for _, value in each.points] == values
    for points in (3, 4, 5):
        (whole,) = await span(parts, plant, points)
        assert (whole.count, len(whole.points)) == (4, 4 if points >= 4 else 2)


async def test_pages_of_what_is_set_aside(parts: StoreParts) -> None:
    """A page holds a hundred, from the first on."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    await parts.readings.add(*own, [], [suspect_of(str(number)) for number in range(103)])
    page = await parts.readings.quarantined(*own)
    assert [each.value for each in page] == [str(number) for number in range(100)]
    assert [each.value for each in await parts.readings.quarantined(*own, page[-1].quarantine_id)] == [
        "100",
        "101",
        "102",
    ]


async def test_readings_are_bounded(parts: StoreParts) -> None:
    """Too many values or too many days at once are refused, and nothing of them is kept."""
    plant = await make_plant(parts)
    own = plant.tenant_id, plant.system.system_id
    for rows in ([reading_of()] * (VALUES_MAX + 1), series(range(DAYS_MAX + 1), 86_400)):
        with pytest.raises(InvalidInput, match="readings"):
            await parts.readings.add(*own, rows)
    assert await span(parts, plant, 10) == []
    with pytest.raises(NotFound, match="system"):
        await parts.readings.add(plant.tenant_id, 2**31 - 1, [reading_of()])


# --- what PostgreSQL keeps beneath


async def test_summaries_say_what_readings_say(store: Store) -> None:
    """Any span of any length read over summaries has the count and the ends of its readings, corrected ones too."""
    memory, random = MemoryStore(), np.random.default_rng(5)
    plant, twin = await make_plant(store), await make_plant(memory)
    rows = series(random.normal(100, 1, 3000).round(3), every_s=307.0)
    rows[700] = rows[700]._replace(value=900.0)
    for begin in range(0, 3000, 500):  # in parts, so that summaries are written anew
        await store.readings.add(plant.tenant_id, plant.system.system_id, rows[begin : begin + 600])
    rows[700] = rows[700]._replace(value=99.0)
    await store.readings.add(plant.tenant_id, plant.system.system_id, [rows[700]])
    await memory.readings.add(twin.tenant_id, twin.system.system_id, rows)
    for earlier, later in np.sort(random.uniform(0, 3000 * 307, (30, 2)), axis=1):
        since, until = BEGIN + timedelta(seconds=earlier), BEGIN + timedelta(seconds=later)
        (found,) = await store.readings.span(plant.tenant_id, plant.system.system_id, since, until, 20)
        (right,) = await memory.readings.span(twin.tenant_id, twin.system.system_id, since, until, 20)
        assert (found.count, found.points[0], found.points[-1]) == (right.count, right.points[0], right.points[-1])
        for extreme in (min, max):
            assert extreme(v for _, v in found.points) == extreme(v for _, v in right.points)


async def test_summaries_grow_with_what_comes(store: Store, url: str) -> None:
    """Rows that share minutes with earlier ones, come late, again or corrected, leave summaries of all that is kept."""
    plant, random = await make_plant(store), np.random.default_rng(8)
    rows = [*series(random.normal(100, 1, 900).round(1), 7.0), *series(random.normal(25, 1, 900), 7.0, "flow")]
    order = random.permutation(len(rows))
    for begin in range(0, len(rows), 300):  # more than `MANY`, none of which is there
        part = [rows[place] for place in order[begin : begin + 300]]
        assert (await store.readings.add(plant.tenant_id, plant.system.system_id, part)).written == 300
    await store.readings.add(plant.tenant_id, plant.system.system_id, [rows[5]._replace(value=3.0), *rows[6:200]])
    ends = "min(ARRAY[value, epoch]), max(ARRAY[value, -epoch]), min(ARRAY[epoch, value]), max(ARRAY[epoch, value])"
    again = (
        f"SELECT channel, date_bin(:step * interval '1 second', at, '2000-01-01Z') AS cell, count(*), {ends}"  # noqa: S608
        " FROM (SELECT *, CAST(extract(epoch FROM at) AS float8) AS epoch FROM readings) AS raw"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    kept = (
        "SELECT channel, at, count, least, greatest, first, last FROM rollups WHERE step_s = :step ORDER BY channel, at"
    )
    totals = "SELECT sum(total) FROM rollups WHERE step_s = :step", "SELECT sum(value) FROM readings"
    with as_application(url, plant.tenant_id) as connection:
        for step_s in STEPS:
            found, right = (
                [tuple(row) for row in connection.execute(text(query), {"step": step_s})] for query in (kept, again)
            )
            assert found == right
            sums = [connection.execute(text(query), {"step": step_s}).scalar() for query in totals]
            assert sums[0] == pytest.approx(sums[1])


async def test_repeats_at_once_keep_one(store: Store, url: str) -> None:
    """Eight senders of the same rows write each once, together, and summaries count each once."""
    plant = await make_plant(store)
    rows = series(range(200), every_s=30)
    stored = await asyncio.gather(
        *(store.readings.add(plant.tenant_id, plant.system.system_id, rows) for _ in range(8))
    )
    assert sum(each.written for each in stored) == 200
    assert sum(each.unchanged for each in stored) == 1400
    with as_application(url, plant.tenant_id) as connection:
        assert connection.execute(text("SELECT count(*) FROM readings")).scalar() == 200
        sums = connection.execute(text("SELECT step_s, sum(count), sum(total) FROM rollups GROUP BY step_s")).all()
    assert sorted(map(tuple, sums)) == [(step_s, 200, 19_900.0) for step_s in sorted(STEPS)]


async def test_senders_at_once_lose_nothing(store: Store, url: str) -> None:
    """Senders whose rows share a minute leave a summary of all of them."""
    plant = await make_plant(store)
    rows = series(range(40), every_s=0.5)
    parts = [rows[number::8] for number in range(8)]
    await asyncio.gather(*(store.readings.add(plant.tenant_id, plant.system.system_id, part) for part in parts))
    with as_application(url, plant.tenant_id) as connection:
        query = "SELECT sum(count), min(least), max(greatest) FROM rollups WHERE step_s = 60"
        count, least, greatest = connection.execute(text(query)).one()
    assert (count, least[0], greatest[0]) == (40, 0.0, 39.0)


async def test_days_are_tables(store: Store, url: str) -> None:
    """Readings over midnight of UTC lie in two tables, closed to the application and with security of their own."""
    plant = await make_plant(store)
    at = datetime(2026, 5, 6, 23, 59, 59, 999_999, tzinfo=UTC)
    rows = [reading_of(1.0, at), reading_of(2.0, at + timedelta(microseconds=1))]
    await store.readings.add(plant.tenant_id, plant.system.system_id, rows)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        query = (
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity AND relname ~ '_2026050[67]$'"
        )
        names = sorted(connection.execute(text(query)).scalars())
        brin = "SELECT count(*) FROM pg_indexes WHERE tablename = 'readings_20260506' AND indexdef LIKE '%brin (at)%'"
        assert connection.execute(text(brin)).scalar() == 1
    assert names == [f"{table}_2026050{day}" for table in ("readings", "rollups") for day in (6, 7)]
    for name in names:
        with as_application(url, plant.tenant_id) as connection, pytest.raises(ProgrammingError, match="permission"):
            connection.execute(text(f"SELECT * FROM {name}"))  # noqa: S608
    with as_application(url, plant.tenant_id) as connection:
        query = "SELECT tableoid::regclass::text, value FROM readings ORDER BY at"
        assert [tuple(row) for row in connection.execute(text(query))] == [
            ("readings_20260506", 1.0),
            ("readings_20260507", 2.0),
        ]


async def test_a_writer_touches_its_own_days_alone(store: Store, url: str) -> None:
    """However many days there are: each is a table that a statement would have to plan with, and to lock."""
    plant = await make_plant(store)
    days = [reading_of(1.0, datetime(2026, 4, 1, tzinfo=UTC) + timedelta(days=day)) for day in range(8)]
    await store.readings.add(plant.tenant_id, plant.system.system_id, days)
    locked = text(
        "SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON oid = relation"
        " WHERE pid = pg_backend_pid() AND relname ~ '^(readings|rollups)_[0-9]*$'"
    )
    changed = ReadingColumns.of([days[3]._replace(value=2.0)])
    async with store.readings._database.tenant(plant.tenant_id) as connection:
        await _write(connection, plant.tenant_id, plant.system.system_id, changed, "ann")
        names = sorted((await connection.execute(locked)).scalars())
    assert names == ["readings_20260404", "rollups_20260404"]
    async with store.readings._database.tenant(plant.tenant_id) as connection:
        query = {"tenant": plant.tenant_id, "system": plant.system.system_id, "channels": ["pressure"]}
        moments = {"begin": BEGIN, "until": BEGIN, "today": BEGIN, "epoch": BEGIN.timestamp()}
        await connection.execute(NEWEST, query | moments)
        assert [name for name in (await connection.execute(locked)).scalars() if "_2026040" in name] == []


async def test_a_new_day_waits_for_nobody(store: Store, url: str) -> None:
    """A day is made while others read and write, as long as they take."""
    plant, other = await make_plant(store), await make_plant(store)
    at = datetime(2026, 7, 7, tzinfo=UTC)
    await store.readings.add(plant.tenant_id, plant.system.system_id, [reading_of(1.0, at)])
    with as_application(url, plant.tenant_id) as connection:
        connection.execute(text("UPDATE readings SET value = 3"))
        rows = [reading_of(2.0, at + timedelta(days=1))]
        async with asyncio.timeout(1.5):  # less than anybody waits for a lock
            assert await store.readings.add(other.tenant_id, other.system.system_id, rows) == (1, 0, 0, 0)


@pytest.mark.parametrize("day", ["1999-12-31", "2090-01-01"])
async def test_days_are_made_within_bounds(store: Store, url: str, day: str) -> None:
    """The application makes no table itself, none for a day before 2000 or after tomorrow, and drops no young one."""
    with as_application(url, 1) as connection, pytest.raises(Exception, match="hdx_make_day"):
        connection.execute(text("SELECT hdx_make_day(:day)"), {"day": day})
    with as_application(url, 1) as connection, pytest.raises(Exception, match="hdx_drop_day"):
        connection.execute(text("SELECT hdx_drop_day(DATE '2004-01-01', now(), false)"))
    with as_application(url, 1) as connection, pytest.raises(ProgrammingError, match=r"permission|owner"):
        connection.execute(text("CREATE TABLE readings_x PARTITION OF readings DEFAULT"))


async def test_days_go_by_retention(store: Store, url: str) -> None:
    """A day goes when it is past its days; one that was sent late stays; the store makes a day anew that is gone."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    at = datetime(2004, 2, 3, 4, tzinfo=UTC)
    late, old = reading_of(1.0, at), reading_of(2.0, at + timedelta(days=int(uuid4()) % 2000 + 2))
    await store.readings.add(*own, [late, old], [suspect_of()])
    day = old.at.strftime("%Y%m%d")
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for name in ("readings", "rollups"):
            connection.execute(text(f"COMMENT ON TABLE {name}_{day} IS 'made 2004-02-03 00:00:00+00'"))
    assert (await store.retention.clear(Retention()))["days"] == 1
    (kept,) = await store.readings.span(*own, at, datetime.now(UTC), 10)
    assert [value for _, value in kept.points] == [1.0]
    assert await store.readings.add(*own, [late, old]) == (1, 1, 0, 0)
    assert len(await store.readings.quarantined(*own)) == 1


async def test_what_was_set_aside_outlives_its_day(store: Store, url: str) -> None:
    """A value of a day that retention has dropped since is accepted all the same: its day is made anew."""
    plant = await make_plant(store)
    own = plant.tenant_id, plant.system.system_id
    at = datetime(2005, 2, 3, 4, tzinfo=UTC) + timedelta(days=int(uuid4()) % 2000)
    await store.readings.add(*own, [reading_of(1.0, at)], [Suspect("pressure", at + timedelta(seconds=1), "800", "")])
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for name in ("readings", "rollups"):
            connection.execute(text(f"COMMENT ON TABLE {name}_{at:%Y%m%d} IS 'made 2005-02-03 00:00:00+00'"))
    assert (await store.retention.clear(Retention()))["days"] == 1
    (one,) = await store.readings.quarantined(*own)
    await store.readings.settle(*own, {one.quarantine_id: Reading("pressure", one.at, 800.0)})
    (kept,) = await store.readings.span(*own, at, at + timedelta(days=1), 10)
    assert [value for _, value in kept.points] == [800.0]


async def test_readings_go_with_their_system(store: Store, url: str) -> None:
    """A deleted system leaves no reading, no summary and nothing set aside."""
    plant = await make_plant(store)
    await store.readings.add(plant.tenant_id, plant.system.system_id, [reading_of()], [suspect_of()])
    await store.systems.delete(plant.tenant_id, plant.system.system_id)
    with as_application(url, plant.tenant_id) as connection:
        for name in ("readings", "rollups", "quarantine"):
            assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() == 0  # noqa: S608


async def test_readings_of_others_stay(store: Store, url: str) -> None:
    """Who deletes a system takes no reading of another, of their own or of another tenant, whoever writes meanwhile."""
    ours, theirs = await make_plant(store), await make_plant(store)
    second = await store.systems.add(ours.tenant_id, "Lift", "generic", "")
    for tenant_id, system_id in (
        (ours.tenant_id, ours.system.system_id),
        (ours.tenant_id, second.system_id),
        (theirs.tenant_id, theirs.system.system_id),
    ):
        await store.readings.add(tenant_id, system_id, series(range(5)))
    await asyncio.gather(
        store.systems.delete(ours.tenant_id, ours.system.system_id),
        *(store.readings.add(ours.tenant_id, ours.system.system_id, series(range(n, n + 9))) for n in range(4)),
        return_exceptions=True,
    )
    for tenant_id, system_id in ((ours.tenant_id, second.system_id), (theirs.tenant_id, theirs.system.system_id)):
        with as_application(url, tenant_id) as connection:
            for name, rows in (("readings", 5), ("rollups", 3)):
                kept = text(f"SELECT system_id, count(*) FROM {name} GROUP BY 1")  # noqa: S608
                assert [tuple(row) for row in connection.execute(kept)] == [(system_id, rows)]


async def test_days_of_long_ago_are_bounded(store: Store, url: str) -> None:
    """A tenant makes so many tables of old days and no more; recent days and those of others are made all the same."""
    ours, theirs = await make_plant(store), await make_plant(store)
    own = ours.tenant_id, ours.system.system_id
    begin, days = datetime(2001, 1, 1, tzinfo=UTC), int(uuid4()) % 1000
    old = [begin + timedelta(days=4 * days + number) for number in range(4)]
    with create_engine(url, poolclass=NullPool).begin() as connection:
        made: str = connection.execute(
            text("SELECT pg_get_functiondef('hdx_make_day(date)'::regprocedure)")
        ).scalar_one()
        assert "own >= 400 OR whole >= 1200" in made
        connection.exec_driver_sql(made.replace("own >= 400", "own >= 2").replace("%", "%%"))
    try:
        await store.readings.add(*own, [reading_of(1.0, old[0]), reading_of(1.0, old[1])])
        with pytest.raises(InvalidInput, match="more than 400 days back"):
            await store.readings.add(*own, [reading_of(1.0), reading_of(1.0, old[2])])
        assert (await store.readings.add(*own, [reading_of(1.0, old[1]), reading_of(2.0)])).unchanged == 1
        assert (await store.readings.add(theirs.tenant_id, theirs.system.system_id, [reading_of(1.0, old[3])])).written
        now = datetime.now(UTC)
        assert (await store.readings.add(*own, [reading_of(1.0, now - timedelta(days=399))])).written
    finally:
        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.exec_driver_sql(made.replace("%", "%%"))


async def test_a_peak_of_many_is_read_by_summaries(store: Store) -> None:
    """A long span is read from summaries: with its readings gone it still shows their ends."""
    plant = await make_plant(store)
    rows = series(range(600), every_s=600)
    await store.readings.add(plant.tenant_id, plant.system.system_id, rows)
    async with store.readings._database.tenant(plant.tenant_id) as connection:
        await connection.execute(readings.update().values(value=0.0))
    (found,) = await span(store, plant, 8, 4.0)
    assert 400.0 < max(value for _, value in found.points) < 600.0


async def test_a_server_that_is_away_is_unavailable() -> None:
    """A store whose server does not answer says so."""
    store = Store.open("postgresql+psycopg://nobody@127.0.0.1:1/none", 1)
    with pytest.raises(Unavailable):
        await store.readings.add(1, 1, [reading_of()])
    await store.close()
