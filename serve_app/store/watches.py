"""How far the readings of each system are judged, and the work that is asked for when more of them have come.

Whoever keeps readings says in the same transaction which they are, under the lock of the system's writers; whoever
judges takes them, under the same lock, before reading. So each reading is either read by then, or told to be late.
"""

from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.store.database import Database
from serve_app.store.events import tell
from serve_app.store.records_watching import Happened, Watch
from serve_app.store.tables import systems, watches

WATCH = tuple(watches.c[name] for name in Watch._fields if name != "family")
# Writers of one system's readings follow one another; a number as in `migrate`.
LOCK = 0x484458
JUST_BEFORE = timedelta(microseconds=1)


class Watches:
    """How far the readings of a tenant's systems are judged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant_id: int, system_id: int) -> Watch | None:
        """Return how far a system's readings are judged; None where it has sent none."""
        query = select(*WATCH, systems.c.family).join(systems).where(watches.c.system_id == system_id)
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Watch._make(row)

    async def take(self, tenant_id: int, system_id: int, until: datetime) -> None:
        """Say that readings up to a moment are read from now on: those that come later than this are late."""
        taken = func.greatest(watches.c.read_until, until)
        query = update(watches).where(watches.c.system_id == system_id).values(read_until=taken)
        async with self._database.tenant(tenant_id) as connection:
            await lock_readings(connection, system_id)
            await connection.execute(query)

    async def judged(self, tenant_id: int, system_id: int, until: datetime, due: datetime) -> None:
        """Say that all windows up to a moment are judged, and when the next one is whole."""
        done = {"judged_until": func.greatest(watches.c.judged_until, until), "due": due}
        query = update(watches).where(watches.c.system_id == system_id).values(done)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(query)

    async def take_late(self, tenant_id: int, system_id: int) -> Watch:
        """Say that what came late is read from now on, and return what is to be judged again.

        What comes late meanwhile is kept apart, so that what was done stays done.
        """
        moved = {
            "again_from": func.least(watches.c.again_from, watches.c.late_from),
            "again_to": func.greatest(watches.c.again_to, watches.c.late_to),
            "late_from": None,
            "late_to": None,
            "late_told": watches.c.late_told & watches.c.again_from.is_not(None),
        }
        query = update(watches).where(watches.c.system_id == system_id).values(moved).returning(*WATCH)
        async with self._database.tenant(tenant_id) as connection:
            await lock_readings(connection, system_id)
            return Watch(*(await connection.execute(query)).one())

    async def tell_late(self, tenant_id: int, happened: Happened) -> None:
        """Keep that windows are judged again, unless it is kept of these."""
        own = watches.c.system_id == happened.system_id, ~watches.c.late_told
        async with self._database.tenant(tenant_id) as connection:
            if (await connection.execute(update(watches).where(*own).values(late_told=True))).rowcount:
                await tell(connection, tenant_id, [happened])

    async def judged_again(self, tenant_id: int, system_id: int, until: datetime | None) -> None:
        """Say that windows up to a moment were judged again; None for all of them."""
        rest = {"again_from": until} if until else {"again_from": None, "again_to": None}
        query = update(watches).where(watches.c.system_id == system_id).values(rest)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(query)

    async def again(self, tenant_id: int, system_id: int) -> None:
        """Ask for the system to be looked at once more."""
        async with self._database.tenant(tenant_id) as connection:
            await defer(connection, "watch", str(system_id), {"system_id": system_id})


async def lock_readings(connection: AsyncConnection, system_id: int) -> None:
    """Let writers of one system's readings follow one another, until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock, :system)"), {"lock": LOCK, "system": system_id})


async def arrived(connection: AsyncConnection, tenant_id: int, system_id: int, first: datetime, last: datetime) -> None:
    """Say that readings between two moments are kept; where a window is whole by them, it will be judged."""
    begun = first - JUST_BEFORE
    fresh = insert(watches).values(
        tenant_id=tenant_id, system_id=system_id, read_until=begun, judged_until=begun, due=first, newest=last
    )
    is_late, late_to = watches.c.read_until >= first, func.least(last, watches.c.read_until)
    changed: dict[str, Any] = {
        "newest": func.greatest(watches.c.newest, last),
        "late_from": case((is_late, func.least(watches.c.late_from, first)), else_=watches.c.late_from),
        "late_to": case((is_late, func.greatest(watches.c.late_to, late_to)), else_=watches.c.late_to),
    }
    kept = fresh.on_conflict_do_update(index_elements=["tenant_id", "system_id"], set_=changed)
    await connection.execute(kept)
    query = select(watches.c.due, watches.c.late_from).where(watches.c.system_id == system_id)
    due, late_from = (await connection.execute(query)).one()
    if last >= due or late_from is not None:
        await defer(connection, "watch", str(system_id), {"system_id": system_id})


async def defer(connection: AsyncConnection, task: str, once: str, given: dict[str, Any]) -> None:
    """Ask for work on behalf of the transaction's tenant; it begins when the transaction is committed.

    Args:
        connection: Of the tenant.
        task: Which, as the worker knows them.
        once: Whose name it bears: of those that wait there is one, and of those that run.
        given: Its arguments.
    """
    values = {"task": task, "once": once, "given": orjson.dumps(given).decode()}
    await connection.execute(text("SELECT hdx_defer(:task, :once, CAST(:given AS jsonb))"), values)
