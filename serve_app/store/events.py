"""What happened to each system, in the order in which it was found out; and how windows and people make it happen."""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.store.database import Database
from serve_app.store.records_watching import Event, Happened
from serve_app.store.tables import events

EVENT = tuple(events.c[name] for name in Event.__dataclass_fields__)


class Events:
    """What happened to the systems of a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100) -> list[Event]:
        """Return what was found out after an event, the earliest first."""
        own = events.c.system_id == system_id, events.c.event_id > after
        query = select(*EVENT).where(*own).order_by(events.c.event_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [Event(*row) for row in await connection.execute(query)]

    async def newest(self, tenant_id: int, system_id: int, limit: int) -> list[Event]:
        """Return what was found out last, the earliest of it first."""
        own = events.c.system_id == system_id
        query = select(*EVENT).where(own).order_by(events.c.event_id.desc()).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [Event(*row) for row in await connection.execute(query)][::-1]

    async def add(self, tenant_id: int, happened: Iterable[Happened]) -> None:
        """Keep what happened.

        Raises:
            IntegrityError: A system is not, or no longer, this tenant's.
        """
        async with self._database.tenant(tenant_id) as connection:
            await tell(connection, tenant_id, happened)


async def tell(connection: AsyncConnection, tenant_id: int, happened: Iterable[Happened]) -> None:
    """Keep what happened, in the transaction that made it happen."""
    rows = [
        {"tenant_id": tenant_id} | each._asdict() | {"at": datetime.now(UTC) if each.at is None else each.at}
        for each in happened
    ]
    if rows:
        await connection.execute(insert(events), rows)
