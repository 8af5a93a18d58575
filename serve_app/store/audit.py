"""The audit: who did what to whom, for each tenant, and for the models, which are no tenant's."""

from contextlib import AbstractAsyncContextManager

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.store.database import Database
from serve_app.store.idempotency import mark
from serve_app.store.records import Note
from serve_app.store.records_audit import ALL, Wanted
from serve_app.store.tables_audit import audit

NOTE = tuple(audit.c[name] for name in Note.__dataclass_fields__)


class Audit:
    """Notes of deeds; a tenant of None stands for the platform, whose notes no tenant sees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, tenant_id: int | None, actor: str, action: str, subject: str, detail: str) -> None:
        """Note who did what to whom."""
        async with of(self._database, tenant_id) as connection:
            await note(connection, tenant_id, actor, action, subject, detail)

    async def newest(self, tenant_id: int | None, limit: int = 100) -> list[Note]:
        """Return the newest notes first."""
        return await self.page(tenant_id, limit=limit)

    async def page(
        self, tenant_id: int | None, wanted: Wanted = ALL, before: int | None = None, limit: int = 100
    ) -> list[Note]:
        """Return the notes wanted, the newest first, those before a number where one is given."""
        asked = {name: getattr(wanted, name) for name in ("actor", "action", "subject")}
        where = [audit.c[name] == value for name, value in asked.items() if value is not None]
        where += [] if wanted.begin is None else [audit.c.created_at >= wanted.begin]
        where += [] if wanted.end is None else [audit.c.created_at < wanted.end]
        where += [] if before is None else [audit.c.audit_id < before]
        own = audit.c.tenant_id == tenant_id
        query = select(*NOTE).where(own, *where).order_by(audit.c.audit_id.desc()).limit(limit)
        async with of(self._database, tenant_id) as connection:
            return [Note(*row) for row in await connection.execute(query)]


def of(database: Database, tenant_id: int | None, long: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
    """Open a transaction that sees the rows of one tenant, or of the platform."""
    if tenant_id is None:
        return database.transaction("hdx.platform", "on", long)
    return database.tenant(tenant_id, long)


async def note(
    connection: AsyncConnection, tenant_id: int | None, actor: str, action: str, subject: str, detail: str
) -> None:
    """Note a deed in the transaction that does it, and mark the key that its request is repeated by."""
    row = {"tenant_id": tenant_id, "actor": actor, "action": action, "subject": subject, "detail": detail}
    await connection.execute(insert(audit).values(row))
    await mark(connection)
