"""Readings of machines: each kept once, summed up by minute, hour and day, and read so that no peak is lost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from psycopg import errors
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import InvalidInput, NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database
from serve_app.store.records import COMMAND_LINE, Quarantined, Reading, Series, Stored, Suspect
from serve_app.store.spans import STEPS, Piece, Point, cell_of, in_order, pieces, width_of
from serve_app.store.tables import quarantine, rollups

# Days that one request may touch: each is a table of its own. Source: own choice; a year of daily means and a month.
DAYS_MAX = 400
# Values of one transaction. Source: measured, 40 microseconds each on two cores, half the limit of a statement.
VALUES_MAX = 200_000
# Writers of one system follow one another, so that its summaries see all of its readings; a number as in `migrate`.
LOCK = 0x484458

QUARANTINED = tuple(quarantine.c[name] for name in Quarantined.__dataclass_fields__)
# As arrays they are compared by their first number, and by the second where those are alike.
LEAST, GREATEST = "ARRAY[value, epoch]", "ARRAY[value, -epoch]"
IN_TIME = "ARRAY[epoch, value]"
ENDS = f"{LEAST} AS least, {GREATEST} AS greatest, {IN_TIME} AS first, {IN_TIME} AS last"
AS_ROLLUPS = (  # readings in the shape of summaries
    f"SELECT tenant_id, system_id, channel, at, 1 AS count, value AS total, {ENDS}"  # noqa: S608 (constants)
    " FROM (SELECT *, CAST(extract(epoch FROM at) AS float8) AS epoch FROM readings) AS raw"
)
# What is asked of either, and within which piece of a span.
WITHIN = (
    " WHERE tenant_id = :tenant AND system_id = :system AND at >= :begin{0} AND at < :end{0}"
    " AND (CAST(:channels AS text[]) IS NULL OR channel = ANY(CAST(:channels AS text[])))"
)
OF_PIECE = "SELECT channel, at, count, total, least, greatest, first, last FROM"
OF_RAW = f"{OF_PIECE} ({AS_ROLLUPS}) AS raw{WITHIN}"
OF_ROLLUPS = f"{OF_PIECE} rollups{WITHIN} AND step_s = :step{{0}}"
WRITE = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:channels AS text[]), CAST(:moments AS timestamptz[]), CAST(:values AS float8[]))
        AS given(channel, at, value)
), known AS (
    -- By the key for each row, whatever the planner makes of a table that was never analysed.
    SELECT count(*) AS number FROM given, LATERAL (
        SELECT 1 FROM readings WHERE tenant_id = :tenant AND system_id = :system
            AND channel = given.channel AND at = given.at OFFSET 0
    ) AS there
), put AS (
    INSERT INTO readings (tenant_id, system_id, channel, at, value)
    SELECT :tenant, :system, channel, at, value FROM given ORDER BY channel, at
    ON CONFLICT (tenant_id, system_id, channel, at) DO UPDATE SET value = excluded.value
    WHERE readings.value <> excluded.value
    RETURNING 1
)
SELECT (SELECT count(*) FROM put), (SELECT number FROM known)
""")
SUM_UP = """
INSERT INTO rollups (tenant_id, system_id, step_s, channel, at, count, total, least, greatest, first, last)
SELECT :tenant, :system, :step, cell.channel, cell.at, part.* FROM
unnest(CAST(:channels AS text[]), CAST(:cells AS timestamptz[])) AS cell(channel, at), LATERAL (
    SELECT sum(count), sum(total), min(least), max(greatest), min(first), max(last) FROM ({0}) AS below
    WHERE tenant_id = :tenant AND system_id = :system AND channel = cell.channel
        AND at >= cell.at AND at < cell.at + :step * interval '1 second'
) AS part
ORDER BY cell.channel, cell.at
ON CONFLICT (tenant_id, system_id, step_s, channel, at) DO UPDATE SET
    count = excluded.count, total = excluded.total, least = excluded.least, greatest = excluded.greatest,
    first = excluded.first, last = excluded.last
"""
SET_ASIDE = text("""
INSERT INTO quarantine (tenant_id, system_id, channel, at, value, reason)
SELECT :tenant, :system, * FROM unnest(
    CAST(:channels AS text[]), CAST(:moments AS timestamptz[]), CAST(:values AS text[]), CAST(:reasons AS text[]))
ON CONFLICT DO NOTHING
""")
THINNED = """
SELECT channel, min(least), max(greatest), min(first), max(last) FROM ({0}) AS part
GROUP BY channel, floor(extract(epoch FROM at - :origin) / :width)
"""


class Readings:
    """What the machines of a tenant sent."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._days: set[date] = set()

    async def add(
        self,
        tenant_id: int,
        system_id: int,
        rows: Sequence[Reading],
        suspects: Sequence[Suspect] = (),
        actor: str = COMMAND_LINE,
    ) -> Stored:
        """Keep readings, each once, and set aside what is none: all or nothing.

        Args:
            tenant_id: Whose.
            system_id: Which.
            rows: Of one channel and moment the last one counts.
            suspects: What is set aside.
            actor: For the audit, where a value that was sent before is another one now.

        Raises:
            NotFound: The system is not, or no longer, this tenant's.
            InvalidInput: They are too many, or of too many days.
        """
        check_bounds(len(rows) + len(suspects), {row.at.astimezone(UTC).date() for row in rows})
        last = {(row.channel, row.at): row for row in rows}
        for again in (False, True):
            await self._make_days(tenant_id, {row.at.astimezone(UTC).date() for row in rows})
            try:
                async with self._database.tenant(tenant_id) as connection:
                    stored = await _write(connection, tenant_id, system_id, list(last.values()), actor)
                    await _set_aside(connection, tenant_id, system_id, suspects)
                break
            except IntegrityError as error:
                if isinstance(error.orig, errors.ForeignKeyViolation):
                    raise NotFound("system", system_id) from None
                if again or not isinstance(error.orig, errors.CheckViolation):
                    raise
                self._days.clear()  # a day that retention has dropped since it was made
        repeated = repetitions(rows)
        return stored._replace(
            unchanged=stored.unchanged + repeated[0],
            corrected=stored.corrected + repeated[1],
            quarantined=len(suspects),
        )

    async def _make_days(self, tenant_id: int, days: set[date]) -> None:
        """Make the tables of days that have none, each in a transaction of its own: it locks what others write."""
        for day in sorted(days - self._days):
            async with self._database.tenant(tenant_id) as connection:
                await connection.execute(text("SELECT hdx_make_day(:day)"), {"day": day})
            self._days.add(day)

    async def span(
        self,
        tenant_id: int,
        system_id: int,
        begin: datetime,
        end: datetime,
        points: int,
        channels: Sequence[str] | None = None,
    ) -> list[Series]:
        """Return each channel's readings from `begin` to before `end`, in the order of names.

        Args:
            tenant_id: Whose.
            system_id: Which.
            begin: Of the span.
            end: Of the span, outside it.
            points: Most of a channel; where it has more readings, first, least, greatest and last stand for each part.
            channels: Those wanted; all where None.
        """
        known = {"tenant": tenant_id, "system": system_id, "channels": None if channels is None else list(channels)}
        if begin >= end:
            return []
        width = width_of(begin, end, points)
        async with self._database.tenant(tenant_id, long=True) as connection:
            query, values = _source(pieces(begin, end, end - begin))
            counted = f"SELECT channel, CAST(sum(count) AS bigint) FROM ({query}) AS part GROUP BY channel"  # noqa: S608
            counts = dict(map(tuple, await connection.execute(text(counted), known | values)))
            few = [name for name, number in counts.items() if number <= points]
            found = await _all_of(connection, known | {"channels": few}, begin, end) if few else {}
            if many := [name for name in counts if name not in set(few)]:
                query, values = _source(pieces(begin, end, width))
                values |= {"origin": begin, "width": width.total_seconds(), "channels": many}
                rows = await connection.execute(text(THINNED.format(query)), known | values)
                found |= _thinned(rows)
        return [Series(name, counts[name], in_order(found[name])) for name in sorted(counts)]

    async def newest(self, tenant_id: int, system_id: int) -> datetime | None:
        """Return the moment of a system's newest reading; None where it has none."""
        days = rollups.c.system_id == system_id, rollups.c.step_s == STEPS[0]
        async with self._database.tenant(tenant_id) as connection:
            epoch = (await connection.execute(select(func.max(rollups.c.last[1])).where(*days))).scalar()
        return None if epoch is None else datetime.fromtimestamp(epoch, UTC)

    async def quarantined(self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100) -> list[Quarantined]:
        """Return a page of what was set aside, in the order in which it came."""
        own = quarantine.c.system_id == system_id, quarantine.c.quarantine_id > after
        query = select(*QUARANTINED).where(*own).order_by(quarantine.c.quarantine_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [Quarantined(*row) for row in await connection.execute(query)]


def check_bounds(values: int, days: set[date]) -> None:
    """Check that readings fit into one transaction.

    Raises:
        InvalidInput: They do not.
    """
    if values > VALUES_MAX:
        raise InvalidInput("readings", values, f"must hold at most {VALUES_MAX} values at once")
    if len(days) > DAYS_MAX:
        raise InvalidInput("readings", len(days), f"must be of at most {DAYS_MAX} days at once")


def repetitions(rows: Sequence[Reading]) -> tuple[int, int]:
    """Return how many rows repeat the one before of their channel and moment, and how many take its place."""
    before: dict[tuple[str, datetime], float] = {}
    counts: Counter[bool] = Counter()
    for channel, at, value in rows:
        key = channel, at
        if key in before:
            counts[before[key] == value] += 1
        before[key] = value
    return counts[True], counts[False]


async def _write(
    connection: AsyncConnection, tenant_id: int, system_id: int, rows: Sequence[Reading], actor: str
) -> Stored:
    if not rows:
        return Stored(0, 0, 0, 0)
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock, :system)"), {"lock": LOCK, "system": system_id})
    names, moments, values = (list(column) for column in zip(*rows, strict=True))
    begin, end = min(moments), max(moments)
    given: dict[str, Any] = {"tenant": tenant_id, "system": system_id}
    given |= {"channels": names, "moments": moments, "values": values}
    put, known = (await connection.execute(WRITE, given)).one()
    written = len(rows) - known
    corrected = put - written
    if put:
        await _sum_up(connection, tenant_id, system_id, [(row.channel, row.at) for row in rows])
    if corrected:
        detail = f"{corrected} values between {begin.isoformat()} and {end.isoformat()}"
        await note(connection, tenant_id, actor, "readings.corrected", f"system {system_id}", detail)
    return Stored(written, known - corrected, corrected, 0)


async def _sum_up(
    connection: AsyncConnection, tenant_id: int, system_id: int, keys: Iterable[tuple[str, datetime]]
) -> None:
    """Write anew the summaries that readings fall into, each step from the one below it."""
    cells, below = set(keys), AS_ROLLUPS
    for step_s in reversed(STEPS):
        cells = {(name, cell_of(at, step_s)) for name, at in cells}
        names, moments = (list(column) for column in zip(*sorted(cells), strict=True))
        given = {"tenant": tenant_id, "system": system_id, "step": step_s, "channels": names, "cells": moments}
        await connection.execute(text(SUM_UP.format(below)), given)
        below = f"SELECT * FROM rollups WHERE step_s = {step_s}"  # noqa: S608


async def _set_aside(connection: AsyncConnection, tenant_id: int, system_id: int, suspects: Sequence[Suspect]) -> None:
    if suspects:
        columns = zip(("channels", "moments", "values", "reasons"), zip(*suspects, strict=True), strict=True)
        given: dict[str, Any] = {name: list(column) for name, column in columns}
        await connection.execute(SET_ASIDE, given | {"tenant": tenant_id, "system": system_id})


def _source(parts: Sequence[Piece]) -> tuple[str, dict[str, Any]]:
    """Return the query of a span's rows, in the shape of summaries, and its values but for whose they are."""
    values: dict[str, Any] = {}
    for number, part in enumerate(parts):
        values |= {f"begin{number}": part.begin, f"end{number}": part.end}
        values |= {f"step{number}": part.step_s} if part.step_s else {}
    queries = [(OF_ROLLUPS if part.step_s else OF_RAW).format(number) for number, part in enumerate(parts)]
    return " UNION ALL ".join(queries), values


async def _all_of(
    connection: AsyncConnection, known: dict[str, Any], begin: datetime, end: datetime
) -> dict[str, list[Point]]:
    query, values = _source([Piece(0, begin, end)])
    found: dict[str, list[Point]] = {}
    every = text(f"SELECT channel, at, total FROM ({query}) AS part")  # noqa: S608
    for name, at, value in await connection.execute(every, known | values):
        found.setdefault(name, []).append((at.astimezone(UTC), value))
    return found


def _thinned(rows: Iterable[Any]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for name, least, greatest, first, last in rows:
        pairs = (first[0], first[1]), (least[1], least[0]), (-greatest[1], greatest[0]), (last[0], last[1])
        found.setdefault(name, []).extend((datetime.fromtimestamp(epoch, UTC), value) for epoch, value in pairs)
    return found
