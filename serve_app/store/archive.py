"""The archive: readings of days that retention drops, a file for each system and day, written before the table goes.

The row of a day says which file holds it, and whether that holds all: whoever writes to the day later counts its
version up in the same transaction. A file has a name of its own and is never changed, so that whatever dies half-way,
and whoever works at the same time, the row names a whole file, and the day's table goes after that alone.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from pipelines.errors import HdxError, InvalidInput, Unavailable
from serve_app.shared import logs
from serve_app.shared.turns import Turns
from serve_app.store.archive_files import ArchiveFiles, name_after
from serve_app.store.chunks import READINGS_MAX, Chunk, merged
from serve_app.store.columns import DOUBLE, ReadingColumns, moment_of, moments_of, numbers_of
from serve_app.store.database import Database
from serve_app.store.tables import archived_days, systems
from serve_app.store.thinning import Thinning
from serve_app.store.watches import lock_readings

# Archived days of one span. Source: own choice; a year and a month, measured in docs/capacity.md.
DAYS_READ = 400
# Spans that a process reads from files at once, of all tenants and of one, how long others wait for their turn, and
# each for its files. Source: own choice; a year of a channel at 1 Hz takes some seconds of a core, and detect must have
# the others.
AT_ONCE, OF_TENANT, WAIT_S, READ_S = 2, 1, 15.0, 30.0
WRITE_S = 900.0  # for which a file is waited for; source: own choice, a day of ten million readings takes a minute
FETCH_S = 60.0  # for which a thread waits for the database; source: own choice, longer than any statement may take
ONE_DAY = timedelta(days=1)
# While it is held no day is dropped: what no file is known to hold is in the tables.
HOLD = text("LOCK TABLE ONLY readings IN ACCESS SHARE MODE")
CHANNELS = text(
    "SELECT channel FROM rollups WHERE tenant_id = :tenant AND system_id = :system AND step_s = 86400 AND at = :day"
)
PAGE = text("""
SELECT array_send(array_agg(at ORDER BY at)), array_send(array_agg(value ORDER BY at)) FROM (
    SELECT at, value FROM readings WHERE tenant_id = :tenant AND system_id = :system AND channel = :channel
        AND at >= :begin AND at < :end ORDER BY at LIMIT :most
) AS page
""")
LATE = text(
    "SELECT tenant_id, system_id, day FROM archived_days WHERE dropped AND held < version AND gone_at IS NULL"
    " ORDER BY day, tenant_id, system_id"
)
GONE = text("SELECT DISTINCT tenant_id, system_id FROM archived_days WHERE gone_at IS NOT NULL")
FORGET = text(
    "DELETE FROM archived_days WHERE tenant_id = :tenant AND system_id = :system AND gone_at < now() - interval '1 day'"
)

Found = TypeVar("Found")
Fetch = Callable[[str, datetime], Coroutine[Any, Any, Chunk | None]]


class ArchivedDay(NamedTuple):
    """A day of a system whose table was dropped.

    Attributes:
        file: That holds it.
        is_whole: Whether nothing came since.
    """

    day: date
    file: str
    is_whole: bool


class Archive:
    """Writes days into files, and reads them back."""

    def __init__(self, database: Database, where: str | None = None) -> None:
        self._database = database
        self._files = None if where is None else ArchiveFiles(where)
        # Of its own: a store of files that hangs holds up nobody who asks for anything else.
        self._threads = ThreadPoolExecutor(AT_ONCE, "archive")
        self._turns = Turns(AT_ONCE, OF_TENANT)
        self._name = ""

    @property
    def is_on(self) -> bool:
        """Tell whether there is one; else days that are dropped are gone."""
        return self._files is not None

    async def folder(self, tenant_id: int, system_id: int) -> str:
        """Return where the files of a system lie: each database has a folder of its own."""
        if not self._name:
            async with self._database.tenant(tenant_id) as connection:
                self._name = str((await connection.execute(select(func.hdx_archive()))).scalar_one())
        return f"{self._name}/tenant={tenant_id}/system={system_id}"

    # --- days that are to be dropped

    async def keep(self, day: date) -> None:
        """See to it that files hold all readings of a day, of all tenants.

        Raises:
            Exception: A file cannot be read or written; what was written by then stays.
        """
        async with self._database.tenant(0) as connection:
            rows = await connection.execute(text("SELECT * FROM hdx_day_systems(:day)"), {"day": day})
            own = [(row.tenant_id, row.system_id) for row in rows]
        for tenant_id, system_id in own:
            await self.keep_of(tenant_id, system_id, day)

    async def keep_late(self, past: datetime) -> None:
        """See to it that files hold what came late for days that were dropped, so that it need not be joined again."""
        async with self._database.transaction("hdx.past", past.isoformat()) as connection:
            late = [tuple(row) for row in await connection.execute(LATE)]
        for tenant_id, system_id, day in late:
            with logs.surviving("archive.waits", tenant_id=tenant_id, system_id=system_id, day=day.isoformat()):
                await self.keep_of(tenant_id, system_id, day)

    async def keep_of(self, tenant_id: int, system_id: int, day: date) -> None:
        """See to it that a file holds a day of a system, unless readings come meanwhile.

        Raises:
            Exception: As `keep`.
        """
        files, begun = self._files, await self.begin(tenant_id, system_id, day)
        if files is None or begun is None:
            return
        version, held, before, dropped = begun
        folder = await self.folder(tenant_id, system_id)
        # What the table has still is written once more where the file is gone: after the drop nobody could.
        if held == version and before and (dropped or await self._run(files.is_there, f"{folder}/{before}")):
            await self._run(files.tidy, folder, before)
            return
        name, own = name_after(day, before), (tenant_id, system_id)
        async with self._database.tenant(tenant_id) as connection:
            channels = await _channels(connection, own, day)

        async def fetch(channel: str, moment: datetime) -> Chunk | None:
            async with self._database.tenant(tenant_id) as connection:
                return await _page(connection, own, day, channel, moment)

        kept = files.read(f"{folder}/{before}", None) if before and dropped else iter(())
        await self._run(_write, files, f"{folder}/{name}", kept, _table(channels, day, fetch))
        taken = update(archived_days).where(
            *_of(system_id, day), archived_days.c.file.is_not_distinct_from(before), archived_days.c.gone_at.is_(None)
        )
        async with self._database.tenant(tenant_id) as connection:
            done = (await connection.execute(taken.values(held=version, file=name))).rowcount
        if not done:  # somebody else was first, or the system is gone
            await self._run(files.remove_file, f"{folder}/{name}")
            return
        await self._run(files.tidy, folder, name)

    async def begin(self, tenant_id: int, system_id: int, day: date) -> tuple[int, int | None, str | None, bool] | None:
        """Say that a day is being archived: whoever writes to it from now on counts its version up.

        Returns:
            Version, that of the file, the file's name, and whether a table of the day was dropped; None where the
            system is gone.
        """
        own = select(systems.c.system_id).where(systems.c.system_id == system_id)
        row = insert(archived_days).values(tenant_id=tenant_id, system_id=system_id, day=day)
        columns = archived_days.c.version, archived_days.c.held, archived_days.c.file, archived_days.c.dropped
        async with self._database.tenant(tenant_id) as connection:
            # Whoever writes now is awaited, and is read then.
            await lock_readings(connection, system_id)
            if (await connection.execute(own.with_for_update(read=True, key_share=True))).first() is None:
                return None
            await connection.execute(row.on_conflict_do_nothing())
            found = (await connection.execute(select(*columns).where(*_of(system_id, day)))).one()
        return found.version, found.held, found.file, found.dropped

    # --- systems that are gone

    async def forget(self, tenant_id: int, system_id: int) -> None:
        """Remove the files of a system.

        Raises:
            Exception: They cannot be removed, or not in time.
        """
        if self._files is not None:
            async with asyncio.timeout(READ_S):
                await self._run(self._files.remove, await self.folder(tenant_id, system_id))

    async def forget_gone(self, past: datetime) -> None:
        """Remove the files of systems that were deleted, for a day: somebody may just have been writing one."""
        async with self._database.transaction("hdx.past", past.isoformat()) as connection:
            gone = [tuple(row) for row in await connection.execute(GONE)]
        for tenant_id, system_id in gone:
            with logs.surviving("archive.unremoved", tenant_id=tenant_id, system_id=system_id):
                await self.forget(tenant_id, system_id)
                async with self._database.transaction("hdx.past", past.isoformat()) as connection:
                    await connection.execute(FORGET, {"tenant": tenant_id, "system": system_id})

    # --- reading

    async def days(
        self, connection: AsyncConnection, tenant_id: int, system_id: int, begin: datetime, end: datetime
    ) -> list[ArchivedDay]:
        """Return the days of a span that files hold; as long as the transaction lasts all others are in the tables.

        Raises:
            InvalidInput: They are too many.
        """
        if self._files is None or begin > datetime.now(UTC) - ONE_DAY:
            return []
        await connection.execute(HOLD)
        kept = archived_days.c
        whole = (kept.held == kept.version).label("is_whole")
        query = select(kept.day, kept.file, whole).where(
            kept.tenant_id == tenant_id,
            kept.system_id == system_id,
            kept.dropped,
            kept.gone_at.is_(None),
            kept.day.between(begin.date(), (end - timedelta(microseconds=1)).date()),
        )
        found = await connection.execute(query.order_by(kept.day).limit(DAYS_READ + 1))
        days = [ArchivedDay(*row) for row in found]
        if len(days) > DAYS_READ:
            rule = f"must leave at most {DAYS_READ} archived days in the span, each of which is a file"
            raise InvalidInput("from", begin.isoformat(), rule)
        return days

    async def read(
        self,
        tenant_id: int,
        system_id: int,
        days: Sequence[ArchivedDay],
        channels: Sequence[str] | None,
        thinning: Thinning,
    ) -> None:
        """Add readings of archived days to a span, day by day.

        Raises:
            Overloaded: Others are read for too long.
            Unavailable: A file cannot be read, or all together not in time.
        """
        files = self._files
        if files is None or not days:
            return
        folder, own = await self.folder(tenant_id, system_id), (tenant_id, system_id)
        async with await self._turns.taken(tenant_id, WAIT_S):
            try:
                async with asyncio.timeout(READ_S):
                    for each in days:
                        with _told(own, each.day):
                            await self._read_day(files, folder, own, each, channels, thinning)
            except TimeoutError:
                raise Unavailable("archive", f"not read within {READ_S:g} s: ask for fewer days") from None

    async def _read_day(
        self,
        files: ArchiveFiles,
        folder: str,
        own: tuple[int, int],
        archived: ArchivedDay,
        channels: Sequence[str] | None,
        thinning: Thinning,
    ) -> None:
        if archived.is_whole:
            # Where there is none, another one has taken its place since.
            with suppress(FileNotFoundError):
                await self._run(_add, files.read(f"{folder}/{archived.file}", channels), iter(()), thinning)
                return
        await self._read_late(files, folder, own, archived.day, channels, thinning)

    async def _read_late(
        self,
        files: ArchiveFiles,
        folder: str,
        own: tuple[int, int],
        day: date,
        channels: Sequence[str] | None,
        thinning: Thinning,
    ) -> None:
        """Read a day's file together with what came late for it."""
        file = select(archived_days.c.file).where(*_of(own[1], day))
        async with self._database.tenant(own[0], long=True) as connection:
            await connection.execute(HOLD)
            name = (await connection.execute(file)).scalar_one()
            late = [each for each in await _channels(connection, own, day) if channels is None or each in channels]
            fetch = partial(_page, connection, own, day)
            with _told(own, day):  # the transaction would take it for a fault of the database
                await self._run(_add, files.read(f"{folder}/{name}", channels), _table(late, day, fetch), thinning)

    async def _run(self, work: Callable[..., Found], *given: Any) -> Found:
        async with asyncio.timeout(WRITE_S):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)


def midnight(day: date) -> datetime:
    """Return when a day begins."""
    return datetime.combine(day, time(), UTC)


async def changed(connection: AsyncConnection, tenant_id: int, system_id: int, rows: ReadingColumns) -> None:
    """Say that readings came, or are others now: a file of their day does not hold all of it any more."""
    own = archived_days.c.tenant_id == tenant_id, archived_days.c.system_id == system_id
    if rows.ends()[0].date() < datetime.now(UTC).date():  # none of today, nor of a clock that runs ahead, is archived
        counted = update(archived_days).where(*own, archived_days.c.day.in_(rows.days()))
        await connection.execute(counted.values(version=archived_days.c.version + 1))


@contextmanager
def _told(own: tuple[int, int], day: date) -> Iterator[None]:
    """Say of a day that cannot be read which it is, and nothing else of it but to the log.

    Raises:
        Unavailable: It cannot be read.
    """
    try:
        yield
    except HdxError:
        raise
    except Exception as error:
        known = {"tenant_id": own[0], "system_id": own[1], "day": day.isoformat()}
        logs.write("archive.unread", logging.ERROR, error, **known)
        raise Unavailable("archive", f"readings of {day.isoformat()} cannot be read") from None


def _of(system_id: int, day: date) -> tuple[ColumnElement[bool], ...]:
    return archived_days.c.system_id == system_id, archived_days.c.day == day


async def _channels(connection: AsyncConnection, own: tuple[int, int], day: date) -> list[str]:
    """Return the channels of which the tables have readings of a day, in their order."""
    given = {"tenant": own[0], "system": own[1], "day": midnight(day)}
    return sorted((await connection.execute(CHANNELS, given)).scalars())


async def _page(
    connection: AsyncConnection, own: tuple[int, int], day: date, channel: str, begin: datetime
) -> Chunk | None:
    """Return the next readings of a day that the tables have; None where there is none."""
    given = {"tenant": own[0], "system": own[1], "channel": channel, "most": READINGS_MAX}
    given |= {"begin": begin, "end": midnight(day + ONE_DAY)}
    moments, values = (await connection.execute(PAGE, given)).one()
    return None if moments is None else Chunk(channel, moments_of(moments), numbers_of(DOUBLE, values))


def _table(channels: Sequence[str], day: date, fetch: Fetch) -> Iterator[Chunk]:
    """Return an iterator, for a thread, of what the tables have of a day: the loop that it is made in asks for it."""
    loop = asyncio.get_running_loop()

    def chunks() -> Iterator[Chunk]:
        for channel in channels:
            begin, count = midnight(day), READINGS_MAX
            while count == READINGS_MAX:
                chunk = asyncio.run_coroutine_threadsafe(fetch(channel, begin), loop).result(FETCH_S)
                if chunk is None:
                    break
                yield chunk
                count, begin = len(chunk.micros), moment_of(int(chunk.micros[-1]) + 1)

    return chunks()


def _add(kept: Iterator[Chunk], late: Iterator[Chunk], thinning: Thinning) -> None:
    for chunk in merged(kept, late):
        thinning.add(chunk)


def _write(files: ArchiveFiles, path: str, kept: Iterator[Chunk], table: Iterator[Chunk]) -> None:
    """Write a file of what another one holds, and of what the tables have.

    Raises:
        Exception: As `ArchiveFiles`; nothing is left of it.
    """
    file = files.create(path)
    try:
        for chunk in merged(kept, table):
            file.write(chunk)
        file.finish()
    except BaseException:
        file.discard()
        raise
