"""Readings of machines: each kept once, summed up by minute, hour and day, and read so that no peak is lost."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from psycopg import errors
from sqlalchemy import Select, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import InvalidInput, NotFound, OverLimit
from serve_app.store.archive import Archive, changed
from serve_app.store.audit import note
from serve_app.store.chunks import Chunk
from serve_app.store.columns import ReadingColumns
from serve_app.store.database import Database
from serve_app.store.idempotency import mark
from serve_app.store.records import COMMAND_LINE, EPOCH, Quarantined, Reading, Series, Stored, Suspect
from serve_app.store.rollups import AS_ROLLUPS, add_up, sum_up
from serve_app.store.spans import STEPS, Piece, Point, cell_of, in_order, pieces, width_of
from serve_app.store.tables import quarantine, systems
from serve_app.store.thinning import Part, Thinning, shown
from serve_app.store.watches import arrived, lock_readings

# Days that one request may touch: each is a table of its own. Source: own choice; a year of daily means and a month.
DAYS_MAX = 400
# Values of one transaction. Source: own choice; measured, ten microseconds of a core each, a tenth of the limit of one.
VALUES_MAX = 200_000
# Source: the migration that bounds them.
OLD_DAYS = "must not be of more than 400 different days that lie more than 400 days back, 1200 of all tenants together"
# Rows before which it pays to ask whether their span is empty. Source: own choice; an answer costs as much as ten rows.
MANY = 100

Also = Callable[[AsyncConnection, Stored], Awaitable[None]]
Kept = TypeVar("Kept")
Keep = Callable[[AsyncConnection], Awaitable[Kept]]
QUARANTINED = tuple(quarantine.c[name] for name in Quarantined.__dataclass_fields__)
# What is asked of either, and within which piece of a span.
WITHIN = (
    " WHERE tenant_id = :tenant AND system_id = :system AND at >= :begin{0} AND at < :end{0}"
    " AND (CAST(:channels AS text[]) IS NULL OR channel = ANY(CAST(:channels AS text[])))"
)
OF_PIECE = "SELECT channel, at, count, total, least, greatest, first, last FROM"
OF_RAW = f"{OF_PIECE} ({AS_ROLLUPS}) AS raw{WITHIN}"
OF_ROLLUPS = f"{OF_PIECE} rollups{WITHIN} AND step_s = :step{{0}}"
GIVEN = """
FROM unnest(CAST(:channels AS text[]), CAST(:moments AS timestamptz[]), CAST(:values AS float8[]))
    AS given(channel, at, value)
"""
WRITE = f"""
INSERT INTO readings (tenant_id, system_id, channel, at, value)
SELECT :tenant, :system, channel, at, value {GIVEN}
"""
WRITE_NEW, WRITE_OTHERS = text(WRITE), text(f"{WRITE} ON CONFLICT DO NOTHING")
KNOWN = text("""
SELECT EXISTS (
    SELECT 1 FROM readings WHERE tenant_id = :tenant AND system_id = :system
        AND channel = ANY(CAST(:names AS text[])) AND at BETWEEN :begin AND :end
)
""")
# The bounds choose the days before anything is read.
CORRECT = text(f"""
UPDATE readings SET value = given.value {GIVEN}
WHERE readings.tenant_id = :tenant AND readings.system_id = :system AND readings.channel = given.channel
    AND readings.at = given.at AND readings.at BETWEEN :begin AND :end AND readings.value <> given.value
""")  # noqa: S608 (constants)
SET_ASIDE = text("""
INSERT INTO quarantine (tenant_id, system_id, channel, at, value, reason)
SELECT :tenant, :system, * FROM unnest(
    CAST(:channels AS text[]), CAST(:moments AS timestamptz[]), CAST(:values AS text[]), CAST(:reasons AS text[]))
ON CONFLICT DO NOTHING
""")
# By days, of the last one by minutes: it may hold what is later.
NEWEST = text("""
SELECT max(last[1]) FROM rollups WHERE tenant_id = :tenant AND system_id = :system
    AND at >= :begin AND at <= :until AND last[1] <= :epoch AND channel = ANY(CAST(:channels AS text[]))
    AND (step_s = 86400 OR step_s = 60 AND at >= :today)
""")
# How far back it is looked for, one after the other: each day is a table of its own. Source: own choice.
NEWEST_BACK = (timedelta(days=2), timedelta(days=60), None)
# What files hold is read from them alone.
LIVE = " AND NOT CAST(at AT TIME ZONE 'UTC' AS date) = ANY(CAST(:archived AS date[]))"
THINNED = """
SELECT channel, CAST(floor(extract(epoch FROM at - :origin) / :width) AS bigint) AS place,
    min(least), max(greatest), min(first), max(last) FROM ({0}) AS part
GROUP BY 1, 2
"""


class Readings:
    """What the machines of a tenant sent."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        self._days: set[date] = set()

    async def add(
        self,
        tenant_id: int,
        system_id: int,
        rows: Sequence[Reading],
        suspects: Sequence[Suspect] = (),
        actor: str = COMMAND_LINE,
        also: Also | None = None,
    ) -> Stored:
        """Keep readings, each once, and set aside what is none: all or nothing.

        Args:
            tenant_id: Whose.
            system_id: Which.
            rows: Of one channel and moment the last one counts.
            suspects: What is set aside.
            actor: For the audit, where a value that was sent before is another one now.
            also: What is kept with them in the same transaction.

        Raises:
            NotFound: The system is not, or no longer, this tenant's.
            InvalidInput: They are too many, or of too many days, at once or of long ago.
        """
        columns = ReadingColumns.of(rows)
        check_bounds(len(columns) + len(suspects), columns.days())
        last, repeated, replaced = columns.once()

        async def keep(connection: AsyncConnection) -> Stored:
            new, unchanged, corrected, _ = await _write(connection, tenant_id, system_id, last, actor)
            await _set_aside(connection, tenant_id, system_id, suspects)
            stored = Stored(new, unchanged + repeated, corrected + replaced, len(suspects))
            await mark(connection)
            if also is not None:
                await also(connection, stored)
            return stored

        return await self._on_days(tenant_id, last.days(), keep)

    async def _on_days(self, tenant_id: int, days: set[date], keep: Keep[Kept], again: bool = False) -> Kept:
        """Keep something in one transaction once its days have tables."""
        await self._make_days(tenant_id, days)
        try:
            async with self._database.tenant(tenant_id) as connection:
                return await keep(connection)
        except IntegrityError as error:
            if again or not isinstance(error.orig, errors.CheckViolation):
                raise
        self._days.clear()  # a day that retention has dropped since it was made
        return await self._on_days(tenant_id, days, keep, again=True)

    async def _make_days(self, tenant_id: int, days: set[date]) -> None:
        """Make the tables of days that have none, each in a transaction of its own: it locks what others write.

        Raises:
            InvalidInput: They are of too many days of long ago.
        """
        for day in sorted(days - self._days):
            async with self._database.tenant(tenant_id) as connection:
                try:
                    await connection.execute(text("SELECT hdx_make_day(:day)"), {"day": day})
                except OperationalError as error:
                    if not isinstance(error.orig, errors.ProgramLimitExceeded):
                        raise
                    raise InvalidInput("at", day.isoformat(), OLD_DAYS) from None
            self._days.add(day)

    async def span(
        self,
        tenant_id: int,
        system_id: int,
        begin: datetime,
        end: datetime,
        points: int,
        channels: Sequence[str] | None = None,
        archived: bool = False,
    ) -> list[Series]:
        """Return each channel's readings from `begin` to before `end`, in the order of names.

        Args:
            tenant_id: Whose.
            system_id: Which.
            begin: Of the span.
            end: Of the span, outside it.
            points: Most of a channel; where it has more readings, first, least, greatest and last stand for each part.
            channels: Those wanted; all where None.
            archived: Whether days that were archived are read, too.

        Raises:
            InvalidInput: They are too many.
            Overloaded: Others are read for too long.
            Unavailable: A file of theirs cannot be read.
        """
        known: dict[str, Any] = {"tenant": tenant_id, "system": system_id}
        known |= {"channels": None if channels is None else list(channels)}
        if begin >= end:
            return []
        async with self._database.tenant(tenant_id, long=True) as connection:
            days = await self._archive.days(connection, tenant_id, system_id, begin, end) if archived else []
            known["archived"] = [each.day for each in days] or None
            counts, few, many = await _of_tables(connection, known, begin, end, points)
        if not days:
            return [
                Series(name, count, in_order(few[name] if name in few else shown(many[name].values())))
                for name, count in sorted(counts.items())
            ]
        thinning = Thinning(begin, end, points)
        for name, found in few.items():
            thinning.add(Chunk.of(name, in_order(found)))
        for name, parts in many.items():
            thinning.put(name, counts[name], parts)
        await self._archive.read(tenant_id, system_id, days, channels, thinning)
        return thinning.series()

    async def newest(self, tenant_id: int, system_id: int, channels: Sequence[str], until: datetime) -> datetime | None:
        """Return the moment of a system's newest reading up to a moment; None where it has none.

        In a minute that holds later ones, too, none counts.
        """
        known: dict[str, Any] = {"tenant": tenant_id, "system": system_id, "channels": list(channels), "until": until}
        known |= {"epoch": until.timestamp(), "today": cell_of(until, STEPS[0])}
        async with self._database.tenant(tenant_id) as connection:
            for back in NEWEST_BACK:
                begin = EPOCH if back is None else known["today"] - back
                epoch = (await connection.execute(NEWEST, known | {"begin": begin})).scalar()
                if epoch is not None:
                    return datetime.fromtimestamp(epoch, UTC)
        return None

    async def quarantined(self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100) -> list[Quarantined]:
        """Return a page of what was set aside, in the order in which it came."""
        query = _aside(system_id).where(quarantine.c.quarantine_id > after).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [Quarantined(*row) for row in await connection.execute(query)]

    async def set_aside(self, tenant_id: int, system_id: int, numbers: Sequence[int]) -> list[Quarantined]:
        """Return what was set aside under some numbers, and waits for a decision, in the order of the numbers.

        Raises:
            NotFound: One of them is none of this system, or was decided on.
        """
        query = _aside(system_id).where(quarantine.c.quarantine_id.in_(set(numbers)))
        async with self._database.tenant(tenant_id) as connection:
            found = [Quarantined(*row) for row in await connection.execute(query)]
        check_all(numbers, {each.quarantine_id for each in found})
        return found

    async def settle(
        self,
        tenant_id: int,
        system_id: int,
        accepted: Mapping[int, Reading],
        dismissed: Sequence[int] = (),
        actor: str = COMMAND_LINE,
    ) -> None:
        """Decide on what was set aside: all of it, or nothing where somebody else has decided on a part.

        Args:
            tenant_id: Whose.
            system_id: Which.
            accepted: By number the reading that the value is from now on.
            dismissed: Numbers of those that are none.
            actor: For the audit.

        Raises:
            NotFound: One of them is none of this system, or was decided on.
        """
        rows = ReadingColumns.of(list(accepted.values()))

        async def keep(connection: AsyncConnection) -> None:
            for decision, numbers in (("accepted", list(accepted)), ("dismissed", dismissed)):
                await _decide(connection, tenant_id, system_id, decision, numbers, actor)
            await _write(connection, tenant_id, system_id, rows, actor)

        await self._on_days(tenant_id, rows.days(), keep)


def check_all(numbers: Iterable[int], found: set[int]) -> None:
    """Check that all numbers were found.

    Raises:
        NotFound: One was not.
    """
    if missing := sorted(set(numbers) - found):
        raise NotFound("quarantine_id", missing[0])


def check_bounds(values: int, days: set[date]) -> None:
    """Check that readings fit into one transaction.

    Raises:
        OverLimit: They do not.
    """
    if values > VALUES_MAX:
        raise OverLimit("readings", values, f"must hold at most {VALUES_MAX} values at once")
    if len(days) > DAYS_MAX:
        raise OverLimit("readings", len(days), f"must be of at most {DAYS_MAX} days at once")


async def _claim(connection: AsyncConnection, system_id: int) -> None:
    """Keep a system from being deleted, and let others write to it afterwards, until the transaction ends.

    Raises:
        NotFound: It is not, or no longer, this tenant's.
    """
    wanted = select(systems.c.system_id).where(systems.c.system_id == system_id)
    if (await connection.execute(wanted.with_for_update(read=True, key_share=True))).first() is None:
        raise NotFound("system", system_id)
    await lock_readings(connection, system_id)


async def _write(
    connection: AsyncConnection, tenant_id: int, system_id: int, rows: ReadingColumns, actor: str
) -> Stored:
    await _claim(connection, system_id)
    if not len(rows):
        return Stored(0, 0, 0, 0)
    given = {"tenant": tenant_id, "system": system_id, **rows.arrays()}
    begin, end = rows.ends()
    within = given | {"names": list(rows.names), "begin": begin, "end": end}
    # To look for each row before it is written doubles the cost: many rows are worth asking first whether any is there.
    new = len(rows) >= MANY and not (await connection.execute(KNOWN, within)).scalar()
    written = (await connection.execute(WRITE_NEW if new else WRITE_OTHERS, given)).rowcount
    if written == len(rows):
        await add_up(connection, tenant_id, system_id, rows)
        await _came(connection, tenant_id, system_id, rows)
        return Stored(written, 0, 0, 0)
    corrected = (await connection.execute(CORRECT, within)).rowcount
    if written or corrected:
        await _came(connection, tenant_id, system_id, rows)
        await sum_up(connection, tenant_id, system_id, rows)
    if corrected:
        detail = f"{corrected} values between {begin.isoformat()} and {end.isoformat()}"
        await note(connection, tenant_id, actor, "readings.corrected", f"system {system_id}", detail)
    return Stored(written, len(rows) - written - corrected, corrected, 0)


async def _came(connection: AsyncConnection, tenant_id: int, system_id: int, rows: ReadingColumns) -> None:
    """Say that readings are kept, to whoever judges them and to whoever archives them."""
    await changed(connection, tenant_id, system_id, rows)
    await arrived(connection, tenant_id, system_id, *rows.ends())


async def _set_aside(connection: AsyncConnection, tenant_id: int, system_id: int, suspects: Sequence[Suspect]) -> None:
    if suspects:
        columns = zip(("channels", "moments", "values", "reasons"), zip(*suspects, strict=True), strict=True)
        given: dict[str, Any] = {name: list(column) for name, column in columns}
        await connection.execute(SET_ASIDE, given | {"tenant": tenant_id, "system": system_id})


def _aside(system_id: int) -> Select[tuple[Any, ...]]:
    """Return the query of what waits for a decision, in the order in which it came."""
    own = quarantine.c.system_id == system_id, quarantine.c.settled.is_(None)
    return select(*QUARANTINED).where(*own).order_by(quarantine.c.quarantine_id)


async def _decide(
    connection: AsyncConnection, tenant_id: int, system_id: int, decision: str, numbers: Sequence[int], actor: str
) -> None:
    if not numbers:
        return
    own = quarantine.c.system_id == system_id, quarantine.c.quarantine_id.in_(numbers), quarantine.c.settled.is_(None)
    query = update(quarantine).where(*own).values(settled=decision).returning(quarantine.c.quarantine_id)
    check_all(numbers, set((await connection.execute(query)).scalars()))
    detail = f"{len(numbers)} values that were set aside, {min(numbers)} to {max(numbers)}"
    await note(connection, tenant_id, actor, f"readings.{decision}", f"system {system_id}", detail)


async def _of_tables(
    connection: AsyncConnection, known: dict[str, Any], begin: datetime, end: datetime, points: int
) -> tuple[dict[str, int], dict[str, list[Point]], dict[str, dict[int, Part]]]:
    """Return how many readings each channel has in the tables, all of few, and of many what stands for each part."""
    live = known["archived"] is not None
    query, values = _source(pieces(begin, end, end - begin), live)
    counted = f"SELECT channel, CAST(sum(count) AS bigint) FROM ({query}) AS part GROUP BY channel"  # noqa: S608
    counts: dict[str, int] = dict(map(tuple, await connection.execute(text(counted), known | values)))
    names = [name for name, number in counts.items() if number <= points]
    few: dict[str, list[Point]] = {name: [] for name in names}
    many: dict[str, dict[int, Part]] = {name: {} for name in counts if name not in few}
    if few:
        query, values = _source([Piece(0, begin, end)], live)
        every = text(f"SELECT channel, at, total FROM ({query}) AS part")  # noqa: S608
        for name, at, value in await connection.execute(every, known | values | {"channels": names}):
            few[name].append((at.astimezone(UTC), value))
    if many:
        width = width_of(begin, end, points)
        query, values = _source(pieces(begin, end, width), live)
        values |= {"origin": begin, "width": width.total_seconds(), "channels": list(many)}
        for name, place, *ends in await connection.execute(text(THINNED.format(query)), known | values):
            many[name][place] = Part(*map(tuple, ends))
    return counts, few, many


def _source(parts: Sequence[Piece], live: bool) -> tuple[str, dict[str, Any]]:
    """Return the query of a span's rows, as summaries, and its values but for whose they are; `live` only of tables."""
    values: dict[str, Any] = {}
    for number, part in enumerate(parts):
        values |= {f"begin{number}": part.begin, f"end{number}": part.end}
        values |= {f"step{number}": part.step_s} if part.step_s else {}
    queries = [(OF_ROLLUPS if part.step_s else OF_RAW).format(number) for number, part in enumerate(parts)]
    return " UNION ALL ".join(each + LIVE * live for each in queries), values
